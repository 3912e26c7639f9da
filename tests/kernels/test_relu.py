from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import DTYPES, assert_agree, family, few_examples, normal, torch_gradients

RULES = ["gradient", "deconvnet", "guided", "redirected"]
SHAPES = [(2, 3, 4, 5), (3, 7), (1, 1), (2, 8)]  # sizes that do and do not fill whole bytes of a bit mask


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_computes_the_same(ops: Any, torch: Any, rng: Any, shape: tuple[int, ...], dtype: str) -> None:
    x, dy = rng.integers(-2, 3, shape).astype(dtype), normal(rng, shape, dtype)  # with zeros: the kink
    y, cache = ops.relu_forward(x)
    expected_y, expected_dx = torch_gradients(torch, torch.nn.functional.relu, x, dy=dy)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(ops.relu_backward(dy, cache), expected_dx)


@pytest.mark.parametrize("slope", [0.01, 0.2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_computes_the_same_leaky(ops: Any, torch: Any, rng: Any, slope: float, dtype: str) -> None:
    x, dy = rng.integers(-2, 3, (2, 3, 5)).astype(dtype), normal(rng, (2, 3, 5), dtype)
    y, cache = ops.leaky_relu_forward(x, slope=slope)

    def function(x: Any) -> Any:
        return torch.nn.functional.leaky_relu(x, slope)

    expected_y, expected_dx = torch_gradients(torch, function, x, dy=dy)
    assert_agree(y, expected_y)
    assert_agree(ops.leaky_relu_backward(dy, cache), expected_dx)


@pytest.mark.parametrize("name", ["test_relu", "test_ReLU"])
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    _, (x,), (expected,) = onnx_case(name)
    np.testing.assert_array_equal(ops.relu_forward(x)[0], expected)


@pytest.mark.parametrize(
    "name",
    [
        "test_leakyrelu",
        "test_leakyrelu_default",
        "test_leakyrelu_example",
        "test_LeakyReLU",
        "test_LeakyReLU_with_negval",
    ],
)
def test_onnx_publishes_the_same_leaky(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (x,), (expected,) = onnx_case(name)
    y, _ = ops.leaky_relu_forward(x, slope=attributes.get("alpha", 0.01))
    assert_agree(y, expected)


def test_the_rules_of_the_lecture(ops: Any) -> None:
    """The lecture gives R and the result of the guided rule, not f.

    This f > 0 pattern fits it: it passes the 6 and the 3 that remain, blocks the other positive entries, and lets two
    negative ones through, which only 1[R > 0] takes out. So each rule has a result of its own.
    """
    f = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 1]])[None]
    R = np.array([[-2.0, 3, -1], [6, -3, 1], [2, -1, 3]])[None]
    _, cache = ops.relu_forward(f)
    by_rule = {rule: ops.relu_backward(R, cache, rule=rule)[0] for rule in RULES}
    np.testing.assert_array_equal(by_rule["guided"], [[0, 0, 0], [6, 0, 0], [0, 0, 3]])
    np.testing.assert_array_equal(by_rule["gradient"], [[-2, 0, 0], [6, 0, 0], [0, -1, 3]])
    np.testing.assert_array_equal(by_rule["deconvnet"], [[0, 3, 0], [6, 0, 1], [2, 0, 3]])
    np.testing.assert_array_equal(by_rule["redirected"], by_rule["gradient"])


def test_the_redirected_rule_frees_only_pictures_without_any_gradient(ops: Any) -> None:
    f = np.array([[-1.0, 2, -1, 0], [-1, 2, -1, 0]])
    R = np.array([[3.0, 4, -5, 6], [3, 0, -5, 6]])
    _, cache = ops.relu_forward(f)
    dx = ops.relu_backward(R, cache, rule="redirected")
    np.testing.assert_array_equal(dx, [[0, 4, 0, 0], [3, 0, 0, 6]])


def test_the_backward_pass_does_not_change_the_callers_dy(ops: Any) -> None:
    x, dy = np.array([[-1.0, 0, 1]]), np.array([[5.0, -5, 5]])
    _, cache = ops.relu_forward(x)
    for rule in RULES:
        dx = ops.relu_backward(dy, cache, rule=rule)
        assert not np.shares_memory(dx, dy)
        np.testing.assert_array_equal(dy, [[5, -5, 5]])


@pytest.mark.parametrize("rule", RULES)
def test_float32_does_not_turn_float64(ops: Any, rule: str) -> None:
    x = np.array([[-1, 0, 1]], np.float32)
    y, cache = ops.relu_forward(x)
    assert y.dtype == np.float32
    assert ops.relu_backward(x, cache, rule=rule).dtype == np.float32


def test_a_nan_is_not_hidden(ops: Any) -> None:
    assert np.isnan(ops.relu_forward(np.array([np.nan]))[0]).all()


def test_an_unknown_rule_is_refused(ops: Any) -> None:
    _, cache = ops.relu_forward(np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"guide.*guided"):
        ops.relu_backward(np.ones((1, 1)), cache, rule="guide")


shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


@few_examples
@given(shapes, st.sampled_from(RULES), st.integers(0, 99))
def test_the_families_agree_by_every_rule(shape: tuple[int, ...], rule: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, dy = rng.integers(-3, 2, shape).astype(float), rng.integers(-1, 2, shape).astype(float)  # often dead pictures
    expected, reference_cache = family("reference").relu_forward(x)
    y, cache = family("array").relu_forward(x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(
        family("array").relu_backward(dy, cache, rule=rule),
        family("reference").relu_backward(dy, reference_cache, rule=rule),
    )


@few_examples
@given(shapes, st.integers(0, 99))
def test_the_families_agree_when_leaky(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, dy = rng.integers(-3, 2, shape).astype(float), normal(rng, shape)
    expected, reference_cache = family("reference").leaky_relu_forward(x, slope=0.3)
    y, cache = family("array").leaky_relu_forward(x, slope=0.3)
    assert_agree(y, expected)
    wanted = family("reference").leaky_relu_backward(dy, reference_cache)
    assert_agree(family("array").leaky_relu_backward(dy, cache), wanted)
