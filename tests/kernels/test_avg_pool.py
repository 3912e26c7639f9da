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
from .test_max_pool import CASES, options_of, poolings


@pytest.mark.parametrize("count_include_pad", [True, False], ids=["with_border", "without_border"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_torch_computes_the_same(
    ops: Any, torch: Any, rng: Any, case: str, dtype: str, count_include_pad: bool
) -> None:
    options = {**options_of(CASES[case]), "count_include_pad": count_include_pad}
    x = normal(rng, (2, *CASES[case][0], 3), dtype)
    y, cache = ops.avg_pool2d_forward(x, **options)
    dy = normal(rng, y.shape, dtype)

    def function(x: Any) -> Any:
        return torch.nn.functional.avg_pool2d(x, **options)

    expected_y, expected_dx = torch_gradients(torch, function, channels_first(x), dy=channels_first(dy))
    assert_agree(y, channels_last(expected_y))
    assert_agree(ops.avg_pool2d_backward(dy, cache), channels_last(expected_dx))


ONNX_CASES = [
    "test_averagepool_2d_ceil",
    "test_averagepool_2d_ceil_last_window_starts_on_pad",
    "test_averagepool_2d_precomputed_pads",
    "test_averagepool_2d_precomputed_pads_count_include_pad",
    "test_averagepool_2d_precomputed_strides",
    "test_AvgPool2d",
    "test_AvgPool2d_stride",
]


@pytest.mark.parametrize("name", ONNX_CASES)
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (x,), (expected,) = onnx_case(name)
    y, _ = ops.avg_pool2d_forward(
        channels_last(x),
        kernel_size=tuple(attributes["kernel_shape"]),
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=tuple(attributes.get("pads", (0, 0))[:2]),  # the same on both sides in all of these
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )
    rounded = name == "test_averagepool_2d_ceil_last_window_starts_on_pad"  # published with four decimals
    assert_agree(y, channels_last(expected), tolerance=2e-4 if rounded else None)


@few_examples
@given(poolings(), st.booleans(), st.integers(0, 99))
def test_the_families_agree_in_any_geometry(geometry: Any, count_include_pad: bool, seed: int) -> None:
    size, options = geometry
    rng = np.random.default_rng(seed)
    x = normal(rng, (2, *size, 2))
    options = {**options, "count_include_pad": count_include_pad}
    expected, reference_cache = family("reference").avg_pool2d_forward(x, **options)
    y, cache = family("array").avg_pool2d_forward(x, **options)
    assert_agree(y, expected)
    dy = normal(rng, y.shape)
    wanted = family("reference").avg_pool2d_backward(dy, reference_cache)
    assert_agree(family("array").avg_pool2d_backward(dy, cache), wanted)


def test_overlapping_windows_add_their_gradients(ops: Any) -> None:
    x = np.zeros((1, 1, 4, 1))
    y, cache = ops.avg_pool2d_forward(x, kernel_size=(1, 2), stride=(1, 1))
    dx = ops.avg_pool2d_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx.ravel(), [0.5, 1, 1, 0.5])


def test_without_the_border_a_constant_picture_stays_constant(ops: Any) -> None:
    x = np.full((1, 5, 4, 2), 7.0)
    options: dict[str, Any] = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}
    y, _ = ops.avg_pool2d_forward(x, **options, count_include_pad=False)
    assert_agree(y, np.full_like(y, 7.0))


def test_impossible_geometry_is_refused(ops: Any) -> None:
    with pytest.raises(ValueError, match="window of 5"):
        ops.avg_pool2d_forward(np.zeros((1, 4, 4, 1)), kernel_size=(5, 1), stride=(1, 1))


ADAPTIVE_CASES = [((6, 4), (3, 2)), ((7, 5), (3, 2)), ((5, 7), (1, 1)), ((3, 2), (5, 4)), ((13, 13), (6, 6))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "output_size"), ADAPTIVE_CASES)
def test_torch_computes_the_same_adaptively(
    ops: Any, torch: Any, rng: Any, size: Any, output_size: Any, dtype: str
) -> None:
    x, dy = normal(rng, (2, *size, 3), dtype), normal(rng, (2, *output_size, 3), dtype)
    y, cache = ops.adaptive_avg_pool2d_forward(x, output_size=output_size)

    def function(x: Any) -> Any:
        return torch.nn.functional.adaptive_avg_pool2d(x, output_size)

    expected_y, expected_dx = torch_gradients(torch, function, channels_first(x), dy=channels_first(dy))
    assert_agree(y, channels_last(expected_y))
    assert_agree(ops.adaptive_avg_pool2d_backward(dy, cache), channels_last(expected_dx))


@pytest.mark.parametrize("name", ["test_globalaveragepool", "test_globalaveragepool_precomputed"])
def test_onnx_publishes_the_same_global_average(ops: Any, onnx_case: Any, name: str) -> None:
    _, (x,), (expected,) = onnx_case(name)
    y, _ = ops.adaptive_avg_pool2d_forward(channels_last(x), output_size=(1, 1))
    assert_agree(y, channels_last(expected))


@few_examples
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(0, 99)
)
def test_the_families_agree_adaptively(size: tuple[int, int], output_size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, (2, *size, 2)), normal(rng, (2, *output_size, 2))
    expected, reference_cache = family("reference").adaptive_avg_pool2d_forward(x, output_size=output_size)
    y, cache = family("array").adaptive_avg_pool2d_forward(x, output_size=output_size)
    assert_agree(y, expected)
    wanted = family("reference").adaptive_avg_pool2d_backward(dy, reference_cache)
    assert_agree(family("array").adaptive_avg_pool2d_backward(dy, cache), wanted)
