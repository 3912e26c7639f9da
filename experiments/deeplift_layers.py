"""DeepLIFT's multipliers of layers with several inputs: how much of the change of y each x answers for.

Rows of a batch are [x; x0] (rescale) or [x; x0; Δ⁺; Δ⁻] (reveal-cancel), so that both pass every layer side by side.
A multiplier m says Δy = m·Δx. Going back, what arrives for y is multiplied by it, which is the chain rule of
multipliers (Shrikumar, Greenside, Kundaje 2017, section 3.3); each rule here keeps Σ m_x Δx = Σ m_y Δy.

The paper's rules for functions of one number are in deeplift.py, that for weighted sums is here. For other functions of
several numbers we have ours:

    max pool    m is the share of the straight way from x0 to x on which the pixel is the maximum of its window: the
                integral of the gradient. So Σ m = 1 in a window, and Δy = Σ m Δx. Windows that overlap add.
    local response normalization    y = x·v, v = u^−β, u = k + (α/n) Σ x²: the chain rule over these steps, with
                Δ(x·v) = v̄ Δx + x̄ Δv and Δ(x²) = 2x̄ Δx, a bar being the mean of both rows
    softmax     log y = x − log Σ eˣ, by the rescale rule for exp and log, of x less its mean over the classes
                (adding a number to all scores is nobody's doing)

The last two say Δy = M Δx with a matrix M of the pair. Reveal-cancel takes Δy± = M Δx± there.

(SHAP's DeepExplainer gives the whole Δy of a max pool to the winner in the row in which y is greater. In an even
baseline every pixel wins, and rounding decides which one gets it all; the shares of the way hardly depend on it.)
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import numpy as np

from minicnn.initialization import zeros
from minicnn.kernels.array.lrn import neighbour_sum
from minicnn.kernels.array.max_pool import Windows
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import Layer, LocalResponseNorm, MaxPool2d, Normalize, Remember, Scale
from minicnn.layers.norm import BatchNorm
from minicnn.layers.rules import StandIn
from minicnn.parameter import Buffer, Parameter


def rows(batch: Array, count: int) -> tuple[Array, ...]:
    """A batch of `count` rows of pictures as that many arrays, views."""
    n = len(batch) // count
    return tuple(batch[i * n : (i + 1) * n] for i in range(count))


def joined(*parts: Array) -> Array:
    """The opposite of `rows`."""
    return get_array_module(parts[0]).concatenate(parts)


def quotient(top: Array, bottom: Array, near: Array, limit: Array) -> Array:
    """top/bottom, and `limit` where `near`."""
    xp = get_array_module(top)
    return xp.where(near, limit, top / xp.where(near, 1, bottom))


# Weighted sums, under reveal-cancel -----------------------------------------------------------------------------------


class Channelwise(StandIn):
    """One factor a channel, under reveal-cancel: Δy⁺ = w⁺Δx⁺ + w⁻Δx⁻, Δy⁻ = w⁺Δx⁻ + w⁻Δx⁺, back transposed.

    w⁺ are the positive factors, the others 0. The offset is part of x and of x0, and of no change. So a batch norm
    behind a convolution makes no difference to what one convolution in place of both would tell apart.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.positive, self.negative = signed_part(layer, 1), signed_part(layer, -1)

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        pair, changes = rows(x, 2)
        plus, minus = rows(changes, 2)
        y, _ = self.original.compute(pair, None)
        straight, kept = self.positive.compute(changes, remember)
        crossed, kept_too = self.negative.compute(joined(minus, plus), remember)
        return joined(y, straight + crossed), (kept, kept_too)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        _, m = rows(dy, 2)
        straight = self.positive.pullback(m, cache[0], True, False)
        crossed = self.negative.pullback(m, cache[1], True, False)
        assert straight is not None and crossed is not None
        minus, plus = rows(crossed, 2)
        multipliers = straight + joined(plus, minus)
        return joined(get_array_module(m).zeros_like(multipliers), multipliers)


class Weighted(Channelwise):
    """Weighted sums, under reveal-cancel: Δy⁺ is the sum of the terms w·Δx that are positive, Δy⁻ of the others.

    That is the above with Δx⁺ = max(Δx, 0), Δx⁻ = min(Δx, 0). What was Δ⁺ and what Δ⁻ before ends here: both get one
    multiplier, where Δx = 0 half of either sign's (section 3.5.1). Carried on, they would grow from layer to layer, by
    |w| where their sum grows by w, until nothing is left of the sum in their difference.
    """

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        x1, x0, *_ = rows(x, 4)
        dx = x1 - x0
        y, kept = super().compute(joined(x1, x0, *by_sign(dx)), remember)
        return y, (kept, get_array_module(x).sign(dx))

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        kept, sign = cache
        *idle, up, down = rows(super().pullback(dy, kept, need_dx, need_dparams), 4)
        m = ((1 + sign) * up + (1 - sign) * down) / 2
        return joined(*idle, m, m)


def signed_part(layer: Any, sign: int) -> Any:
    """The layer without its offset, and with the weights of one sign alone."""
    part = copy.copy(layer)
    if isinstance(layer, Normalize):
        xp, factor = get_array_module(layer.std.value), layer.scale.value / layer.std.value
        part.mean = Buffer(0 * layer.mean.value)
        part.std = Buffer(xp.where(sign * factor > 0, layer.std.value, np.inf))  # of the others the factor is 0
        return part
    if isinstance(layer, BatchNorm):
        part.running_mean = Buffer(0 * layer.running_mean.value)
        like = layer.running_mean.value
        weight = get_array_module(like).ones_like(like) if layer.weight is None else layer.weight.value
    else:
        weight = layer.weight.value
    part.weight = constant(by_sign(weight)[0 if sign > 0 else 1])
    part.bias = constant(0 * layer.bias.value) if isinstance(layer, Scale) else None
    return part


def by_sign(a: Array) -> tuple[Array, Array]:
    """What is positive in it, and what is negative; 0 elsewhere."""
    xp = get_array_module(a)
    return xp.maximum(a, 0), xp.minimum(a, 0)


def constant(value: Array) -> Parameter:
    """A parameter with this value."""
    parameter = Parameter(value.shape, zeros)
    parameter.value = value
    return parameter


# Maxima ---------------------------------------------------------------------------------------------------------------


class MaxPool(StandIn):
    """Each pixel of a window in the share of the way from x0 to x on which it is the maximum."""

    original: MaxPool2d

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        y, _ = self.original.compute(x, None)
        return y, None if remember is None else self.shares(*rows(x, 2))

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        m = self.shared_out(rows(dy, 2)[0], cache)
        return joined(m, m)

    def shares(self, x1: Array, x0: Array) -> tuple[Windows, Array]:
        """The windows, and the shares (taps, N, OH, OW, C) of the pixels that lie under each tap of them."""
        xp, pool = get_array_module(x1), self.original
        windows = Windows(x1.shape, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
        size = pool.kernel_size[0] * pool.kernel_size[1]
        starts = xp.full((size, *windows.output_shape), LOWEST, x1.dtype)  # the border is no maximum at any time
        rises = xp.zeros(starts.shape, x1.dtype)
        for tap, (out, pixels) in enumerate(windows.taps(x1, starts[0])):
            starts[(tap, *out)] = x0[pixels]
            rises[(tap, *out)] = x1[pixels] - x0[pixels]
        return windows, times_on_top(starts, rises)

    def shared_out(self, m: Array, found: tuple[Windows, Array]) -> Array:
        """m of the windows -> Σ share·m of the pixels."""
        windows, shares = found
        dx = get_array_module(m).zeros(windows.input_shape, m.dtype)
        for tap, (out, pixels) in enumerate(windows.taps(dx, m)):
            dx[pixels] += (shares[tap] * m)[out]
        return dx


class MaxPoolRevealCancel(MaxPool):
    """The same for each step from x0 to x: up and then down, or down and then up, each order counting half."""

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        x1, x0, plus, minus = rows(x, 4)
        up, down = x0 + plus, x0 + minus
        y, _ = self.original.compute(joined(x1, x0, up, down), None)
        y1, y0, y_up, y_down = rows(y, 4)
        y = joined(y1, y0, (y_up - y0 + y1 - y_down) / 2, (y_down - y0 + y1 - y_up) / 2)
        if remember is None:
            return y, None
        (windows, first), (_, last) = self.shares(up, x0), self.shares(x1, down)
        (_, below), (_, back) = self.shares(down, x0), self.shares(x1, up)
        return y, ((windows, (first + last) / 2), (windows, (below + back) / 2))

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        found = [self.shared_out(m, shares) for m, shares in zip(rows(dy, 4)[2:], cache, strict=True)]
        idle = get_array_module(dy).zeros_like(found[0])
        return joined(idle, idle, *found)


LOWEST = -1e30


def times_on_top(starts: Array, rises: Array) -> Array:
    """Of lines start + t·rise, (K, …) each, the share of 0 ≤ t ≤ 1 on which each is the highest: (K, …), their sum 1.

    A line is above another from the t on at which they meet, if it rises faster, or else until then. Lines that are the
    same share alike. Times are right to a few roundings, however close lines are.
    """
    xp = get_array_module(starts)
    begin, end, alike = xp.zeros_like(starts), xp.ones_like(starts), xp.ones_like(starts)
    for k in range(len(starts)):
        for j in range(k):
            faster, lead = rises[k] - rises[j], starts[j] - starts[k]
            same = (faster == 0) & (lead == 0)
            parallel = xp.where(lead < 0, -np.inf, np.inf).astype(
                starts.dtype
            )  # k is above from the start on, or never
            with np.errstate(over="ignore"):  # to infinity is far enough
                meet = quotient(lead, faster, faster == 0, parallel)
            early, late = xp.where(same, -np.inf, meet), xp.where(same, np.inf, meet)
            overtakes = faster >= 0
            begin[k] = xp.maximum(begin[k], xp.where(overtakes, early, -np.inf))
            end[k] = xp.minimum(end[k], xp.where(overtakes, np.inf, late))
            begin[j] = xp.maximum(begin[j], xp.where(overtakes, -np.inf, early))
            end[j] = xp.minimum(end[j], xp.where(overtakes, late, np.inf))
            alike[k] += same
            alike[j] += same
    return xp.maximum(end - begin, 0) / alike


# Functions of several numbers that are chains of functions of one -----------------------------------------------------


class Pairwise(StandIn):
    """Δy = M Δx, where M depends on both rows. Rescale goes back by Mᵀ; reveal-cancel takes Δy± = M Δx± along."""

    def __init__(self, layer: Layer, count: int = 2) -> None:
        super().__init__(layer)
        self.count = count  # of the rows

    @abstractmethod
    def pair(self, x1: Array, x0: Array) -> Any:
        """What M is made of."""

    @abstractmethod
    def times(self, v: Array, made: Any) -> Array:
        """M v."""

    @abstractmethod
    def transposed(self, m: Array, made: Any) -> Array:
        """Mᵀ m."""

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        x1, x0, *changes = rows(x, self.count)
        y, _ = self.original.compute(joined(x1, x0), None)
        made = self.pair(x1, x0) if changes or remember else None
        return joined(y, *(self.times(v, made) for v in changes)), made

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return joined(*(self.transposed(m, cache) for m in rows(dy, self.count)))


class ResponseNorm(Pairwise):
    """y = x·v, v = u^−β, u = k + (α/n) Σ x² over n neighbouring channels."""

    original: LocalResponseNorm

    def pair(self, x1: Array, x0: Array) -> Any:
        xp, lrn = get_array_module(x1), self.original
        u1, u0 = (lrn.k + lrn.alpha / lrn.size * self.neighbours(x * x) for x in (x1, x0))
        v1, v0 = u1**-lrn.beta, u0**-lrn.beta
        du = lrn.alpha / lrn.size * self.neighbours((x1 + x0) * (x1 - x0))
        dv = v0 * xp.expm1(-lrn.beta * xp.log1p(du / u0))  # v1 − v0, without their difference's rounding
        slope = quotient(dv, du, du == 0, -lrn.beta * v0 / u0)
        return (v1 + v0) / 2, (x1 + x0) / 2, slope * lrn.alpha / lrn.size

    def neighbours(self, a: Array, *, turned: bool = False) -> Array:
        """Σ over the window of each channel; `turned`: over the channels whose windows it is in."""
        around = self.original.size // 2, (self.original.size - 1) // 2
        total = get_array_module(a).empty_like(a)
        before, after = reversed(around) if turned else around
        neighbour_sum(a, before, after, out=total)
        return total

    def times(self, v: Array, made: Any) -> Array:
        factor, middle, slope = made
        return factor * v + middle * slope * self.neighbours(2 * middle * v)

    def transposed(self, m: Array, made: Any) -> Array:
        factor, middle, slope = made
        return factor * m + 2 * middle * self.neighbours(slope * middle * m, turned=True)


class SoftmaxByLogs(Pairwise):
    """y = e^z, z = x − log s, s = Σ eˣ: Δy = q Δz and Δ log s = Σ w Δx, q and w logarithmic means of both rows."""

    def pair(self, x1: Array, x0: Array) -> Any:
        xp = get_array_module(x1)
        x1, x0 = (x.astype(np.float64) - x.mean(axis=-1, keepdims=True, dtype=np.float64) for x in (x1, x0))
        dx, dlog = x1 - x0, log_sum_exp(x1) - log_sum_exp(x0)
        y0 = xp.exp(x0 - log_sum_exp(x0))
        return y0 * growth(dx - dlog), y0 * growth(dx) / growth(dlog)

    def times(self, v: Array, made: Any) -> Array:
        q, w = made
        v = v - v.mean(axis=-1, keepdims=True)
        return (q * (v - (w * v).sum(axis=-1, keepdims=True))).astype(v.dtype)

    def transposed(self, m: Array, made: Any) -> Array:
        q, w = made
        through = q * m - w * (q * m).sum(axis=-1, keepdims=True)
        return (through - through.mean(axis=-1, keepdims=True)).astype(m.dtype)


def log_sum_exp(x: Array) -> Array:
    """log Σ eˣ over the last axis, which stays."""
    xp, top = get_array_module(x), x.max(axis=-1, keepdims=True)
    return xp.log(xp.exp(x - top).sum(axis=-1, keepdims=True)) + top


def growth(t: Array) -> Array:
    """(eᵗ − 1)/t, which is 1 at 0."""
    return quotient(get_array_module(t).expm1(t), t, t == 0, t + 1)
