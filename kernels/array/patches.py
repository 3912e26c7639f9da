"""The patches that the filters of a convolution read: where they lie, and how they become columns block by block."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..backend import Array, get_array_module, workspace
from ..geometry import Padding2d, Pair, conv_output_size, tap_range
from ..threads import SLABS
from .blocks import Part
from .relu import masked

BLOCK_BYTES = 2 << 20  # of columns: small enough for the cache, large enough for the matrix product
INSIDE, CHANNELS = 0.75, 64  # share of a patch and numbers of channels from which single taps are the better way


class Source:
    """An array (N, H, W, C) that is read block by block: x, or dy behind a ReLU, which lets it through in places."""

    def __init__(self, a: Array, positive: Array | None = None) -> None:
        self.a, self.positive, self.xp = a, positive, get_array_module(a)

    def read(self, index: tuple[slice, ...], name: str) -> Array:
        """A block without gaps in its memory: a view where that can be, otherwise in the workspace `name`."""
        view = self.a[index]
        if self.positive is None and view.flags.c_contiguous:
            return view
        block = workspace(name, view.shape, view)
        self.copy(index, block)
        return block

    def block(self, index: tuple[slice, ...]) -> Array:
        """A block, a view where that can be."""
        return self.a[index] if self.positive is None else self.read(index, "source")

    def copy(self, index: tuple[slice, ...], out: Array) -> None:
        """A block into an array."""
        if self.positive is None:
            out[...] = self.a[index]
        else:
            masked(self.a[index], self.positive[index], out=out)


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
        self.patch_size = KH * KW * Cg  # numbers that a filter reads

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

    def batches(self, itemsize: int) -> list[slice]:
        """Pictures whose pixels, in and out, have about BLOCK_BYTES."""
        pixels = max(prod(self.input_shape[1:]), prod(self.output_shape[1:]))
        N, n = self.output_shape[0], max(1, BLOCK_BYTES // (pixels * itemsize))
        return [slice(first, min(N, first + n)) for first in range(0, N, n)]

    def blocks(self, itemsize: int) -> Iterator[tuple[slice, slice]]:
        """(pictures, band of output rows), one by one."""
        return ((images, rows) for images, bands in self.pictures(itemsize) for rows in bands)

    def mostly_border(self) -> bool:
        """Whether a quarter of what patches read is border, and the channels make large products of single taps."""
        axes = zip(self.input_shape[1:3], self.output_shape[1:3], self.padding, range(2), strict=True)
        inside = 1.0
        for size, out, (before, _), axis in axes:
            taps = range(0, self.kernel[axis] * self.dilation[axis], self.dilation[axis])
            reach = (tap_range(tap, size, out, self.stride[axis], before)[0] for tap in taps)
            inside *= sum(positions.stop - positions.start for positions in reach) / (len(taps) * out)
        return self.groups == 1 and inside < INSIDE and min(self.input_shape[3], self.output_shape[3]) >= CHANNELS

    def im2col(self, x: Source, images: slice, rows: slice) -> Array:
        """The patches of a block as rows of a matrix, one matrix a group: (groups, n·rows·OW, KH·KW·C/groups)."""
        (KH, KW), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        OW, Cg = self.output_shape[2], self.input_shape[3] // self.groups
        band = self.padded_rows(x, images, rows)  # (n, h, W + left + right, C)
        n, oh = band.shape[0], rows.stop - rows.start
        sn, sy, sx, sc = band.strides
        view = x.xp.lib.stride_tricks.as_strided(
            band,
            (self.groups, n, oh, OW, KH, KW, Cg),
            (sc * Cg, sn, sy * sh, sx * sw, sy * dh, sx * dw, sc),
        )
        cols = workspace("columns", view.shape, band)
        cols[...] = view
        return cols.reshape(self.groups, n * oh * OW, KH * KW * Cg)

    def padded_rows(self, x: Source, images: slice, rows: slice) -> Array:
        """The input rows that a block reads, with the zero border where there is one."""
        (top, bottom), (left, right) = self.padding
        start = rows.start * self.stride[0]
        stop = (rows.stop - 1) * self.stride[0] + self.dilation[0] * (self.kernel[0] - 1) + 1
        if not (top or bottom or left or right):
            return x.block((images, slice(start, stop)))
        _, H, W, C = self.input_shape
        band = workspace("padded", (images.stop - images.start, stop - start, W + left + right, C), x.a)
        band.fill(0)
        first, last = max(start - top, 0), min(stop - top, H)  # rows of x itself
        if first < last:
            middle = band[:, first + top - start : last + top - start, left : left + W]
            x.copy((images, slice(first, last)), middle)
        return band

    def tap(self, padded: Array, rows: slice, i: int, j: int) -> Array:
        """The pixels that tap (i, j) of the kernel reads at the block's positions, a view (n, rows, OW, C)."""
        (sh, sw), OW = self.stride, self.output_shape[2]
        y0, x0 = i * self.dilation[0] + rows.start * sh, j * self.dilation[1]
        return padded[:, y0 : y0 + (rows.stop - rows.start - 1) * sh + 1 : sh, x0 : x0 + (OW - 1) * sw + 1 : sw]

    def reach(self, i: int, j: int) -> tuple[Part, Part]:
        """(output positions, pixels of x) that tap (i, j) joins, without those in the border."""
        axes = zip((i, j), self.input_shape[1:3], self.output_shape[1:3], range(2), strict=False)
        rows, columns = (
            tap_range(tap * self.dilation[axis], size, out, self.stride[axis], self.padding[axis][0])
            for tap, size, out, axis in axes
        )
        return (rows[0], columns[0]), (rows[1], columns[1])
