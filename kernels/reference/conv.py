"""Two-dimensional convolution: the cross-correlation that every network computes and calls convolution.

    y[n, p, q, f] = b[f] + Σ_{i, j, c} w[f, c, i, j] · x[n, u, v, c]        u = p·s + i·d − top,  v = q·s + j·d − left

n: picture; p, q: output position; f: filter; i, j: tap of the kernel; c: channel; u, v: the pixel that the tap reads,
with stride s, dilation d and a border of zeros of `top` rows and `left` columns. In a convolution with groups, filter
f reads only the channels of its own group, and c counts those.

Every product w·x above is one edge between a pixel and an output. With the loss L and dy = ∂L/∂y, the chain rule sums
over the edges that an entry takes part in:

    dx[n, u, v, c]  = Σ dy[n, p, q, f] · w[f, c, i, j]        over all (p, q, f, i, j) that read pixel (u, v)
    dw[f, c, i, j]  = Σ dy[n, p, q, f] · x[n, u, v, c]        over all (n, p, q): the same tap at every position
    db[f]           = Σ dy[n, p, q, f]                        over all (n, p, q)

So the backward pass is the forward pass's loop, with the product read in its two other directions.

With `relu` the result is max(y, 0). With `gate`, what that ReLU remembers, dy goes back through the ReLU first.

LeCun, Bottou, Bengio, Haffner 1998, section II.A (convolution); Dumoulin & Visin 2016, sections 2 and 4 (geometry).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import Padding2d, Pair
from .relu import relu_backward
from .sums import cleared
from .windows import conv_windows, group_channels


def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding2d = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    relu: bool = False,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (N, H, W, C), w (F, C/groups, KH, KW), b (F,) or None -> y (N, OH, OW, F), cache."""
    N, H, W, C = x.shape
    F, group_size, KH, KW = w.shape
    channels = group_channels(C, F, group_size, groups)  # channels[f]: those that filter f reads
    rows = conv_windows(H, KH, stride[0], padding[0], dilation[0])  # rows[p]: the pairs (i, u)
    columns = conv_windows(W, KW, stride[1], padding[1], dilation[1])  # columns[q]: the pairs (j, v)
    y = np.zeros((N, len(rows), len(columns), F), x.dtype)
    for n, p, q, f in np.ndindex(y.shape):
        for i, u in rows[p]:
            for j, v in columns[q]:
                y[n, p, q, f] += w[f, :, i, j] @ x[n, u, v, channels[f]]
        if b is not None:
            y[n, p, q, f] += b[f]
        if relu:
            y[n, p, q, f] = max(y[n, p, q, f], 0)
    if remember is None:
        return y, None
    return y, (x if remember == "all" else None, w, b is not None, x.shape, rows, columns, channels)


def conv2d_backward(
    dy: np.ndarray,
    cache: Any,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
    out: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    gate: np.ndarray | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy (N, OH, OW, F) -> dx (N, H, W, C), dw (F, C/groups, KH, KW), db (F,); None for what is not needed.

    out: arrays that dw and db are written into, whatever they hold.
    gate: the cache of relu_forward for the output; dy is then the gradient behind that ReLU.
    """
    x, w, has_bias, input_shape, rows, columns, channels = cache
    dx = np.zeros(input_shape, dy.dtype) if need_dx else None
    dw = cleared(out[0], w.shape, dy.dtype) if need_dparams else None
    db = cleared(out[1], dy.shape[3:], dy.dtype) if need_dparams and has_bias else None
    if gate is not None:
        dy = relu_backward(dy, gate)
    for n, p, q, f in np.ndindex(dy.shape):
        for i, u in rows[p]:
            for j, v in columns[q]:
                if dx is not None:
                    dx[n, u, v, channels[f]] += dy[n, p, q, f] * w[f, :, i, j]
                if dw is not None:
                    dw[f, :, i, j] += dy[n, p, q, f] * x[n, u, v, channels[f]]
        if db is not None:
            db[f] += dy[n, p, q, f]
    return dx, dw, db
