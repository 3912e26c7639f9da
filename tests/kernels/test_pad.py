from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import DTYPES, channels_first, channels_last, family, few_examples, normal, torch_gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 2), (3, 0)), ((0, 4), (0, 1))])
def test_torch_computes_the_same(ops: Any, torch: Any, rng: Any, padding: Any, dtype: str) -> None:
    x = normal(rng, (2, 3, 4, 2), dtype)
    y, cache = ops.zero_pad2d_forward(x, padding=padding)
    dy = normal(rng, y.shape, dtype)

    def function(x: Any) -> Any:
        return torch.nn.functional.pad(x, (*padding[1], *padding[0]))

    expected_y, expected_dx = torch_gradients(torch, function, channels_first(x), dy=channels_first(dy))
    np.testing.assert_array_equal(y, channels_last(expected_y))
    np.testing.assert_array_equal(ops.zero_pad2d_backward(dy, cache), channels_last(expected_dx))


def test_onnx_publishes_the_same(ops: Any, onnx_case: Any) -> None:
    attributes, (x,), (expected,) = onnx_case("test_ZeroPad2d")
    _, _, top, left, _, _, bottom, right = attributes["pads"]
    y, _ = ops.zero_pad2d_forward(channels_last(x), padding=((top, bottom), (left, right)))
    np.testing.assert_array_equal(y, channels_last(expected))


sides = st.tuples(st.integers(0, 3), st.integers(0, 3))


@few_examples
@given(st.tuples(sides, sides), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_the_families_agree_with_any_border(padding: Any, size: tuple[int, int]) -> None:
    x = np.arange(1.0, 2 * size[0] * size[1] * 2 + 1).reshape(2, *size, 2)
    expected, reference_cache = family("reference").zero_pad2d_forward(x, padding=padding)
    y, cache = family("array").zero_pad2d_forward(x, padding=padding)
    np.testing.assert_array_equal(y, expected)
    for result in (
        family("reference").zero_pad2d_backward(y, reference_cache),
        family("array").zero_pad2d_backward(y, cache),
    ):
        np.testing.assert_array_equal(result, x)
