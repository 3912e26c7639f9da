"""The other native kernels that are bound by memory, each against the array kernels in float64, for every kind of
processor; and what all of them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from .native_cases import CHANNELS, close, double, values
from .oracles import family
from .test_native_batch_norm import norm_inputs

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


@pytest.mark.parametrize("wrong", ["grad", "velocity", "value"])
def test_an_optimizer_writes_into_nothing_that_does_not_fit(native: Any, wrong: str) -> None:
    arrays = {name: np.ones(5000, np.float32) for name in ("value", "grad", "velocity")}
    if wrong == "value":
        arrays["value"].flags.writeable = False
    else:
        arrays[wrong] = np.ones(10, np.float32)
    with pytest.raises(ValueError, match=r"shape|read-only|broadcast"):
        native.sgd_step(*arrays.values(), lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"shape|read-only|broadcast"):
        native.adam_step(*arrays.values(), arrays["velocity"], lr=0.1, step=1)


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
    for ops in (native, family("array"), family("reference") if x.size < 5000 else native):
        total, place = x + dy, x.copy()
        assert ops.add(place, dy, out=place) is place
        np.testing.assert_array_equal(place, total)


def test_relu_keeps_nan_and_lets_no_gradient_through_it(native: Any) -> None:
    y, cache = native.relu_forward(np.array([np.nan, 1, -1, 0], np.float32))
    np.testing.assert_array_equal(y, [np.nan, 1, 0, 0])
    np.testing.assert_array_equal(native.relu_backward(np.full(4, np.inf, np.float32), cache), [0, np.inf, 0, 0])


WRONG: dict[str, Callable[[Any, np.ndarray], Any]] = {
    "dilation": lambda native, x: native.conv2d_forward(x, x[0, 0, :3, :, None, None], dilation=(0, 0)),
    "padding": lambda native, x: native.conv2d_forward(x, x[0, 0, :3, :, None, None], padding=((-1, 0), (0, 0))),
    "taps": lambda native, x: native.conv2d_forward(x, np.ones((2, 5, 3, 0), np.float32)),
    "window": lambda native, x: native.max_pool2d_forward(x, kernel_size=(0, 0), stride=(1, 1)),
    "size": lambda native, x: native.local_response_norm_forward(x, size=-3),
    "read-only": lambda native, x: native.add(x, x, out=x),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_c_could_not_survive_is_refused(native: Any, what: str) -> None:
    x = np.ones((1, 4, 4, 5), np.float32)
    x.flags.writeable = False
    with pytest.raises(ValueError, match=what):
        WRONG[what](native, x)


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
    native.set_threads(1)
    alone = list(everything(native))
    for threads in (2, 3):
        native.set_threads(threads)
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
