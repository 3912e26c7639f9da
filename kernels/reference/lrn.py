"""Local response normalization: a channel is damped where its neighbours are active at the same place.

    u_c = k + (α/n) Σ_{j in window(c)} x_j²        y_c = x_c · u_c^−β

c: channel (all channels of one pixel of one picture); n: `size`, the number of channels in a window; window(c) are the
channels from c − ⌊n/2⌋ to c + ⌊(n − 1)/2⌋ that exist (torch's window, which for an even n looks one further back).

y_c depends on x_c as a factor, and on every x_j of its window through u_c, as ∂u_c/∂x_j = (2α/n)·x_j:

    ∂y_c/∂x_j = 1[j = c] · u_c^−β − (2αβ/n) · x_c · x_j · u_c^(−β−1)        for j in window(c)
    dx_j      = dy_j · u_j^−β − (2αβ/n) · x_j · Σ_{c: j in window(c)} dy_c · x_c · u_c^(−β−1)

Krizhevsky, Sutskever, Hinton 2012, section 3.3. The paper has no division by n: its α = 1e-4 is n·1e-4 = 5e-4 here.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def local_response_norm_forward(
    x: np.ndarray,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (…, C) -> y, cache."""
    windows = channel_windows(x.shape[-1], size)
    y, u = np.zeros_like(x), np.full_like(x, k)
    for *pixel, c in np.ndindex(x.shape):
        at = (*pixel, c)
        for j in windows[c]:
            u[at] += alpha / size * x[(*pixel, j)] ** 2
        y[at] = x[at] * u[at] ** -beta
    return y, None if remember is None else (x, u, windows, 2 * alpha * beta / size, beta)


def local_response_norm_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx."""
    x, u, windows, factor, beta = cache
    dx = np.zeros_like(dy)
    for *pixel, c in np.ndindex(dy.shape):
        at = (*pixel, c)
        dx[at] += dy[at] * u[at] ** -beta
        for j in windows[c]:
            dx[(*pixel, j)] -= factor * x[(*pixel, j)] * dy[at] * x[at] * u[at] ** (-beta - 1)
    return dx


def channel_windows(channels: int, size: int) -> list[range]:
    """For each channel, the channels of its window that exist."""
    return [range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1)) for c in range(channels)]
