"""L-BFGS: the gradient, turned and stretched by what the last steps have shown of the curvature.

Nocedal & Wright 2006, "Numerical optimization": algorithm 7.4 (the two loops), 3.5 and 3.6 (the line search). With
f = −objective and g = ∇f, a step remembers s = x_new − x and y = g_new − g; H ≈ (∇²f)⁻¹ is built of the last pairs,

    d = −H·g,    x_new = x + t·d,

and t meets the strong Wolfe conditions: f(t) ≤ f(0) + 1e-4·t·f′(0) and |f′(t)| ≤ 0.9·|f′(0)|. The second makes
s·y > 0, which keeps H positive.

Within bounds, the values that stand at one and would leave it are left out of g and d, and x + t·d is clipped: the
search then follows the bent path (Bertsekas 1982, "Projected Newton methods").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, sqrt
from typing import Any, NamedTuple

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from ..schedules import Clock
from .optimizers import Evaluate, Optimizer, number
from .registry import Example, register

Pairs = tuple[tuple[Array, Array], ...]  # (s, y), the oldest first

DECREASE, CURVATURE = 1e-4, 0.9  # of the Wolfe conditions
EVALUATIONS = 25  # of a line search, at most
SHORT = 1e-9  # a move of no value by more is none
PICTURE = {"input": (1, 3, 6, 7)}


class Point(NamedTuple):
    """A place on the path that a line search follows, at t: f, f′ along the path, the variables and g."""

    t: float
    f: float
    slope: float
    value: Array
    gradient: Array


@register(Example({}, PICTURE), Example({"bounds": (-0.75, 1.75), "memory": 2}, PICTURE))
@dataclass(frozen=True)
class LBFGS(Optimizer):
    """L-BFGS with a strong Wolfe line search, for an objective that is the same at every step: no random transforms.

    memory: how many pairs (s, y) are kept, each of twice the variables' size. bounds: the least and the greatest value
    that a variable may have. A step is one line search: as a rule one or two evaluations, at most 26. The batch is one
    point: its pictures share the length of a step. Reads numbers, so a GPU waits.
    """

    memory: int = 10
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise MinicnnError(f"LBFGS: memory {self.memory}: expected 1 or more")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise MinicnnError(f"LBFGS: bounds {self.bounds}: expected the smaller first")

    def step(self, value: Array, evaluate: Evaluate, state: Any, clock: Clock) -> tuple[Array, Any]:
        pairs: Pairs = state or ()
        f, g = downhill(evaluate, value)
        only = self._free(value, -g)
        q = only(g)
        d = -turned(q, [(only(s), only(y)) for s, y in pairs])
        slope = dot(q, d)
        if not slope < 0:  # at rest, or what is remembered no longer fits
            return value.copy(), ()

        def at(t: float) -> Point:
            there = self._clipped(value + t * d)
            f, g = downhill(evaluate, there)
            return Point(t, f, dot(self._free(there, d)(g), d), there, g)

        first = 1.0 if pairs else min(1.0, 1 / number(abs(q).sum()))
        end = line_search(at, Point(0.0, f, slope, value, g), first, SHORT / number(abs(d).max()))
        s, y = end.value - value, end.gradient - g
        return end.value, (*pairs, (s, y))[-self.memory :] if dot(s, y) > 1e-10 else pairs

    def _clipped(self, value: Array) -> Array:
        return value if self.bounds is None else get_array_module(value).clip(value, *self.bounds)

    def _free(self, value: Array, direction: Array) -> Callable[[Array], Array]:
        """A function that sets to 0 what belongs to variables which such a move would take out of the bounds."""
        if self.bounds is None:
            return lambda a: a
        low, high = self.bounds
        free = ~((value <= low) & (direction < 0) | (value >= high) & (direction > 0))
        return lambda a: free * a


def downhill(evaluate: Evaluate, value: Array) -> tuple[float, Array]:
    """f and g: what is to be climbed, upside down. What is no number is the worst there is."""
    height, gradient = evaluate(value)
    f = -number(height)
    return inf if isnan(f) else f, -gradient


def dot(a: Array, b: Array) -> float:
    return number(get_array_module(a).vdot(a, b))


def turned(q: Array, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """H·q by the two loops over the pairs, with H₀ = (s·y)/(y·y) of the last one."""
    good = [(s, y, sy) for s, y in pairs if (sy := dot(s, y)) > 0]
    shares = []
    for s, y, sy in reversed(good):
        shares.append(dot(s, q) / sy)
        q = q - shares[-1] * y
    if good:
        _, y, sy = good[-1]
        q = sy / dot(y, y) * q
    for (s, y, sy), share in zip(good, reversed(shares), strict=True):
        q = q + (share - dot(y, q) / sy) * s
    return q


def line_search(at: Callable[[float], Point], start: Point, t: float, short: float) -> Point:
    """A point that meets the strong Wolfe conditions; where none is found in time, the lowest one."""

    def too_high(point: Point) -> bool:
        return point.f > start.f + DECREASE * point.t * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    last, now, tries = start, at(t), 1
    while not (too_high(now) or (tries > 2 and now.f >= last.f) or now.slope >= 0 or flat(now)):  # further down yet
        if tries == EVALUATIONS:
            return now
        ahead = cubic(last, now, now.t + 0.01 * (now.t - last.t), 10 * now.t)
        last, now, tries = now, at(ahead), tries + 1
    if flat(now) and not too_high(now) and not (tries > 2 and now.f >= last.f):
        return now
    low, high = sorted((last, now), key=lambda point: point.f)  # between them there is a point that will do
    stuck = False
    while tries < EVALUATIONS and abs(high.t - low.t) > short:
        middle = cubic(low, high, min(low.t, high.t), max(low.t, high.t))
        margin = 0.1 * abs(high.t - low.t)
        near = min(abs(middle - low.t), abs(middle - high.t)) < margin
        if near and (stuck or middle in (low.t, high.t)):  # at the same end again: a tenth away from it
            end, other = sorted((low.t, high.t), key=lambda t: abs(middle - t))
            middle, near = end + margin * (1 if other > end else -1), False
        stuck = near
        now, tries = at(middle), tries + 1
        if too_high(now) or now.f >= low.f:
            low, high = sorted((low, now), key=lambda point: point.f)
            continue
        if flat(now):
            return now
        if now.slope * (high.t - low.t) >= 0:
            high = low
        low = now
    return low


def cubic(a: Point, b: Point, least: float, most: float) -> float:
    """Where the cubic through f and f′ of two points is lowest, from `least` to `most`; the middle where it is not."""
    a, b = sorted((a, b), key=lambda point: point.t)
    middle = (least + most) / 2
    if a.t == b.t or not all(isfinite(x) for x in (a.f, a.slope, b.f, b.slope)):
        return middle
    bend = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    square = bend * bend - a.slope * b.slope
    if square < 0:
        return middle
    root = sqrt(square)
    below = b.slope - a.slope + 2 * root
    return min(max(b.t - (b.t - a.t) * (b.slope + root - bend) / below, least), most) if below else middle
