"""Batch normalization (Ioffe & Szegedy 2015, section 3): each channel to mean 0 and variance 1, then γ·x̂ + β.

forward    x̂ = (x − μ)/σ,  σ = √(var + ε),  y = γ·x̂ + β
backward   dβ = Σ dy        dγ = Σ dy·x̂
           dx = (γ/σ) · (dy − dβ/M − x̂·dγ/M)        when μ and σ come from the batch of M values itself
           dx = (γ/σ) · dy                           when they are constants (running averages)

What follows a normalization is done with it, block by block while the block is in the cache: y + residual, then ReLU,
then 2×2 max pooling. On the way back dy goes through these first: what arrives, g, stands for dy in the sums and in dx.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend import Array, get_array_module, workspace
from ..threads import share_out
from .blocks import Part, along, as_rows, parts, row_shape
from .max_pool import pool_2x2, rectify, unpool_2x2
from .products import block_sum
from .relu import masked


def batch_moments(x: Array) -> tuple[Array, Array]:
    """x (…, C) -> mean (C,), biased variance (C,).

    Of each block the mean, then the squares of what deviates from it, so that a large mean swallows no digits; all
    blocks together in float64 (Chan, Golub, LeVeque 1983, equations 2.1).
    """
    xp, rows, C = get_array_module(x), as_rows(x), x.shape[-1]

    def moments(part: Part) -> tuple[int, Array, Array]:
        block = rows[part].reshape(-1, C)
        mean = block_sum(block) / block.shape[0]
        deviation = workspace("deviation", rows[part].shape, x)
        xp.subtract(rows[part], along(rows, mean), out=deviation)
        deviation *= deviation
        squares = block_sum(deviation.reshape(-1, C))
        return block.shape[0], mean.astype(xp.float64), squares.astype(xp.float64)

    found = share_out(moments, parts(rows.shape, x), x)
    total = sum(count for count, _, _ in found)
    mean = sum(count * m for count, m, _ in found) / total
    var = sum(squares + count * (m - mean) ** 2 for count, m, squares in found) / total
    return mean.astype(x.dtype), var.astype(x.dtype)


class Kept(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    x: Array | None
    shape: tuple[int, ...]
    mean: Array
    inv_std: Array
    gamma: Array
    from_batch: bool
    has_residual: bool
    positive: Array | None  # y, or where y > 0; with a pool the switches know
    switches: Array | None


def batch_norm_forward(
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array,
    beta: Array,
    *,
    eps: float = 1e-5,
    from_batch: bool,
    residual: Array | None = None,
    relu: bool = False,
    pool: bool = False,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (…, C), the others (C,) -> y, cache. `from_batch`: mean and var are x's own `batch_moments`.

    residual (…, C): y + residual; relu: then max(y, 0); pool: then the maxima of 2×2 windows, (N, H/2, W/2, C).
    """
    if pool and (not relu or x.ndim != 4 or min(x.shape[1:3]) < 2):
        raise ValueError(f"pool comes with relu, on pictures (N, H, W, C) of at least 2×2 pixels: got {x.shape}")
    xp, rows = get_array_module(x), as_rows(x)
    y = xp.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]) if pool else x.shape, x.dtype)
    switches = xp.empty(y.shape, xp.uint8) if pool and remember else None
    inv_std = 1 / xp.sqrt(var + eps)
    factor, offset = along(rows, gamma * inv_std), along(rows, beta - mean * gamma * inv_std)
    zeros = xp.zeros_like(offset)  # NumPy's maximum with an array is two to three times as fast as with a number

    def normalize(part: Part) -> None:
        block = workspace("block", rows[part].shape, x) if pool else as_rows(y)[part]
        xp.multiply(rows[part], factor, out=block)
        block += offset
        if residual is not None:
            block += as_rows(residual)[part]
        if relu and not pool:
            xp.maximum(block, zeros, out=block)
        if pool:  # the ReLU afterwards, where there is a quarter of it to do
            windows = pooled(part)
            found = None if switches is None else switches[windows]
            pool_2x2(pictures(block, x), y[windows], found)
            rectify(y[windows], found)

    share_out(normalize, parts(rows.shape, x), x)
    if remember is None:
        return y, None
    positive = y if relu and not pool else None
    if remember == "input" and positive is not None:
        positive = y > 0  # the next layer keeps y only for its parameters
    kept_x = x if remember == "all" or from_batch else None
    return y, Kept(kept_x, x.shape, mean, inv_std, gamma, from_batch, residual is not None, positive, switches)


def batch_norm_backward(
    dy: Array, cache: Kept, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """dy, y's shape -> dx, dgamma (C,), dbeta (C,), dresidual (…, C); None for what is not needed or was not there."""
    xp, shape = get_array_module(dy), cache.shape
    dresidual = xp.empty(shape, dy.dtype) if cache.has_residual else None
    dx = xp.empty(shape, dy.dtype) if need_dx else None
    back = WayBack(xp.ascontiguousarray(dy), cache, dresidual if cache.has_residual else dx)
    dgamma = dbeta = None
    if need_dparams or (need_dx and cache.from_batch):
        dgamma, dbeta = back.sums()
    elif cache.has_residual and not need_dx:
        share_out(back.arrive, back.parts, dy)
    if dx is not None:
        back.normalized(dx, dgamma, dbeta)
    return dx, dgamma if need_dparams else None, dbeta if need_dparams else None, dresidual


class WayBack:
    """The two passes over dy: g and its sums; dx from them."""

    def __init__(self, dy: Array, cache: Kept, place: Array | None) -> None:
        """place: an array of x's shape for g (None: it is not kept)."""
        self.dy, self.cache = dy, cache
        self.direct = cache.positive is cache.switches is None and not cache.has_residual  # g is dy itself
        self.place = dy if self.direct else place
        self.parts = parts(row_shape(cache.shape), dy)
        self.summed = False

    def arrive(self, part: Part) -> Array:
        """A block of g, dy after pool and ReLU, put in its place."""
        dy, positive, switches = self.dy, self.cache.positive, self.cache.switches
        if self.direct:
            return as_rows(dy)[part]
        block = self.block(part)
        if switches is not None:
            windows = pooled(part)
            unpool_2x2(dy[windows], switches[windows], out=pictures(block, self.cache))
        elif positive is not None:
            masked(as_rows(dy)[part], as_rows(positive)[part], out=block)
        else:
            block[...] = as_rows(dy)[part]
        return block

    def block(self, part: Part) -> Array:
        """Where a block of g lies."""
        if self.place is not None:
            return as_rows(self.place)[part]
        images, rows = part
        _, _, length = row_shape(self.cache.shape)
        return workspace("block", (images.stop - images.start, rows.stop - rows.start, length), self.dy)

    def sums(self) -> tuple[Array, Array]:
        """dgamma = Σ g·x̂ and dbeta = Σ g, in float64 beyond a block."""
        xp, C = get_array_module(self.dy), self.cache.shape[-1]
        x = as_rows(self.cache.x)
        mean = along(x, self.cache.mean)

        def block_sums(part: Part) -> tuple[Array, Array]:
            g = self.arrive(part)
            product = workspace("product", g.shape, g)
            xp.subtract(x[part], mean, out=product)
            product *= g
            dgamma, dbeta = (block_sum(a.reshape(-1, C)).astype(xp.float64) for a in (product, g))
            return dgamma, dbeta

        found = share_out(block_sums, self.parts, self.dy)
        zeros = xp.zeros(C)
        dgamma, dbeta = sum((a for a, _ in found), zeros), sum((b for _, b in found), zeros)
        self.summed = True
        return (dgamma * self.cache.inv_std).astype(self.dy.dtype), dbeta.astype(self.dy.dtype)

    def normalized(self, dx: Array, dgamma: Array | None, dbeta: Array | None) -> None:
        """dx = (γ/σ) · (g − dβ/M − x̂·dγ/M), written as (γ/σ) · (g + slope·x + offset)."""
        xp, cache, target = get_array_module(dx), self.cache, as_rows(dx)
        factor, slope, offset = along(target, cache.gamma * cache.inv_std), None, None
        if cache.from_batch and dgamma is not None and dbeta is not None:
            M = dx.size // dx.shape[-1]
            steep = dgamma * cache.inv_std / -M
            slope, offset = along(target, steep), along(target, -dbeta / M - cache.mean * steep)

        def finish(part: Part) -> None:
            g = self.block(part) if self.summed else self.arrive(part)
            if slope is not None:
                moved = workspace("product", g.shape, g)
                xp.multiply(as_rows(cache.x)[part], slope, out=moved)
                moved += offset
                moved += g
                g = moved
            xp.multiply(g, factor, out=target[part])

        share_out(finish, self.parts, dx)


def pooled(part: Part) -> Part:
    """The windows that lie in a block."""
    images, rows = part
    return images, slice(rows.start // 2, rows.stop // 2)


def pictures(block: Array, of: Any) -> Array:
    """A block of rows (n, h, W·C) as (n, h, W, C)."""
    return block.reshape(*block.shape[:2], *of.shape[2:])
