"""Convolutions as layers. The mathematics is in kernels/array/conv.py."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import kernels
from ..errors import MinicnnError
from ..initialization import he_normal, zeros
from ..kernels.backend import Array
from ..kernels.geometry import Pair, conv_output_size
from ..parameter import Init, Parameter
from .layer import Layer, Remember, Shape, accumulate, channels_first, places
from .registry import Example, register

if TYPE_CHECKING:
    from .pool import MaxPool2d


def pair(value: int | Pair) -> Pair:
    """3 -> (3, 3). Raises MinicnnError for what is neither a whole number nor two."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, int) for v in both):
        raise MinicnnError(f"expected a whole number or two, got {value!r}")
    return both


def border(padding: int | Pair | tuple[Pair, Pair]) -> tuple[Pair, Pair]:
    """1, (rows, columns) or ((top, bottom), (left, right)) -> ((top, bottom), (left, right))."""
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    return pair(rows), pair(columns)


def short(value: Pair) -> str:
    """(2, 2) -> "2", (3, 2) -> "3×2"."""
    return str(value[0]) if value[0] == value[1] else f"{value[0]}×{value[1]}"


class Pooled(NamedTuple):
    """What a convolution keeps where it did the pool behind it along: the pool's memory, and its own input."""

    switches: Any
    x: Array


class Convolution(Layer):
    """What Conv1d and Conv2d share: weights (F, C/groups, *kernel_size), a bias, and their gradients."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Shape, groups: int, bias: bool, init: Init) -> None:
        if min(in_channels, out_channels, groups, *kernel) < 1 or in_channels % groups or out_channels % groups:
            raise self.error(
                f"{in_channels} -> {out_channels} channels, kernel {kernel}, groups {groups}: "
                "expected positive sizes and channels that the groups divide"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.weight = Parameter((out_channels, in_channels // groups, *kernel), init)
        self.bias = Parameter((out_channels,), zeros, decay=False) if bias else None

    def effective_weight(self) -> Array:
        """The weights as the kernel gets them."""
        return self.weight.value

    def check_channels(self, input_shape: Shape) -> None:
        if input_shape[0] != self.in_channels:
            raise self.error(f"expected {self.in_channels} channels, got {input_shape[0]} in {input_shape}")

    def macs(self, input_shape: Shape) -> int:
        _, *positions = self.output_shape(input_shape)
        return self.weight.size * prod(positions)

    def memory(self, input_shape: Shape) -> int:
        return 4 * prod(input_shape)  # the input

    def describe(self) -> str:
        kernel = "×".join(map(str, self.weight.shape[2:]))
        return f"{self.in_channels}→{self.out_channels}, {kernel}" + (f", groups {self.groups}" * (self.groups > 1))


@register(
    Example({"in_channels": 3, "out_channels": 4, "kernel_size": 3, "padding": 1}, (3, 6, 6)),
    Example({"in_channels": 2, "out_channels": 5, "kernel_size": (3, 2), "stride": (2, 1)}, (2, 7, 6)),
    Example({"in_channels": 4, "out_channels": 6, "kernel_size": 3, "groups": 2, "dilation": (1, 2)}, (4, 6, 7)),
    Example({"in_channels": 2, "out_channels": 3, "kernel_size": 2, "padding": ((0, 1), (2, 0))}, (2, 4, 4)),
    Example({"in_channels": 1, "out_channels": 7, "kernel_size": 1, "stride": 2, "bias": False}, (1, 5, 5)),
)
class Conv2d(Convolution):
    """Two-dimensional convolution: (N, C, H, W) -> (N, F, OH, OW).

    OH = ⌊(H + top + bottom − dilation·(KH − 1) − 1)/stride⌋ + 1, and OW likewise.

    weight (F, C/groups, KH, KW), bias (F,). kernel_size, stride and dilation are one number or (rows, columns);
    padding is one number, (rows, columns) or ((top, bottom), (left, right)). Weights start as He et al. 2015.
    """

    ndim = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | tuple[Pair, Pair] = 0,
        *,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        init: Init = he_normal,
    ) -> None:
        super().__init__(in_channels, out_channels, pair(kernel_size), groups, bias, init)
        self.stride, self.padding, self.dilation = pair(stride), border(padding), pair(dilation)
        if min(*self.stride, *self.dilation) < 1 or min(*self.padding[0], *self.padding[1]) < 0:
            raise self.error(f"stride {stride}, dilation {dilation}, padding {padding}: expected 1 or more, 0 or more")

    def compute(
        self, x: Array, remember: Remember, *, relu: bool = False, pool: MaxPool2d | None = None
    ) -> tuple[Array, Any]:
        """relu: then max(y, 0); pool: the pool behind that, whose kernel does the ReLU where there is less to do."""
        y, cache = kernels.conv2d_forward(
            x,
            self.effective_weight(),
            None if self.bias is None else self.bias.value,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            remember=remember,
            **({"relu": True} if relu and pool is None else {}),
        )
        if pool is None:
            return y, (cache, None)
        pool.check_input(channels_first(y))
        y, switches = pool.compute(y, remember, relu=relu)
        return y, (cache, Pooled(switches, x))

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool, *, gate: Any = None) -> Array | None:
        """gate: what the ReLU remembers that `compute` did along."""
        cache, pooled = cache
        if pooled is not None:
            dy = kernels.max_pool2d_backward(dy, pooled.switches)
        out = places(self.weight, self.bias)
        dx, dw, db = kernels.conv2d_backward(dy, cache, need_dx=need_dx, need_dparams=need_dparams, out=out, gate=gate)
        accumulate(self.weight, dw)
        accumulate(self.bias, db)
        return dx

    def separate(self) -> Array:
        memory = self.remembered()
        y, cache = self.compute(memory.cache[1].x, "all")
        y = channels_first(y)
        self._memory = memory._replace(cache=cache, output_shape=y.shape)
        return y

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_channels(input_shape)
        try:
            return self.out_channels, *(
                conv_output_size(*axis)
                for axis in zip(
                    input_shape[1:], self.weight.shape[2:], self.stride, self.padding, self.dilation, strict=True
                )
            )
        except ValueError as error:
            raise self.error(f"input {input_shape}: {error}") from None

    def describe(self) -> str:
        stride = f", stride {short(self.stride)}" if self.stride != (1, 1) else ""
        (top, bottom), (left, right) = self.padding
        even = top == bottom and left == right
        amount = short((top, left)) if even else f"{top}+{bottom}×{left}+{right}"
        return super().describe() + stride + (f", padding {amount}" if top or bottom or left or right else "")


@register(
    Example({"in_channels": 3, "out_channels": 4, "kernel_size": 3, "padding": 1}, (3, 8)),
    Example({"in_channels": 4, "out_channels": 2, "kernel_size": 2, "stride": 3, "groups": 2}, (4, 9)),
    Example({"in_channels": 1, "out_channels": 1, "kernel_size": 3, "dilation": 2, "padding": (2, 0)}, (1, 9)),
)
class Conv1d(Convolution):
    """One-dimensional convolution: (N, C, L) -> (N, F, OL). padding is one number or (before, after)."""

    ndim = 3

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | Pair = 0,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        init: Init = he_normal,
    ) -> None:
        super().__init__(in_channels, out_channels, (kernel_size,), groups, bias, init)
        self.stride, self.padding, self.dilation = stride, pair(padding), dilation
        if min(stride, dilation) < 1 or min(self.padding) < 0:
            raise self.error(f"stride {stride}, dilation {dilation}, padding {padding}: expected 1 or more, 0 or more")

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.conv1d_forward(
            x,
            self.effective_weight(),
            None if self.bias is None else self.bias.value,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            remember=remember,
        )

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        dx, dw, db = kernels.conv1d_backward(dy, cache, need_dx=need_dx, need_dparams=need_dparams)
        accumulate(self.weight, dw)
        accumulate(self.bias, db)
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_channels(input_shape)
        try:
            length = conv_output_size(input_shape[1], self.weight.shape[2], self.stride, self.padding, self.dilation)
        except ValueError as error:
            raise self.error(f"input {input_shape}: {error}") from None
        return self.out_channels, length
