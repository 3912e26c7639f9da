"""Layers that drop or move values: their randomness, their borders, their settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    PadShortcut,
    ZeroPad2d,
)


def test_what_is_kept_grows_so_that_the_mean_stays() -> None:
    x = np.ones((100, 1000), np.float32)
    for p in (0.2, 0.5):
        y = Dropout(p).forward(x)
        assert set(np.unique(y)) == {0, np.float32(1) * np.float32(1 / (1 - p))}
        assert abs((y == 0).mean() - p) < 0.005
        assert abs(y.mean() - 1) < 0.01


def test_everything_is_dropped_with_probability_one_and_nothing_with_zero() -> None:
    x = np.ones((2, 9), np.float32)
    assert not Dropout(1).forward(x).any()
    np.testing.assert_array_equal(Dropout(0).forward(x), x)
    np.testing.assert_array_equal(Dropout(0.9).eval().forward(x), x)


def test_each_pass_drops_others_and_the_same_state_the_same() -> None:
    x = np.ones((2, 200), np.float32)
    layer, same, other = Dropout(0.5), Dropout(0.5), Dropout(0.5)
    layer.initialize(1), same.initialize(1), other.initialize(2)
    first, second = layer.forward(x), layer.forward(x)
    assert (first != second).any()
    assert (other.forward(x) != first).any()
    np.testing.assert_array_equal(same.forward(x), first)
    layer.load_random_states({"": (1, 0)})
    np.testing.assert_array_equal(layer.forward(x), first)


def test_an_evaluation_in_between_draws_nothing() -> None:
    x = np.ones((2, 200), np.float32)
    layer, same = Dropout(0.5), Dropout(0.5)
    layer.forward(x), same.forward(x)
    layer.eval().forward(x)
    np.testing.assert_array_equal(layer.train().forward(x), same.forward(x))


def test_flattening_keeps_the_order_of_torch() -> None:
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    layer = Flatten()
    np.testing.assert_array_equal(layer.forward(x), np.arange(24.0)[None])
    np.testing.assert_array_equal(layer.backward(np.arange(24.0)[None]), x)


@pytest.mark.parametrize(("more", "before"), [(2, 1), (3, 1), (0, 0)])
def test_a_shortcut_reads_every_second_pixel_and_puts_zeros_on_both_sides(more: int, before: int) -> None:
    x = np.random.default_rng(0).random((2, 3, 5, 4), np.float32)
    layer = PadShortcut(3, 3 + more, stride=2)
    y = layer.forward(x)
    assert y.shape == (2, 3 + more, 3, 2)
    np.testing.assert_array_equal(y[:, before : before + 3], x[:, :, ::2, ::2])
    assert not y[:, :before].any() and not y[:, before + 3 :].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(1.5), "p 1.5"),
        (lambda: Dropout(-0.1), "p -0.1"),
        (lambda: ZeroPad2d(-1), "padding -1"),
        (lambda: PadShortcut(4, 3), "4 -> 3 channels"),
        (lambda: PadShortcut(4, 8, 0), "stride 0"),
        (lambda: Conv2d(3, 4, 0), "kernel"),
        (lambda: Conv2d(3, 4, 3, groups=2), "groups 2"),
        (lambda: Conv2d(3, 4, 3, stride=0), "stride 0"),
        (lambda: Conv2d(3, 4, 3, padding=-1), "padding -1"),
        (lambda: Conv1d(3, 4, 3, dilation=0), "dilation 0"),
        (lambda: Linear(0, 4), "0 -> 4"),
        (lambda: MaxPool2d(2, padding=2), "at most half"),
        (lambda: MaxPool2d(0), "window 0"),
        (lambda: AvgPool2d(2, stride=0), "stride 0"),
        (lambda: AdaptiveAvgPool2d(0), "output size 0"),
    ],
)
def test_impossible_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(Conv2d(3, 4, 5), (3, 4, 9)), (MaxPool2d(3), (3, 2, 9)), (AvgPool2d(3), (3, 9, 2)), (Conv1d(3, 2, 4), (3, 3))],
)
def test_a_window_larger_than_the_picture_is_refused_with_both_sizes(layer: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(MinicnnError, match=r"window of \d does not fit into \d pixels"):
        layer.output_shape(shape)
    with pytest.raises(MinicnnError, match="does not fit"):
        layer.forward(np.zeros((1, *shape), np.float32))
