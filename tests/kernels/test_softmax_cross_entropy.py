from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .levels import Native
from .oracles import DTYPES, assert_agree, family, few_examples, normal, torch_gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("N", "K"), [(4, 5), (1, 3), (3, 2)])
def test_torch_computes_the_same(
    ops: Any, torch: Any, rng: Any, N: int, K: int, label_smoothing: float, dtype: str
) -> None:
    logits, targets = 5 * normal(rng, (N, K), dtype), rng.integers(0, K, N)
    dloss = np.asarray(0.7, dtype)
    loss, cache = ops.softmax_cross_entropy_forward(logits, targets, label_smoothing=label_smoothing)

    def function(logits: Any) -> Any:
        wanted = torch.from_numpy(targets)
        return torch.nn.functional.cross_entropy(logits, wanted, label_smoothing=label_smoothing)

    expected_loss, expected_dlogits = torch_gradients(torch, function, logits, dy=dloss)
    assert_agree(loss, expected_loss)
    assert_agree(ops.softmax_cross_entropy_backward(dloss, cache), expected_dlogits)


def test_onnx_publishes_the_same(ops: Any, onnx_case: Any) -> None:
    _, (logits, targets), (expected,) = onnx_case("test_sce_mean")
    assert_agree(ops.softmax_cross_entropy_forward(logits, targets)[0], expected)


def test_scipy_computes_the_same(ops: Any, rng: Any) -> None:
    special = pytest.importorskip("scipy.special", reason="scipy is the oracle here")
    logits, targets = 5 * normal(rng, (6, 4)), rng.integers(0, 4, 6)
    loss, cache = ops.softmax_cross_entropy_forward(logits, targets)
    assert_agree(loss, -special.log_softmax(logits, axis=1)[np.arange(6), targets].mean())
    dlogits = ops.softmax_cross_entropy_backward(1.0, cache)
    assert_agree(dlogits, (special.softmax(logits, axis=1) - np.eye(4)[targets]) / 6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_logits_neither_overflow_nor_give_minus_log_zero(ops: Any, dtype: str) -> None:
    logits = np.array([[1e4, 0, -1e4]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for target, wanted in enumerate([0, 1e4, 2e4]):
            loss, cache = ops.softmax_cross_entropy_forward(logits, np.array([target]))
            assert loss == wanted
            dlogits = ops.softmax_cross_entropy_backward(1.0, cache)
            np.testing.assert_array_equal(dlogits, np.eye(3)[[0]] - np.eye(3)[[target]])


def test_the_gradient_of_each_example_sums_to_zero(ops: Any, rng: Any) -> None:
    logits = normal(rng, (5, 7))
    _, cache = ops.softmax_cross_entropy_forward(logits, rng.integers(0, 7, 5), label_smoothing=0.2)
    atol = 3e-8 if isinstance(ops, Native) else 1e-15  # a few roundings of numbers below 0.2
    np.testing.assert_allclose(ops.softmax_cross_entropy_backward(1.0, cache).sum(axis=1), 0, atol=atol)


def test_many_classes_are_as_exact_as_few(ops: Any, rng: Any) -> None:
    special = pytest.importorskip("scipy.special", reason="scipy is the oracle here")
    logits, targets = 5 * normal(rng, (9, 1000), "float32"), rng.integers(0, 1000, 9)
    loss, cache = ops.softmax_cross_entropy_forward(logits, targets, label_smoothing=0.1)
    exact = special.log_softmax(logits.astype(np.float64), axis=1)
    wanted = 0.9 * np.eye(1000)[targets] + 0.1 / 1000
    np.testing.assert_allclose(loss, -(wanted * exact).sum(axis=1).mean(), rtol=1e-6)
    dlogits = ops.softmax_cross_entropy_backward(1.0, cache)
    np.testing.assert_allclose(dlogits, (np.exp(exact) - wanted) / 9, rtol=0, atol=2e-7)


@pytest.mark.parametrize("integer", ["uint8", "int32", "int64"])
def test_any_integers_name_the_classes(ops: Any, rng: Any, integer: str) -> None:
    logits, targets = normal(rng, (3, 4)), np.array([3, 0, 2])
    expected, _ = ops.softmax_cross_entropy_forward(logits, targets)
    assert ops.softmax_cross_entropy_forward(logits, targets.astype(integer))[0] == expected


def test_a_float32_loss_does_not_turn_float64(ops: Any, rng: Any) -> None:
    loss, cache = ops.softmax_cross_entropy_forward(normal(rng, (3, 4), "float32"), np.array([3, 0, 2]))
    assert (loss.shape, loss.dtype) == ((), np.float32)
    assert ops.softmax_cross_entropy_backward(1.0, cache).dtype == np.float32


def test_a_target_too_large_is_refused(ops: Any) -> None:
    with pytest.raises((ValueError, IndexError), match="3"):
        ops.softmax_cross_entropy_forward(np.zeros((2, 3)), np.array([0, 3]))


def test_the_definition_refuses_a_negative_target() -> None:
    with pytest.raises(ValueError, match="target -1 of example 1"):
        family("reference").softmax_cross_entropy_forward(np.zeros((2, 3)), np.array([0, -1]))


@few_examples
@given(st.integers(1, 5), st.integers(1, 6), st.floats(0, 1), st.integers(0, 99))
def test_the_families_agree_in_any_shape(N: int, K: int, label_smoothing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = 5 * normal(rng, (N, K)), rng.integers(0, K, N)
    options = {"label_smoothing": label_smoothing}
    expected, reference_cache = family("reference").softmax_cross_entropy_forward(logits, targets, **options)
    loss, cache = family("array").softmax_cross_entropy_forward(logits, targets, **options)
    np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-14)
    wanted = family("reference").softmax_cross_entropy_backward(1.0, reference_cache)
    np.testing.assert_allclose(family("array").softmax_cross_entropy_backward(1.0, cache), wanted, rtol=0, atol=1e-14)
