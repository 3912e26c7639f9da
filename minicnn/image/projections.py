"""What is done to the variables after a step: bounds that they must keep, and the regularizers of Yosinski et al.

Yosinski, Clune, Nguyen, Fuchs, Lipson 2015, section 3: decay, Gaussian blur, and pixels of small norm or small
contribution set to zero. These are left out after the last step, so that the picture which one sees is one that the
objective made. "Zero" is `center`: the colour that the network subtracts, or black.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import MinicnnError, nearest
from ..kernels.backend import Array, get_array_module
from .blur import gaussian_blur
from .objectives import per_channel
from .registry import Example, register


@dataclass(frozen=True)
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
