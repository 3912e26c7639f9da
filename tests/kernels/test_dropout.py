from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import DTYPES, assert_agree, family, few_examples, normal, torch_gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_torch_computes_the_same_from_the_same_mask(ops: Any, torch: Any, rng: Any, p: float, dtype: str) -> None:
    x, dy = normal(rng, (2, 3, 7), dtype), normal(rng, (2, 3, 7), dtype)

    def function(x: Any) -> Any:
        return torch.nn.functional.dropout(x, p, training=True)

    expected_y, expected_dx = torch_gradients(torch, function, x, dy=dy)
    y, cache = ops.dropout_forward(x, expected_y != 0, p=p)
    assert_agree(y, expected_y)
    assert_agree(ops.dropout_backward(dy, cache), expected_dx)


@pytest.mark.parametrize("name", ["test_training_dropout_mask", "test_training_dropout_default_mask"])
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    _, (x, ratio, _), (expected, kept) = onnx_case(name)
    assert_agree(ops.dropout_forward(x, kept, p=float(ratio))[0], expected)


def test_dropping_everything_gives_zeros_and_no_nan(ops: Any) -> None:
    y, cache = ops.dropout_forward(np.ones((2, 3)), np.zeros((2, 3), bool), p=1.0)
    np.testing.assert_array_equal(y, np.zeros((2, 3)))
    np.testing.assert_array_equal(ops.dropout_backward(np.ones((2, 3)), cache), np.zeros((2, 3)))


def test_the_mask_is_not_changed(ops: Any) -> None:
    kept = np.array([[True, False]])
    _, cache = ops.dropout_forward(np.ones((1, 2)), kept, p=0.5)
    ops.dropout_backward(np.ones((1, 2)), cache)
    np.testing.assert_array_equal(kept, [[True, False]])


@few_examples
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), st.floats(0, 0.9), st.integers(0, 99))
def test_the_families_agree_in_any_shape(shape: tuple[int, ...], p: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, dy, kept = normal(rng, shape), normal(rng, shape), rng.random(shape) >= p
    expected, reference_cache = family("reference").dropout_forward(x, kept, p=p)
    y, cache = family("array").dropout_forward(x, kept, p=p)
    assert_agree(y, expected)
    wanted = family("reference").dropout_backward(dy, reference_cache)
    assert_agree(family("array").dropout_backward(dy, cache), wanted)
