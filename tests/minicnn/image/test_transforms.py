"""Borders, windows, sizes, turns, colours: what they do by other means than ours, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import Affine, Colour, Crop, Pad, RandomCrop, Resize, Rotate, Scale, resize, robustness


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape or (2, 3, 8, 9))


def draws(transform: Any, times: int = 200) -> list[Any]:
    generator = np.random.default_rng(0)
    return [transform.sample(generator) for _ in range(times)]


def test_a_mirrored_border_and_its_adjoint_are_torchs() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x, dy = torch.tensor(picture(), requires_grad=True), picture(2, 3, 22, 23, seed=1)
    y = torch.nn.functional.pad(x, (7, 7, 7, 7), mode="reflect")
    y.backward(torch.tensor(dy))
    pad = Pad(7, "reflect")
    np.testing.assert_array_equal(pad.apply(x.detach().numpy()), y.detach().numpy())
    np.testing.assert_allclose(pad.adjoint(dy, (2, 3, 8, 9)), x.grad.numpy(), rtol=1e-13)


def test_a_grey_border_is_grey_and_says_nothing_about_the_picture() -> None:
    y = Pad(2).apply(np.zeros((1, 1, 1, 2)))
    np.testing.assert_array_equal(y[0, 0, 2], [0.5, 0.5, 0, 0, 0.5, 0.5])
    assert (y == 0.5).sum() == y.size - 2
    dy = picture(1, 1, 5, 6)
    np.testing.assert_array_equal(Pad(2).adjoint(dy, (1, 1, 1, 2)), dy[..., 2:3, 2:4])


def test_a_window_lies_where_it_is_said_to() -> None:
    x = picture()
    np.testing.assert_array_equal(Crop((4, 3)).apply(x), x[..., 2:6, 3:6])
    np.testing.assert_array_equal(Crop(margin=2).apply(x), x[..., 2:6, 2:7])
    np.testing.assert_array_equal(Crop((8, 2), at=(0.0, 1.0)).apply(x), x[..., 7:])
    np.testing.assert_array_equal(Crop((8, 9)).apply(x), x)


def test_a_random_window_reaches_every_place_and_no_further() -> None:
    x = np.arange(72.0).reshape(1, 1, 8, 9)
    for crop, places in ((RandomCrop((6, 7)), 9), (RandomCrop(margin=1), 9), (RandomCrop((8, 9)), 1)):
        windows = [drawn.apply(x) for drawn in draws(crop)]
        assert len({w[0, 0, 0, 0] for w in windows}) == places
        assert {w.shape[2] - x.shape[2] for w in windows} == {0 if places == 1 else -2}


def test_a_picture_is_resized_by_resize() -> None:
    x = picture()
    np.testing.assert_array_equal(Resize((4, 20)).apply(x), resize(x, (4, 20)))


def test_a_scale_of_two_shows_the_middle_twice_as_large() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x = picture(1, 1, 8, 12)
    y = Scale(2, 2).sample(np.random.default_rng(0)).apply(x)
    expected = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=2, mode="bilinear")[..., 4:12, 6:18]
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-13)


def test_a_turn_is_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is the oracle")
    x, drawn = picture(1, 1, 9, 9), draws(Rotate(90, border=0.0), 1)[0]
    (cosine, sine), _ = drawn.matrix
    degrees = np.degrees(np.arctan2(sine, cosine))
    expected = ndimage.rotate(x[0, 0], degrees, reshape=False, order=1, mode="grid-constant", cval=0)
    np.testing.assert_allclose(drawn.apply(x)[0, 0], expected, atol=1e-12)


def test_factors_and_angles_fill_their_range_and_no_more() -> None:
    factors = [1 / drawn.matrix[0][0] for drawn in draws(Scale(0.9, 1.1))]
    assert 0.9 <= min(factors) < 0.91 and 1.09 < max(factors) <= 1.1
    angles = [np.degrees(np.arctan2(drawn.matrix[0][1], drawn.matrix[0][0])) for drawn in draws(Rotate(10))]
    assert -10 <= min(angles) < -9 and 9 < max(angles) <= 10
    assert all(drawn == Affine(((1.0, 0.0), (0.0, 1.0))) for drawn in draws(Rotate(0), 3))


def test_grey_is_pillows_grey() -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is the oracle")
    x = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    grey = Colour(((0.299, 0.587, 0.114),)).apply(x.transpose(2, 0, 1)[None].astype(float))
    np.testing.assert_allclose(grey[0, 0], np.asarray(image.fromarray(x).convert("L")), atol=0.51)


def test_a_matrix_of_colours_mixes_each_pixel_for_itself() -> None:
    x, matrix = picture(), ((0.0, 1.0, 0.0), (2.0, 0.0, -1.0))
    expected = np.stack([x[:, 1], 2 * x[:, 0] - x[:, 2]], axis=1)
    np.testing.assert_allclose(Colour(matrix).apply(x), expected, rtol=1e-14)


def test_robustness_keeps_the_size_and_moves_the_picture_no_further_than_it_says() -> None:
    x = np.zeros((1, 1, 64, 48))
    x[..., 32, 24] = 10  # brighter than the border, also when it is spread over four pixels
    for seed in range(10):
        generator, y = np.random.default_rng(seed), x
        for transform in robustness(pad=8):
            y = transform.sample(generator).apply(y)
        assert y.shape == x.shape
        where = np.argwhere(y == y.max())[0, 2:]
        assert abs(where - (32, 24)).max() <= 4 * 1.1 * 1.2 + 2 + 1


def test_no_part_of_the_picture_is_out_of_reach_of_the_gradient() -> None:
    shape, total = (1, 1, 64, 48), np.zeros((1, 1, 64, 48))
    generator = np.random.default_rng(0)
    for _ in range(30):
        drawn, shapes, y = [transform.sample(generator) for transform in robustness(pad=8)], [], np.zeros(shape)
        for transform in drawn:
            shapes.append(y.shape)
            y = transform.apply(y)
        dy = np.ones_like(y)
        for transform, before in zip(reversed(drawn), reversed(shapes), strict=True):
            dy = transform.adjoint(dy, before)
        total += dy
    assert total.min() > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pad(-1), "Pad: -1 pixels: expected 0 or more"),
        (lambda: Pad(1, "reflected"), "border 'reflected'; did you mean 'reflect'"),
        (lambda: Pad(8, "reflect").apply(picture()), "cannot mirror 8 pixels of pictures of 8×9"),
        (lambda: Crop((0, 4)), "expected a size of 1 pixel or more"),
        (lambda: Crop((4, 4), margin=1), "or else a margin"),
        (lambda: RandomCrop(margin=-1), "margin of 0 or more"),
        (lambda: Crop((4, 4), at=(0.5, 2)), "expected a place from 0 to 1"),
        (lambda: Crop((4, 10)).apply(picture()), "there is no such window in pictures of 8×9"),
        (lambda: Crop(margin=4).apply(picture()), "there is no such window in pictures of 8×9"),
        (lambda: Resize((0, 4)).apply(picture()), "resize to 0×4"),
        (lambda: Scale(0, 1), "Scale: 0 to 1: expected 0 < low ≤ high"),
        (lambda: Scale(1.2, 1.1), "Scale: 1.2 to 1.1"),
        (lambda: Rotate(-1), "Rotate: -1 degrees: expected 0 or more"),
        (lambda: Colour(((1.0, 2.0), (1.0,))), "expected rows of one length"),
        (lambda: Colour(()), "expected rows of one length"),
        (lambda: Colour(((1.0, 2.0),)).apply(picture()), "a matrix for 2 channels, pictures of 3"),
    ],
)
def test_what_cannot_be_done_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        make()
