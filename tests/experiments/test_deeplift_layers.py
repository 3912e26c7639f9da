"""The multipliers of single layers: what each x answers for adds up, beside a definition by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.experiments.deeplift import RULES, Rescale, rule_of
from minicnn.experiments.deeplift_layers import times_on_top
from minicnn.layers import (
    Layer,
    LeakyReLU,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    registered,
)

POOLS = [
    MaxPool2d(2),
    MaxPool2d(3, 2),
    MaxPool2d(3, 2, ceil_mode=True),
    MaxPool2d((3, 2), (1, 2), (1, 0), ceil_mode=True),
    MaxPool2d(3, 1, 1),
]
SEVERAL = [*POOLS, LocalResponseNorm(5, 0.5, k=2), LocalResponseNorm(4, 0.7, 0.6), Softmax()]
SINGLE = [ReLU(), LeakyReLU(0.1), Sigmoid(), Tanh(gain=1.7, slope=0.6)]


def pair(seed: int = 0, shape: tuple[int, ...] = (2, 3, 6, 7)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape), rng.standard_normal(shape)


def batch(x1: np.ndarray, x0: np.ndarray, rule: str) -> np.ndarray:
    """What the stand-ins of a rule go forward with: Δ⁺ and Δ⁻ that overlap, as behind a linear layer."""
    extra = np.abs(np.random.default_rng(9).standard_normal(x1.shape)) * (rule == "reveal-cancel")
    changes = [np.maximum(x1 - x0, 0) + extra, np.minimum(x1 - x0, 0) - extra]
    return np.concatenate([x1, x0, *(changes if rule == "reveal-cancel" else [])])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layer", [*SINGLE, *SEVERAL], ids=repr)
def test_what_comes_out_is_what_goes_back(layer, rule):
    """Σ m_x Δx = Σ m_y Δy, for any m_y: of Δ⁺ and Δ⁻ together under reveal-cancel."""
    x = batch(*pair(), rule)
    stand_in: Any = rule_of(layer, rule)
    y = stand_in.forward(x, remember="input")
    n = 2
    np.testing.assert_allclose(y[: 2 * n], layer.forward(x[: 2 * n], remember=None), rtol=1e-12)
    m = np.random.default_rng(3).standard_normal(y.shape)
    m[n : 2 * n] = m[:n]  # rescale: both rows go back alike
    dx = stand_in.backward(m)
    if rule == "rescale":
        assert (dx[:n] * (x[:n] - x[n:])).sum() == pytest.approx((m[:n] * (y[:n] - y[n:])).sum(), abs=1e-11)
        np.testing.assert_array_equal(dx[:n], dx[n:])
    else:
        np.testing.assert_allclose(y[2 * n : 3 * n] + y[3 * n :], y[:n] - y[n : 2 * n], atol=1e-12)
        for rows in (slice(2 * n, 3 * n), slice(3 * n, None)):  # each for itself
            assert (dx[rows] * x[rows]).sum() == pytest.approx((m[rows] * y[rows]).sum(), abs=1e-11)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layer", [*SINGLE, *SEVERAL], ids=repr)
def test_without_a_change_a_multiplier_is_the_gradient(layer, rule):
    x = pair()[0]
    stand_in: Any = rule_of(layer, rule)
    rows = [x, x] if rule == "rescale" else [x, x, 0 * x, 0 * x]
    y = stand_in.forward(np.concatenate(rows), remember="input")
    m = np.random.default_rng(3).standard_normal(y[:2].shape)
    dx = stand_in.backward(np.concatenate([m] * len(rows)))
    layer.forward(x)
    np.testing.assert_allclose(dx[-2:], layer.backward(m), rtol=1e-9, atol=1e-12)


def test_a_rectifier_is_a_quotient_also_where_it_goes_back_by_another_rule():
    for rule in ("gradient", "deconvnet", "guided"):
        stand_in: Any = Rescale(ReLU(rule))
        stand_in.forward(np.array([[3.0, -1, 2, -2], [-1.0, 1, 1, -1]]), remember="input")
        expected = [[0.75, 0.5, 1, 0], [0.75, 0.5, 1, 0]]
        np.testing.assert_array_equal(stand_in.backward(np.ones((2, 4))), expected)
        np.testing.assert_array_equal(stand_in.backward(-np.ones((2, 4))), -np.array(expected))


@pytest.mark.parametrize("layer", SINGLE, ids=repr)
def test_a_multiplier_does_not_suffer_from_a_small_change(layer):
    x0 = np.linspace(-2, 2, 10)[None]
    for exponent in range(1, 16):
        change = 10.0**-exponent
        stand_in: Any = Rescale(layer)
        y = stand_in.forward(np.concatenate([x0 + change, x0]), remember="input")
        m = stand_in.backward(np.ones_like(y))[:1]
        layer.forward(x0 + change / 2)
        np.testing.assert_allclose(m, layer.backward(np.ones_like(x0)), rtol=0, atol=1e-10 + change**2)


# Max pools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_times_on_top_are_those_that_one_sees_when_looking_often(dtype):
    rng = np.random.default_rng(0)
    starts, rises = rng.standard_normal((2, 9, 50)).astype(dtype)
    starts[3, :5], rises[4, 5:9] = -1e30, rises[5, 5:9]  # beyond the border; parallel
    shares = times_on_top(starts, rises)
    assert shares.dtype == dtype
    t = (np.arange(4000) + 0.5) / 4000
    tops = (starts[..., None] + t * rises[..., None]).argmax(axis=0)
    seen = np.stack([(tops == k).mean(axis=-1) for k in range(9)])
    np.testing.assert_allclose(shares, seen, atol=1e-3)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=20 * np.finfo(dtype).eps)


def test_lines_that_are_the_same_share_alike():
    starts, rises = np.array([[1.0, 1], [1, 1], [0, 1]]), np.array([[0.0, 1], [0, 1], [2, 1]])
    np.testing.assert_allclose(times_on_top(starts, rises), [[0.25, 1 / 3], [0.25, 1 / 3], [0.5, 1 / 3]])


def test_the_shares_add_up_to_one_however_close_the_lines_are():
    rng = np.random.default_rng(0)
    starts = (1 + 1e-7 * rng.integers(-3, 4, (9, 2000))).astype(np.float32)
    rises = (1e-7 * rng.integers(-3, 4, (9, 2000))).astype(np.float32)
    np.testing.assert_allclose(times_on_top(starts, rises).sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("layer", POOLS, ids=repr)
def test_a_max_pool_goes_back_by_the_integral_of_its_gradient(layer):
    x1, x0 = pair()
    stand_in: Any = rule_of(layer, "rescale")
    m = np.random.default_rng(3).standard_normal(stand_in.forward(np.concatenate([x1, x0]), remember="input").shape)
    m[2:] = m[:2]
    total: Any = 0
    steps = 1000
    for i in range(steps):
        layer.forward(x0 + (i + 0.5) / steps * (x1 - x0))
        total = total + layer.backward(m[:2]) / steps
    np.testing.assert_allclose(stand_in.backward(m)[:2], total, atol=0.02)


def test_in_an_even_baseline_a_window_changes_by_its_brightest_pixel():
    x1, x0 = pair()[0] - 9, np.full((2, 3, 6, 7), 5.0)
    stand_in: Any = rule_of(MaxPool2d(2), "rescale")
    y = stand_in.forward(np.concatenate([x1, x0]), remember="input")
    layer: Any = MaxPool2d(2)
    layer.forward(x1)
    np.testing.assert_array_equal(stand_in.backward(np.ones_like(y))[:2], layer.backward(np.ones_like(y[:2])))


# Softmax --------------------------------------------------------------------------------------------------------------


def test_scores_that_all_grow_by_the_same_have_done_nothing():
    x1, x0 = pair(shape=(2, 5))
    backs = []
    for shift in (0, 40):
        stand_in: Any = rule_of(Softmax(), "rescale")
        y = stand_in.forward(np.concatenate([x1 + shift, x0]), remember="input")
        backs.append(stand_in.backward(np.eye(4, 5)[[0, 1, 0, 1]] + 0 * y))
    first, second = backs
    np.testing.assert_allclose(first, second, rtol=1e-10)
    np.testing.assert_allclose(backs[0].sum(axis=1), 0, atol=1e-12)


def test_sure_scores_do_not_overflow():
    x = np.array([[300.0, -200, 0], [-100, 250, 90]], np.float32)
    stand_in: Any = rule_of(Softmax(), "rescale")
    stand_in.forward(x, remember="input")
    m = stand_in.backward(np.array([[1, 0, 0]] * 2, np.float32))
    assert (m[0] * (x[0] - x[1])).sum() == pytest.approx(1, rel=1e-5)


# All layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_every_layer_of_ours_has_a_rule(rule):
    layers = [kind for kind in registered() if kind.__module__.startswith("minicnn.layers")]
    for kind in layers:
        layer: Layer = registered()[kind][0].build(kind)
        if not layer.children():
            rule_of(layer, rule)
