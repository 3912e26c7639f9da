"""Pooling layers."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import kernels
from ..kernels.array.max_pool import max_pool2d_forward
from ..kernels.backend import Array
from ..kernels.geometry import Pair, pool_output_size
from .conv import pair, short
from .layer import Layer, Remember, Shape, channels_first, channels_last
from .registry import Example, register


class Pool2d(Layer):
    """What max and average pooling share: the windows. The stride is the window's size unless it is given."""

    ndim = 4

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.padding, self.ceil_mode = pair(kernel_size), pair(padding), ceil_mode
        self.stride = self.kernel_size if stride is None else pair(stride)
        too_wide = any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True))
        if min(*self.kernel_size, *self.stride) < 1 or min(self.padding) < 0 or too_wide:
            raise self.error(
                f"window {kernel_size}, stride {stride}, padding {padding}: "
                "expected 1 or more, and a padding of at most half the window"
            )

    def windows(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        axes = zip(input_shape[1:], self.kernel_size, self.stride, self.padding, strict=True)
        try:
            return input_shape[0], *(pool_output_size(*axis, self.ceil_mode) for axis in axes)
        except ValueError as error:
            raise self.error(f"input {input_shape}: {error}") from None

    def describe(self) -> str:
        padding = f", padding {short(self.padding)}" if any(self.padding) else ""
        return f"{short(self.kernel_size)}, stride {short(self.stride)}{padding}"


@register(
    Example({"kernel_size": 2}, (3, 6, 6)),
    Example({"kernel_size": 3, "stride": 2}, (2, 7, 7)),
    Example({"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0), "ceil_mode": True}, (2, 5, 7)),
    Example({"kernel_size": 2, "stride": 3}, (1, 7, 8)),
)
class MaxPool2d(Pool2d):
    """Maximum over windows: (N, C, H, W) -> (N, C, OH, OW). The border counts as −∞; ties go to the first pixel."""

    def compute(self, x: Array, remember: Remember, *, relu: bool = False) -> tuple[Array, Any]:
        fused = {"relu": True} if relu else {}
        return kernels.max_pool2d_forward(x, **self.windows(), **fused, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.max_pool2d_backward(dy, cache)

    def memory(self, input_shape: Shape) -> int:
        return prod(self.output_shape(input_shape)) * (1 if prod(self.kernel_size) < 256 else 4)  # the switches

    def sides(self, x: Array) -> Array | None:
        if not x.size:
            return x
        return channels_first(max_pool2d_forward(channels_last(x), **self.windows())[1][0])


@register(
    Example({"kernel_size": 2}, (3, 6, 6)),
    Example({"kernel_size": (3, 2), "stride": 2, "padding": 1, "ceil_mode": True}, (2, 6, 7)),
    Example({"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}, (2, 5, 6)),
)
class AvgPool2d(Pool2d):
    """Mean over windows: (N, C, H, W) -> (N, C, OH, OW). `count_include_pad`: the border's zeros count, as in torch."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.avg_pool2d_forward(
            x, **self.windows(), count_include_pad=self.count_include_pad, remember=remember
        )

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.avg_pool2d_backward(dy, cache)


@register(
    Example({"output_size": 1}, (3, 4, 5)),
    Example({"output_size": (3, 2)}, (2, 7, 5)),
    Example({"output_size": 4}, (2, 3, 3)),
)
class AdaptiveAvgPool2d(Layer):
    """Mean over windows chosen so that the result has a given size: (N, C, H, W) -> (N, C, OH, OW)."""

    ndim = 4

    def __init__(self, output_size: int | Pair) -> None:
        self.output_size = pair(output_size)
        if min(self.output_size) < 1:
            raise self.error(f"output size {output_size}: expected 1 or more")

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.adaptive_avg_pool2d_forward(x, output_size=self.output_size, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.adaptive_avg_pool2d_backward(dy, cache)

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], *self.output_size

    def describe(self) -> str:
        return "×".join(map(str, self.output_size))
