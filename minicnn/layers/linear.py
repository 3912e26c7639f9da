"""Fully connected layer and the flattening before it."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import kernels
from ..initialization import he_normal, zeros
from ..kernels.backend import Array
from ..parameter import Init, Parameter
from .layer import Layer, Remember, Shape, accumulate, channels_last, places
from .registry import Example, register


@register(
    Example({"in_features": 6, "out_features": 4}, (6,)),
    Example({"in_features": 3, "out_features": 1, "bias": False}, (3,)),
)
class Linear(Layer):
    """y = x·wᵀ + b: (N, D) -> (N, F). weight (F, D), bias (F,)."""

    ndim = 2

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, init: Init = he_normal) -> None:
        if min(in_features, out_features) < 1:
            raise self.error(f"{in_features} -> {out_features} features: expected positive sizes")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter((out_features, in_features), init)
        self.bias = Parameter((out_features,), zeros, decay=False) if bias else None

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        bias = None if self.bias is None else self.bias.value
        return kernels.linear_forward(x, self.weight.value, bias, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        out = places(self.weight, self.bias)
        dx, dw, db = kernels.linear_backward(dy, cache, need_dx=need_dx, need_dparams=need_dparams, out=out)
        accumulate(self.weight, dw)
        accumulate(self.bias, db)
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape != (self.in_features,):
            raise self.error(f"expected ({self.in_features},) features, got {input_shape}")
        return (self.out_features,)

    def macs(self, input_shape: Shape) -> int:
        return self.weight.size

    def memory(self, input_shape: Shape) -> int:
        return 4 * self.in_features

    def describe(self) -> str:
        return f"{self.in_features}→{self.out_features}"


@register(Example({}, (2, 3, 4)), Example({}, (3, 5)), Example({}, (6,)))
class Flatten(Layer):
    """(N, C, H, W) -> (N, C·H·W), in the order (C, H, W) that weights from elsewhere expect: one copy."""

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        N, *positions, C = x.shape  # x is channels last here
        y = kernels.turn(x.reshape(N, prod(positions), C)) if positions else x
        return y.reshape(N, prod(positions) * C), x.shape

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        N, *positions, C = cache
        return channels_last(dy.reshape(N, C, *positions)) if positions else dy

    def output_shape(self, input_shape: Shape) -> Shape:
        return (prod(input_shape),)
