"""Objectives: their values and gradients by other means than ours, their algebra, and what they refuse."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import L2, SCORES, Channel, ClassScore, LogProbability, Objective, TotalVariation, Unit


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, shape)


def test_the_gradient_of_a_class_score_is_one_at_the_class() -> None:
    value, gradients = ClassScore(2).evaluate({SCORES: np.array([[1.0, 5.0, 3.0], [0.0, 1.0, -4.0]])})
    assert value == -1
    np.testing.assert_array_equal(gradients[SCORES], [[0, 0, 1], [0, 0, 1]])


def test_the_gradient_of_a_log_probability_is_one_minus_p() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    scores = 5 * picture(3, 6)
    value, gradients = LogProbability(4).evaluate({SCORES: scores})
    x = torch.tensor(scores, requires_grad=True)
    expected = torch.log_softmax(x, dim=1)[:, 4].sum()
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradients[SCORES], x.grad.numpy(), atol=1e-15)


def test_large_scores_do_not_overflow() -> None:
    value, gradients = LogProbability(0).evaluate({SCORES: np.array([[-1e4, 1e4]], np.float32)})
    assert value == -2e4
    np.testing.assert_array_equal(gradients[SCORES], [[1, -1]])


def test_the_unit_of_a_map_is_the_one_in_the_middle() -> None:
    a = picture(1, 3, 5, 8)
    value, gradients = Unit("conv1", 1).evaluate({"conv1": a})
    assert value == a[0, 1, 2, 4]
    assert np.argwhere(gradients["conv1"]).tolist() == [[0, 1, 2, 4]]
    assert Unit("conv1", 1, (4, 0)).evaluate({"conv1": a})[0] == a[0, 1, 4, 0]


def test_a_channel_is_the_mean_over_its_places() -> None:
    a = picture(1, 3, 5, 8)
    assert Channel("conv1", 2).evaluate({"conv1": a})[0] == pytest.approx(a[0, 2].mean())


def test_the_norm_is_measured_from_the_centre_of_each_colour() -> None:
    a = picture(1, 3, 4, 4)
    centre = (0.1, 0.2, 0.3)
    expected = sum(((a[0, c] - centre[c]) ** 2).sum() for c in range(3))
    assert L2(center=centre).evaluate({"input": a})[0] == pytest.approx(expected)


@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0])
def test_total_variation_by_plain_loops(beta: float) -> None:
    a, expected = picture(2, 3, 4, 5), 0.0
    for n, c, i, j in np.ndindex(a.shape):
        down = a[n, c, i + 1, j] - a[n, c, i, j] if i < 3 else 0.0
        right = a[n, c, i, j + 1] - a[n, c, i, j] if j < 4 else 0.0
        v = down**2 + right**2
        expected += v ** (beta / 2) if beta > 1 or v > 1e-5 else 1e-5**0.5 + (v - 1e-5) * 0.5 * 1e-5**-0.5
    assert TotalVariation(beta).evaluate({"input": a})[0] == pytest.approx(expected)


def test_total_variation_does_not_compare_channels() -> None:
    flat = np.broadcast_to(np.array([0.0, 0.5, 1.0])[:, None, None], (1, 3, 4, 4))
    value, gradients = TotalVariation().evaluate({"input": flat})
    assert value == 0 and not gradients["input"].any()
    a = picture(1, 3, 4, 4)
    gradient = TotalVariation().evaluate({"input": a})[1]["input"]
    for c in range(3):
        alone = TotalVariation().evaluate({"input": a[:, c : c + 1]})[1]["input"]
        np.testing.assert_array_equal(gradient[:, c : c + 1], alone)


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
def test_total_variation_is_smooth_where_a_picture_is_nearly_flat(beta: float) -> None:
    tv, a = TotalVariation(beta), 1e-3 * picture(1, 2, 4, 5)  # v about 1e-7, below the floor
    gradient, v = tv.evaluate({"input": a})[1]["input"], np.random.default_rng(1).standard_normal(a.shape)
    h = 1e-6
    slope = (tv.evaluate({"input": a + h * v})[0] - tv.evaluate({"input": a - h * v})[0]) / (2 * h)
    assert slope == pytest.approx(np.vdot(gradient, v), rel=1e-7)
    assert not tv.evaluate({"input": np.full((1, 1, 3, 3), 0.5)})[1]["input"].any()


def test_objectives_can_be_summed_and_terms_stay_apart() -> None:
    total = sum([ClassScore(1), 2 * L2(), -TotalVariation()])
    assert isinstance(total, Objective)
    assert total.terms() == ((1.0, ClassScore(1)), (2.0, L2()), (-1.0, TotalVariation()))
    assert (3 * (total - L2())).terms()[-1] == (-3.0, L2())
    assert set(total.layers) == {SCORES, "input"}


def test_a_factor_of_double_precision_does_not_turn_float32_into_float64() -> None:
    a = picture(1, 3, 4, 4).astype(np.float32)
    value, gradients = (np.float64(0.3) * L2() + TotalVariation() * np.float64(2)).evaluate({"input": a})
    assert value.dtype == gradients["input"].dtype == np.float32


@pytest.mark.parametrize(
    "wrong", [lambda o: o * "3", lambda o: o * o, lambda o: o + 1, lambda o: o - 1, lambda o: 1 + o]
)
def test_only_objectives_add_up_and_only_numbers_scale(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"unsupported operand|multiply sequence"):
        wrong(L2())


def test_a_new_objective_without_its_methods_says_so() -> None:
    with pytest.raises(TypeError, match="Objective does not say which layers it reads"):
        _ = Objective().layers
    with pytest.raises(TypeError, match="Objective does not say what it is"):
        Objective().evaluate({})


REFUSED = [
    (ClassScore(3), {SCORES: (1, 3)}, "class 3: expected 0 to 2"),
    (LogProbability(-1), {SCORES: (1, 3)}, "class -1: expected 0 to 2"),
    (ClassScore(0), {SCORES: (1, 3, 2, 2)}, "expected one score a class (N, K), got (1, 3, 2, 2)"),
    (Unit("conv1", 7), {"conv1": (1, 3, 4, 4)}, "conv1: unit 7: expected 0 to 2"),
    (Channel("fc1", -2), {"fc1": (1, 3)}, "fc1: unit -2: expected 0 to 2"),
    (
        Unit("conv1", 0, (4, 0)),
        {"conv1": (1, 3, 4, 5)},
        "conv1: position (4, 0): expected rows and columns within (4, 5)",
    ),
    (Unit("fc1", 0, (0, 0)), {"fc1": (1, 3)}, "fc1: position (0, 0): expected none, the layer has no places"),
    (L2(center=(0.5, 0.5)), {"input": (1, 3, 2, 2)}, "2 values for 3 channels: (0.5, 0.5)"),
    (TotalVariation(layer="fc1"), {"fc1": (1, 3)}, "fc1: total variation of (1, 3): expected (N, C, H, W)"),
]


@pytest.mark.parametrize(("objective", "shapes", "message"), REFUSED)
def test_what_an_objective_cannot_take_is_said(objective: Objective, shapes: dict[str, Any], message: str) -> None:
    with pytest.raises(MinicnnError, match=re.escape(message)):
        objective.evaluate({layer: picture(*shape) for layer, shape in shapes.items()})


def test_a_negative_power_of_the_total_variation_is_refused() -> None:
    with pytest.raises(MinicnnError, match="beta 0: expected more than 0"):
        TotalVariation(0)
