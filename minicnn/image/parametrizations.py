"""What the optimizer moves, and how it becomes a picture.

A parametrization has variables, `value`, and two methods: `image()` makes the picture of them, and `pullback` turns
the gradient at the picture into the gradient at the variables. Any object with these three will do.
"""

from __future__ import annotations

import numpy as np

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from .registry import Example, register


class Parametrization:
    """Base of all parametrizations. `value` is replaced, never written into, by every step of the engine."""

    value: Array

    def image(self) -> Array:
        """The picture (N, C, H, W), RGB or grey in [0, 1]."""
        raise TypeError(f"{type(self).__name__} does not say how it makes a picture")

    def pullback(self, d_image: Array) -> Array:
        """The gradient at the picture -> the gradient at `value`, of its shape."""
        raise TypeError(f"{type(self).__name__} does not say how it goes back")


@register(Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (2, 3, 6, 7))}))
class Pixels(Parametrization):
    """The pixels themselves: a batch of pictures (N, C, H, W), each moved for itself."""

    def __init__(self, image: Array) -> None:
        self.value = checked_pictures(image).copy()

    def image(self) -> Array:
        return self.value

    def pullback(self, d_image: Array) -> Array:
        return d_image


def checked_pictures(image: Array) -> Array:
    """The array, or MinicnnError when it is no batch of pictures (N, C, H, W) of floats."""
    get_array_module(image)
    if image.ndim != 4 or image.dtype.kind != "f":
        raise MinicnnError(f"expected pictures (N, C, H, W) of floats, got {tuple(image.shape)} {image.dtype}")
    return image
