"""Local response normalization (Krizhevsky, Sutskever, Hinton 2012, section 3.3), torch's parameters.

    forward    u_c = k + (α/n) Σ_{j in window(c)} x_j²,    y_c = x_c · u_c^−β
    backward   dx_c = dy_c · u_c^−β − (2αβ/n) · x_c · Σ_{j: c in window(j)} dy_j · x_j · u_j^(−β−1)

window(c) is n neighbouring channels, ⌊n/2⌋ before c and ⌊(n − 1)/2⌋ after; in the backward sum the other way round.
The paper writes α without the division by n: its α = 1e-4, n = 5 is 5e-4 here.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module, workspace
from ..threads import share_out
from .blocks import chunks


def local_response_norm_forward(
    x: Array,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (…, C) -> y, cache."""
    xp, C = get_array_module(x), x.shape[-1]
    y, u = xp.empty_like(x), xp.empty_like(x)

    def of_block(part: slice) -> None:
        x_, y_, u_ = (a.reshape(-1)[part].reshape(-1, C) for a in (x, y, u))
        neighbour_sum(x_ * x_, size // 2, (size - 1) // 2, out=u_)
        u_ *= alpha / size
        u_ += k
        inverse_power(u_, beta, out=y_)
        y_ *= x_

    share_out(of_block, chunks(x.reshape(-1), C), x)
    return y, None if remember is None else (x, u, size, alpha, beta)


def local_response_norm_backward(dy: Array, cache: Any) -> Array:
    """dy -> dx."""
    x, u, size, alpha, beta = cache
    xp, C = get_array_module(dy), dy.shape[-1]
    dy, dx = xp.ascontiguousarray(dy), xp.empty(dy.shape, dy.dtype)

    def of_block(part: slice) -> None:
        x_, u_, dy_, dx_ = (a.reshape(-1)[part].reshape(-1, C) for a in (x, u, dy, dx))
        inverse_power(u_, beta, out=dx_)
        dx_ *= dy_  # dy · u^−β
        others = workspace("others", dx_.shape, dx)
        neighbour_sum(dx_ * x_ / u_, (size - 1) // 2, size // 2, out=others)
        others *= x_
        others *= 2 * alpha * beta / size
        dx_ -= others

    share_out(of_block, chunks(x.reshape(-1), C), x)
    return dx


def neighbour_sum(a: Array, before: int, after: int, out: Array) -> None:
    """Σ over the channels from c − before to c + after (those that exist): (M, C) -> (M, C)."""
    out[...] = a
    C = a.shape[-1]
    for shift in range(1, max(before, after) + 1):
        if shift <= before and shift < C:
            out[..., shift:] += a[..., :-shift]
        if shift <= after and shift < C:
            out[..., :-shift] += a[..., shift:]


def inverse_power(u: Array, beta: float, out: Array) -> None:
    """u^−β for u > 0. The usual β = ¾ takes two square roots, ten times faster than a power."""
    xp = get_array_module(u)
    if beta == 0.75:
        xp.sqrt(u, out=out)
        out *= xp.sqrt(out)
        xp.divide(1, out, out=out)
    else:
        xp.power(u, -beta, out=out)
