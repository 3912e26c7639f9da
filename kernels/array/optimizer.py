"""One step of an optimizer over flat arrays, in place: the only kernels that write to their arguments.

In chunks that stay in the cache, so value, gradient and state pass through memory once.

    SGD    g = grad + λ·value;  v = μ·v + g;  value −= lr · v        (Nesterov: lr · (g + μ·v))
    Adam   m = β₁m + (1 − β₁)g;  v = β₂v + (1 − β₂)g²;  value −= lr · m̂/(√v̂ + ε),  m̂ = m/(1 − β₁ᵗ),  v̂ = v/(1 − β₂ᵗ)

torch's formulas (Sutskever et al. 2013; Kingma & Ba 2015, algorithm 1; λ added to the gradient in both).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..backend import Array, get_array_module

CHUNK = 1 << 16  # elements: three float32 chunks are 768 KiB


def sgd_step(
    value: Array,
    grad: Array,
    velocity: Array | None,
    *,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """Update value (n,) and velocity (n,) from grad (n,). velocity may be None when momentum is 0, else ValueError."""
    if momentum and velocity is None:
        raise ValueError(f"momentum {momentum} needs a velocity")
    for part in chunks(value):
        p, g = value[part], grad[part]
        if weight_decay:
            g = g + weight_decay * p
        if momentum and velocity is not None:
            v = velocity[part]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        p -= lr * g


def adam_step(
    value: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    step: int,
) -> None:
    """Update value, m and v (n,) from grad (n,); `step` counts from 1."""
    xp = get_array_module(value)
    scale = lr / (1 - beta1**step)
    correction = (1 - beta2**step) ** 0.5
    for part in chunks(value):
        p, g, m_, v_ = value[part], grad[part], m[part], v[part]
        if weight_decay:
            g = g + weight_decay * p
        m_ *= beta1
        m_ += (1 - beta1) * g
        v_ *= beta2
        v_ += (1 - beta2) * (g * g)
        root = xp.sqrt(v_)
        root /= correction
        root += eps
        p -= scale * (m_ / root)


def chunks(a: Array) -> Iterator[slice]:
    """Slices of CHUNK elements that cover a flat array; one of all on a device, where each launch costs."""
    step = CHUNK if get_array_module(a) is np else max(1, a.size)
    for start in range(0, a.size, step):
        yield slice(start, start + step)
