"""Smooth activations. Each derivative is a function of the value, so y is all that is kept.

    tanh       y = (eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)        ∂y/∂x = 1 − y²          dx = dy · (1 − y²)
    sigmoid    y = 1/(1 + e⁻ˣ)                  ∂y/∂x = y · (1 − y)     dx = dy · y · (1 − y)
    softmax    y_k = e^{x_k} / Σ_m e^{x_m}      over the last axis

Of softmax every output depends on every input: ∂y_m/∂x_k = y_m · (1[m = k] − y_k), hence

    dx_k = Σ_m dy_m · y_m · (1[m = k] − y_k) = y_k · (dy_k − Σ_m dy_m · y_m)

Softmax does not change when all x_k move by the same amount, so the largest is first moved to 0: no overflow. The
sigmoid is written with e^{−|x|} for the same reason. LeCun et al. 1998b (Efficient BackProp), section 4.4 (tanh);
Bridle 1990 (softmax).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def tanh_forward(x: np.ndarray, *, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """x of any shape -> y, cache."""
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        y[at] = math.tanh(x[at])
    return y, None if remember is None else y


def tanh_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx."""
    y = cache
    dx = np.zeros_like(dy)
    for at in np.ndindex(dy.shape):
        dx[at] = dy[at] * (1 - y[at] ** 2)
    return dx


def sigmoid_forward(x: np.ndarray, *, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """x of any shape -> y, cache."""
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        e = math.exp(-abs(x[at]))
        y[at] = (1 if x[at] >= 0 else e) / (1 + e)
    return y, None if remember is None else y


def sigmoid_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx."""
    y = cache
    dx = np.zeros_like(dy)
    for at in np.ndindex(dy.shape):
        dx[at] = dy[at] * y[at] * (1 - y[at])
    return dx


def softmax_forward(x: np.ndarray, *, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """x (…, K) -> y (…, K), positive and with sum 1 over the last axis, cache."""
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape[:-1]):
        e = np.exp(x[at] - x[at].max())  # (K,)
        y[at] = e / e.sum()
    return y, None if remember is None else y


def softmax_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx."""
    y = cache
    dx = np.zeros_like(dy)
    for at in np.ndindex(dy.shape[:-1]):
        dx[at] = y[at] * (dy[at] - dy[at] @ y[at])
    return dx
