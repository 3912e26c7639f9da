"""Native batch norm and the sums of channels, against the array kernels in float64, for every kind of processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .native_cases import CHANNELS, close, double, few_examples, values
from .oracles import family

SHAPES = [(5,), (1, 1, 1), (0, 4, 4), (3, 5, 7), (2, 33, 31), (1, 2, 3)]


def norm_inputs(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """x, mean, var, gamma, beta."""
    C = shape[-1]
    x = values(rng, *shape) * rng.uniform(0.5, 2, C) + 3 * values(rng, C)
    return [a.astype(np.float32) for a in (x, values(rng, C), rng.uniform(0.5, 2, C), values(rng, C), values(rng, C))]


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 0 not in shape])
def test_moments_agree(native: Any, rng: Any, shape: tuple[int, ...], C: int) -> None:
    x = norm_inputs(rng, (*shape, C))[0]
    mean, var = native.batch_moments(x)
    close(mean, x.mean(axis=tuple(range(x.ndim - 1)), dtype=np.float64))
    close(var, x.var(axis=tuple(range(x.ndim - 1)), dtype=np.float64))


@pytest.mark.parametrize("pixel", [0, 1, 500, -1])
def test_a_far_value_costs_the_variance_no_digits(native: Any, rng: Any, pixel: int) -> None:
    x = values(rng, 40000, 3) + 1000
    x[pixel] = 1e5
    mean, var = native.batch_moments(x)
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(var, x.var(axis=0, dtype=np.float64), rtol=1e-5)


def test_moments_of_nothing_are_nan(native: Any) -> None:
    assert all(np.isnan(a).all() for a in native.batch_moments(np.empty((0, 3, 3, 5), np.float32)))


def check_batch_norm(
    native: Any, rng: Any, shape: tuple[int, ...], options: dict[str, Any], wanted: dict[str, bool]
) -> None:
    x, mean, var, gamma, beta = norm_inputs(rng, shape)
    if options["from_batch"] and x.size:
        mean, var = native.batch_moments(x)
    residual = values(rng, *shape) if options.pop("residual") else None
    given = [a if a is None else a.copy() for a in (x, mean, var, gamma, beta, residual)]
    y, cache = native.batch_norm_forward(x, mean, var, gamma, beta, residual=residual, eps=1e-3, **options)
    exact = double(x, mean, var, gamma, beta)
    oracle = family("array")
    expected, exact_cache = oracle.batch_norm_forward(*exact, residual=double(residual)[0], eps=1e-3, **options)
    close(y, expected)
    dy = values(rng, *y.shape[::-1]).T  # not contiguous
    found = native.batch_norm_backward(dy, cache, **wanted)
    with np.errstate(all="ignore"):  # an empty batch's 0 / 0
        exact_found = oracle.batch_norm_backward(double(dy)[0], exact_cache, **wanted)
    for a, b in zip(found, exact_found, strict=True):
        close(a, b, 1e-5)
    for before, after in zip(given, (x, mean, var, gamma, beta, residual), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("from_batch", [True, False], ids=["batch_statistics", "constant_statistics"])
def test_batch_norm_agrees(native: Any, rng: Any, shape: tuple[int, ...], C: int, from_batch: bool) -> None:
    options = {"from_batch": from_batch, "residual": False, "relu": C % 2 == 0}
    check_batch_norm(native, rng, (*shape, C), options, {})


@few_examples
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(2, 9), st.integers(2, 9), st.sampled_from(CHANNELS)),
    options=st.fixed_dictionaries(
        {
            "from_batch": st.booleans(),
            "residual": st.booleans(),
            "remember": st.sampled_from(["all", "input"]),
            "relu": st.just(True) | st.booleans(),
            "pool": st.booleans(),
        }
    ),
    need_dx=st.booleans(),
    need_dparams=st.booleans(),
    seed=st.integers(0, 99),
)
def test_batch_norm_agrees_with_whatever_follows_it(
    native: Any, shape: Any, options: Any, need_dx: bool, need_dparams: bool, seed: int
) -> None:
    options = {**options, "pool": options["pool"] and options["relu"]}
    wanted = {"need_dx": need_dx, "need_dparams": need_dparams and options["remember"] == "all"}
    check_batch_norm(native, np.random.default_rng(seed), shape, options, wanted)


def test_of_equal_values_the_first_in_reading_order_gets_the_gradient(native: Any, rng: Any) -> None:
    x = rng.integers(-2, 3, (2, 7, 9, 21)).astype(np.float32)
    one, zero = np.ones(21, np.float32), np.zeros(21, np.float32)
    y, cache = native.batch_norm_forward(x, zero, one, one, zero, eps=0.0, from_batch=False, relu=True, pool=True)
    exact = np.maximum(x, 0)
    expected, pool_cache = family("array").max_pool2d_forward(exact, kernel_size=(2, 2), stride=(2, 2))
    np.testing.assert_array_equal(y, expected)
    dy = values(rng, *y.shape)
    wanted = family("array").max_pool2d_backward(dy, pool_cache) * (exact > 0)
    np.testing.assert_array_equal(native.batch_norm_backward(dy, cache)[0], wanted)


@pytest.mark.parametrize(("shape", "relu"), [((2, 1, 4, 3), True), ((2, 4, 4, 3), False), ((4, 3), True)])
def test_pooling_what_cannot_be_pooled_is_refused(native: Any, rng: Any, shape: tuple[int, ...], relu: bool) -> None:
    with pytest.raises(ValueError, match="pool comes with relu, on pictures"):
        native.batch_norm_forward(*norm_inputs(rng, shape), from_batch=False, relu=relu, pool=True)


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scale_agrees(native: Any, rng: Any, shape: tuple[int, ...], C: int) -> None:
    x, gamma, beta, dy = values(rng, *shape, C), values(rng, C), values(rng, C), values(rng, *shape, C)
    y, cache = native.scale_forward(x, gamma, beta)
    expected, exact_cache = family("array").scale_forward(*double(x, gamma, beta))
    close(y, expected)
    for a, b in zip(
        native.scale_backward(dy, cache), family("array").scale_backward(double(dy)[0], exact_cache), strict=True
    ):
        close(a, b, 1e-5)


def test_gradients_that_were_not_prepared_for_are_refused(native: Any, rng: Any) -> None:
    x, mean, var, gamma, beta = norm_inputs(rng, (4, 3))
    _, cache = native.batch_norm_forward(x, mean, var, gamma, beta, from_batch=False, remember="input")
    with pytest.raises(ValueError, match="remember='all'"):
        native.batch_norm_backward(x, cache)
    _, cache = native.scale_forward(x, gamma, beta, remember="input")
    with pytest.raises(ValueError, match="remember='all'"):
        native.scale_backward(x, cache)
