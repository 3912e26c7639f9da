"""One picture in the colours of another, RGB (N, 3, H, W) in [0, 1].

Gatys, Bethge, Hertzmann, Shechtman 2016, "Preserving color in neural artistic style transfer":

    luminance  Y = 0.299·R + 0.587·G + 0.114·B. Grey is (Y, Y, Y), and a picture is its grey and the colours beside it:
               another luminance Y′ makes of it x + (Y′ − Y).
    matching   x′ = T·(x − μ) + μ′ with T = Σ′^(1/2)·Σ^(−1/2): mean and covariance of the colours become those of the
               other picture.
"""

from __future__ import annotations

import numpy as np

from minicnn.kernels.backend import Array, get_array_module
from minicnn.parameter import to_host, transfer

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SMALLEST = 1e-5  # variance that a direction of colours is taken to have at least: in a grey picture two have none


def luminance(x: Array) -> Array:
    """(N, 3, H, W) -> (N, 1, H, W)."""
    return sum(weight * x[:, i : i + 1] for i, weight in enumerate(LUMA))


def grey(x: Array) -> Array:
    """The luminance three times: (N, 3, H, W)."""
    y = luminance(x)
    return get_array_module(x).concatenate([y, y, y], axis=1)


def with_luminance(x: Array, y: Array) -> Array:
    """The colours of x (N, 3, H, W) with the luminance y (N, 1, H, W), clipped to [0, 1]."""
    return get_array_module(x).clip(x + (y - luminance(x)), 0, 1)


def matched_luminance(x: Array, like: Array) -> Array:
    """Grey x with the mean and the standard deviation of grey `like`, not clipped."""
    return (x - x.mean()) * (like.std() / (x.std() + SMALLEST)) + like.mean()


def matched_colours(x: Array, like: Array) -> Array:
    """x (1, 3, H, W) with the mean and the covariance of the colours of `like`, clipped to [0, 1]."""
    (mean, covariance), (wanted, spread) = (statistics(picture) for picture in (x, like))
    turn = power(spread, 0.5) @ power(covariance, -0.5)  # (3, 3)
    xp, shift = get_array_module(x), wanted - turn @ mean
    turn, shift = transfer(turn, like=x), transfer(shift[:, None], like=x)
    return xp.clip((turn @ x[0].reshape(3, -1) + shift).reshape(x.shape), 0, 1)


def matched_histograms(x: Array, like: Array) -> Array:
    """x (1, C, H, W) with the values of `like` in each channel, in the order of its own."""
    pixels, other = (to_host(picture)[0].reshape(x.shape[1], -1) for picture in (x, like))
    ranks = pixels.argsort(axis=1, kind="stable").argsort(axis=1)
    share, count = other.shape[1] / pixels.shape[1], np.arange(other.shape[1])
    places = (ranks + 0.5) * share - 0.5
    matched = [np.interp(place, count, np.sort(values)) for place, values in zip(places, other, strict=True)]
    return transfer(np.stack(matched).reshape(x.shape), like=x)


def statistics(x: Array) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and covariance (3, 3) of the colours of (1, 3, H, W), on the host."""
    pixels = to_host(x)[0].reshape(3, -1).astype(np.float64)
    return pixels.mean(axis=1), np.cov(pixels, bias=True)


def power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric matrix."""
    values, vectors = np.linalg.eigh(covariance)
    raised: np.ndarray = (vectors * np.maximum(values, SMALLEST) ** exponent) @ vectors.T
    return raised
