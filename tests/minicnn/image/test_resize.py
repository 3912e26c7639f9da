"""Resizing: torch's and Pillow's, and that nothing is computed by a part of the picture alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import resize, resize_adjoint

from ...devices import DEVICES, device

SIZES = [(8, 9), (16, 27), (3, 2), (1, 1), (11, 4), (5, 40), (7, 9)]  # from 8×9
antialiases = pytest.mark.parametrize("antialias", [False, True])


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape or (2, 3, 8, 9))


@antialiases
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resizing_is_torchs(size: tuple[int, int], antialias: bool, dtype: Any) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x = picture().astype(dtype)
    expected = torch.nn.functional.interpolate(torch.tensor(x), size=size, mode="bilinear", antialias=antialias)
    y = resize(x, size, antialias=antialias)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-5 if dtype == np.float32 else 1e-13)


@antialiases
@pytest.mark.parametrize("size", SIZES)
def test_its_adjoint_is_torchs_gradient(size: tuple[int, int], antialias: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x, dy = torch.tensor(picture(), requires_grad=True), picture(2, 3, *size, seed=1)
    torch.nn.functional.interpolate(x, size=size, mode="bilinear", antialias=antialias).backward(torch.tensor(dy))
    np.testing.assert_allclose(resize_adjoint(dy, (8, 9), antialias=antialias), x.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("size", [(64, 48), (20, 30), (100, 9)])
def test_shrinking_is_pillows_bilinear(size: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is the oracle")
    x = picture(64, 48).astype(np.float32)
    expected = image.fromarray(x).resize(size[::-1], image.Resampling.BILINEAR)
    np.testing.assert_allclose(resize(x[None, None], size)[0, 0], np.asarray(expected), atol=1e-6)


@antialiases
@pytest.mark.parametrize(("before", "after"), [((1, 1), (3, 4)), ((1, 5), (2, 1)), ((6, 1), (1, 1)), ((2, 2), (1, 7))])
def test_a_side_of_one_pixel_is_a_side(before: tuple[int, int], after: tuple[int, int], antialias: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x = picture(1, 2, *before)
    expected = torch.nn.functional.interpolate(torch.tensor(x), size=after, mode="bilinear", antialias=antialias)
    np.testing.assert_allclose(resize(x, after, antialias=antialias), expected.numpy(), rtol=1e-13)


def test_antialiasing_changes_nothing_where_nothing_shrinks() -> None:
    x = picture()
    np.testing.assert_array_equal(resize(x, (12, 9)), resize(x, (12, 9), antialias=False))


@pytest.mark.parametrize("size", SIZES)
def test_one_colour_stays_one_colour(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(resize(np.full((1, 1, 8, 9), 0.3), size), 0.3, rtol=1e-14)


def test_its_own_size_gives_a_copy() -> None:
    x = picture()
    y = resize(x, (8, 9))
    assert y is not x and not np.may_share_memory(x, y)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", DEVICES)
def test_what_a_device_has_once_it_is_not_sent_again(name: str) -> None:
    on = device(name)
    x = on.upload(picture(1, 1, 13, 17))
    y = resize(x, (31, 19))
    counters = getattr(on.xp, "counters", None)
    if counters:
        counters.reset()
        np.testing.assert_array_equal(on.download(resize(x, (31, 19))), on.download(y))
        assert counters.uploads == 0
    np.testing.assert_allclose(on.download(y), resize(picture(1, 1, 13, 17), (31, 19)), rtol=1e-12)


def test_no_size_is_refused() -> None:
    for call in (resize, resize_adjoint):
        with pytest.raises(MinicnnError, match="resize to 0×4: expected 1 pixel or more"):
            call(picture(), (0, 4))
