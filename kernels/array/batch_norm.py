"""Batch normalization (Ioffe & Szegedy 2015, section 3): each channel to mean 0 and variance 1, then γ·x̂ + β.

forward    x̂ = (x − μ)/σ,  σ = √(var + ε),  y = γ·x̂ + β
backward   dβ = Σ dy        dγ = Σ dy·x̂
           dx = (γ/σ) · (dy − dβ/M − x̂·dγ/M)        when μ and σ come from the batch of M values itself
           dx = (γ/σ) · dy                           when they are constants (running averages)
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module
from .products import channel_sum


def batch_moments(x: Array) -> tuple[Array, Array]:
    """x (…, C) -> mean (C,), biased variance (C,). In two passes: the variance of the centred values."""
    count = x.size // x.shape[-1]
    mean = channel_sum(x) / count
    centred = x - mean
    centred *= centred
    return mean, channel_sum(centred) / count


def batch_norm_forward(
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array,
    beta: Array,
    *,
    eps: float = 1e-5,
    from_batch: bool,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (…, C), the others (C,) -> y, cache. `from_batch`: mean and var are x's own `batch_moments`."""
    inv_std = 1 / get_array_module(x).sqrt(var + eps)
    y = x - mean
    y *= gamma * inv_std
    y += beta
    keep_x = remember == "all" or (remember == "input" and from_batch)
    return y, None if remember is None else (x if keep_x else None, mean, inv_std, gamma, from_batch)


def batch_norm_backward(
    dy: Array, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (…, C) -> dx, dgamma (C,), dbeta (C,); None for what is not needed."""
    x, mean, inv_std, gamma, from_batch = cache
    dgamma = dbeta = dx = None
    if need_dparams or from_batch:
        xhat = (x - mean) * inv_std
        dbeta, dgamma = channel_sum(dy), channel_sum(dy * xhat)
    if need_dx:
        dx = dy * (gamma * inv_std)
        if from_batch:
            count = dy.size // dy.shape[-1]
            xhat *= gamma * inv_std * dgamma / count
            dx -= xhat
            dx -= gamma * inv_std * dbeta / count
    return dx, dgamma if need_dparams else None, dbeta if need_dparams else None
