from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import DTYPES, assert_agree, family, few_examples, normal, torch_gradients

ACTIVATIONS = ["tanh", "sigmoid", "softmax"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 2, 4), (1, 1)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_torch_computes_the_same(ops: Any, torch: Any, rng: Any, name: str, shape: Any, dtype: str) -> None:
    x, dy = 3 * normal(rng, shape, dtype), normal(rng, shape, dtype)
    y, cache = getattr(ops, f"{name}_forward")(x)

    def function(x: Any) -> Any:
        return torch.softmax(x, dim=-1) if name == "softmax" else getattr(torch, name)(x)

    expected_y, expected_dx = torch_gradients(torch, function, x, dy=dy)
    assert_agree(y, expected_y)
    dx = getattr(ops, f"{name}_backward")(dy, cache)
    if shape == (1, 1) and name == "softmax":
        assert not dx.any()  # one class is always certain
    else:
        assert_agree(dx, expected_dx)


ONNX_CASES = [
    "test_tanh",
    "test_tanh_example",
    "test_Tanh",
    "test_sigmoid",
    "test_sigmoid_example",
    "test_Sigmoid",
    "test_softmax_example",
    "test_softmax_large_number",
    "test_softmax_default_axis",
    "test_softmax_lastdim",
]


@pytest.mark.parametrize("name", ONNX_CASES)
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    _, (x,), (expected,) = onnx_case(name)
    activation = name.split("_")[1].lower()
    y, _ = getattr(ops, f"{activation}_forward")(x)
    assert_agree(y, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_a_sigmoid_near_zero_keeps_its_digits(ops: Any, dtype: str, tolerance: float) -> None:
    special = pytest.importorskip("scipy.special", reason="scipy is the oracle here")
    x = np.array([-80, -40, -20, -10, -5, 0, 5, 40, 80], dtype)
    y, cache = ops.sigmoid_forward(x)
    expected = special.expit(x.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=tolerance)
    dx = ops.sigmoid_backward(np.ones_like(x), cache)
    np.testing.assert_allclose(dx[x < 0], (expected * (1 - expected))[x < 0], rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_inputs_do_not_overflow(ops: Any, dtype: str) -> None:
    x = np.array([[-1e4, 0, 1e4]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        np.testing.assert_array_equal(ops.tanh_forward(x)[0], [[-1, 0, 1]])
        np.testing.assert_array_equal(ops.sigmoid_forward(x)[0], [[0, 0.5, 1]])
        np.testing.assert_array_equal(ops.softmax_forward(x)[0], [[0, 0, 1]])


def test_scipy_computes_the_same_softmax(ops: Any, rng: Any) -> None:
    special = pytest.importorskip("scipy.special", reason="scipy is the oracle here")
    x = 20 * normal(rng, (4, 7))
    assert_agree(ops.softmax_forward(x)[0], special.softmax(x, axis=-1))


def test_softmax_runs_over_the_last_axis(ops: Any, rng: Any) -> None:
    y, cache = ops.softmax_forward(normal(rng, (2, 3, 2, 5)))
    assert_agree(y.sum(axis=-1), np.ones((2, 3, 2)))
    dx = ops.softmax_backward(normal(rng, y.shape), cache)
    np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-15)  # moving all logits together changes nothing


@few_examples
@given(st.sampled_from(ACTIVATIONS), st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple), st.integers(0, 99))
def test_the_families_agree_in_any_shape(name: str, shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, dy = 3 * normal(rng, shape), normal(rng, shape)
    expected, reference_cache = getattr(family("reference"), f"{name}_forward")(x)
    y, cache = getattr(family("array"), f"{name}_forward")(x)
    assert_agree(y, expected)
    dx = getattr(family("array"), f"{name}_backward")(dy, cache)
    wanted = getattr(family("reference"), f"{name}_backward")(dy, reference_cache)
    np.testing.assert_allclose(dx, wanted, rtol=0, atol=1e-12)
