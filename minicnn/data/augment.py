"""Random changes of training pictures: of whole batches, float (N, C, H, W) in [0, 1], each picture by its own draw.

Each is called with (images, rng), gives a new array of the same shape and dtype, and changes nothing else: the same
generator state gives the same pictures. Pixels that come from outside the picture are zero unless said otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import MinicnnError, nearest


class Augmentation(Protocol):
    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changed copies of images (N, C, H, W)."""


@dataclass(frozen=True)
class RandomCrop:
    """A window of the picture's own size, anywhere in the picture with `padding` pixels added on each side.

    The border is of zeros, or with `mode="reflect"` mirrored. (Krizhevsky 2012, section 4.1; He et al. 2015, 4.2.)
    """

    padding: int = 4
    mode: str = "zeros"

    def __post_init__(self) -> None:
        _check(isinstance(self.padding, int) and self.padding >= 0, "crop", "padding", self.padding, "0, 1, 2, …")
        _check(self.mode in ("zeros", "reflect"), "crop", "mode", self.mode, "'zeros' or 'reflect'")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, _, height, width = images.shape
        pad = ((0, 0), (0, 0), (self.padding, self.padding), (self.padding, self.padding))
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise MinicnnError(f"crop: cannot mirror {self.padding} pixels of pictures of {height}x{width}")
        padded = np.pad(images, pad, mode="constant" if self.mode == "zeros" else "reflect")
        windows = sliding_window_view(padded, (height, width), axis=(2, 3))  # (N, C, 2·padding+1, 2·padding+1, H, W)
        top, left = rng.integers(0, 2 * self.padding + 1, size=(2, n))
        return windows[np.arange(n), :, top, left]


@dataclass(frozen=True)
class RandomShift:
    """Moves the picture by up to `pixels` whole pixels along each axis; zeros come in."""

    pixels: int = 2

    def __post_init__(self) -> None:
        _check(isinstance(self.pixels, int) and self.pixels >= 0, "shift", "pixels", self.pixels, "0, 1, 2, …")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return RandomCrop(self.pixels)(images, rng)


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors left and right with probability 1/2."""

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flipped = rng.random(len(images)) < 0.5
        y = images.copy()
        y[flipped] = images[flipped, :, :, ::-1]
        return y


@dataclass(frozen=True)
class Cutout:
    """Fills a square of `size` pixels with `fill`; its centre is anywhere, so part of it may lie outside.

    (DeVries and Taylor 2017, section 3.2, where fill 0 is the mean colour: they normalize first. Here 0 is black.)
    """

    size: int = 8
    fill: float = 0.0

    def __post_init__(self) -> None:
        _check(isinstance(self.size, int) and self.size >= 1, "cutout", "size", self.size, "1, 2, 3, …")
        _check(_is_number(self.fill) and 0 <= self.fill <= 1, "cutout", "fill", self.fill, "a number from 0 to 1")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, _, height, width = images.shape
        rows = self._covered(rng.integers(0, height, size=n), height)  # (N, H)
        columns = self._covered(rng.integers(0, width, size=n), width)  # (N, W)
        square = rows[:, None, :, None] & columns[:, None, None, :]  # (N, 1, H, W)
        return np.where(square, images.dtype.type(self.fill), images)

    def _covered(self, centre: Any, length: int) -> np.ndarray:
        """Which of `length` pixels the squares around the centres (N,) cover: bool (N, length)."""
        begin = centre[:, None] - self.size // 2
        at = np.arange(length)
        covered: np.ndarray = (at >= begin) & (at < begin + self.size)
        return covered


@dataclass(frozen=True)
class RandomAffine:
    """Turns, moves, scales and shears each picture about its centre, with bilinear interpolation; zeros come in.

    Drawn uniformly: the angle within ±`degrees`, the movement within ±`translate` pixels along each axis, the factor
    of size from 1 - `scale` to 1 + `scale`, the angle of the horizontal shear within ±`shear` degrees. (For
    handwriting: LeCun et al. 1998, section III-C.) About 4·N·C·H·W reads; its memory is some 8 N·C·H·W values.
    """

    degrees: float = 10.0
    translate: float = 2.0
    scale: float = 0.1
    shear: float = 10.0

    def __post_init__(self) -> None:
        for name, limit in (("degrees", 180), ("translate", None), ("scale", 1), ("shear", 90)):
            value = getattr(self, name)
            good = _is_number(value) and value >= 0 and (limit is None or value < limit or name == "degrees")
            _check(good, "affine", name, value, "a number >= 0" + (f" and below {limit}" if limit else ""))

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, channels, height, width = images.shape
        rows, columns = self._sources(n, height, width, rng)  # (N, H·W) each
        top, left = np.floor(rows), np.floor(columns)
        down, right = (rows - top).astype(images.dtype), (columns - left).astype(images.dtype)
        # A border of two zeros takes all that lies outside: indices beyond it are clipped to it.
        padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2))).reshape(n, channels, -1)
        pitch = width + 4
        first = (np.clip(top, -2, height).astype(np.int64) + 2) * pitch + np.clip(left, -2, width).astype(np.int64) + 2

        def at(offset: int) -> np.ndarray:
            return np.take_along_axis(padded, (first + offset)[:, None], axis=2)  # (N, C, H·W)

        down, right = down[:, None], right[:, None]
        upper = at(0) * (1 - right) + at(1) * right
        lower = at(pitch) * (1 - right) + at(pitch + 1) * right
        y: np.ndarray = upper * (1 - down) + lower * down
        return y.reshape(images.shape)

    def _sources(self, n: int, height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel of the result comes from: rows and columns, float64 (N, H·W)."""
        draw = rng.uniform(-1, 1, size=(5, n, 1))
        angle, shear = np.radians(self.degrees) * draw[0], np.tan(np.radians(self.shear) * draw[1])
        factor, (dy, dx) = 1 + self.scale * draw[2], self.translate * draw[3:]
        y, x = np.indices((height, width)).reshape(2, 1, -1)
        y, x = y - (height - 1) / 2 - dy, x - (width - 1) / 2 - dx
        cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
        y, x = cos * y - sin * x, sin * y + cos * x  # turned back and scaled back
        return y + (height - 1) / 2, x - shear * y + (width - 1) / 2


@dataclass(frozen=True)
class Compose:
    """One after the other."""

    steps: tuple[Augmentation, ...]

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for step in self.steps:
            images = step(images, rng)
        return images


AUGMENTATIONS: dict[str, type[Any]] = {
    "crop": RandomCrop,
    "flip": HorizontalFlip,
    "shift": RandomShift,
    "cutout": Cutout,
    "affine": RandomAffine,
}


def from_config(steps: Iterable[Mapping[str, Any]]) -> Compose:
    """The augmentations that a recipe names: [{"name": "crop", "padding": 4}, {"name": "flip"}].

    Raises MinicnnError for an unknown name or setting, with the nearest right one, and for a bad value.
    """
    return Compose(tuple(_step(settings) for settings in steps))


def _step(given: Mapping[str, Any]) -> Augmentation:
    if not isinstance(given, Mapping):
        raise MinicnnError(f"augmentation {given!r}: expected a table, such as {{name = 'flip'}}")
    settings = dict(given)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise MinicnnError(f"augmentation {name!r} is unknown{nearest(str(name), AUGMENTATIONS)}")
    kind = AUGMENTATIONS[name]
    known = [field.name for field in dataclasses.fields(kind)]
    for setting in settings:
        if setting not in known:
            raise MinicnnError(f"augmentation {name!r} has no setting {setting!r}{nearest(setting, known)}")
    step: Augmentation = kind(**settings)
    return step


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check(good: bool, name: str, setting: str, value: object, expected: str) -> None:
    if not good:
        raise MinicnnError(f"augmentation {name!r}: {setting} is {value!r}, expected {expected}")
