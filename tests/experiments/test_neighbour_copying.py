"""Neighbour copying: every pixel is the sample's, batches change nothing, and what repeats goes on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.signal.windows import gaussian

from minicnn.errors import MinicnnError
from minicnn.experiments.neighbour_copying import (
    Sample,
    batches,
    frontier,
    gaussian_window,
    neighbour_copying,
    one_of_the_nearest,
    pyramid,
    scan,
    skewed_rows,
    windows,
)
from minicnn.image import Interrupted

FILE = "minicnn.experiments.neighbour_copying"
ORDERS = ("onion", "scanline")
Found = tuple[list[tuple[int, int]], list[float]]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).random(shape, np.float32)


def checks(height: int, width: int) -> np.ndarray:
    """Rectangles of 2×3 pixels, a pattern of 4×6 that repeats: (3, height, width)."""
    rows, columns = np.indices((height, width))
    colours = np.array([[0.9, 0.2, 0.1], [0.1, 0.3, 0.8]], np.float32)
    return np.moveaxis(colours[(rows // 2 + columns // 3) % 2], -1, 0)


# What it copies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("channels", "dtype"), [(3, np.float32), (1, np.float64)])
def test_every_pixel_is_one_of_the_sample(order, channels, dtype):
    texture = noise(channels, 14, 22).astype(dtype)
    kept = texture.copy()
    picture = neighbour_copying(texture, (17, 12), window=5, order=order)
    assert picture.shape == (channels, 17, 12) and picture.dtype == dtype
    colours = {tuple(pixel) for pixel in texture.reshape(channels, -1).T}
    assert {tuple(pixel) for pixel in picture.reshape(channels, -1).T} <= colours
    np.testing.assert_array_equal(texture, kept)


@pytest.mark.parametrize("order", ORDERS)
def test_what_repeats_within_the_window_goes_on(order):
    picture = neighbour_copying(checks(16, 22), (20, 24), window=7, order=order, seed=1)
    begins = [checks(24, 30)[:, i : i + 20, j : j + 24] for i in range(4) for j in range(6)]
    assert any((picture == begin).all() for begin in begins)


def test_a_scan_can_be_tiled_where_an_onion_cannot():
    texture = gaussian_filter(noise(24, 24), 2)[None]
    scan, onion = (neighbour_copying(3 * texture - 1, (16, 20), window=7, order=order) for order in ORDERS[::-1])
    for axis in (1, 2):
        (seam, inside), (edge, _) = (steps_across(picture, axis) for picture in (scan, onion))
        assert seam < 1.5 * inside < edge


def steps_across(picture: np.ndarray, axis: int) -> tuple[float, float]:
    """The mean difference from the last row to the first when they are laid side by side, and between rows inside."""
    steps = np.abs(picture - np.roll(picture, 1, axis)).mean(axis=tuple({0, 1, 2} - {axis}))
    return steps[0], steps[1:].mean()


@pytest.mark.parametrize("order", ORDERS)
def test_the_seed_decides(order):
    first, again, other = (
        neighbour_copying(noise(1, 12, 12), (9, 9), window=3, order=order, seed=s) for s in (0, 0, 1)
    )
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_a_colour_picture_of_greys_is_copied_like_a_grey_one():
    grey = noise(1, 12, 12)
    pictures = (neighbour_copying(texture, (15, 15), window=5) for texture in (grey, np.tile(grey, (3, 1, 1))))
    np.testing.assert_array_equal(*(picture[0] for picture in pictures))


def test_an_onion_begins_in_the_middle_with_a_patch_of_the_sample():
    texture = noise(1, 8, 9)
    middle = neighbour_copying(texture, (12, 15), window=3)[0, 4:7, 6:9]
    patches = sliding_window_view(texture[0], (3, 3))
    assert (patches == middle).all(axis=(2, 3)).sum() == 1


def test_pixels_wait_until_the_bound_has_grown(monkeypatch):
    """In noise hardly anything fits: below so low a bound few pixels are, and yet the picture is filled."""
    rings: list[np.ndarray] = []

    def watched(source: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        rings.append(frontier(source, generator))
        return rings[-1]

    monkeypatch.setattr(f"{FILE}.frontier", watched)
    neighbour_copying(noise(1, 9, 9), (7, 7), window=5)
    assert [len(ring) for ring in rings] == [16, 24, 0]
    rings.clear()
    monkeypatch.setattr(f"{FILE}.BOUND", 1e-3)
    picture = neighbour_copying(noise(1, 9, 9), (7, 7), window=5)
    again = {tuple(pixel) for pixel in rings[0]} & {tuple(pixel) for pixel in rings[1]}
    assert again and len(rings) > 10 and (picture > 0).all()


# One after the other --------------------------------------------------------------------------------------------------


def one_by_one(pixels: np.ndarray, n: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    yield from np.arange(len(pixels))[:, None]


@pytest.mark.parametrize("order", ORDERS)
def test_batches_change_nothing(order, monkeypatch):
    texture, size = noise(3, 24, 26), (15, 19)
    together = neighbour_copying(texture, size, window=5, order=order)
    monkeypatch.setattr(f"{FILE}.batches", one_by_one)
    np.testing.assert_array_equal(neighbour_copying(texture, size, window=5, order=order), together)


def test_pixels_of_one_batch_do_not_see_each_other_and_those_that_do_keep_their_order():
    shape, n = (20, 24), 5
    pixels = np.random.default_rng(0).permutation(np.argwhere(np.ones(shape)))[:200]
    place = np.empty(200, int)
    found = list(batches(pixels, n, shape))
    for i, batch in enumerate(found):
        place[batch] = i
    assert sorted(np.concatenate(found)) == list(range(200)) and len(found) < 100
    apart = np.abs(pixels[:, None] - pixels)
    see = (np.minimum(apart, np.array(shape) - apart) <= n // 2).all(axis=-1)  # around the torus
    earlier, later = np.nonzero(np.triu(see, 1))
    assert len(earlier) > 200 and (place[earlier] < place[later]).all()


def test_a_scan_is_the_plain_search_from_coarse_to_fine():
    texture, n, m = noise(2, 40, 43), 5, 3
    fine, coarse = pyramid(texture, (7, 8), n)
    coarse.source[0, 0] = 99
    for _ in (*scan(coarse, None, n), *scan(fine, coarse, n)):
        pass
    half = np.stack([gaussian_filter(channel, 1) for channel in texture])[:, ::2, ::2]
    expected = np.full((4, 4), -1)
    expected[0, 0] = 99
    for pixel in skewed_rows(expected.shape, 2)[1:]:
        i, j = nearest(*plain_search(half, expected, pixel, n))
        expected[tuple(pixel)] = i * 22 + j
    np.testing.assert_array_equal(coarse.source, expected)
    above, expected = expected, np.full((7, 8), -1)
    for pixel in skewed_rows(expected.shape, 2):
        at_parents = dict(zip(*plain_search(half, above, pixel // 2, m), strict=True))
        centres, d = plain_search(texture, expected, pixel, n)
        i, j = nearest(centres, [here + at_parents[i // 2, j // 2] for (i, j), here in zip(centres, d, strict=True)])
        expected[tuple(pixel)] = i * 43 + j
    np.testing.assert_array_equal(fine.source, expected)


def plain_search(texture: np.ndarray, source: np.ndarray, pixel: np.ndarray, n: int) -> Found:
    """The middles of all windows of the sample, and the sums of squared differences from what is filled at a pixel."""
    around = [
        [source[(pixel[0] + i) % len(source), (pixel[1] + j) % source.shape[1]] for j in reach(n)] for i in reach(n)
    ]
    colours = texture.reshape(len(texture), -1)[:, around]
    found = sliding_window_view(texture, (n, n), axis=(1, 2)) - colours[:, None, None]
    d = (found**2 * (np.array(around) >= 0)).sum(axis=(0, 3, 4))
    return [(i + n // 2, j + n // 2) for i, j in np.ndindex(d.shape)], list(d.flat)


def reach(n: int) -> range:
    return range(-(n // 2), n // 2 + 1)


def nearest(centres: list[tuple[int, int]], d: list[float]) -> tuple[int, int]:
    return centres[int(np.argmin(d))]


# The parts ------------------------------------------------------------------------------------------------------------


def test_distances_are_those_of_the_definition():
    texture, n = noise(3, 9, 11), 5
    sample, generator = Sample(texture), np.random.default_rng(1)
    numbers, weights = generator.integers(99, size=(4, n, n)), generator.random((4, n, n))
    weights[:2, 3:] = 0
    colours = np.moveaxis(texture.reshape(3, -1)[:, numbers], 0, 1)  # (B, C, n, n)
    for some in (slice(2), slice(4)):  # with and without a lower half
        found = sample.distances(numbers[some], weights[some])
        assert found.shape == (len(numbers[some]), 5, 7)
        for b, i, j in np.ndindex(found.shape):
            difference = colours[b] - texture[:, i : i + n, j : j + n]
            assert found[b, i, j] == pytest.approx((weights[b] * difference**2).sum(), abs=1e-5)


def test_windows_go_round_the_torus():
    torus = np.arange(12).reshape(3, 4)
    found = torus[windows(np.array([[0, 0], [2, 1]]), 3, torus.shape)]
    np.testing.assert_array_equal(found, [[[11, 8, 9], [3, 0, 1], [7, 4, 5]], [[4, 5, 6], [8, 9, 10], [0, 1, 2]]])


def test_the_gaussian_is_the_published_one():
    line = gaussian(11, 11 / 6.4)
    np.testing.assert_allclose(gaussian_window(11), np.outer(line, line))


def test_a_ring_touches_what_is_filled_and_begins_where_most_is():
    source = np.full((6, 7), -1)
    source[2:5, 3:6] = source[1, 3] = 5
    ring = frontier(source, np.random.default_rng(0))
    touching = binary_dilation(source >= 0, np.ones((3, 3))) & (source < 0)
    assert {tuple(p) for p in ring} == {tuple(p) for p in np.argwhere(touching)} and len(ring) == touching.sum()
    filled = np.pad(source >= 0, 1)
    counts = [filled[i : i + 3, j : j + 3].sum() for i, j in ring]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    again = frontier(source, np.random.default_rng(1))
    assert (ring != again).any()


def test_one_is_drawn_of_those_within_a_tenth_of_the_best():
    d = np.array([[0.3, 0.2], [0.219, 0.221]])
    assert [one_of_the_nearest(d, draw) for draw in (0, 0.49, 0.5, 0.999)] == [1, 1, 2, 2]
    assert one_of_the_nearest(np.array([0.5, -1e-8, 2e-7]), 0.9) == 2  # all but 0, by rounding


# Progress and mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "total"), [("onion", 10 * 13), ("scanline", 10 * 13 + 5 * 7 + 3 * 4)])
def test_progress_counts_the_pixels(order, total):
    calls = []
    neighbour_copying(noise(1, 50, 48), (10, 13), window=3, order=order, progress=lambda *done: calls.append(done))
    done, totals = zip(*calls, strict=True)
    assert list(done) == sorted(done) and done[-1] == total and set(totals) == {total}


@pytest.mark.parametrize("order", ORDERS)
def test_an_interrupt_brings_what_is_filled(order):
    texture = noise(1, 12, 12) * 0.9 + 0.1
    whole = neighbour_copying(texture, (11, 11), window=5, order=order)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        neighbour_copying(texture, (11, 11), window=5, order=order, progress=stop)
    image, steps, _ = stopped.value.result
    assert image.shape == (1, 1, 11, 11) and steps == (image > 0).sum() > 60
    np.testing.assert_array_equal(image[image > 0], whole[None][image > 0])


@pytest.mark.parametrize(
    ("texture", "options", "said"),
    [
        (noise(3, 10, 30), {"window": 11}, "window 11: does not fit into the sample, which has 30×10 pixels"),
        (noise(3, 10, 30), {"window": 4}, "window 4: expected an odd number"),
        (noise(3, 10, 30), {"window": 1}, "window 1: expected an odd number from 3 on"),
        (noise(3, 10, 30), {"order": "onoin"}, "order 'onoin'; did you mean 'onion'"),
        (noise(3, 10, 30), {"shape": (2, 9)}, "shape (2, 9): expected 3×3 pixels or more"),
        (noise(10, 30), {}, "expected a texture (C, H, W) of floats, got float32 (10, 30)"),
        (np.ones((3, 10, 30), np.uint8), {}, "of floats, got uint8"),
        (noise(3, 10, 30) * 255, {}, "values in [0, 1]"),
        (np.full((3, 10, 30), np.nan), {}, "values in [0, 1]"),
        (np.ones((3, 0, 30)), {}, "values in [0, 1]"),
    ],
)
def test_mistakes_are_named(texture, options, said):
    with pytest.raises(MinicnnError) as error:
        neighbour_copying(texture, **({"shape": (9, 9), "window": 5} | options))
    assert said in str(error.value)
