from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from minicnn.data import Compose, Cutout, HorizontalFlip, RandomAffine, RandomCrop, RandomShift, from_config
from minicnn.errors import MinicnnError

ALL = [
    RandomCrop(3),
    RandomCrop(3, "reflect"),
    RandomShift(2),
    HorizontalFlip(),
    Cutout(4),
    Cutout(5, 0.5),
    RandomAffine(),
    Compose((RandomCrop(2), HorizontalFlip(), Cutout(3))),
]


def pictures(n=64, c=3, h=9, w=12, dtype=np.float32):
    return np.random.default_rng(1).random((n, c, h, w)).astype(dtype)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("augment", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_dtype_range_and_input_are_kept_and_draws_repeat(augment, dtype):
    x = pictures(dtype=dtype)
    before = x.copy()
    y = augment(x, rng())
    assert y.shape == x.shape and y.dtype == dtype and np.array_equal(x, before)
    assert not np.shares_memory(x, y)
    assert y.min() >= 0 and y.max() <= 1
    assert np.array_equal(augment(x, rng()), y)
    assert not np.array_equal(augment(x, rng(1)), y)
    assert len({image.tobytes() for image in y}) == len(y)


@pytest.mark.parametrize("augment", ALL, ids=repr)
def test_each_picture_has_a_draw_of_its_own_and_its_channels_share_it(augment):
    x = np.repeat(np.repeat(pictures(1, 1), 40, axis=0), 3, axis=1)
    y = augment(x, rng())
    assert np.array_equal(y[:, 0], y[:, 1]) and np.array_equal(y[:, 0], y[:, 2])
    assert len({image.tobytes() for image in y}) > 1


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_every_crop_is_a_window_of_the_padded_picture_and_all_windows_come(mode):
    x = pictures(n=500, c=2)
    border = ((0, 0), (0, 0), (2, 2), (2, 2))
    padded = np.pad(x, border) if mode == "zeros" else np.pad(x, border, mode="reflect")
    seen = set()
    for image, wide in zip(RandomCrop(2, mode)(x, rng()), padded, strict=True):
        places = [(i, j) for i in range(5) for j in range(5) if np.array_equal(wide[:, i : i + 9, j : j + 12], image)]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 25


def test_a_shift_brings_in_zeros():
    x = np.ones((300, 1, 6, 6), np.float32)
    y = RandomShift(2)(x, rng())
    rows, columns = y[:, 0].max(2).sum(1), y[:, 0].max(1).sum(1)
    assert set(rows) == set(columns) == {4, 5, 6}
    assert np.array_equal(y.sum((1, 2, 3)), rows * columns)
    assert np.array_equal(RandomShift(0)(x, rng()), x)


def test_about_half_are_mirrored_left_to_right():
    x = pictures(n=400)
    y = HorizontalFlip()(x, rng())
    same = (y == x).all((1, 2, 3))
    mirrored = (y == x[..., ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 150 < same.sum() < 250


def test_a_cutout_is_one_square_that_may_leave_the_picture():
    x = np.full((500, 2, 9, 12), 0.25, np.float32)
    cut = Cutout(4, fill=1.0)(x, rng()) == 1
    assert np.array_equal(cut[:, 0], cut[:, 1])
    rows, columns = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert np.array_equal(cut[:, 0].sum((1, 2)), rows * columns)
    assert set(rows) == set(columns) == {2, 3, 4}
    assert cut[:, 0, 0].any() and cut[:, 0, -1].any() and cut[:, 0, :, 0].any() and cut[:, 0, :, -1].any()


# RandomAffine


@pytest.mark.parametrize("size", [(9, 12), (12, 9), (8, 8)])
def test_bilinear_interpolation_is_scipys(size):
    augment = RandomAffine(degrees=40, translate=3, scale=0.3, shear=20)
    height, width = size
    x = pictures(20, 2, height, width, np.float64)
    y = augment(x, rng(4))
    rows, columns = augment._sources(20, height, width, rng(4))
    for image, result, row, column in zip(x, y, rows, columns, strict=True):
        for channel, got in zip(image, result, strict=True):
            padded = np.pad(channel, 20)  # SciPy's own border is not a border of zeros that are interpolated with
            expected = ndimage.map_coordinates(padded, (row + 20, column + 20), order=1)
            assert np.abs(expected.reshape(size) - got).max() < 1e-12


def test_without_amplitudes_it_is_the_identity():
    x = pictures()
    assert np.array_equal(RandomAffine(0, 0, 0, 0)(x, rng()), x)


def blob(n=200):
    """A spot right of and above the centre, in pictures of 33x33."""
    y, x = np.mgrid[:33, :33]
    return np.repeat(np.exp(-((y - 10) ** 2 + (x - 24) ** 2) / 4)[None, None], n, axis=0)


def centres(images):
    """Of the weight of each picture, from its middle: x to the right, y downwards."""
    grid = np.arange(33) - 16
    total = images.sum((1, 2, 3))
    return images.sum((1, 2)) @ grid / total, images.sum((1, 3)) @ grid / total


def test_the_degrees_turn_about_the_centre_both_ways():
    x, y = centres(RandomAffine(30, 0, 0, 0)(blob(), rng()))
    assert np.allclose(np.hypot(x, y), 10, atol=0.05)
    turned = np.degrees(np.arctan2(y, x) - np.arctan2(-6, 8))
    assert -30 <= turned.min() < -27 and 27 < turned.max() <= 30


def test_the_translation_is_in_pixels():
    x, y = centres(RandomAffine(0, 3, 0, 0)(blob(), rng()))
    for moved in (x - 8, y + 6):
        assert -3.01 <= moved.min() < -2.8 and 2.8 < moved.max() <= 3.01


def test_the_scale_is_a_factor_of_size():
    x, y = centres(RandomAffine(0, 0, 0.2, 0)(blob(), rng()))
    for factor in (x / 8, y / -6):
        assert 0.79 <= factor.min() < 0.82 and 1.18 < factor.max() <= 1.21


def test_the_shear_slants_verticals_and_keeps_rows():
    x, y = centres(RandomAffine(0, 0, 0, 20)(blob(), rng()))
    assert np.allclose(y, -6, atol=0.02)
    slant = np.degrees(np.arctan((x - 8) / -6))
    assert -20.2 <= slant.min() < -18 and 18 < slant.max() <= 20.2


# Recipes


def test_a_recipe_names_them():
    steps: list[dict[str, Any]] = [
        {"name": "crop", "padding": 3, "mode": "reflect"},
        {"name": "flip"},
        {"name": "cutout", "size": 6},
    ]
    assert from_config(steps) == Compose((RandomCrop(3, "reflect"), HorizontalFlip(), Cutout(6)))
    assert steps[0]["name"] == "crop"
    more = [{"name": "shift", "pixels": 1}, {"name": "affine", "degrees": 5, "translate": 1, "scale": 0.2, "shear": 0}]
    assert from_config(more) == Compose((RandomShift(1), RandomAffine(5, 1, 0.2, 0)))
    x = pictures()
    assert np.array_equal(from_config([])(x, rng()), x)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"name": "crops"}, "augmentation 'crops' is unknown; did you mean 'crop'"),
        ({"padding": 4}, "augmentation None is unknown"),
        ({"name": "crop", "pad": 4}, "augmentation 'crop' has no setting 'pad'; did you mean 'padding'"),
        ({"name": "flip", "p": 0.5}, "augmentation 'flip' has no setting 'p'"),
        ({"name": "crop", "padding": -1}, "augmentation 'crop': padding is -1, expected 0, 1, 2"),
        ({"name": "crop", "padding": "4"}, "padding is '4'"),
        ({"name": "crop", "mode": "wrap"}, "mode is 'wrap', expected 'zeros' or 'reflect'"),
        ({"name": "shift", "pixels": 1.5}, r"pixels is 1\.5"),
        ({"name": "cutout", "size": 0}, "size is 0, expected 1, 2, 3"),
        ({"name": "cutout", "fill": 2}, "fill is 2, expected a number from 0 to 1"),
        ({"name": "affine", "scale": 1}, "scale is 1, expected a number >= 0 and below 1"),
        ({"name": "affine", "shear": 90}, "shear is 90"),
        ({"name": "affine", "degrees": -5}, "degrees is -5"),
        ({"name": "affine", "translate": True}, "translate is True"),
        ({"name": "affine", "degrees": float("nan")}, "degrees is nan"),
    ],
)
def test_a_wrong_recipe_is_told(step, said):
    with pytest.raises(MinicnnError, match=said):
        from_config([step])


def test_a_mirror_needs_a_picture_larger_than_its_border():
    with pytest.raises(MinicnnError, match="crop: cannot mirror 9 pixels of pictures of 9x12"):
        RandomCrop(9, "reflect")(pictures(), rng())
