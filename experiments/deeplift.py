"""DeepLIFT (Shrikumar, Greenside, Kundaje 2017): how much of the score's change does each pixel answer for, when a
baseline picture x0 becomes the picture x?

    contribution = m·Δx,    Σ contributions = F(x) − F(x0)        ("summation to delta")

The multipliers m go backward as gradients do, but for what a nonlinearity y = f(x) says:

    gradient          m = f′(x)
    rescale           m = Δy/Δx,    Δx = x − x0,  Δy = f(x) − f(x0)
    reveal-cancel     m⁺ = Δy⁺/Δx⁺,  m⁻ = Δy⁻/Δx⁻,  Δx = Δx⁺ + Δx⁻, what pushed x up and what pushed it down
                      Δy⁺ = ½[f(x0 + Δx⁺) − f(x0) + f(x0 + Δx⁺ + Δx⁻) − f(x0 + Δx⁻)], and Δy⁻ likewise

So a rectifier that is saturated, off for x but on for x0, still passes on what it answers for. Reveal-cancel keeps
apart what the positive and the negative terms of a weighted sum add up to, so that both are seen where they cancel.

Both pictures go through the network side by side, as one batch, with other layers in the places of the nonlinear ones
(minicnn/layers/rules.py); a pass back then gives m at the picture. What is in the way between, weighted sums, max pools
and others, is in deeplift_layers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import MinicnnError, nearest
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Normalize,
    PadShortcut,
    Rectifier,
    Remember,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
    ZeroPad2d,
    backward_rule,
    evaluating,
)
from minicnn.layers.norm import BatchNorm
from minicnn.layers.rules import StandIn, standing_in
from minicnn.network import Network
from minicnn.parameter import to_host

from .attribution import Attribution, Baseline, Goal, UnitIndex, baseline_for, called, find_target, one_at, report
from .common import photo_run
from .deeplift_layers import (
    Channelwise,
    MaxPool,
    MaxPoolRevealCancel,
    ResponseNorm,
    SoftmaxByLogs,
    Weighted,
    by_sign,
    joined,
    quotient,
    rows,
)
from .integrated_gradients import read_baseline

# Functions of one number ----------------------------------------------------------------------------------------------


class Elementwise(StandIn):
    """What the two rules share for y = f(x), x one number: how a quotient of differences becomes a derivative."""

    def value(self, x: Array) -> Array:
        return self.original.compute(x, None)[0]

    def derivative(self, x: Array) -> Array:
        """f′(x)."""
        _, cache = self.original.compute(x, "input")
        with backward_rule(self.original, "gradient"):  # the function's own, whatever rule its layer has
            slope = self.original.pullback(get_array_module(x).ones_like(x), cache, True, False)
        assert slope is not None
        return slope

    def nearness(self, dtype: Any) -> float:
        """The |Δx| up to which a smooth f′ half-way is closer to Δy/Δx than the quotient, whose Δy is rounded.

        Half-way it is wrong by Δx²/24·f‴, the quotient by ε/Δx.
        """
        return 0.0 if self.is_of_pieces() else float((24 * np.finfo(dtype).eps) ** (1 / 3))

    def is_of_pieces(self) -> bool:
        """Whether f is made of two straight pieces."""
        return isinstance(self.original, Rectifier)


class Rescale(Elementwise):
    """m = Δy/Δx, for both rows; f′ where Δx is (nearly) 0 (section 3.5.2)."""

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        y = self.value(x)
        if remember is None:
            return y, None
        (x1, x0), (y1, y0) = rows(x, 2), rows(y, 2)
        if self.is_of_pieces():
            slope = self.derivative(x1)
            return y, quotient(y1 - y0, x1 - x0, slope == self.derivative(x0), slope)  # on one piece, f′ is Δy/Δx
        near = abs(x1 - x0) <= self.nearness(x.dtype)
        return y, quotient(y1 - y0, x1 - x0, near, self.derivative((x1 + x0) / 2))

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return joined(*(part * cache for part in rows(dy, 2)))


class RevealCancel(Elementwise):
    """m⁺ = Δy⁺/Δ⁺ and m⁻ = Δy⁻/Δ⁻, Δ⁺ and Δ⁻ coming in either order, each order counting half (section 3.5.3).

    Δy⁺ = ½[f(x0 + Δ⁺) − f(x0) + f(x0 + Δ⁺ + Δ⁻) − f(x0 + Δ⁻)], and Δy⁻ with the signs changed round.
    """

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        x1, x0, plus, minus = rows(x, 4)
        up, down = x0 + plus, x0 + minus  # and up + minus = down + plus = x1
        y1, y0, y_up, y_down = (self.value(part) for part in (x1, x0, up, down))
        y_plus = (y_up - y0 + y1 - y_down) / 2
        y_minus = (y_down - y0 + y1 - y_up) / 2
        y = joined(y1, y0, y_plus, y_minus)
        if remember is None:
            return y, None
        near = abs(plus) <= self.coarseness(x1, x0), abs(minus) <= self.coarseness(x1, x0)
        m_plus = quotient(y_plus, plus, near[0], self.mean_slope((x0, up), (down, x1)))
        m_minus = quotient(y_minus, minus, near[1], self.mean_slope((x0, down), (up, x1)))
        return y, (m_plus, m_minus)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        *pair, plus, minus = rows(dy, 4)
        return joined(*pair, plus * cache[0], minus * cache[1])

    def coarseness(self, x1: Array, x0: Array) -> Array:
        """`nearness`, and no finer than what is left of Δ⁺ in x0 + Δ⁺ when it is rounded."""
        return 16 * np.finfo(x1.dtype).eps * (abs(x1) + abs(x0)) + self.nearness(x1.dtype)

    def mean_slope(self, *steps: tuple[Array, Array]) -> Array:
        """The mean of f′ half-way on both steps."""
        first, second = (self.derivative((a + b) / 2) for a, b in steps)
        return (first + second) / 2


# The rules, by the type of the layer ----------------------------------------------------------------------------------

Table = dict[type[Layer], Callable[[Layer], Layer] | None]  # None: the layer itself, as it is

CARRIED: Table = dict.fromkeys((AvgPool2d, AdaptiveAvgPool2d, Flatten, ZeroPad2d, PadShortcut, Dropout))
RULES: dict[str, Table] = {
    "rescale": {
        **CARRIED,
        **dict.fromkeys((Conv2d, Conv1d, Linear, BatchNorm, Scale, Normalize)),
        **dict.fromkeys((Rectifier, Sigmoid, Tanh), Rescale),
        MaxPool2d: MaxPool,
        LocalResponseNorm: ResponseNorm,
        Softmax: SoftmaxByLogs,
    },
    "reveal-cancel": {
        **CARRIED,
        **dict.fromkeys((BatchNorm, Scale, Normalize), Channelwise),
        **dict.fromkeys((Conv2d, Conv1d, Linear), Weighted),
        **dict.fromkeys((Rectifier, Sigmoid, Tanh), RevealCancel),
        MaxPool2d: MaxPoolRevealCancel,
        LocalResponseNorm: lambda layer: ResponseNorm(layer, 4),
        Softmax: lambda layer: SoftmaxByLogs(layer, 4),
    },
}


def rule_of(layer: Layer, rule: str) -> Layer | None:
    """What stands in for a layer. Raises MinicnnError for one of which the rule does not know how it multiplies."""
    table = RULES[rule]
    known = next((kind for kind in type(layer).__mro__ if kind in table), None)
    if known is None:
        raise layer.error(f"DeepLIFT has no {rule} rule for this layer: add one to minicnn.experiments.deeplift.RULES")
    make = table[known]
    return None if make is None else make(layer)


@dataclass(frozen=True, eq=False)
class DeepLift(Attribution):
    """values (C, H, W): the contributions m·Δx, map (H, W) their sum over the colours; multipliers (C, H, W): m."""

    multipliers: np.ndarray = field(repr=False, kw_only=True)


def deeplift(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    rule: str = "rescale",
    baseline: Baseline = "black",
) -> DeepLift:
    """What each pixel of `image` (1, C, H, W) contributes to F(x) − F(x0), x0 being `baseline`: a picture like x, a
    colour ("black", "white", "grey", "mean") or a number that all pixels have.

    F is the score of a class (default: the one predicted) or a unit of a layer; rule: "rescale" or "reveal-cancel".
    Costs a pass there and back of two pictures, of about six with reveal-cancel. Raises MinicnnError where the network
    has a layer that the rule does not know.

    Example: `deeplift(net, net.prepare(load_picture("cat.jpg")), rule="reveal-cancel").map`
    """
    if rule not in RULES:
        raise MinicnnError(f"rule {rule!r}{nearest(rule, RULES)}")
    goal = find_target(net, image, target, layer=layer, unit=unit)
    dx = image - (x0 := baseline_for(net, image, baseline))
    batch = joined(image, x0) if rule == "rescale" else joined(image, x0, *by_sign(dx))
    with evaluating(net), standing_in(net, lambda inner: rule_of(inner, rule)):
        y = net.activations(batch, [goal.layer], remember="input")[goal.layer]
        m = net.input_gradient({goal.layer: one_at(goal, y)})
    m = m[0] if rule == "rescale" else get_array_module(m).where(dx[0] > 0, m[2], m[3])
    multipliers = to_host(m)
    values = multipliers * to_host(dx)[0]
    f1, f0 = (float(f) for f in to_host(goal.of(y))[:2])
    return DeepLift(
        method=f"DeepLIFT ({rule})",
        target=goal,
        image=to_host(image)[0],
        map=values.sum(axis=0),
        signed=True,
        values=values,
        meaning=f"what the pixel adds to F, {goal.in_words}, when {called(baseline)} becomes the picture (x)",
        delta=float(values.sum(dtype=np.float64)) - (f1 - f0),
        change=f1 - f0,
        multipliers=multipliers,
    )


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("deeplift"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    rule: Annotated[str, typer.Option("--rule", help="rescale or reveal-cancel.")] = "rescale",
    baseline: Annotated[
        str, typer.Option("--baseline", help="mean, grey, black, white, or a picture of the photo's size.")
    ] = "black",
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Which pixels made the score what it is, compared with a picture of nothing?"""
    settings = {"target": target, "layer": layer, "unit": unit, "rule": rule, "baseline": baseline}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        start = read_baseline(baseline, photo, net)
        if start is not baseline:
            run.hash_input(baseline)
        result = deeplift(net, x, target, layer=layer, unit=unit, rule=rule, baseline=start)
        report(run, net, x, result, "deeplift")
