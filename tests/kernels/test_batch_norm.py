from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import (
    DTYPES,
    TOLERANCE,
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
    dx, dgamma, dbeta, _ = ops.batch_norm_backward(dy, cache)
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
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=TOLERANCE[y.dtype])
    np.testing.assert_allclose(y.var(axis=(0, 1, 2)), 1, rtol=TOLERANCE[y.dtype])


def test_what_the_normalization_removes_has_no_gradient(ops: Any, rng: Any) -> None:
    x, _, _, gamma, beta = inputs(rng, (3, 4, 2, 5), "float64")
    _, cache = ops.batch_norm_forward(x, *ops.batch_moments(x), gamma, beta, eps=0.0, from_batch=True)
    dx, *_ = ops.batch_norm_backward(normal(rng, x.shape), cache)
    np.testing.assert_allclose(dx.sum(axis=(0, 1, 2)), 0, atol=TOLERANCE[dx.dtype])  # a shift of a channel
    np.testing.assert_allclose(
        (dx * x).sum(axis=(0, 1, 2)), 0, atol=100 * TOLERANCE[dx.dtype]
    )  # a stretch of a channel


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
    for actual, wanted in zip(family("array").batch_norm_backward(dy, cache)[:3], wanted_gradients, strict=False):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-10)


# What follows a normalization, in the same call -----------------------------------------------------------------------

FOLLOWING = [(residual, relu, pool) for residual in (False, True) for relu, pool in ((0, 0), (1, 0), (1, 1))]
SIZES = [(2, 4, 6, 3), (3, 5, 3, 2), (1, 3, 8, 1)]


@pytest.mark.parametrize("from_batch", [True, False], ids=["batch_statistics", "constant_statistics"])
@pytest.mark.parametrize(("residual", "relu", "pool"), FOLLOWING)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_computes_the_same_with_what_follows(
    ops: Any, torch: Any, rng: Any, dtype: str, shape: Any, residual: bool, relu: bool, pool: bool, from_batch: bool
) -> None:
    x, mean, var, gamma, beta = inputs(rng, shape, dtype)
    r = normal(rng, shape, dtype) if residual else None
    if from_batch:
        mean, var = ops.batch_moments(x)
    options = {"residual": r, "relu": bool(relu), "pool": bool(pool)}
    y, cache = ops.batch_norm_forward(x, mean, var, gamma, beta, from_batch=from_batch, **options)
    dy = normal(rng, y.shape, dtype)

    def function(x: Any, gamma: Any, beta: Any, r: Any = None) -> Any:
        running = [torch.tensor(mean), torch.tensor(var)]
        y = torch.nn.functional.batch_norm(x, *running, gamma, beta, training=from_batch)
        y = y if r is None else y + r
        y = torch.relu(y) if relu else y
        return torch.max_pool2d(y, 2) if pool else y

    arrays = [channels_first(x), gamma, beta, *([] if r is None else [channels_first(r)])]
    expected = torch_gradients(torch, function, *arrays, dy=channels_first(dy))
    found = [y, *ops.batch_norm_backward(dy, cache)]
    assert residual or found.pop() is None
    for actual, wanted in zip(found, expected, strict=True):
        assert_agree(actual, channels_last(wanted) if wanted.ndim > 1 else wanted)


@few_examples
@given(
    st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5), st.integers(1, 4)),
    st.sampled_from(FOLLOWING),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_families_agree_on_what_follows(shape: Any, following: Any, from_batch: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, mean, var, gamma, beta = inputs(rng, shape, "float64")
    if from_batch:
        mean, var = family("reference").batch_moments(x)
    residual, relu, pool = following
    options = {"residual": normal(rng, shape) if residual else None, "relu": bool(relu), "pool": bool(pool)}
    results = []
    for name in ("array", "reference"):
        y, cache = family(name).batch_norm_forward(x, mean, var, gamma, beta, from_batch=from_batch, **options)
        dy = np.cos(np.arange(y.size)).reshape(y.shape)
        results.append([y, *family(name).batch_norm_backward(dy, cache)])
    for actual, wanted in zip(*results, strict=True):
        if wanted is None:
            assert actual is None
        else:
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("residual", "relu", "pool"), FOLLOWING)
@pytest.mark.parametrize("from_batch", [True, False], ids=["batch_statistics", "constant_statistics"])
def test_remembering_for_dx_alone_gives_the_same_dx(
    ops: Any, rng: Any, residual: bool, relu: bool, pool: bool, from_batch: bool
) -> None:
    x, mean, var, gamma, beta = inputs(rng, (2, 5, 4, 3), "float64")
    r = normal(rng, x.shape) if residual else None
    results = []
    for remember in ("all", "input"):
        y, cache = ops.batch_norm_forward(
            x,
            mean,
            var,
            gamma,
            beta,
            from_batch=from_batch,
            residual=r,
            relu=bool(relu),
            pool=bool(pool),
            remember=remember,
        )
        dy = np.cos(np.arange(y.size)).reshape(y.shape)
        results.append(ops.batch_norm_backward(dy, cache, need_dparams=False))
    (dx, *_, dresidual), (same_dx, no_dgamma, no_dbeta, same_dresidual) = results
    np.testing.assert_allclose(same_dx, dx, rtol=0, atol=1e-12)
    assert no_dgamma is no_dbeta is None
    if residual:
        np.testing.assert_array_equal(same_dresidual, dresidual)
        assert not np.shares_memory(same_dx, same_dresidual)
        assert not np.shares_memory(same_dresidual, dy)
    else:
        assert dresidual is same_dresidual is None


def test_the_winner_of_equal_values_is_the_first_after_the_relu(ops: Any) -> None:
    x = np.array([[-5.0, 1.0], [2.0, -1.0], [-1.0, 3.0], [-7.0, 3.0]])  # the four pixels of a window, two channels
    y, cache = ops.batch_norm_forward(
        x.reshape(1, 2, 2, 2),
        np.zeros(2),
        np.ones(2),
        np.ones(2),
        np.zeros(2),
        eps=0.0,
        from_batch=False,
        relu=True,
        pool=True,
    )
    np.testing.assert_array_equal(y.ravel(), [2, 3])
    dx, *_ = ops.batch_norm_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx.reshape(4, 2), [[0, 0], [1, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize(("shape", "relu"), [((1, 4, 4, 2), False), ((1, 1, 4, 2), True)])
def test_a_pool_that_cannot_be_is_refused(ops: Any, shape: tuple[int, ...], relu: bool) -> None:
    channels = [np.zeros(2), np.ones(2), np.ones(2), np.zeros(2)]
    with pytest.raises(ValueError, match=r"pool comes with relu|window of 2"):
        ops.batch_norm_forward(np.zeros(shape), *channels, from_batch=False, relu=relu, pool=True)


@pytest.mark.parametrize(("relu", "pool"), [(False, False), (True, False), (True, True)])
def test_an_empty_batch_has_gradients_of_zero(ops: Any, relu: bool, pool: bool) -> None:
    x = np.zeros((0, 4, 6, 2))
    y, cache = ops.batch_norm_forward(
        x, np.zeros(2), np.ones(2), np.ones(2), np.zeros(2), from_batch=False, residual=x, relu=relu, pool=pool
    )
    assert y.shape == ((0, 2, 3, 2) if pool else x.shape)
    dx, dgamma, dbeta, dresidual = ops.batch_norm_backward(y, cache)
    assert dx.shape == dresidual.shape == x.shape
    np.testing.assert_array_equal([dgamma, dbeta], np.zeros((2, 2)))


@pytest.mark.parametrize("shape", [(40, 3), (7, 9, 3), (5, 6, 4, 3), (3, 9, 4, 3)])
def test_the_size_of_the_blocks_changes_rounding_alone(
    monkeypatch: pytest.MonkeyPatch, rng: Any, shape: tuple[int, ...]
) -> None:
    ops = family("array")
    x, _, _, gamma, beta = inputs(rng, shape, "float64")
    results = []
    for numbers in (1, 50, 1 << 16):
        monkeypatch.setattr("minicnn.kernels.array.blocks.BLOCK", numbers)
        moments = ops.batch_moments(x)
        options = {"residual": x, "relu": True, "pool": len(shape) == 4}
        y, cache = ops.batch_norm_forward(x, *moments, gamma, beta, from_batch=True, **options)
        dy = np.cos(np.arange(y.size)).reshape(y.shape)
        results.append([*moments, y, *ops.batch_norm_backward(dy, cache)])
    for one, other, whole in zip(*results, strict=True):
        np.testing.assert_allclose(one, whole, rtol=0, atol=1e-11)
        np.testing.assert_allclose(other, whole, rtol=0, atol=1e-11)
