"""What is done to the picture before the network sees it, drawn anew at each step, each with its exact adjoint.

A transform is an affine map A·x + b, where b ≠ 0 only if a border of some grey comes in. `sample(generator)` gives the
map of one step, which `apply` computes and `adjoint` takes back (Aᵀ·dy): ⟨A·x, y⟩ = ⟨x, Aᵀ·y⟩ holds to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np

from ..errors import MinicnnError, nearest
from ..kernels.backend import Array, get_array_module
from .affine import Matrix, Vector, affine, affine_adjoint
from .blur import gaussian_blur
from .registry import Example, register
from .resize import Size, resize, resize_adjoint

GREY = 0.5


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


@register(Example({"pixels": 2}), Example({"pixels": 5, "border": "reflect"}), Example({"pixels": 0}))
@dataclass(frozen=True)
class Pad(Transform):
    """A border of `pixels` on each side: a grey, or with "reflect" the picture's mirror image, the edge pixel once."""

    pixels: int
    border: float | str = GREY

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise MinicnnError(f"Pad: {self.pixels} pixels: expected 0 or more")
        if isinstance(self.border, str) and self.border != "reflect":
            raise MinicnnError(f"Pad: border {self.border!r}{nearest(self.border, ['reflect'])}, or a grey")

    def apply(self, x: Array) -> Array:
        xp, widths = get_array_module(x), [(0, 0), (0, 0), *2 * [(self.pixels, self.pixels)]]
        if self.border != "reflect":
            return xp.pad(x, widths, mode="constant", constant_values=self.border)
        if self.pixels >= min(x.shape[2:]):
            raise MinicnnError(f"Pad: cannot mirror {self.pixels} pixels of pictures of {x.shape[2]}×{x.shape[3]}")
        return xp.pad(x, widths, mode="reflect")

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        for axis in (2, 3):
            dy = self._without_border(dy.swapaxes(0, axis), shape[axis]).swapaxes(0, axis)
        return dy

    def _without_border(self, dy: Array, side: int) -> Array:
        """The `side` inner planes of dy; what lies further out is added to those that it mirrors."""
        n = self.pixels
        dx = dy[n : n + side].copy()
        if self.border == "reflect":
            dx[1 : n + 1] += dy[:n][::-1]
            dx[side - 1 - n : side - 1] += dy[n + side :][::-1]
        return dx


@register(
    Example({"size": (4, 7)}),
    Example({"margin": 2}),
    Example({"size": (1, 3), "at": (0.0, 1.0)}),
)
@dataclass(frozen=True)
class Crop(Transform):
    """A window of the picture: of `size` (height, width), or `margin` pixels less on each side.

    `at` says where it lies, down and across: 0 is the top or the left side, 1/2 the middle, 1 the other side.
    """

    size: Size | None = None
    margin: int = 0
    at: Vector = (0.5, 0.5)

    def __post_init__(self) -> None:
        if self.margin < 0 or (self.size is not None and (self.margin or min(self.size) < 1)):
            raise MinicnnError(f"{self}: expected a size of 1 pixel or more, or else a margin of 0 or more")
        if not all(0 <= at <= 1 for at in self.at):
            raise MinicnnError(f"{self}: expected a place from 0 to 1")

    def apply(self, x: Array) -> Array:
        return x[(..., *self._window(x.shape))].copy()

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        dx = get_array_module(dy).zeros(shape, dy.dtype)
        dx[(..., *self._window(shape))] = dy
        return dx

    def _window(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        sides = shape[2:]
        size = self.size or tuple(side - 2 * self.margin for side in sides)
        if not all(0 < length <= side for length, side in zip(size, sides, strict=True)):
            raise MinicnnError(f"{self}: there is no such window in pictures of {sides[0]}×{sides[1]}")
        starts = [
            min(int(at * (side - length + 1)), side - length)
            for at, side, length in zip(self.at, sides, size, strict=True)
        ]
        return tuple(slice(start, start + length) for start, length in zip(starts, size, strict=True))


@register(Example({"size": (3, 3)}), Example({"margin": 1}))
@dataclass(frozen=True)
class RandomCrop(Transform):
    """A window as Crop's, at another place at each step."""

    size: Size | None = None
    margin: int = 0

    def __post_init__(self) -> None:
        Crop(self.size, self.margin)

    def sample(self, generator: np.random.Generator) -> Crop:
        down, across = generator.random(2).tolist()
        return Crop(self.size, self.margin, (down, across))


@register(Example({"size": (9, 3)}), Example({"size": (4, 20), "antialias": False}))
@dataclass(frozen=True)
class Resize(Transform):
    """The picture resized to (height, width), bilinearly (resize.py)."""

    size: Size
    antialias: bool = True

    def apply(self, x: Array) -> Array:
        return resize(x, self.size, antialias=self.antialias)

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        return resize_adjoint(dy, (shape[2], shape[3]), antialias=self.antialias)


@register(
    Example({"matrix": ((1.0, 0.0), (0.0, 1.0))}),
    Example({"matrix": ((0.6, -1.1), (0.3, 0.8)), "shift": (0.3, -2.2), "border": 0.0}),
    Example({"matrix": ((0.3, 0.0), (0.1, 2.7))}),
)
@dataclass(frozen=True)
class Affine(Transform):
    """The picture turned, scaled and moved, bilinearly (affine.py); what comes in from outside is grey."""

    matrix: Matrix
    shift: Vector = (0.0, 0.0)
    border: float = GREY

    def apply(self, x: Array) -> Array:
        return affine(x, self.matrix, self.shift, self.border)

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        return affine_adjoint(dy, self.matrix, self.shift)


@register(Example({"low": 0.8, "high": 1.25}), Example({"low": 2.0, "high": 2.0, "border": 0.0}))
@dataclass(frozen=True)
class Scale(Transform):
    """The picture `low` to `high` times as large within its frame, by another factor at each step."""

    low: float
    high: float
    border: float = GREY

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise MinicnnError(f"Scale: {self.low} to {self.high}: expected 0 < low ≤ high")

    def sample(self, generator: np.random.Generator) -> Affine:
        step = 1 / generator.uniform(self.low, self.high)
        return Affine(((step, 0.0), (0.0, step)), border=self.border)


@register(Example({"degrees": 30.0}), Example({"degrees": 180.0, "border": 0.0}), Example({"degrees": 0.0}))
@dataclass(frozen=True)
class Rotate(Transform):
    """The picture turned about its centre by up to ±`degrees`, by another angle at each step."""

    degrees: float
    border: float = GREY

    def __post_init__(self) -> None:
        if self.degrees < 0:
            raise MinicnnError(f"Rotate: {self.degrees} degrees: expected 0 or more")

    def sample(self, generator: np.random.Generator) -> Affine:
        angle = radians(generator.uniform(-self.degrees, self.degrees))
        return Affine(((cos(angle), sin(angle)), (-sin(angle), cos(angle))), border=self.border)


@register(
    Example({"matrix": ((0.3, 0.6, 0.1), (0.5, -0.5, 0.0), (0.2, 0.2, -0.9))}),
    Example({"matrix": ((0.299, 0.587, 0.114),)}),
)
@dataclass(frozen=True)
class Colour(Transform):
    """Each pixel's channels (C) mixed by a matrix (K, C), given as K rows: (N, C, H, W) -> (N, K, H, W)."""

    matrix: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len({len(row) for row in self.matrix}) != 1 or not self.matrix[0]:
            raise MinicnnError(f"{self}: expected rows of one length, a number a channel")

    def apply(self, x: Array) -> Array:
        return _mixed(x, self.matrix)

    def adjoint(self, dy: Array, shape: tuple[int, ...]) -> Array:
        return _mixed(dy, tuple(zip(*self.matrix, strict=True)))


def _mixed(x: Array, rows: tuple[tuple[float, ...], ...]) -> Array:
    n, c, *sides = x.shape
    if len(rows[0]) != c:
        raise MinicnnError(f"Colour: a matrix for {len(rows[0])} channels, pictures of {c}")
    matrix = get_array_module(x).asarray(rows, dtype=x.dtype)
    return (matrix @ x.reshape(n, c, -1)).reshape(n, len(rows), *sides)


def robustness(
    pad: int = 12,
    jitter: tuple[int, int] = (4, 2),
    scale: tuple[float, float] = (0.9, 1.1),
    degrees: float = 10.0,
) -> list[Transform]:
    """What makes pictures robust in Olah, Mordvintsev, Schubert 2017, as its code (lucid) has it, for about 128 pixels.

    A grey border of `pad` pixels; moved by up to `jitter[0]` (lucid crops 8 pixels away at random: a move by up to 4);
    scaled; turned by up to ±`degrees`; moved by up to `jitter[1]`; and the border off again, so that the network sees
    pictures of their own size. Without this last one (`robustness()[:-1]`), for networks that take any size, forms grow
    larger and up to the picture's edges.
    """
    return [Pad(pad), Jitter(jitter[0]), Scale(*scale), Rotate(degrees), Jitter(jitter[1]), Crop(margin=pad)]
