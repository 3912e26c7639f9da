"""Native pooling, against the array kernels in float64, for every kind of processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .native_cases import CHANNELS, close, double, few_examples, values
from .oracles import family
from .test_max_pool import poolings


@few_examples
@given(
    geometry=poolings(), C=st.sampled_from(CHANNELS), N=st.integers(0, 3), seed=st.integers(0, 99), ties=st.booleans()
)
def test_max_pooling_agrees(native: Any, geometry: Any, C: int, N: int, seed: int, ties: bool) -> None:
    size, options = geometry
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 2, (N, *size, C)).astype(np.float32) if ties else values(rng, N, *size, C)
    options["relu"] = seed % 2 == 0
    y, cache = native.max_pool2d_forward(x, **options)
    expected, exact_cache = family("array").max_pool2d_forward(x, **options)
    np.testing.assert_array_equal(y, expected)
    dy = values(rng, *y.shape[::-1]).T
    close(native.max_pool2d_backward(dy, cache), family("array").max_pool2d_backward(dy, exact_cache))


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)])
@pytest.mark.parametrize("relu", [False, True])
def test_max_pooling_agrees_over_several_items(
    native: Any, rng: Any, kernel: int, stride: int, padding: int, C: int, relu: bool
) -> None:
    x = values(rng, 3, 23, 29, C) - 0.5
    options: dict[str, Any] = {"kernel_size": (kernel, kernel), "stride": (stride, stride)}
    options |= {"padding": (padding, padding), "relu": relu}
    y, cache = native.max_pool2d_forward(x, **options)
    expected, exact_cache = family("array").max_pool2d_forward(x, **options)
    np.testing.assert_array_equal(y, expected)
    close(native.max_pool2d_backward(y, cache), family("array").max_pool2d_backward(y, exact_cache))


@pytest.mark.parametrize("place", range(4))
def test_pooling_does_not_hide_a_nan(native: Any, place: int) -> None:
    x = np.zeros((1, 2, 2, 5), np.float32)
    x.reshape(4, 5)[place] = np.nan
    for size, relu in ((2, False), (2, True), (1, False)):
        window = {"kernel_size": (2, 2), "stride": (size, size)}
        assert np.isnan(native.max_pool2d_forward(x, **window, relu=relu)[0]).all()


@pytest.mark.parametrize(("relu", "share"), [(False, 1), (True, 0.5)])
@pytest.mark.parametrize("size", [(15, 17), (16, 16), (17, 17)])
def test_windows_of_255_pixels_and_more_agree(
    native: Any, rng: Any, size: tuple[int, int], relu: bool, share: float
) -> None:
    """The numbers of 255 taps, and one for "nobody has won", are all that a byte holds."""
    x = values(rng, 2, 18, 18, 3)
    x[0, -1, -1] = 9  # the last tap of the last window
    x[1] = -np.abs(x[1])
    y, cache = native.max_pool2d_forward(x, kernel_size=size, stride=(1, 1), relu=relu)
    expected, _ = family("array").max_pool2d_forward(x, kernel_size=size, stride=(1, 1), relu=relu)
    np.testing.assert_array_equal(y, expected)
    dx = native.max_pool2d_backward(np.ones_like(y), cache)
    assert dx.sum() == share * y.size
    assert (dx[0, -1, -1] == 1).all()


@few_examples
@given(
    geometry=poolings(), C=st.sampled_from(CHANNELS), N=st.integers(0, 3), seed=st.integers(0, 99), pad=st.booleans()
)
def test_average_pooling_agrees(native: Any, geometry: Any, C: int, N: int, seed: int, pad: bool) -> None:
    size, options = geometry
    rng = np.random.default_rng(seed)
    x = values(rng, N, *size, C)
    y, cache = native.avg_pool2d_forward(x, **options, count_include_pad=pad)
    expected, exact_cache = family("array").avg_pool2d_forward(double(x)[0], **options, count_include_pad=pad)
    close(y, expected)
    dy = values(rng, *y.shape[::-1]).T
    close(native.avg_pool2d_backward(dy, cache), family("array").avg_pool2d_backward(double(dy)[0], exact_cache))


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("out", [(1, 1), (4, 3), (3, 2), (8, 6), (9, 7)])
def test_adaptive_pooling_agrees(native: Any, rng: Any, out: tuple[int, int], C: int) -> None:
    x = values(rng, 2, 8, 6, C)
    y, cache = native.adaptive_avg_pool2d_forward(x, output_size=out)
    expected, exact_cache = family("array").adaptive_avg_pool2d_forward(double(x)[0], output_size=out)
    close(y, expected)
    dx = native.adaptive_avg_pool2d_backward(y, cache)
    close(dx, family("array").adaptive_avg_pool2d_backward(double(y)[0], exact_cache))
