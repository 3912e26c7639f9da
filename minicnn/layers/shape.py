"""Layers that drop or move values without changing them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import kernels
from ..kernels.backend import Array, get_array_module
from ..kernels.geometry import Pair
from .conv import border
from .layer import Layer, Remember, Shape
from .registry import Example, register


@register(Example({"p": 0.5}, (3, 4, 5)), Example({"p": 0.2}, (9,)), Example({"p": 0.0}, (4,)))
class Dropout(Layer):
    """In training each value is 0 with probability p, the others grow by 1/(1 − p) (Srivastava et al. 2014).

    What is dropped is a function of `random_state` = (seed, forward passes so far), so a resumed run goes on exactly.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise self.error(f"p {p}: expected a probability from 0 to 1")
        self.p = p
        self.random_state = (0, 0)

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        if not self.training or self.p == 0:
            return x, None
        seed, passes = self.random_state
        self.random_state = (seed, passes + 1)
        generator = np.random.Generator(np.random.Philox(key=[seed, passes]))
        kept = generator.random(x.shape, np.float32) >= self.p
        return kernels.dropout_forward(x, get_array_module(x).asarray(kept), p=self.p, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return dy if cache is None else kernels.dropout_backward(dy, cache)

    def memory(self, input_shape: Shape) -> int:
        return -(-prod(input_shape) // 8) if self.p else 0

    def describe(self) -> str:
        return f"{self.p:g}"


@register(Example({"padding": 2}, (3, 4, 5)), Example({"padding": ((0, 1), (2, 0))}, (2, 3, 3)))
class ZeroPad2d(Layer):
    """A border of zeros. padding: one number, (rows, columns) or ((top, bottom), (left, right))."""

    ndim = 4

    def __init__(self, padding: int | Pair | tuple[Pair, Pair]) -> None:
        self.padding = border(padding)
        if min(*self.padding[0], *self.padding[1]) < 0:
            raise self.error(f"padding {padding}: expected 0 or more")

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.zero_pad2d_forward(x, padding=self.padding, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.zero_pad2d_backward(dy, cache)

    def output_shape(self, input_shape: Shape) -> Shape:
        C, H, W = input_shape
        return C, H + sum(self.padding[0]), W + sum(self.padding[1])


@register(
    Example({"in_channels": 2, "out_channels": 6, "stride": 2}, (2, 5, 6)),
    Example({"in_channels": 3, "out_channels": 4, "stride": 1}, (3, 2, 3)),
)
class PadShortcut(Layer):
    """The shortcut without parameters past a block with more channels (He et al. 2015, section 3.3, option A).

    (N, C, H, W) -> (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉): every stride-th row and column, and channels of zeros,
    half of them before and half behind, as most implementations for CIFAR put them. The paper does not say where, and
    nothing depends on it: the weights around learn either order.
    """

    ndim = 4

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        if not 1 <= in_channels <= out_channels or stride < 1:
            raise self.error(
                f"{in_channels} -> {out_channels} channels, stride {stride}: expected no fewer channels, 1 or more"
            )
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        before = (out_channels - in_channels) // 2
        self.place = slice(before, before + in_channels)  # of x among the channels of y

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        seen = x[:, :: self.stride, :: self.stride]
        y = get_array_module(x).zeros((*seen.shape[:3], self.out_channels), x.dtype)
        y[..., self.place] = seen
        return y, x.shape

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        dx = get_array_module(dy).zeros(cache, dy.dtype)
        dx[:, :: self.stride, :: self.stride] = dy[..., self.place]
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[0] != self.in_channels:
            raise self.error(f"expected {self.in_channels} channels, got {input_shape[0]} in {input_shape}")
        return self.out_channels, *(-(-size // self.stride) for size in input_shape[1:])

    def describe(self) -> str:
        return f"{self.in_channels}→{self.out_channels}, stride {self.stride}"
