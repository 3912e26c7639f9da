"""One step of an optimizer, in place: the only kernels that write to their arguments.

With g = grad + λ·value (λ: weight decay, as a penalty ½λ‖value‖² in the loss) and the learning rate lr,

    SGD     v ← μ·v + g                            value ← value − lr · v
            with Nesterov's momentum               value ← value − lr · (g + μ·v)
    Adam    m ← β₁·m + (1 − β₁)·g                  m̂ = m/(1 − β₁ᵗ)
            v ← β₂·v + (1 − β₂)·g²                 v̂ = v/(1 − β₂ᵗ)
                                                   value ← value − lr · m̂/(√v̂ + ε)

μ: momentum; t: the number of the step, from 1. m and v start at zero, and the division by 1 − βᵗ takes out the bias
to zero that this causes. torch's conventions: lr stands outside of the velocity, ε outside of the root.

Sutskever, Martens, Dahl, Hinton 2013, section 2; Kingma & Ba 2015, algorithm 1.
"""

from __future__ import annotations

import math

import numpy as np


def sgd_step(
    value: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray | None,
    *,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """Update value (n,) and velocity (n,) from grad (n,). velocity may be None when momentum is 0.

    Raises ValueError for momentum without a velocity.
    """
    if momentum and velocity is None:
        raise ValueError(f"momentum {momentum} needs a velocity")
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        if momentum and velocity is not None:
            velocity[i] = momentum * velocity[i] + g
            g = g + momentum * velocity[i] if nesterov else velocity[i]
        value[i] -= lr * g


def adam_step(
    value: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    step: int,
) -> None:
    """Update value, m and v (n,) from grad (n,); `step` counts from 1."""
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        m[i] = beta1 * m[i] + (1 - beta1) * g
        v[i] = beta2 * v[i] + (1 - beta2) * g**2
        m_hat = m[i] / (1 - beta1**step)
        v_hat = v[i] / (1 - beta2**step)
        value[i] -= lr * m_hat / (math.sqrt(v_hat) + eps)
