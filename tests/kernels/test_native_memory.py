"""The native kernels that are bound by memory, each against the array kernels in float64, for every processor level."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicnn.kernels.native import library

from .oracles import family
from .test_max_pool import poolings

TOLERANCE = 2e-6  # of the largest value
CHANNELS = [1, 3, 6, 10, 16, 37, 64, 300]
MODULES = ("batch_norm", "pool", "lrn", "optimizer", "relu")

few_examples = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@lru_cache
def loaded(level: str) -> ctypes.CDLL:
    """A level's library. Skips where it is not built, or cannot run on this processor."""
    if not library.file(level).is_file():
        pytest.skip(f"the native kernels for {level} are not built here")
    if level != "baseline" and not library.supports(level):
        pytest.skip(f"this processor has no {level}")
    return ctypes.CDLL(str(library.file(level)))


@lru_cache
def wrappers(level: str) -> SimpleNamespace:
    """The wrappers' functions, from copies of their modules: each looks its C functions up once, in one library."""
    functions: dict[str, Any] = {"library": loaded(level)}
    for name in MODULES:
        original = importlib.import_module(f"minicnn.kernels.native.{name}")
        spec = importlib.util.spec_from_file_location(f"{original.__package__}.{name}_{level}", original.__file__)
        assert spec is not None
        assert spec.loader is not None
        copy: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        functions |= {key: value for key, value in vars(copy).items() if callable(value)}
    return SimpleNamespace(**functions)


@pytest.fixture(params=library.LEVELS)
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The kernels at one level, on two threads."""
    functions = wrappers(request.param)
    monkeypatch.setattr(library, "library", lambda: functions.library)
    functions.library.set_threads(2)
    yield functions
    functions.library.set_threads(library.default_threads())


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def close(actual: np.ndarray | None, expected: np.ndarray | None, tolerance: float = TOLERANCE) -> None:
    """float32 `actual` within tolerance × the largest value, or × 1 where all are smaller; None only with None."""
    assert (actual is None) == (expected is None)
    if actual is not None and expected is not None:
        assert actual.shape == expected.shape
        assert actual.dtype == np.float32
        bound = tolerance * max(1, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def double(*arrays: np.ndarray | None) -> list[np.ndarray | None]:
    return [None if a is None else a.astype(np.float64) for a in arrays]


# Batch normalization and the sums of channels

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


# Pooling


@few_examples
@given(
    geometry=poolings(), C=st.sampled_from(CHANNELS), N=st.integers(0, 3), seed=st.integers(0, 99), ties=st.booleans()
)
def test_max_pooling_agrees(native: Any, geometry: Any, C: int, N: int, seed: int, ties: bool) -> None:
    size, options = geometry
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 0, (N, *size, C)).astype(np.float32) if ties else values(rng, N, *size, C)
    y, cache = native.max_pool2d_forward(x, **options)
    expected, exact_cache = family("array").max_pool2d_forward(x, **options)
    np.testing.assert_array_equal(y, expected)
    dy = values(rng, *y.shape[::-1]).T
    close(native.max_pool2d_backward(dy, cache), family("array").max_pool2d_backward(dy, exact_cache))


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)])
def test_max_pooling_agrees_over_several_items(
    native: Any, rng: Any, kernel: int, stride: int, padding: int, C: int
) -> None:
    x = values(rng, 3, 23, 29, C)
    options = {"kernel_size": (kernel, kernel), "stride": (stride, stride), "padding": (padding, padding)}
    y, cache = native.max_pool2d_forward(x, **options)
    expected, exact_cache = family("array").max_pool2d_forward(x, **options)
    np.testing.assert_array_equal(y, expected)
    close(native.max_pool2d_backward(y, cache), family("array").max_pool2d_backward(y, exact_cache))


@pytest.mark.parametrize("place", range(4))
def test_pooling_does_not_hide_a_nan(native: Any, place: int) -> None:
    x = np.zeros((1, 2, 2, 5), np.float32)
    x.reshape(4, 5)[place] = np.nan
    assert np.isnan(native.max_pool2d_forward(x, kernel_size=(2, 2), stride=(2, 2))[0]).all()


def test_windows_of_more_than_256_pixels_agree(native: Any, rng: Any) -> None:
    x = values(rng, 1, 18, 18, 3)
    y, cache = native.max_pool2d_forward(x, kernel_size=(17, 17), stride=(1, 1))
    np.testing.assert_array_equal(y, family("array").max_pool2d_forward(x, kernel_size=(17, 17), stride=(1, 1))[0])
    assert native.max_pool2d_backward(np.ones_like(y), cache).sum() == y.size


@few_examples
@given(
    geometry=poolings(), C=st.sampled_from(CHANNELS), N=st.integers(0, 3), seed=st.integers(0, 99), pad=st.booleans()
)
def test_average_pooling_agrees(native: Any, geometry: Any, C: int, N: int, seed: int, pad: bool) -> None:
    size, options = geometry
    rng = np.random.default_rng(seed)
    x = values(rng, N, *size, C)
    y, cache = native.avg_pool2d_forward(x, **options, count_include_pad=pad)
    expected, exact_cache = family("array").avg_pool2d_forward(double(x)[0], **options, count_include_pad=pad)
    close(y, expected)
    dy = values(rng, *y.shape[::-1]).T
    close(native.avg_pool2d_backward(dy, cache), family("array").avg_pool2d_backward(double(dy)[0], exact_cache))


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize("out", [(1, 1), (4, 3), (3, 2), (8, 6), (9, 7)])
def test_adaptive_pooling_agrees(native: Any, rng: Any, out: tuple[int, int], C: int) -> None:
    x = values(rng, 2, 8, 6, C)
    y, cache = native.adaptive_avg_pool2d_forward(x, output_size=out)
    expected, exact_cache = family("array").adaptive_avg_pool2d_forward(double(x)[0], output_size=out)
    close(y, expected)
    dx = native.adaptive_avg_pool2d_backward(y, cache)
    close(dx, family("array").adaptive_avg_pool2d_backward(double(y)[0], exact_cache))


# Local response normalization


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (4, 0.75), (1, 0.75), (9, 0.75), (5, 0.5)])
@pytest.mark.parametrize("shape", [(0,), (1,), (2, 13, 17)])
def test_local_response_norm_agrees(
    native: Any, rng: Any, shape: tuple[int, ...], size: int, beta: float, C: int
) -> None:
    x, dy = values(rng, *shape, C), values(rng, C, *shape[::-1]).T
    options = {"size": size, "alpha": 0.5, "beta": beta, "k": 2.0}
    y, cache = native.local_response_norm_forward(x, **options)
    expected, exact_cache = family("array").local_response_norm_forward(double(x)[0], **options)
    close(y, expected)
    dx = native.local_response_norm_backward(dy, cache)
    close(dx, family("array").local_response_norm_backward(double(dy)[0], exact_cache))


# Optimizers


@pytest.mark.parametrize("size", [0, 1, 17, 40001])
@pytest.mark.parametrize("start", [0, 1], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_agrees(
    native: Any, rng: Any, size: int, start: int, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    options = {"lr": np.float32(0.125), "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    value, velocity = (values(rng, size + start)[start:] for _ in range(2))
    exact = double(value, velocity)
    for _ in range(3):
        grad = values(rng, size)
        native.sgd_step(value, grad, velocity, **options)
        family("array").sgd_step(exact[0], double(grad)[0], exact[1], **options)
    close(value, exact[0])
    close(velocity, exact[1])


@pytest.mark.parametrize("size", [0, 1, 17, 40001])
@pytest.mark.parametrize("start", [0, 1], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_agrees(native: Any, rng: Any, size: int, start: int, weight_decay: float) -> None:
    value, m, v = (np.abs(values(rng, size + start))[start:] for _ in range(3))
    exact = double(value, m, v)
    for step in range(1, 4):
        grad = values(rng, size)
        options = {"lr": 0.1, "weight_decay": weight_decay, "step": step}
        native.adam_step(value, grad, m, v, **options)
        family("array").adam_step(exact[0], double(grad)[0], *exact[1:], **options)
    for a, b in zip((value, m, v), exact, strict=True):
        close(a, b, 1e-5)


def test_optimizers_update_views_with_steps(native: Any, rng: Any) -> None:
    value = values(rng, 20)
    before = value.copy()
    native.sgd_step(value[::2], np.ones(10, np.float32), None, lr=0.5)
    np.testing.assert_array_equal(value[::2], before[::2] - 0.5)
    np.testing.assert_array_equal(value[1::2], before[1::2])


def test_momentum_without_a_velocity_is_refused(native: Any) -> None:
    with pytest.raises(ValueError, match="needs a velocity"):
        native.sgd_step(np.ones(3, np.float32), np.ones(3, np.float32), None, lr=0.1, momentum=0.9)


# Rectifiers


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 7, 5, 11), (2, 512), (4, 9000)])
@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet", "redirected"])
def test_relu_agrees(native: Any, rng: Any, shape: tuple[int, ...], rule: str) -> None:
    x, dy = values(rng, *shape), values(rng, *shape)
    x[:1] = -1  # a picture that is blocked everywhere
    y, cache = native.relu_forward(x)
    expected, exact_cache = family("array").relu_forward(x)
    np.testing.assert_array_equal(y, expected)
    found = native.relu_backward(dy, cache, rule=rule)
    np.testing.assert_array_equal(found, family("array").relu_backward(dy, exact_cache, rule=rule))


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 7, 5, 11), (4, 9000)])
def test_leaky_relu_and_sums_agree(native: Any, rng: Any, shape: tuple[int, ...]) -> None:
    x, dy = values(rng, *shape), values(rng, *shape[::-1]).T
    y, cache = native.leaky_relu_forward(x, slope=0.25)
    expected, exact_cache = family("array").leaky_relu_forward(x, slope=0.25)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(
        native.leaky_relu_backward(dy, cache), family("array").leaky_relu_backward(dy, exact_cache)
    )
    np.testing.assert_array_equal(native.add(x, dy), x + dy)


def test_relu_keeps_nan_and_lets_no_gradient_through_it(native: Any) -> None:
    y, cache = native.relu_forward(np.array([np.nan, 1, -1, 0], np.float32))
    np.testing.assert_array_equal(y, [np.nan, 1, 0, 0])
    np.testing.assert_array_equal(native.relu_backward(np.full(4, np.inf, np.float32), cache), [0, np.inf, 0, 0])


def test_an_unknown_rule_is_refused(native: Any) -> None:
    with pytest.raises(ValueError, match="rule 'sign'"):
        native.relu_backward(np.ones(2, np.float32), None, rule="sign")


# All


def everything(native: Any) -> Iterator[np.ndarray | None]:
    """Results of each operation on something that is cut into several items."""
    rng = np.random.default_rng(1)
    x, residual, dy = values(rng, 5, 31, 29, 19), values(rng, 5, 31, 29, 19), values(rng, 5, 31, 29, 19)
    gamma, beta = values(rng, 19), values(rng, 19)
    mean, var = native.batch_moments(x)
    yield from (mean, var)
    for pool in (False, True):
        options = {"from_batch": True, "residual": residual, "relu": True, "pool": pool}
        y, cache = native.batch_norm_forward(x, mean, var, gamma, beta, **options)
        yield y
        yield from native.batch_norm_backward(y, cache)
    forward: list[Callable[..., Any]] = [native.max_pool2d_forward, native.avg_pool2d_forward]
    for op, back in zip(forward, (native.max_pool2d_backward, native.avg_pool2d_backward), strict=True):
        y, cache = op(x, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
        yield from (y, back(y, cache))
    y, cache = native.local_response_norm_forward(x)
    yield from (y, native.local_response_norm_backward(dy, cache), native.add(x, dy))
    y, cache = native.relu_forward(x)
    yield from (y, native.relu_backward(dy, cache))
    flat = [a.ravel() for a in (x.copy(), dy, residual.copy(), np.abs(residual))]
    native.sgd_step(*flat[:3], lr=0.1, momentum=0.9)
    native.adam_step(*flat, lr=0.1, step=2)
    yield from flat


def test_the_bits_do_not_depend_on_the_number_of_threads(native: Any) -> None:
    native.library.set_threads(1)
    alone = list(everything(native))
    for threads in (2, 3):
        native.library.set_threads(threads)
        for a, b in zip(alone, everything(native), strict=True):
            np.testing.assert_array_equal(a, b)


def test_nothing_is_kept_where_no_backward_pass_will_come(native: Any, rng: Any) -> None:
    x, window = values(rng, 2, 4, 4, 3), {"kernel_size": (2, 2), "stride": (2, 2)}
    results = [
        native.batch_norm_forward(*norm_inputs(rng, x.shape), from_batch=False, relu=True, pool=True, remember=None),
        native.scale_forward(x, x[0, 0, 0], x[0, 0, 0], remember=None),
        native.max_pool2d_forward(x, **window, remember=None),
        native.avg_pool2d_forward(x, **window, remember=None),
        native.adaptive_avg_pool2d_forward(x, output_size=(1, 1), remember=None),
        native.local_response_norm_forward(x, remember=None),
        native.relu_forward(x, remember=None),
        native.leaky_relu_forward(x, remember=None),
    ]
    assert all(cache is None for _, cache in results)
