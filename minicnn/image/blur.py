"""Gaussian blur of pictures."""

from __future__ import annotations

from math import exp

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module

REACH = 4  # standard deviations, as in scipy.ndimage.gaussian_filter


def gaussian_blur(x: Array, sigma: float) -> Array:
    """x (N, C, H, W) -> the same shape, each channel blurred for itself; sigma in pixels, 0 changes nothing.

    Beyond its edges the picture goes on as its mirror image, the edge pixel twice (d c b a | a b c d | d c b a). With
    this continuation and a symmetric kernel the blur is a symmetric matrix, so it is its own adjoint. Σ pixels is kept.
    Two passes of 2·4σ + 1 taps: O(N·C·H·W·σ).
    """
    if sigma < 0:
        raise MinicnnError(f"blur: sigma {sigma}: expected 0 or more")
    radius = int(REACH * sigma + 0.5)
    if radius == 0:
        return x.copy()
    taps = [exp(-0.5 * (i / sigma) ** 2) for i in range(radius + 1)]
    total = taps[0] + 2 * sum(taps[1:])
    for axis in (2, 3):
        x = _filtered(x, [tap / total for tap in taps], axis)
    return x


def _filtered(x: Array, taps: list[float], axis: int) -> Array:
    """x filtered along one axis with the taps t₀ in the middle and t₁, t₂, … on both sides."""
    xp, radius, side = get_array_module(x), len(taps) - 1, x.shape[axis]
    padded = xp.pad(x, [(radius, radius) if i == axis else (0, 0) for i in range(x.ndim)], mode="symmetric")

    def shifted(by: int) -> Array:
        return padded[(slice(None),) * axis + (slice(radius + by, radius + by + side),)]

    y = taps[0] * x
    for i, tap in enumerate(taps[1:], 1):
        y += tap * (shifted(i) + shifted(-i))
    return y
