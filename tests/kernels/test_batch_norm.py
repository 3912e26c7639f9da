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

SHAPES = [(6, 3), (4, 5, 3), (3, 4, 2, 5)]


def inputs(rng: Any, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """x, mean, var, gamma, beta; the channels of x differ in mean and variance."""
    C = shape[-1]
    x = normal(rng, shape) * np.arange(1, C + 1) + 10 * np.arange(C)
    arrays = [x, normal(rng, (C,)), rng.uniform(0.5, 2, C), normal(rng, (C,)), normal(rng, (C,))]
    return [a.astype(dtype) for a in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("from_batch", [True, False], ids=["batch_statistics", "constant_statistics"])
def test_torch_computes_the_same(
    ops: Any, torch: Any, rng: Any, shape: tuple[int, ...], dtype: str, from_batch: bool
) -> None:
    x, mean, var, gamma, beta = inputs(rng, shape, dtype)
    if from_batch:
        mean, var = ops.batch_moments(x)
    y, cache = ops.batch_norm_forward(x, mean, var, gamma, beta, eps=1e-3, from_batch=from_batch)
    dy = normal(rng, shape, dtype)

    def function(x: Any, gamma: Any, beta: Any) -> Any:
        running = [torch.tensor(mean), torch.tensor(var)]
        return torch.nn.functional.batch_norm(x, *running, gamma, beta, training=from_batch, eps=1e-3)

    expected = torch_gradients(torch, function, channels_first(x), gamma, beta, dy=channels_first(dy))
    dx, dgamma, dbeta = ops.batch_norm_backward(dy, cache)
    assert_agree(y, channels_last(expected[0]))
    assert_agree(dx, channels_last(expected[1]))
    assert_agree(dgamma, expected[2])
    assert_agree(dbeta, expected[3])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_computes_the_same_biased_moments(
    ops: Any, torch: Any, rng: Any, shape: tuple[int, ...], dtype: str
) -> None:
    x, *_ = inputs(rng, shape, dtype)
    var, mean = torch.var_mean(torch.from_numpy(x), dim=tuple(range(len(shape) - 1)), correction=0)
    actual_mean, actual_var = ops.batch_moments(x)
    assert_agree(actual_mean, mean.numpy())
    assert_agree(actual_var, var.numpy())


ONNX_CASES = [
    ("test_batchnorm_example", False),
    ("test_batchnorm_epsilon", False),
    ("test_batchnorm_example_training_mode", True),
    ("test_batchnorm_epsilon_training_mode", True),
    ("test_BatchNorm2d_eval", False),
    ("test_BatchNorm1d_3d_input_eval", False),
]


@pytest.mark.parametrize(("name", "from_batch"), ONNX_CASES)
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str, from_batch: bool) -> None:
    attributes, (x, gamma, beta, mean, var), (expected, *_) = onnx_case(name)
    x = channels_last(x)
    if from_batch:
        mean, var = ops.batch_moments(x)
    eps = attributes.get("epsilon", 1e-5)
    y, _ = ops.batch_norm_forward(x, mean, var, gamma, beta, eps=eps, from_batch=from_batch)
    assert_agree(y, channels_last(expected))


def test_each_channel_of_a_picture_is_normalized_by_itself(ops: Any, rng: Any) -> None:
    x, *_ = inputs(rng, (4, 3, 5, 2), "float64")
    y, _ = ops.batch_norm_forward(x, *ops.batch_moments(x), np.ones(2), np.zeros(2), eps=0.0, from_batch=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 1, 2)), 1, rtol=1e-12)


def test_what_the_normalization_removes_has_no_gradient(ops: Any, rng: Any) -> None:
    x, _, _, gamma, beta = inputs(rng, (3, 4, 2, 5), "float64")
    _, cache = ops.batch_norm_forward(x, *ops.batch_moments(x), gamma, beta, eps=0.0, from_batch=True)
    dx, _, _ = ops.batch_norm_backward(normal(rng, x.shape), cache)
    np.testing.assert_allclose(dx.sum(axis=(0, 1, 2)), 0, atol=1e-12)  # a shift of a channel
    np.testing.assert_allclose((dx * x).sum(axis=(0, 1, 2)), 0, atol=1e-10)  # a stretch of a channel


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_mean_does_not_swallow_the_variance(ops: Any, dtype: str) -> None:
    x = np.array([[4095.0], [4097.0]] * 8, dtype)  # E[x²] − E[x]² in float32 would have no digit left of the 1
    mean, var = ops.batch_moments(x)
    assert (mean.item(), var.item()) == (4096, 1)


def test_a_constant_channel_does_not_divide_by_zero(ops: Any) -> None:
    x = np.full((4, 2), 3.0)
    y, cache = ops.batch_norm_forward(x, *ops.batch_moments(x), np.ones(2), np.zeros(2), from_batch=True)
    np.testing.assert_array_equal(y, np.zeros((4, 2)))
    assert np.isfinite(ops.batch_norm_backward(np.ones_like(x), cache)[0]).all()


@few_examples
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_the_families_agree_in_any_shape(axes: list[int], C: int, from_batch: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, *axes, C)
    x, mean, var, gamma, beta = inputs(rng, shape, "float64")
    expected_moments = family("reference").batch_moments(x)
    moments = family("array").batch_moments(x)
    for actual, wanted in zip(moments, expected_moments, strict=True):
        assert_agree(actual, wanted)
    used = moments if from_batch else (mean, var)
    expected, reference_cache = family("reference").batch_norm_forward(x, *used, gamma, beta, from_batch=from_batch)
    y, cache = family("array").batch_norm_forward(x, *used, gamma, beta, from_batch=from_batch)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-11)  # x reaches 50: μ and σ carry its rounding
    dy = normal(rng, shape)
    wanted_gradients = family("reference").batch_norm_backward(dy, reference_cache)
    for actual, wanted in zip(family("array").batch_norm_backward(dy, cache), wanted_gradients, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-10)
