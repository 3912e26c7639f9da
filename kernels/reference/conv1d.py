"""One-dimensional convolution (cross-correlation) along sequences.

    y[n, p, f] = b[f] + Σ_{i, c} w[f, c, i] · x[n, u, c]        u = p·s + i·d − left

n: sequence; p: output position; f: filter; i: tap; c: channel of the filter's group; u: the sample that the tap reads,
with stride s, dilation d and `left` zeros before the first sample. As in two dimensions (conv.py):

    dx[n, u, c]  = Σ dy[n, p, f] · w[f, c, i]        over all (p, f, i) that read sample u
    dw[f, c, i]  = Σ dy[n, p, f] · x[n, u, c]        over all (n, p)
    db[f]        = Σ dy[n, p, f]                     over all (n, p)

Waibel et al. 1989 (time-delay networks).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import Pair
from .windows import conv_windows, group_channels


def conv1d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    stride: int = 1,
    padding: Pair = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (N, L, C), w (F, C/groups, K), b (F,) or None -> y (N, OL, F), cache."""
    N, L, C = x.shape
    F, group_size, K = w.shape
    channels = group_channels(C, F, group_size, groups)  # channels[f]: those that filter f reads
    samples = conv_windows(L, K, stride, padding, dilation)  # samples[p]: the pairs (i, u)
    y = np.zeros((N, len(samples), F), x.dtype)
    for n, p, f in np.ndindex(y.shape):
        for i, u in samples[p]:
            y[n, p, f] += w[f, :, i] @ x[n, u, channels[f]]
        if b is not None:
            y[n, p, f] += b[f]
    if remember is None:
        return y, None
    return y, (x if remember == "all" else None, w, b is not None, x.shape, samples, channels)


def conv1d_backward(
    dy: np.ndarray, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy (N, OL, F) -> dx (N, L, C), dw (F, C/groups, K), db (F,); None for what is not needed."""
    x, w, has_bias, input_shape, samples, channels = cache
    dx = np.zeros(input_shape, dy.dtype) if need_dx else None
    dw = np.zeros_like(w) if need_dparams else None
    db = np.zeros(dy.shape[2], dy.dtype) if need_dparams and has_bias else None
    for n, p, f in np.ndindex(dy.shape):
        for i, u in samples[p]:
            if dx is not None:
                dx[n, u, channels[f]] += dy[n, p, f] * w[f, :, i]
            if dw is not None:
                dw[f, :, i] += dy[n, p, f] * x[n, u, channels[f]]
        if db is not None:
            db[f] += dy[n, p, f]
    return dx, dw, db
