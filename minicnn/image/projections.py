"""What is done to the variables after a step: bounds that they must keep, and the regularizers of Yosinski et al.

Yosinski, Clune, Nguyen, Fuchs, Lipson 2015, section 3: decay, Gaussian blur, and pixels of small norm or small
contribution set to zero. These are left out after the last step, so that the picture which one sees is one that the
objective made. "Zero" is `center`: the colour that the network subtracts, or black.

A projection is given the variables, whatever they are. All of these mean pixels: they belong to `Pixels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import MinicnnError, nearest
from ..kernels.backend import Array, get_array_module
from ..parameter import transfer
from .blur import gaussian_blur
from .objectives import per_channel
from .registry import Example, register


@dataclass(frozen=True, eq=False)  # so that those that hold arrays can be told apart as objects
class Projection:
    """Base of all projections: after which steps it is done, and what."""

    every: int = field(default=1, kw_only=True)  # after each `every`-th step
    last: bool = field(default=True, kw_only=True)  # also after the last one

    def __post_init__(self) -> None:
        if self.every < 1:
            raise MinicnnError(f"{type(self).__name__}: every {self.every} steps: expected 1 or more")

    def due(self, step: int, steps: int) -> bool:
        """Whether it is done after step `step` of 1 … `steps`."""
        return step % self.every == 0 and (self.last or step < steps)

    def project(self, value: Array, gradient: Array) -> Array:
        """value (N, C, H, W) and the gradient that it was moved by -> the new value, a new array."""
        raise TypeError(f"{type(self).__name__} does not say what it does")


@register(Example({}), Example({"low": -0.5, "high": 0.25}))
@dataclass(frozen=True)
class ValidPixels(Projection):
    """Every value clipped to what a picture can show."""

    low: float = 0.0
    high: float = 1.0

    def project(self, value: Array, gradient: Array) -> Array:
        return get_array_module(value).clip(value, self.low, self.high)


@register(Example({"sigma": 0.5, "every": 4}), Example({"sigma": 1.0}))
@dataclass(frozen=True)
class GaussianBlur(Projection):
    """A Gaussian blur of each channel, sigma in pixels: high frequencies, which networks like too much, fade."""

    sigma: float
    last: bool = field(default=False, kw_only=True)

    def project(self, value: Array, gradient: Array) -> Array:
        return gaussian_blur(value, self.sigma)


@register(Example({"rate": 0.1}), Example({"rate": 0.01, "center": (0.4, 0.5, 0.6)}))
@dataclass(frozen=True)
class Decay(Projection):
    """Every value moved towards `center` by the share `rate`: what is of no use fades."""

    rate: float
    center: float | tuple[float, ...] = 0.0
    last: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rate <= 1:
            raise MinicnnError(f"Decay: rate {self.rate}: expected 0 to 1")

    def project(self, value: Array, gradient: Array) -> Array:
        center = per_channel(self.center, value)
        return center + (1 - self.rate) * (value - center)


MEASURES = ("value", "norm", "benefit", "abs_benefit")


@register(
    *(Example({"percentile": 40.0, "measure": measure}) for measure in MEASURES),
    Example({"percentile": 70.0, "center": (0.4, 0.5, 0.6)}),
)
@dataclass(frozen=True)
class ClipSmall(Projection):
    """The smallest `percentile` per cent of the pixels of each picture set to `center`, by one of four measures.

    With v = value − center and g the gradient: "value" |v| of each colour for itself; "norm" ‖v‖ over the colours;
    "benefit" Σ_c g·(−v), what the objective would gain if the pixel were zero; "abs_benefit" its magnitude.
    """

    percentile: float
    measure: str = "norm"
    center: float | tuple[float, ...] = 0.0
    last: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.percentile <= 100:
            raise MinicnnError(f"ClipSmall: percentile {self.percentile}: expected 0 to 100")
        if self.measure not in MEASURES:
            raise MinicnnError(f"ClipSmall: measure {self.measure!r}{nearest(self.measure, MEASURES)}")

    def project(self, value: Array, gradient: Array) -> Array:
        xp, center = get_array_module(value), per_channel(self.center, value)
        size = self._measured(value - center, gradient)
        axes = tuple(range(1, size.ndim))
        return xp.where(size < xp.percentile(size, self.percentile, axis=axes, keepdims=True), center, value)

    def _measured(self, v: Array, g: Array) -> Array:
        """(N, C, H, W), or (N, 1, H, W) for a measure of whole pixels."""
        if self.measure == "value":
            return abs(v)
        if self.measure == "norm":
            return (v * v).sum(axis=1, keepdims=True)  # the square has the same order
        benefit = (g * -v).sum(axis=1, keepdims=True)
        return abs(benefit) if self.measure == "abs_benefit" else benefit


NORMS = ("l2", "linf")


@register(*(Example({"center": np.full((1, 3, 6, 7), 0.5), "radius": 0.4, "norm": norm}) for norm in NORMS))
@dataclass(frozen=True, eq=False)
class Ball(Projection):
    """Each picture no further than `radius` from `center`, its nearest point there if it was (Madry et al. 2018).

    center: pictures (N, C, H, W), or one (1, C, H, W) for all. norm: "l2", ‖value − center‖ over all pixels and colours
    of a picture, or "linf", the largest difference.
    """

    center: Array = field(repr=False)
    radius: float
    norm: str = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius < 0:
            raise MinicnnError(f"Ball: radius {self.radius}: expected 0 or more")
        if self.norm not in NORMS:
            raise MinicnnError(f"Ball: norm {self.norm!r}{nearest(self.norm, NORMS)}")

    def project(self, value: Array, gradient: Array) -> Array:
        xp, center = get_array_module(value), _fitted(self.center, value, "Ball: a center")
        if self.norm == "linf":
            return xp.clip(value, center - self.radius, center + self.radius)
        away = value - center
        distance = xp.sqrt((away * away).sum(axis=(1, 2, 3), keepdims=True))
        outside = distance > self.radius
        return xp.where(outside, center + away * (self.radius / xp.where(outside, distance, 1)), value)


@register(Example({"mask": np.eye(6, 7)[None, None], "original": np.full((1, 3, 6, 7), 0.5)}))
@dataclass(frozen=True, eq=False)
class Masked(Projection):
    """Where `mask` is 0 the pixels stay those of `original`; elsewhere they are free.

    mask and original: (N, C, H, W), or 1 in place of N or C where it is one for all.
    """

    mask: Array = field(repr=False)
    original: Array = field(repr=False)

    def project(self, value: Array, gradient: Array) -> Array:
        mask = _fitted(self.mask, value, "Masked: a mask")
        original = _fitted(self.original, value, "Masked: an original")
        return get_array_module(value).where(mask != 0, value, original)


def _fitted(a: Array, value: Array, what: str) -> Array:
    """`a` where `value` is, in its precision. Raises MinicnnError when it does not fit these pictures."""
    if a.ndim != value.ndim or not all(side in (1, whole) for side, whole in zip(a.shape, value.shape, strict=True)):
        raise MinicnnError(f"{what} {tuple(a.shape)} for pictures {tuple(value.shape)}")
    return transfer(a, like=value)
