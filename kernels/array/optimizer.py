"""One step of an optimizer over flat arrays, in place: the only kernels that write to their arguments.

In chunks that stay in the cache, so value, gradient and state pass through memory once.

    SGD    g = grad + λ·value;  v = μ·v + g;  value −= lr · v        (Nesterov: lr · (g + μ·v))
    Adam   m = β₁m + (1 − β₁)g;  v = β₂v + (1 − β₂)g²;  value −= lr · m̂/(√v̂ + ε),  m̂ = m/(1 − β₁ᵗ),  v̂ = v/(1 − β₂ᵗ)

torch's formulas (Sutskever et al. 2013; Kingma & Ba 2015, algorithm 1; λ added to the gradient in both).
"""

from __future__ import annotations

from ..backend import Array, get_array_module, workspace
from ..threads import share_out
from .blocks import chunks


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
    xp = get_array_module(value)

    def update(part: slice) -> None:
        p, g, temporary = value[part], grad[part], workspace("step", (part.stop - part.start,), value)
        if weight_decay:
            xp.multiply(p, weight_decay, out=temporary)
            temporary += g
            g = temporary
        if momentum and velocity is not None:
            v = velocity[part]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        xp.multiply(g, lr, out=temporary)
        p -= temporary

    share_out(update, chunks(value), value)


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

    def update(part: slice) -> None:
        p, g, m_, v_ = value[part], grad[part], m[part], v[part]
        first, second = (workspace(name, p.shape, p) for name in ("step", "second step"))
        if weight_decay:
            g = g + weight_decay * p
        m_ *= beta1
        xp.multiply(g, 1 - beta1, out=first)
        m_ += first
        v_ *= beta2
        xp.multiply(g, g, out=first)
        first *= 1 - beta2
        v_ += first
        xp.sqrt(v_, out=second)
        second /= correction
        second += eps
        xp.multiply(m_, scale, out=first)
        first /= second
        p -= first

    share_out(update, chunks(value), value)
