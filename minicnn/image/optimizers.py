"""How the variables move: always uphill.

An optimizer is given the point where it stands and a function that tells what there is at any other. It holds settings
alone. What it remembers from step to step goes through `step` as `state`, so a run can hand it on to the next one, and
nothing is left over from the last. Arrays in a state have the shape of the variables: with them, it can be resized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import kernels
from ..errors import MinicnnError, nearest
from ..kernels.backend import Array, get_array_module
from ..parameter import to_host
from ..schedules import Clock, Schedule, constant
from .registry import Example, register

Evaluate = Callable[[Array], tuple[Array, Array]]  # the variables -> (the number, 0-dimensional; its gradient there)

NORMALIZATIONS = ("none", "mean", "std", "l2", "sign")
TINY = 1e-30  # a gradient of 0 everywhere stays 0


def number(a: Array) -> float:
    """A 0-dimensional array of any device as a float; makes a GPU wait."""
    return float(to_host(a))


class Optimizer:
    """Base of all optimizers."""

    def step(self, value: Array, evaluate: Evaluate, state: Any, clock: Clock) -> tuple[Array, Any]:
        """-> (the new value, a new array; the new state). `state` is None at first.

        The first point that it evaluates is `value` itself.
        """
        raise TypeError(f"{type(self).__name__} does not say how it steps")


@dataclass(frozen=True)
class FirstOrder(Optimizer):
    """Base of the optimizers that follow the gradient where they stand, by the step size `lr` times its schedule."""

    lr: float
    schedule: Schedule = field(default_factory=constant, kw_only=True)

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise MinicnnError(f"{type(self).__name__}: lr {self.lr}: expected more than 0")

    def step(self, value: Array, evaluate: Evaluate, state: Any, clock: Clock) -> tuple[Array, Any]:
        return self.move(value, evaluate(value)[1], state, self.lr * self.schedule(clock))

    def move(self, value: Array, gradient: Array, state: Any, lr: float) -> tuple[Array, Any]:
        """A step of the size `lr`: what `step` returns."""
        raise TypeError(f"{type(self).__name__} does not say how it moves")


@register(
    *(Example({"lr": 0.1, "normalization": name}) for name in NORMALIZATIONS),
    Example({"lr": 0.1, "momentum": 0.9}),
)
@dataclass(frozen=True)
class GradientAscent(FirstOrder):
    """value += lr·v, v = momentum·v + g/s. s is measured in each picture for itself:

    "none" 1; "mean" the mean of |g| (Mordvintsev et al. 2015); "std" the standard deviation of g; "l2" ‖g‖; "sign" |g|
    of each value for itself, so that all move alike (Goodfellow et al. 2015, section 4).
    """

    normalization: str = "none"
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalization not in NORMALIZATIONS:
            raise MinicnnError(f"normalization {self.normalization!r}{nearest(self.normalization, NORMALIZATIONS)}")
        if not 0 <= self.momentum < 1:
            raise MinicnnError(f"GradientAscent: momentum {self.momentum}: expected 0 to below 1")

    def move(self, value: Array, gradient: Array, state: Any, lr: float) -> tuple[Array, Any]:
        direction = normalized(gradient, self.normalization)
        if state is not None:
            direction = self.momentum * state + direction
        return value + lr * direction, direction if self.momentum else None


def normalized(g: Array, by: str) -> Array:
    """g (N, …), the part of each picture divided by its size: one of NORMALIZATIONS."""
    if by in ("none", "sign"):
        return g if by == "none" else get_array_module(g).sign(g)
    xp, axes = get_array_module(g), tuple(range(1, g.ndim))
    if by == "mean":
        size = abs(g).mean(axis=axes, keepdims=True)
    elif by == "std":
        size = g.std(axis=axes, keepdims=True)
    else:
        largest = abs(g).max(axis=axes, keepdims=True)  # its square could be too small for a float32
        unit = g / xp.maximum(largest, TINY)
        size = largest * xp.sqrt((unit * unit).sum(axis=axes, keepdims=True))
    return g / xp.maximum(size, TINY)


@register(Example({"lr": 0.1}), Example({"lr": 0.05, "beta1": 0.5}))
@dataclass(frozen=True)
class Adam(FirstOrder):
    """Adam (Kingma & Ba 2015, algorithm 1), by the kernel that trains networks, uphill."""

    lr: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def move(self, value: Array, gradient: Array, state: Any, lr: float) -> tuple[Array, Any]:
        xp, value = get_array_module(value), value.copy()
        m, v, count = (xp.zeros_like(value), xp.zeros_like(value), 0) if state is None else state
        m, v = m.copy(), v.copy()  # the kernel writes into them
        kernels.adam_step(
            value.reshape(-1),
            (-gradient).reshape(-1),  # the kernel goes downhill
            m.reshape(-1),
            v.reshape(-1),
            lr=lr,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            step=count + 1,
        )
        return value, (m, v, count + 1)
