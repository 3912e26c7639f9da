"""What is done to the picture before the network sees it, drawn anew at each step, each with its exact adjoint.

A transform is a linear map A. `sample(generator)` gives the map of one step, which `apply` computes (A·x) and `adjoint`
takes back (Aᵀ·dy): ⟨A·x, y⟩ = ⟨x, Aᵀ·y⟩ holds to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from .blur import gaussian_blur
from .registry import Example, register


class Transform:
    """Base of all transforms; what is not random needs no `sample`."""

    def sample(self, generator: np.random.Generator) -> Transform:
        """The fixed map of one step."""
        return self

    def apply(self, x: Array) -> Array:
        """x (N, C, H, W) -> what the network sees, a new array."""
        raise TypeError(f"{type(self).__name__} does not say what it does")

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        """The gradient at `apply(x)` -> the gradient at x, of shape `shape`."""
        raise TypeError(f"{type(self).__name__} does not say how it goes back")


@register(Example({"rows": 2, "columns": -3}), Example({"rows": 0, "columns": 15}))
@dataclass(frozen=True)
class Roll(Transform):
    """The picture moved down and to the right; what leaves on one side comes back on the other."""

    rows: int
    columns: int

    def apply(self, x: Array) -> Array:
        return get_array_module(x).roll(x, (self.rows, self.columns), axis=(2, 3))

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        return get_array_module(dy).roll(dy, (-self.rows, -self.columns), axis=(2, 3))


@register(Example({"pixels": 3}), Example({"pixels": 0}))
@dataclass(frozen=True)
class Jitter(Transform):
    """A roll by −pixels … pixels in both directions, another one at each step (Mordvintsev et al. 2015)."""

    pixels: int

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise MinicnnError(f"Jitter: {self.pixels} pixels: expected 0 or more")

    def sample(self, generator: np.random.Generator) -> Roll:
        rows, columns = generator.integers(-self.pixels, self.pixels + 1, 2)
        return Roll(int(rows), int(columns))


@register(Example({"sigma": 0.7}), Example({"sigma": 3.0}), Example({"sigma": 0.0}))
@dataclass(frozen=True)
class Blur(Transform):
    """A Gaussian blur (blur.py says how edges are continued), which is its own adjoint."""

    sigma: float

    def apply(self, x: Array) -> Array:
        return gaussian_blur(x, self.sigma)

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        return gaussian_blur(dy, self.sigma)
