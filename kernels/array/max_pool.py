"""Max pooling.

    forward    y[p, q] = max over taps (i, j) of x[p·s + i − pad, q·s + j − pad]        the border counts as −∞
    backward   dx at the pixel that won += dy[p, q]

The winner is kept as the number of its tap (one byte an output element), the *switch* of Zeiler & Fergus 2014. Ties go
to the first tap in row-major order. Overlapping windows can have the same winner: their gradients add.

A ReLU behind the pool is done with it: y = max(y, 0), and a window of which that lets nothing pass has no winner.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, get_array_module, workspace
from ..geometry import Pair, pool_output_size, tap_range
from ..threads import share_out
from .blocks import Part, parts


def max_pool2d_forward(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    relu: bool = False,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache. relu: then max(y, 0)."""
    xp = get_array_module(x)
    windows = Windows(x.shape, kernel_size, stride, padding, ceil_mode)
    y = xp.empty(windows.output_shape, x.dtype)
    count = kernel_size[0] * kernel_size[1]
    switches = xp.empty(y.shape, np.uint8 if count < 256 else np.int32) if remember else None
    pool = pool_2x2 if windows.are_2x2 else windows.maxima

    def of_block(block: Block) -> None:
        found = None if switches is None else switches[block.positions]
        pool(x[block.pixels], y[block.positions], found)
        if relu:
            rectify(y[block.positions], found)

    share_out(of_block, windows.blocks(x), x)
    return y, None if remember is None else (switches, windows)


def max_pool2d_backward(dy: Array, cache: Any) -> Array:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    switches, windows = cache
    dx = get_array_module(dy).empty(windows.input_shape, dy.dtype)
    unpool = unpool_2x2 if windows.are_2x2 else windows.to_winners

    def of_block(block: Block) -> None:
        unpool(dy[block.positions], switches[block.positions], dx[block.pixels])

    share_out(of_block, windows.blocks(dy), dy)
    return dx


class Block(NamedTuple):
    """Some windows of a pooling: (pictures, rows) of the input, and of the output."""

    pixels: Part
    positions: Part


class Windows:
    """Where the windows of a pooling lie."""

    def __init__(
        self, input_shape: tuple[int, int, int, int], kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool
    ) -> None:
        N, H, W, C = self.input_shape = input_shape
        self.kernel, self.stride, self.padding = kernel, stride, padding
        OH, OW = (pool_output_size(*axis, ceil_mode) for axis in zip((H, W), kernel, stride, padding, strict=True))
        self.output_shape = (N, OH, OW, C)
        whole = 2 * OH <= H and 2 * OW <= W  # no window is cut off, as it may be in ceil mode
        self.are_2x2 = kernel == stride == (2, 2) and padding == (0, 0) and whole

    def blocks(self, like: Array) -> list[Block]:
        """Blocks that share no pixel: some pictures or, where windows do not overlap, rows of one."""
        N, H, W, C = self.input_shape
        OH, (step, _) = self.output_shape[1], self.stride
        apart = step >= self.kernel[0] and self.padding[0] == 0
        found = parts((N, OH, step * W * C), like) if apart else parts((N, 1, H * W * C), like)
        if not apart:
            return [Block((images, slice(0, H)), (images, slice(0, OH))) for images, _ in found]
        return [
            Block((images, slice(rows.start * step, H if rows.stop == OH else rows.stop * step)), (images, rows))
            for images, rows in found
        ]

    def taps(self, x: Array, y: Array) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """(output positions, pixels that they read) of each tap, the border left out; x and y are those of a block."""
        found: list[tuple[tuple[slice, ...], tuple[slice, ...]]] = []
        for i, j in np.ndindex(*self.kernel):
            out_rows, rows = tap_range(i, x.shape[1], y.shape[1], self.stride[0], self.padding[0])
            out_columns, columns = tap_range(j, x.shape[2], y.shape[2], self.stride[1], self.padding[1])
            found.append(((slice(None), out_rows, out_columns), (slice(None), rows, columns)))
        return found

    def maxima(self, x: Array, y: Array, switches: Array | None) -> None:
        """Forward, on the windows of a block."""
        xp, taps = get_array_module(x), self.taps(x, y)
        y[...] = -np.inf
        for out, pixels in taps:
            xp.maximum(y[out], x[pixels], out=y[out])
        if switches is None:
            return
        switches[...] = 0
        for out, pixels in reversed(taps):  # after a tap that equals the maximum, the taps before it are counted
            switches += 1
            switches[out] *= x[pixels] != y[out]

    def to_winners(self, dy: Array, switches: Array, dx: Array) -> None:
        """Backward, on the windows of a block."""
        xp = get_array_module(dy)
        dx[...] = 0
        for number, (out, pixels) in enumerate(self.taps(dx, dy)):
            share = workspace("share", dy[out].shape, dy)
            xp.multiply(dy[out], switches[out] == number, out=share)
            dx[pixels] += share


def pool_2x2(x: Array, y: Array, switches: Array | None) -> None:
    """Maxima of 2×2 windows side by side, x (n, h, W, C), into y (n, h/2, W/2, C), the winners' numbers into switches.

    An odd last row or column is left out. The rows first: those are long runs of memory.
    """
    xp = get_array_module(x)
    a, b, c, _ = corners(x, y)
    n, h, w, C = y.shape
    upper = workspace("upper", (n, h, 2 * w, C), x)
    xp.maximum(x[:, : 2 * h : 2, : 2 * w], x[:, 1 : 2 * h : 2, : 2 * w], out=upper)
    xp.maximum(upper[:, :, ::2], upper[:, :, 1::2], out=y)
    if switches is not None:  # 0 if a is the maximum, else 1 if b is, else 2 if c is, else 3
        switches[...] = c != y
        for corner in (b, a):
            switches += 1
            switches *= corner != y


def rectify(y: Array, switches: Array | None) -> None:
    """y = max(y, 0); where it was not positive no tap has won: every bit of the switch is set."""
    xp = get_array_module(y)
    if switches is not None:
        switches |= -(~(y > 0)).astype(switches.dtype)
    xp.maximum(y, 0, out=y)


def unpool_2x2(dy: Array, switches: Array, out: Array) -> None:
    """dy to the winners, zero to the others of 2×2 windows side by side: (n, h/2, W/2, C) into out (n, h, W, C)."""
    xp, (_, h, w, _) = get_array_module(dy), dy.shape
    for number, corner in enumerate(corners(out, dy)):
        xp.multiply(dy, switches == number, out=corner)
    out[:, 2 * h :] = 0
    out[:, :, 2 * w :] = 0


def corners(x: Array, y: Array) -> list[Array]:
    """The four pixels of each 2×2 window in x as four arrays like y, views."""
    _, h, w, _ = y.shape
    return [x[:, i : 2 * h : 2, j : 2 * w : 2] for i in (0, 1) for j in (0, 1)]
