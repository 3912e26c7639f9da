from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import (
    DTYPES,
    assert_agree,
    channels_first,
    channels_last,
    family,
    few_examples,
    normal,
    torch_gradients,
)

# name: (H, W), kernel, stride, padding, ceil mode
CASES: dict[str, tuple[Any, ...]] = {
    "two_by_two": ((6, 4), (2, 2), (2, 2), (0, 0), False),
    "overlapping": ((7, 7), (3, 3), (2, 2), (0, 0), False),
    "overlapping_and_padded": ((7, 6), (3, 3), (2, 2), (1, 1), False),
    "not_square": ((9, 5), (4, 2), (3, 1), (2, 1), False),
    "stride_larger_than_the_window": ((8, 7), (2, 1), (3, 2), (0, 0), False),
    "ceil_mode": ((6, 7), (3, 2), (2, 2), (0, 0), True),
    "ceil_mode_padded": ((6, 5), (3, 3), (2, 2), (1, 1), True),
    "ceil_mode_last_window_would_start_in_the_border": ((2, 3), (2, 2), (2, 3), (1, 1), True),
    "ceil_mode_window_larger_than_the_picture": ((2, 2), (3, 3), (2, 2), (0, 0), True),
    "whole_picture": ((3, 5), (3, 5), (1, 1), (0, 0), False),
}


def torch_max_pool(torch: Any, x: np.ndarray, dy: np.ndarray, options: dict[str, Any], relu: bool) -> list[np.ndarray]:
    """[y, dx], channels last."""

    def function(x: Any) -> Any:
        y = torch.nn.functional.max_pool2d(x, **options)
        return torch.relu(y) if relu else y

    return [channels_last(a) for a in torch_gradients(torch, function, channels_first(x), dy=channels_first(dy))]


def options_of(case: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("kernel_size", "stride", "padding", "ceil_mode"), case[1:], strict=True))


@pytest.mark.parametrize("values", ["all_different", "many_ties"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_torch_computes_the_same(
    ops: Any, torch: Any, rng: Any, case: str, dtype: str, values: str, relu: bool
) -> None:
    options = options_of(CASES[case])
    shape = (2, *CASES[case][0], 3)
    x = normal(rng, shape, dtype) - 0.5 if values == "all_different" else rng.integers(-2, 2, shape).astype(dtype)
    y, cache = ops.max_pool2d_forward(x, **options, relu=relu)
    dy = normal(rng, y.shape, dtype)
    expected_y, expected_dx = torch_max_pool(torch, x, dy, options, relu)
    np.testing.assert_array_equal(y, expected_y)
    assert_agree(ops.max_pool2d_backward(dy, cache), expected_dx)


ONNX_CASES = [
    "test_maxpool_2d_ceil",
    "test_maxpool_2d_ceil_output_size_reduce_by_one",
    "test_maxpool_2d_precomputed_pads",
    "test_maxpool_2d_precomputed_strides",
    "test_MaxPool2d",
]


@pytest.mark.parametrize("name", ONNX_CASES)
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (x,), (expected,) = onnx_case(name)
    y, _ = ops.max_pool2d_forward(
        channels_last(x),
        kernel_size=tuple(attributes["kernel_shape"]),
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=tuple(attributes.get("pads", (0, 0))[:2]),  # the same on both sides in all of these
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )
    np.testing.assert_array_equal(y, channels_last(expected))


@st.composite
def poolings(draw: st.DrawFn) -> tuple[tuple[int, int], dict[str, Any]]:
    """(H, W) and options with which at least one window fits."""
    sizes, axes = [], []
    for _ in range(2):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        padding = draw(st.integers(0, kernel // 2))
        sizes.append(max(1, kernel - 2 * padding) + draw(st.integers(0, 5)))
        axes.append((kernel, stride, padding))
    kernels, strides, paddings = zip(*axes, strict=True)
    options = {"kernel_size": kernels, "stride": strides, "padding": paddings, "ceil_mode": draw(st.booleans())}
    return (sizes[0], sizes[1]), options


@few_examples
@given(poolings(), st.integers(0, 99))
def test_the_families_agree_in_any_geometry_and_at_every_tie(geometry: Any, seed: int) -> None:
    size, options = geometry
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 0, (2, *size, 2)).astype(float)
    expected, reference_cache = family("reference").max_pool2d_forward(x, **options)
    y, cache = family("array").max_pool2d_forward(x, **options)
    np.testing.assert_array_equal(y, expected)
    dy = normal(rng, y.shape)
    wanted = family("reference").max_pool2d_backward(dy, reference_cache)
    assert_agree(family("array").max_pool2d_backward(dy, cache), wanted)


def test_the_border_never_wins_over_negative_pixels(ops: Any) -> None:
    x = np.full((1, 3, 3, 1), -5.0)
    y, cache = ops.max_pool2d_forward(x, kernel_size=(2, 2), stride=(2, 2), padding=(1, 1))
    np.testing.assert_array_equal(y, np.full((1, 2, 2, 1), -5.0))
    dx = ops.max_pool2d_backward(np.ones_like(y), cache)
    assert dx.sum() == y.size  # nothing is lost in the border


def test_the_border_never_wins_over_minus_infinity(ops: Any) -> None:
    x = np.full((1, 2, 2, 1), -np.inf)
    y, cache = ops.max_pool2d_forward(x, kernel_size=(2, 2), stride=(2, 2), padding=(1, 1))
    assert np.isneginf(y).all()
    np.testing.assert_array_equal(ops.max_pool2d_backward(np.ones_like(y), cache), np.ones_like(x))


def test_of_equal_values_the_first_in_reading_order_wins(ops: Any) -> None:
    x = np.array([[1.0, 3.0, 3.0], [3.0, 3.0, 3.0]])[None, :, :, None]
    y, cache = ops.max_pool2d_forward(x, kernel_size=(2, 3), stride=(1, 1))
    dx = ops.max_pool2d_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 1, 0], [0, 0, 0]])


def test_overlapping_windows_add_their_gradients(ops: Any) -> None:
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1] = 1  # wins in all four windows
    y, cache = ops.max_pool2d_forward(x, kernel_size=(2, 2), stride=(1, 1))
    dx = ops.max_pool2d_backward(np.array([1.0, 2.0, 3.0, 4.0]).reshape(y.shape), cache)
    assert dx[0, 1, 1, 0] == 10
    assert dx.sum() == 10


def test_rows_and_columns_are_not_exchanged(ops: Any) -> None:
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    y, _ = ops.max_pool2d_forward(x, kernel_size=(1, 4), stride=(1, 4))
    np.testing.assert_array_equal(y.ravel(), [3, 7, 11])
    y, _ = ops.max_pool2d_forward(x, kernel_size=(3, 1), stride=(3, 1))
    np.testing.assert_array_equal(y.ravel(), [8, 9, 10, 11])


def test_more_than_255_taps_keep_their_switches(ops: Any, rng: Any) -> None:
    x = normal(rng, (1, 17, 16, 1))
    x[0, 16, 15] = 9  # tap 271
    y, cache = ops.max_pool2d_forward(x, kernel_size=(17, 16), stride=(1, 1))
    dx = ops.max_pool2d_backward(np.ones_like(y), cache)
    assert dx[0, 16, 15, 0] == 1
    assert dx.sum() == 1


def test_a_nan_is_not_hidden(ops: Any) -> None:
    for place in range(4):
        x = np.arange(4.0)
        x[place] = np.nan
        y, _ = ops.max_pool2d_forward(x.reshape(1, 2, 2, 1), kernel_size=(2, 2), stride=(2, 2))
        assert np.isnan(y).all()


@pytest.mark.parametrize(
    ("kernel", "padding", "message"),
    [((5, 1), (0, 0), "window of 5"), ((1, 7), (0, 1), "padded to 6"), ((3, 3), (2, 0), "more than half")],
)
def test_impossible_geometry_is_refused(ops: Any, kernel: Any, padding: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.max_pool2d_forward(np.zeros((1, 4, 4, 1)), kernel_size=kernel, stride=(1, 1), padding=padding)
