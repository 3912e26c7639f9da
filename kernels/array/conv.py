"""Two-dimensional convolution (cross-correlation, as every network computes it) as matrix products of patches.

    y[n, p, q, f] = b[f] + Σ_{i, j, c} x[n, p·s + i·d − top, q·s + j·d − left, c] · w[f, c, i, j]

Write the patch that output position (p, q) reads as one row of a matrix, `cols` (N·OH·OW, KH·KW·C), and each filter as
one row of `W` (F, KH·KW·C). Then (im2col; Chellapilla, Puri, Simard 2006, section 2)

    forward    y  = cols · Wᵀ + b
    backward   dW = dyᵀ · cols          every patch, weighted by the gradient at its position
               db = Σ dy                over all positions
               dx = col2im(dy · W)      each patch's gradient, added where the patch was read

With stride 1, dx is itself a convolution: of dy with the weights flipped in both axes and in and out exchanged.

`cols` is KH·KW times as large as x, so it is made in blocks of a few MiB: several pictures, or a band of rows of one.
Two kinds of pictures have a better way. In very small ones much of what patches read is border: there each tap of the
kernel is a product of its own, over the pixels that it really reads (`correlate_by_taps`, `sums_by_taps`). In narrow
ones with few channels patches are many short runs of memory: there whole rows take their place (bands.py).

Group g of a grouped convolution sees only its own C/groups channels and makes only its own F/groups.

A ReLU behind the convolution is applied to each block while it is in the cache, and to dy (`gate`) as its blocks are
read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, get_array_module, workspace
from ..geometry import Padding2d, Pair
from ..threads import SLABS, share_out
from .bands import Band
from .blocks import Part
from .patches import Patches, Source
from .products import block_sum, written
from .relu import unpack_bits


class Kept(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    x: Array | None
    w: Array
    has_bias: bool
    patches: Patches


def conv2d_forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding2d = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    relu: bool = False,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (N, H, W, C), w (F, C/groups, KH, KW), b (F,) or None -> y (N, OH, OW, F), cache. relu: y = max(…, 0)."""
    patches = Patches(x.shape, w.shape, stride, padding, dilation, groups)
    if groups == 1 and get_array_module(x) is np:
        band = Band(x.shape, w.shape, stride, padding, dilation)
        if band.pays(rows=len(x) * patches.output_shape[1]):
            return forward_by_rows(x, w, b, band, relu, remember)
    y = correlate(Source(x), pack(w, groups), patches, b, relu)
    if remember is None:
        return y, None
    return y, Kept(x if remember == "all" else None, w, b is not None, patches)


def conv2d_backward(
    dy: Array,
    cache: Kept | KeptByRows,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
    out: tuple[Array | None, Array | None] = (None, None),
    gate: Array | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, OH, OW, F) -> dx (N, H, W, C), dw (F, C/groups, KH, KW), db (F,); None for what is not needed.

    out: arrays that dw and db are written into, whatever they hold.
    gate: the cache of relu_forward for the output; dy is then the gradient behind that ReLU.
    """
    if isinstance(cache, KeptByRows):
        return backward_by_rows(dy, cache, need_dx, need_dparams, out, gate)
    x, w, has_bias, patches = cache
    g = Source(dy, None if gate is None else unpack_bits(gate, dy))
    dw = db = None
    if need_dparams:
        sums = sums_by_taps if patches.mostly_border() else sums_by_blocks
        dw, db = sums(g, x, patches, out)
    return input_gradient(g, w, patches) if need_dx else None, dw, db if has_bias else None


class KeptByRows(NamedTuple):
    """What is left by a pass that took whole rows (bands.py)."""

    band: Band
    kept: Kept


def forward_by_rows(
    x: Array, w: Array, b: Array | None, band: Band, relu: bool, remember: str | None
) -> tuple[Array, KeptByRows | None]:
    """The convolution of pictures one pixel wide that `band` makes of this one."""
    column = x.reshape(*x.shape[:2], 1, band.W * band.C)
    bias = None if b is None else np.tile(b, band.OW)
    y, kept = conv2d_forward(column, band.widen(w), bias, **band.vertical, relu=relu, remember=remember)
    return y.reshape(*y.shape[:2], band.OW, band.F), None if kept is None else KeptByRows(band, kept)


def backward_by_rows(
    dy: Array,
    cache: KeptByRows,
    need_dx: bool,
    need_dparams: bool,
    out: tuple[Array | None, Array | None],
    gate: Array | None,
) -> tuple[Array | None, Array | None, Array | None]:
    """`conv2d_backward` of it."""
    band, kept = cache
    column = dy.reshape(*dy.shape[:2], 1, band.OW * band.F)
    dx, dw, db = conv2d_backward(column, kept, need_dx=need_dx, need_dparams=need_dparams, gate=gate)
    return (
        None if dx is None else dx.reshape(*dx.shape[:2], band.W, band.C),
        None if dw is None else written(band.narrow(dw), out[0]),
        None if db is None else written(db.reshape(band.OW, band.F).sum(axis=0), out[1]),
    )


def correlate(x: Source, matrices: Array, patches: Patches, b: Array | None = None, relu: bool = False) -> Array:
    """y (N, OH, OW, F) from `pack`ed weights (groups, F/groups, KH·KW·C/groups)."""
    if patches.mostly_border():
        return correlate_by_taps(x, matrices, patches, b, relu)
    xp = x.xp
    _, _, OW, F = patches.output_shape
    y = xp.empty(patches.output_shape, matrices.dtype)
    bias = None if b is None else xp.tile(b, OW)  # long rows: NumPy's short inner loops are slow,
    zeros = xp.zeros(OW * F, y.dtype)  # and so is its maximum with a number

    def convolve(part: Part) -> None:
        cols = patches.im2col(x, *part)  # (groups, n·rows·OW, KH·KW·C/groups)
        block = y[part]
        for g, out in enumerate(split(block.reshape(-1, F), patches.groups)):  # views
            xp.matmul(cols[g], matrices[g].T, out=out)
        lines = block.reshape(-1, OW * F)
        if bias is not None:
            lines += bias
        if relu:
            xp.maximum(lines, zeros, out=lines)

    share_out(convolve, patches.blocks(y.itemsize), y)
    return y


def correlate_by_taps(x: Source, matrices: Array, patches: Patches, b: Array | None, relu: bool) -> Array:
    """`correlate` without the border: tap by tap, the pixels that it reads times its weights, to their places in y."""
    xp, (_, OH, OW, F), C = x.xp, patches.output_shape, patches.input_shape[3]
    y = xp.empty(patches.output_shape, matrices.dtype)
    taps = matrices[0].reshape(F, *patches.kernel, C)
    width = -(-F // SLABS)

    def convolve(part: Part) -> None:
        images, filters = part
        total = workspace("total", (images.stop - images.start, OH, OW, filters.stop - filters.start), y)
        total[...] = 0 if b is None else b[filters]
        for i, j in np.ndindex(*patches.kernel):
            (rows, columns), (pixel_rows, pixel_columns) = patches.reach(i, j)
            seen = x.read((images, pixel_rows, pixel_columns), "pixels")
            target = total[:, rows, columns]
            product = workspace("product", target.shape, y)
            xp.matmul(seen.reshape(-1, C), taps[filters, i, j].T, out=product.reshape(-1, target.shape[3]))
            target += product
        if relu:
            xp.maximum(total, 0, out=total)
        y[images, ..., filters] = total

    filters = [slice(start, min(F, start + width)) for start in range(0, F, width)]
    share_out(convolve, [(images, some) for images in patches.batches(y.itemsize) for some in filters], y)
    return y


def sums_by_blocks(
    g: Source, x: Array, patches: Patches, out: tuple[Array | None, Array | None]
) -> tuple[Array, Array]:
    """dW = dyᵀ · cols and db, summed over the blocks."""
    xp, groups, (_, _, _, F) = g.xp, patches.groups, patches.output_shape
    shape = (groups, F // groups, patches.patch_size)

    def partial_sums(parts: list[Part]) -> tuple[Array, Array]:
        dw, db = xp.zeros(shape, x.dtype), xp.zeros(F, x.dtype)
        for part in parts:
            cols = patches.im2col(Source(x), *part)
            rows = g.read(part, "source").reshape(-1, F)
            product = workspace("product", shape, x)
            for k, dy_k in enumerate(split(rows, groups)):
                xp.matmul(dy_k.T, cols[k], out=product[k])  # (F/groups, KH·KW·C/groups)
            dw += product
            db += block_sum(rows)
        return dw, db

    parts = list(patches.blocks(x.itemsize))
    slabs = [parts[start::SLABS] for start in range(SLABS)]  # as many, and added in this order, for any threads
    (dw, db), *others = share_out(partial_sums, [slab for slab in slabs if slab] or [[]], x)
    for more_dw, more_db in others:
        dw += more_dw
        db += more_db
    return unpack(dw, patches, out[0]), written(db, out[1])


def sums_by_taps(g: Source, x: Array, patches: Patches, out: tuple[Array | None, Array | None]) -> tuple[Array, Array]:
    """dW = dyᵀ · cols and db without the border: tap by tap, the pixels that it reads with their dy, in one product."""
    xp, F, C = g.xp, patches.output_shape[3], patches.input_shape[3]
    dw, db = workspace("dw", (*patches.kernel, F, C), x), xp.zeros(F, x.dtype)
    batches = patches.batches(x.itemsize)

    def of_tap(tap: tuple[int, int]) -> None:
        positions, pixels = patches.reach(*tap)
        total = dw[tap]
        total[...] = 0
        for images in batches:
            given, seen = g.read((images, *positions), "positions"), Source(x).read((images, *pixels), "pixels")
            product = workspace("product", (F, C), x)
            xp.matmul(given.reshape(-1, F).T, seen.reshape(-1, C), out=product)
            total += product

    share_out(of_tap, np.ndindex(*patches.kernel), x)
    for images in batches:
        db += block_sum(g.read((images,), "positions").reshape(-1, F))
    return unpack(dw.transpose(2, 0, 1, 3), patches, out[0]), written(db, out[1])


def input_gradient(g: Source, w: Array, patches: Patches) -> Array:
    """dx (N, H, W, C), by whichever of the two ways is less work."""
    (ph, pw), (kh, kw) = patches.padding, patches.kernel
    border = ((kh - 1 - ph[0], kh - 1 - ph[1]), (kw - 1 - pw[0], kw - 1 - pw[1]))
    plain = patches.stride == (1, 1) and patches.dilation == (1, 1) and min(*border[0], *border[1]) >= 0
    _, H, W, C = patches.input_shape
    _, OH, OW, F = patches.output_shape
    if plain and H * W * F <= 2 * OH * OW * C:  # of the columns that each way makes
        shape = (patches.input_shape[3], w.shape[0] // patches.groups, kh, kw)
        mirrored = Patches(patches.output_shape, shape, (1, 1), border, (1, 1), patches.groups)
        return correlate(g, pack_flipped(w, patches.groups), mirrored)
    return scatter_patches(g, w, patches)


def scatter_patches(g: Source, w: Array, patches: Patches) -> Array:
    """dx = col2im(dy · W): (N, H, W, C). Tap by tap in a fixed order, so the same bits every time."""
    xp, groups = g.xp, patches.groups
    F, Cg, KH, KW = w.shape
    matrices = pack(w, groups)
    (top, _), (left, _) = patches.padding
    _, H, W, C = patches.input_shape
    dx = xp.empty(patches.input_shape, w.dtype)

    def scatter(part: tuple[slice, list[slice]]) -> None:
        images, bands = part
        padded = workspace("padded", (images.stop - images.start, *patches.padded_size, C), dx)
        padded.fill(0)
        for rows in bands:
            block = g.read((images, rows), "source")
            dcols = workspace("columns", (groups, block.size // F, KH * KW * Cg), dx)
            for k, dy_k in enumerate(split(block.reshape(-1, F), groups)):
                xp.matmul(dy_k, matrices[k], out=dcols[k])
            taps = dcols.reshape(groups, *block.shape[:3], KH, KW, Cg)
            for i, j in np.ndindex(KH, KW):
                target = patches.tap(padded, rows, i, j)  # (n, rows, OW, C), a view
                for k in range(groups):
                    target[..., k * Cg : (k + 1) * Cg] += taps[k, :, :, :, i, j]
        dx[images] = padded[:, top : top + H, left : left + W]

    share_out(scatter, patches.pictures(dx.itemsize), dx)
    return dx


def pack(w: Array, groups: int) -> Array:
    """Weights (F, C/groups, KH, KW) as matrices (groups, F/groups, KH·KW·C/groups), contiguous."""
    F, Cg, KH, KW = w.shape
    matrices = w.reshape(groups, F // groups, Cg, KH * KW).swapaxes(2, 3)
    return get_array_module(w).ascontiguousarray(matrices).reshape(groups, F // groups, KH * KW * Cg)


def unpack(matrices: Array, patches: Patches, out: Array | None) -> Array:
    """The way back: (groups, F/groups, KH, KW, C/groups), in any order of memory, to (F, C/groups, KH, KW)."""
    KH, KW = patches.kernel
    F, Cg = patches.output_shape[3], patches.input_shape[3] // patches.groups
    w = get_array_module(matrices).empty((F, Cg, KH, KW), matrices.dtype) if out is None else out
    w[...] = matrices.reshape(F, KH, KW, Cg).transpose(0, 3, 1, 2)
    return w


def pack_flipped(w: Array, groups: int) -> Array:
    """The weights of the convolution that computes dx, taps reversed, in and out exchanged, as `pack` would have them.

    (F, C/groups, KH, KW) -> (groups, C/groups, KH·KW·F/groups).
    """
    F, Cg, KH, KW = w.shape
    turned = w.reshape(groups, F // groups, Cg, KH * KW)[..., ::-1].transpose(0, 2, 3, 1)
    matrices = get_array_module(w).empty(turned.shape, w.dtype)
    width = -(-Cg // SLABS)

    def copy(start: int) -> None:
        matrices[:, start : start + width] = turned[:, start : start + width]

    share_out(copy, range(0, Cg, width), w)
    return matrices.reshape(groups, Cg, -1)


def split(a: Array, groups: int) -> list[Array]:
    """The columns of a matrix, group by group (views)."""
    width = a.shape[1] // groups
    return [a[:, g * width : (g + 1) * width] for g in range(groups)]
