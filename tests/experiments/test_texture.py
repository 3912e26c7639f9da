"""Textures: their statistics become the sample's, at any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.colours import matched_histograms
from minicnn.experiments.texture import DEFAULTS, shuffled, texture, wanted_size
from minicnn.image import Interrupted, gram
from minicnn.network import Network

Run = Callable[..., Any]
QUICK = replace(DEFAULTS, iterations=8, scales=1.0)


def stripes(height: int = 24, width: int = 20) -> np.ndarray:
    """Red and blue waves, (1, 3, H, W)."""
    wave = np.sin(np.arange(height) * (2 * np.pi / 6))[:, None] * np.ones(width)
    return np.stack([0.5 + 0.4 * wave, np.full_like(wave, 0.2), 0.5 - 0.4 * wave])[None].astype(np.float32)


def off(net: Network, image: np.ndarray, sample: np.ndarray) -> float:
    """How far the Gram matrices of a layer are from the sample's, of their size."""
    mine, other = (gram(net.activations(x, ["relu1"])["relu1"]) for x in (image, sample))
    return float(np.linalg.norm(mine - other) / np.linalg.norm(other))


def test_a_texture_gets_the_statistics_of_its_sample_at_another_size(small: Network) -> None:
    sample = stripes()
    image = texture(small, sample, (18, 30), replace(QUICK, iterations=40)).image
    assert image.shape == (1, 3, 18, 30) and image.dtype == np.float32
    assert off(small, image, sample) < 0.5 * off(small, shuffled(sample, (18, 30), 0), sample)


def test_the_noise_is_made_of_pixels_of_the_sample() -> None:
    sample = stripes()
    noise = shuffled(sample, (7, 9), 3)
    assert noise.shape == (1, 3, 7, 9)
    assert {tuple(p) for p in noise[0].reshape(3, -1).T} <= {tuple(p) for p in sample[0].reshape(3, -1).T}


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(small: Network) -> None:
    a, b, c = (texture(small, stripes(), settings=QUICK, seed=seed).image.tobytes() for seed in (1, 1, 2))
    assert a == b != c


def test_the_histograms_become_those_of_the_other_picture_and_the_order_stays() -> None:
    generator = np.random.default_rng(0)
    x, like = generator.random((1, 3, 10, 12), np.float32), generator.random((1, 3, 10, 12), np.float32) ** 3
    matched = matched_histograms(x, like=like)
    for c in range(3):
        np.testing.assert_array_equal(np.sort(matched[0, c].ravel()), np.sort(like[0, c].ravel()))
        np.testing.assert_array_equal(np.argsort(matched[0, c].ravel()), np.argsort(x[0, c].ravel()))


def test_histograms_of_another_size_are_stretched() -> None:
    x, like = np.arange(4.0).reshape(1, 1, 2, 2), np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(matched_histograms(x, like=like).ravel(), [0, 0.25, 0.75, 1])


def test_an_interrupted_texture_is_kept(small: Network) -> None:
    def stop(step: Any) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        texture(small, stripes(), settings=QUICK, callbacks=[stop])
    assert caught.value.result.steps == 3 and caught.value.result.image.shape == (1, 3, 24, 20)


@pytest.mark.parametrize(
    ("text", "size"), [(None, (24, 20)), ("48", (48, 40)), ("30x10", (10, 30)), ("30×10", (10, 30)), ("1", (1, 1))]
)
def test_a_size_is_the_long_side_or_width_and_height(text: str | None, size: tuple[int, int]) -> None:
    assert wanted_size(text, stripes()) == size


@pytest.mark.parametrize("text", ["0", "-3", "a", "3x", "1x2x3", "3x0"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(MinicnnError, match="expected pixels of the long side, or WIDTHxHEIGHT"):
        wanted_size(text, stripes())


def test_covariances_are_compared_where_that_is_asked_for(small: Network) -> None:
    plain, centred = (texture(small, stripes(), settings=replace(QUICK, centred=on)).image for on in (False, True))
    assert not np.array_equal(plain, centred)
