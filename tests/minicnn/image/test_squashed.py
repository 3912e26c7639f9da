"""Fourier spectra and pyramids: torch's, and any picture as a start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import Fourier, Parametrization, Pyramid, resize
from minicnn.image.squashed import BLACK, CORRELATION, Squashed

SHAPES = [(2, 3, 6, 7), (2, 3, 7, 6), (1, 1, 1, 1), (1, 1, 2, 2), (1, 4, 1, 9), (3, 2, 8, 1)]

kinds = pytest.mark.parametrize("kind", [Fourier, Pyramid])
shapes = pytest.mark.parametrize("shape", SHAPES)


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape or (2, 3, 8, 9))


@kinds
@shapes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_picture_can_be_the_start(kind: Any, shape: tuple[int, ...], dtype: Any) -> None:
    x = 0.01 + 0.98 * picture(*shape).astype(dtype)
    made = kind(x)
    assert made.image().dtype == made.value.dtype == dtype
    np.testing.assert_allclose(made.image(), x, rtol=1e-5 if dtype == np.float32 else 1e-12)


@kinds
def test_black_and_white_are_so_for_a_screen(kind: Any) -> None:
    x = np.array([0.0, 1.0, 0.3, 1.0], np.float32).reshape(1, 1, 2, 2)
    made = kind(x)
    assert np.isfinite(made.value).all()
    assert abs(made.image() - x).max() <= BLACK * (1 + 1e-4)


@kinds
@shapes
def test_the_pullback_is_torchs_gradient(kind: Any, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    made, d_image = kind(picture(*shape), sd=0.1), picture(*shape, seed=1)
    value = torch.tensor(made.value, requires_grad=True)
    planes = torch_planes(torch, made, value, shape)
    if shape[1] == 3:
        planes = torch.einsum("kc,nchw->nkhw", torch.tensor(CORRELATION), planes)
    image = torch.sigmoid(planes)
    image.backward(torch.tensor(d_image))
    np.testing.assert_allclose(made.image(), image.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(made.pullback(d_image), value.grad.numpy(), atol=1e-13)


def torch_planes(torch: Any, made: Squashed, value: Any, shape: tuple[int, ...]) -> Any:
    n, channels, height, width = shape
    if isinstance(made, Fourier):  # as lucid writes it down
        f = np.hypot(np.fft.fftfreq(height)[:, None], abs(np.fft.fftfreq(width)[: width // 2 + 1]))
        scale = np.sqrt(height * width) / np.maximum(f, 1 / max(width, height)) / 4
        return torch.fft.irfft2(torch.tensor(scale) * torch.complex(value[:, :, 0], value[:, :, 1]), s=(height, width))
    planes, end = None, value.shape[1]
    for level in reversed(range(4)):
        h, w = -(-height // 2**level), -(-width // 2**level)
        here = value[:, end - channels * h * w : end].reshape(n, channels, h, w)
        end -= channels * h * w
        if planes is not None:
            here = here + torch.nn.functional.interpolate(planes, size=(h, w), mode="bilinear")
        planes = here
    return planes


def test_the_colours_are_those_of_natural_pictures() -> None:
    columns = np.array([(0.26, 0.27, 0.27), (0.09, 0.0, -0.09), (0.02, -0.05, 0.03)])
    for plane, expected in enumerate(columns):
        made = Fourier(np.full((1, 3, 4, 4), 0.5))
        made.value[0, :, 0, 0, 0] = np.eye(3)[plane]
        logits = np.log(made.image() / (1 - made.image()))[0, :, 0, 0]
        np.testing.assert_allclose(logits / np.linalg.norm(logits), expected / np.linalg.norm(expected), rtol=1e-9)


def test_every_frequency_starts_with_its_share_of_a_natural_spectrum() -> None:
    made = Fourier(np.full((1, 1, 64, 64), 0.5), sd=0.01)
    assert made.value.std() == pytest.approx(0.01, rel=0.05)
    power = abs(np.fft.fft2(np.log(made.image() / (1 - made.image()))[0, 0])) ** 2
    f = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))
    low, high = (power[(f > a) & (f < b)].mean() for a, b in ((0.05, 0.1), (0.4, 0.45)))
    assert low / high == pytest.approx((0.425 / 0.075) ** 2, rel=0.5)


@kinds
def test_noise_is_drawn_by_the_seed_for_each_picture(kind: Any) -> None:
    grey = np.full((2, 3, 6, 5), 0.5, np.float32)
    a, b, other = (kind(grey, sd=0.01, seed=seed).value for seed in (4, 4, 5))
    assert a.tobytes() == b.tobytes() != other.tobytes()
    assert (a[0] != a[1]).all()
    np.testing.assert_array_equal(kind(grey[:1], sd=0.01, seed=4).value[0], a[0])
    np.testing.assert_allclose(kind(grey).value, 0, atol=1e-15)


def test_a_pyramid_holds_the_picture_once_more_coarsely_at_each_level() -> None:
    made = Pyramid(picture(1, 1, 9, 16), levels=3)
    assert made.shapes == [(1, 9, 16), (1, 5, 8), (1, 3, 4)]
    assert made.value.shape == (1, 9 * 16 + 5 * 8 + 3 * 4)
    logits = np.log(made.image() / (1 - made.image()))
    np.testing.assert_allclose(made.value[:, -12:].reshape(1, 1, 3, 4), resize(resize(logits, (5, 8)), (3, 4)))


@kinds
def test_what_is_no_batch_of_pictures_is_refused(kind: Any) -> None:
    for wrong in (np.zeros((3, 4, 4)), np.zeros((1, 3, 4, 4), np.uint8)):
        with pytest.raises(MinicnnError, match=r"expected pictures \(N, C, H, W\) of floats, got"):
            kind(wrong)


def test_a_pyramid_of_no_level_is_refused() -> None:
    with pytest.raises(MinicnnError, match="Pyramid: 0 levels: expected 1 or more"):
        Pyramid(picture(), 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda made: made.synthesis(made.value),
        lambda made: made.adjoint(made.value),
        lambda made: Squashed(picture()),
    ],
)
def test_a_new_one_without_its_methods_says_so(call: Callable[[Any], Any]) -> None:
    class New(Squashed):
        def analysis(self, planes: Any) -> Any:
            return planes

    made: Parametrization = New(picture())
    with pytest.raises(TypeError, match="does not say"):
        call(made)
