"""Matrix products in which the threads share, and the sum over everything but the channels as one of them."""

from __future__ import annotations

from ..backend import Array, get_array_module
from ..threads import SLABS, share_out

SMALL = 1 << 14  # numbers: the sum of fewer is quicker than a call of BLAS
LARGE = 1 << 22  # multiply-adds, about a tenth of a millisecond: below it sharing out costs more than it brings


def product(a: Array, b: Array) -> Array:
    """a (M, K) · b (K, N) -> (M, N), a slab of the longer side of the result after the other."""
    xp = get_array_module(a)
    (M, K), N = a.shape, b.shape[1]
    y = xp.empty((M, N), a.dtype)
    slabs = SLABS if M * K * N > LARGE else 1
    width = -(-max(M, N) // slabs)
    parts = [slice(start, start + width) for start in range(0, max(M, N), max(1, width))]
    if M > N:
        share_out(lambda part: xp.matmul(a[part], b, out=y[part]), parts, a)
    else:
        share_out(lambda part: xp.matmul(a, b[:, part], out=y[:, part]), parts, a)
    return y


def channel_sum(a: Array) -> Array:
    """Σ over all axes but the last: (…, C) -> (C,). As ones · a: 5–10 times faster than `sum` on tall arrays."""
    rows = a.reshape(-1, a.shape[-1])
    if rows.size < SMALL:
        return rows.sum(axis=0)
    return product(get_array_module(a).ones((1, rows.shape[0]), a.dtype), rows)[0]
