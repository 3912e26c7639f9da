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
