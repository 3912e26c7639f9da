"""Batch normalization with residual, ReLU and 2×2 max pooling, factors and sums of channels: see batch_norm.c."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import empty, floats, pointer
from .library import function

_moments = function("batch_moments", "pppnn")
_forward = function("batch_norm_forward", "ppppppppnnnnfii")
_backward = function("batch_norm_backward", "pppppppppppnnnnfi")

Sizes = tuple[int, int, int, int]
NO_INPUT = "gradients of parameters need a forward pass with remember='all'"


def batch_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x (…, C) -> mean (C,), biased variance (C,). Of no values both are NaN."""
    x, C = floats(x), x.shape[-1]
    mean, var = np.empty((2, C), np.float32)
    _moments(pointer(x), pointer(mean), pointer(var), x.size // C if C else 0, C)
    return mean, var


def batch_norm_forward(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    *,
    eps: float = 1e-5,
    from_batch: bool,
    residual: np.ndarray | None = None,
    relu: bool = False,
    pool: bool = False,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (…, C), the others (C,) -> y, cache. `from_batch`: mean and var are x's own `batch_moments`.

    residual (…, C): y + residual; relu: then max(y, 0); pool: then the maxima of 2×2 windows, (N, H/2, W/2, C).
    """
    mean, var, gamma, beta = (floats(a, x.shape[-1:]) for a in (mean, var, gamma, beta))
    x, residual = floats(x), None if residual is None else floats(residual, x.shape)
    sizes, shape = (sizes_of(x.shape), x.shape) if not pool else pooled(x.shape, relu)
    y = empty(shape)
    switches = np.empty(shape, np.uint8) if pool and remember else None
    inputs = (pointer(a) for a in (x, residual, mean, var, gamma, beta))
    _forward(*inputs, pointer(y), pointer(switches), *sizes, eps, relu, pool)
    if remember is None:
        return y, None
    kept = x if from_batch or remember == "all" else None
    has_residual = residual is not None
    return y, (
        kept,
        y if relu and not pool else None,
        switches,
        mean,
        var,
        gamma,
        eps,
        from_batch,
        has_residual,
        (x.shape, shape),
        sizes,
    )


def batch_norm_backward(
    dy: np.ndarray, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy, y's shape -> dx, dgamma (C,), dbeta (C,), dresidual (…, C); None for what is not needed or was not there."""
    x, y, switches, mean, var, gamma, eps, from_batch, has_residual, (shape, pooled_shape), sizes = cache
    if need_dparams and x is None:
        raise ValueError(NO_INPUT)
    dy = floats(dy, pooled_shape)
    dx = empty(shape) if need_dx else None
    dgamma, dbeta = np.zeros((2, shape[-1]), np.float32) if need_dparams else (None, None)
    dresidual = empty(shape) if has_residual else None
    arrays = (pointer(a) for a in (dy, x, y, switches, mean, var, gamma, dx, dgamma, dbeta, dresidual))
    _backward(*arrays, *sizes, eps, from_batch)
    return dx, dgamma, dbeta, dresidual


def scale_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """x (…, C), gamma (C,), beta (C,) -> y = gamma·x + beta, cache: a normalization with mean 0 and variance 1."""
    x, gamma, beta = floats(x), floats(gamma, x.shape[-1:]), floats(beta, x.shape[-1:])
    y, sizes = empty(x.shape), sizes_of(x.shape)
    _forward(pointer(x), None, None, None, pointer(gamma), pointer(beta), pointer(y), None, *sizes, 0.0, False, False)
    return y, None if remember is None else (x if remember == "all" else None, gamma, x.shape, sizes)


def scale_backward(
    dy: np.ndarray, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy (…, C) -> dx, dgamma (C,), dbeta (C,); None for what is not needed."""
    x, gamma, shape, sizes = cache
    if need_dparams and x is None:
        raise ValueError(NO_INPUT)
    dy = floats(dy, shape)
    dx = empty(dy.shape) if need_dx else None
    dgamma, dbeta = np.zeros((2, dy.shape[-1]), np.float32) if need_dparams else (None, None)
    arrays = (pointer(a) for a in (dy, x, None, None, None, None, gamma, dx, dgamma, dbeta, None))
    _backward(*arrays, *sizes, 0.0, False)
    return dx, dgamma, dbeta


def sizes_of(shape: tuple[int, ...]) -> Sizes:
    """(…, C) as pictures of one pixel: N, H, W, C."""
    size = 1
    for axis in shape[:-1]:
        size *= axis
    return size, 1, 1, shape[-1]


def pooled(shape: tuple[int, ...], relu: bool) -> tuple[Sizes, tuple[int, ...]]:
    """N, H, W, C of pictures that will be pooled, and the shape they will have."""
    if not relu or len(shape) != 4 or min(shape[1:3]) < 2:
        raise ValueError(f"pool comes with relu, on pictures (N, H, W, C) of at least 2×2 pixels: got {shape}")
    N, H, W, C = shape
    return (N, H, W, C), (N, H // 2, W // 2, C)
