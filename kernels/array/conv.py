"""Two-dimensional convolution (cross-correlation, as every network computes it) as matrix products of patches.

    y[n, p, q, f] = b[f] + Σ_{i, j, c} x[n, p·s + i·d − top, q·s + j·d − left, c] · w[f, c, i, j]

Write the patch that output position (p, q) reads as one row of a matrix, `cols` (N·OH·OW, KH·KW·C), and the weights as
`W` (KH·KW·C, F). Then (im2col; Chellapilla, Puri, Simard 2006, section 2)

    forward    y  = cols · W + b
    backward   dW = colsᵀ · dy          every patch, weighted by the gradient at its position
               db = Σ dy                over all positions
               dx = col2im(dy · Wᵀ)     each patch's gradient, added where the patch was read

With stride 1, dx is itself a convolution: of dy with the weights flipped in both axes and in and out exchanged.

`cols` is KH·KW times as large as x, so it is made in blocks of a few MiB: several pictures, or a band of rows of one.
Group g of a grouped convolution sees only its own C/groups channels and makes only its own F/groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import Array, get_array_module, workspace
from ..geometry import Padding2d, Pair, conv_output_size
from ..threads import SLABS, share_out
from .products import channel_sum

BLOCK_BYTES = 2 << 20  # of columns: small enough for the cache, large enough for the matrix product


def conv2d_forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding2d = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (N, H, W, C), w (F, C/groups, KH, KW), b (F,) or None -> y (N, OH, OW, F), cache."""
    xp = get_array_module(x)
    patches = Patches(x.shape, w.shape, stride, padding, dilation, groups)
    y = xp.empty(patches.output_shape, x.dtype)
    packed = pack(w, groups)  # groups × (KH·KW·C/groups, F/groups)

    def convolve(part: tuple[slice, slice]) -> None:
        cols = patches.im2col(x, *part)  # (groups, n·rows·OW, KH·KW·C/groups)
        block = y[part].reshape(-1, w.shape[0])  # (n·rows·OW, F), a view
        for g, out in enumerate(split(block, groups)):
            xp.matmul(cols[g], packed[g], out=out)
        if b is not None:
            block += b

    share_out(convolve, patches.blocks(x.itemsize), x)
    if remember is None:
        return y, None
    return y, (x if remember == "all" else None, w, b is not None, patches)


def conv2d_backward(
    dy: Array, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, OH, OW, F) -> dx (N, H, W, C), dw (F, C/groups, KH, KW), db (F,); None for what is not needed."""
    x, w, has_bias, patches = cache
    dw = weight_gradient(dy, x, w, patches) if need_dparams else None
    db = channel_sum(dy) if need_dparams and has_bias else None
    if not need_dx:
        return None, dw, db
    (ph, pw), (kh, kw), groups = patches.padding, w.shape[2:], patches.groups
    mirrored = ((kh - 1 - ph[0], kh - 1 - ph[1]), (kw - 1 - pw[0], kw - 1 - pw[1]))
    plain = patches.stride == (1, 1) and patches.dilation == (1, 1) and min(*mirrored[0], *mirrored[1]) >= 0
    if plain and w.shape[0] <= 2 * patches.input_shape[3]:  # with more filters than that, col2im does less work
        dx, _ = conv2d_forward(dy, flip(w, groups), padding=mirrored, groups=groups, remember=None)
    else:
        dx = scatter_patches(dy, w, patches)
    return dx, dw, db


def weight_gradient(dy: Array, x: Array, w: Array, patches: Patches) -> Array:
    """dW = colsᵀ · dy, summed over the blocks: (F, C/groups, KH, KW)."""
    xp, groups = get_array_module(dy), patches.groups
    F, Cg, KH, KW = w.shape

    def partial_sum(parts: list[tuple[slice, slice]]) -> Array:
        total = xp.zeros((groups, KH * KW * Cg, F // groups), w.dtype)
        for part in parts:
            cols = patches.im2col(x, *part)
            for g, dy_g in enumerate(split(dy[part].reshape(-1, F), groups)):
                total[g] += cols[g].T @ dy_g  # (KH·KW·C/groups, F/groups)
        return total

    parts = list(patches.blocks(x.itemsize))
    slabs = [parts[start::SLABS] for start in range(SLABS)]  # as many, and added in this order, for any threads
    first, *others = share_out(partial_sum, [slab for slab in slabs if slab] or [[]], x)
    total = sum(others, first)
    return xp.ascontiguousarray(total.reshape(groups, KH, KW, Cg, -1).transpose(0, 4, 3, 1, 2)).reshape(w.shape)


def scatter_patches(dy: Array, w: Array, patches: Patches) -> Array:
    """dx = col2im(dy · Wᵀ): (N, H, W, C). Tap by tap in a fixed order, so the same bits every time."""
    xp, groups = get_array_module(dy), patches.groups
    F, Cg, KH, KW = w.shape
    packed = pack(w, groups)
    (top, _), (left, _) = patches.padding
    _, H, W, C = patches.input_shape
    dx = xp.empty(patches.input_shape, dy.dtype)

    def scatter(part: tuple[slice, list[slice]]) -> None:
        images, bands = part
        padded = workspace("padded", (images.stop - images.start, *patches.padded_size, C), dy)
        padded.fill(0)
        for rows in bands:
            block = dy[images, rows]
            dcols = workspace("columns", (groups, block.size // F, KH * KW * Cg), dy)
            for g, dy_g in enumerate(split(block.reshape(-1, F), groups)):
                xp.matmul(dy_g, packed[g].T, out=dcols[g])
            taps = dcols.reshape(groups, *block.shape[:3], KH, KW, Cg)
            for i, j in np.ndindex(KH, KW):
                target = patches.tap(padded, rows, i, j)  # (n, rows, OW, C), a view
                for g in range(groups):
                    target[..., g * Cg : (g + 1) * Cg] += taps[g, :, :, :, i, j]
        dx[images] = padded[:, top : top + H, left : left + W]

    share_out(scatter, patches.pictures(dy.itemsize), dy)
    return dx


def pack(w: Array, groups: int) -> Array:
    """Weights (F, C/groups, KH, KW) as matrices (groups, KH·KW·C/groups, F/groups), contiguous."""
    F, Cg, KH, KW = w.shape
    matrices = w.reshape(groups, F // groups, Cg, KH, KW).transpose(0, 3, 4, 2, 1)
    return get_array_module(w).ascontiguousarray(matrices).reshape(groups, KH * KW * Cg, F // groups)


def flip(w: Array, groups: int) -> Array:
    """The weights of the convolution that computes dx: taps reversed, in and out exchanged, (C, F/groups, KH, KW)."""
    F, Cg, KH, KW = w.shape
    swapped = w.reshape(groups, F // groups, Cg, KH, KW)[..., ::-1, ::-1].swapaxes(1, 2)
    return swapped.reshape(groups * Cg, F // groups, KH, KW)


def split(a: Array, groups: int) -> list[Array]:
    """The columns of a matrix, group by group (views)."""
    width = a.shape[1] // groups
    return [a[:, g * width : (g + 1) * width] for g in range(groups)]


class Patches:
    """Where the patches of a convolution lie, and how they become columns block by block."""

    def __init__(
        self,
        input_shape: tuple[int, int, int, int],
        weight_shape: tuple[int, int, int, int],
        stride: Pair,
        padding: Padding2d,
        dilation: Pair,
        groups: int,
    ) -> None:
        N, H, W, C = input_shape
        F, Cg, KH, KW = weight_shape
        if Cg * groups != C or F % groups:
            raise ValueError(f"weights {weight_shape} in {groups} groups do not fit an input of {C} channels")
        self.input_shape, self.kernel = input_shape, (KH, KW)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        OH = conv_output_size(H, KH, stride[0], padding[0], dilation[0])
        OW = conv_output_size(W, KW, stride[1], padding[1], dilation[1])
        self.output_shape = (N, OH, OW, F)
        self.padded_size = (H + sum(padding[0]), W + sum(padding[1]))

    def pictures(self, itemsize: int) -> Iterator[tuple[slice, list[slice]]]:
        """Blocks of work, (pictures, bands of output rows), each of whose bands has about BLOCK_BYTES of columns.

        Several whole pictures with one band of all rows, or one picture with several. A multiple of SLABS of them where
        there are pictures enough, so that threads get the same share.
        """
        N, OH, OW, _ = self.output_shape
        row_bytes = OW * self.kernel[0] * self.kernel[1] * self.input_shape[3] * itemsize
        n = max(1, BLOCK_BYTES // (row_bytes * OH))
        count = -(-N // (n * SLABS)) * SLABS
        n = max(1, -(-N // max(1, count)))
        band = min(OH, max(1, BLOCK_BYTES // row_bytes)) if n == 1 else OH
        bands = [slice(row, min(OH, row + band)) for row in range(0, OH, band)]
        for first in range(0, N, n):
            yield slice(first, min(N, first + n)), bands

    def blocks(self, itemsize: int) -> Iterator[tuple[slice, slice]]:
        """(pictures, band of output rows), one by one."""
        return ((images, rows) for images, bands in self.pictures(itemsize) for rows in bands)

    def im2col(self, x: Array, images: slice, rows: slice) -> Array:
        """The patches of a block as rows of a matrix, one matrix a group: (groups, n·rows·OW, KH·KW·C/groups)."""
        xp, (KH, KW), (sh, sw), (dh, dw) = get_array_module(x), self.kernel, self.stride, self.dilation
        OW, Cg = self.output_shape[2], x.shape[3] // self.groups
        band = self.padded_rows(x, images, rows)  # (n, h, W + left + right, C)
        n, oh = band.shape[0], rows.stop - rows.start
        sn, sy, sx, sc = band.strides
        view = xp.lib.stride_tricks.as_strided(
            band,
            (self.groups, n, oh, OW, KH, KW, Cg),
            (sc * Cg, sn, sy * sh, sx * sw, sy * dh, sx * dw, sc),
        )
        cols = workspace("columns", view.shape, x)
        cols[...] = view
        return cols.reshape(self.groups, n * oh * OW, KH * KW * Cg)

    def padded_rows(self, x: Array, images: slice, rows: slice) -> Array:
        """The input rows that a block reads, with the zero border where there is one."""
        (top, bottom), (left, right) = self.padding
        start = rows.start * self.stride[0]
        stop = (rows.stop - 1) * self.stride[0] + self.dilation[0] * (self.kernel[0] - 1) + 1
        if not (top or bottom or left or right):
            return x[images, start:stop]
        _, H, W, C = x.shape
        band = workspace("padded", (images.stop - images.start, stop - start, W + left + right, C), x)
        band.fill(0)
        first, last = max(start - top, 0), min(stop - top, H)  # rows of x itself
        if first < last:
            band[:, first + top - start : last + top - start, left : left + W] = x[images, first:last]
        return band

    def tap(self, padded: Array, rows: slice, i: int, j: int) -> Array:
        """The pixels that tap (i, j) of the kernel reads at the block's positions, a view (n, rows, OW, C)."""
        (sh, sw), OW = self.stride, self.output_shape[2]
        y0, x0 = i * self.dilation[0] + rows.start * sh, j * self.dilation[1]
        return padded[:, y0 : y0 + (rows.stop - rows.start - 1) * sh + 1 : sh, x0 : x0 + (OW - 1) * sw + 1 : sw]
