"""One step of an optimizer over flat arrays, in place: see optimizer.c."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import array
from .arguments import floats, pointer, writable
from .library import function

_sgd = function("sgd_step", "pppnfffi")
_adam = function("adam_step", "ppppnffffff")


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
    """Update value (n,) and velocity (n,) from grad (n,). velocity may be None when momentum is 0, else ValueError."""
    if momentum and velocity is None:
        raise ValueError(f"momentum {momentum} needs a velocity")
    velocity = velocity if momentum else None
    if not in_place(value, velocity):
        options: dict[str, Any] = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        return array.sgd_step(value, grad, velocity, **options)
    grad = floats(grad, value.shape)
    arrays = (pointer(value), pointer(grad), pointer(velocity))
    _sgd(*arrays, value.size, *map(float, (lr, momentum, weight_decay)), nesterov)


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
    if not in_place(value, m, v):
        options: dict[str, Any] = {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "eps": eps,
            "weight_decay": weight_decay,
            "step": step,
        }
        return array.adam_step(value, grad, m, v, **options)
    grad = floats(grad, value.shape)
    scale, correction = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
    arrays = (pointer(value), pointer(grad), pointer(m), pointer(v))
    _adam(*arrays, value.size, *map(float, (scale, correction, beta1, beta2, eps, weight_decay)))


def in_place(value: np.ndarray, *state: np.ndarray | None) -> bool:
    """Whether C can write into all of them. Others go to the array kernel: views with steps, and what it refuses."""
    arrays = [value, *(a for a in state if a is not None)]
    return all(writable(a) and a.shape == value.shape for a in arrays)
