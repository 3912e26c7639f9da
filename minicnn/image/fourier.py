"""A picture as its spectrum (Olah, Mordvintsev, Schubert 2017, "Preconditioning and parameterization").

    planes = irfft2(s·z) / 4        s(f) = 1 / max(f, 1/max(H, W))

z are the variables, one complex number a frequency; f is in cycles a pixel. In natural pictures a frequency is the
weaker, the higher it is; scaled by s, all variables are of one size and none of them is a pixel: a step moves the whole
picture, and what comes out is smooth. The scale and the 4 are those of lucid (optvis/param/spatial.py).

The adjoint. With norm="ortho" and θ = 2π(uy/H + vx/W), irfft2 adds up over the half of the spectrum that is kept

    plane(y, x) = 1/√(HW) · Σ_uv c_v·Re(z_uv·e^iθ)

c_v = 1 in the columns v = 0 and, where W is even, v = W/2, which are their own mirror images; any other column stands
for two, c_v = 2. So the gradient at z, two real numbers each, is c·rfft2(d_plane).
"""

from __future__ import annotations

import numpy as np

from ..kernels.backend import Array, get_array_module
from ..parameter import transfer
from .parametrizations import checked_pictures
from .registry import Example, register
from .squashed import Squashed


@register(
    Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (2, 3, 6, 7))}),
    Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (1, 1, 5, 8)), "sd": 0.1}),
    Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (1, 3, 1, 1))}),
    Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (1, 2, 4, 2))}),
)
class Fourier(Squashed):
    """Pictures (N, C, H, W) of any size by their spectra: `value` is (N, C, 2, H, W // 2 + 1), real and imaginary part.

    For gradient ascent by Adam with a step of 0.05; the same step moves coarse and fine structure alike.
    """

    def __init__(self, image: Array, *, sd: float = 0.0, seed: int = 0) -> None:
        height, width = self.sides = tuple(checked_pictures(image).shape[2:])
        scale, count = spectral_scale(height, width), np.full(width // 2 + 1, 2.0)
        count[[0, -1] if width % 2 == 0 else 0] = 1
        self.scale, self.back = (transfer(factor, like=image) for factor in (scale, count * scale))
        super().__init__(image, sd=sd, seed=seed)

    def synthesis(self, value: Array) -> Array:
        z = self.scale * (value[:, :, 0] + 1j * value[:, :, 1])
        return get_array_module(value).fft.irfft2(z, s=self.sides, norm="ortho")

    def adjoint(self, d_planes: Array) -> Array:
        return _spectrum(d_planes, self.back)

    def analysis(self, planes: Array) -> Array:
        return _spectrum(planes, 1 / self.scale)


def spectral_scale(height: int, width: int) -> np.ndarray:
    """s/4, float64 (H, W // 2 + 1)."""
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    scale: np.ndarray = 0.25 / np.maximum(f, 1 / max(height, width))
    return scale


def _spectrum(planes: Array, factor: Array) -> Array:
    """factor·rfft2(planes): (N, C, H, W) -> (N, C, 2, H, W // 2 + 1)."""
    xp = get_array_module(planes)
    z = factor * xp.fft.rfft2(planes, norm="ortho")
    return xp.stack([xp.real(z), xp.imag(z)], axis=2)
