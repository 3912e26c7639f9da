"""The rules by which a ReLU goes back, set for a whole network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.layers import Concat, GuidedReLU, LeakyReLU, Linear, Rectifier, ReLU, Sequential, backward_rule

RULES = ["gradient", "deconvnet", "guided", "redirected"]
F = np.array([[3.0, -2.0, 1.0, -4.0, 0.0]])
R = np.array([[1.0, 2.0, -3.0, -4.0, 5.0]])
EXPECTED = {  # by hand, from the definitions in kernels/array/relu.py
    "gradient": [[1, 0, -3, 0, 0]],
    "deconvnet": [[1, 2, 0, 0, 5]],
    "guided": [[1, 0, 0, 0, 0]],
    "redirected": [[1, 0, -3, 0, 0]],
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_its_definition(rule: str) -> None:
    relu = ReLU(rule)
    relu.forward(F)
    np.testing.assert_array_equal(relu.backward(R), EXPECTED[rule])


def test_a_dead_picture_is_redirected_and_a_living_one_is_not() -> None:
    relu = ReLU("redirected")
    relu.forward(np.stack([F[0], -np.abs(F[0])]))
    np.testing.assert_array_equal(relu.backward(np.stack([R[0], R[0]])), [[1, 0, -3, 0, 0], [1, 2, 0, 0, 5]])


def test_a_rule_holds_within_its_block_alone() -> None:
    net = Sequential(relu1=ReLU(), inner=Concat(relu2=ReLU("deconvnet"), leaky=LeakyReLU()), relu3=GuidedReLU())
    relus = [layer for _, layer in net.layers() if isinstance(layer, Rectifier)]
    with backward_rule(net, "guided"):
        assert [relu.rule for relu in relus] == ["guided"] * 4
        with backward_rule(net, "redirected"):
            assert [relu.rule for relu in relus] == ["redirected"] * 4
    assert [relu.rule for relu in relus] == ["gradient", "deconvnet", "gradient", "guided"]
    with pytest.raises(KeyError), backward_rule(net, "guided"):
        raise KeyError
    assert [relu.rule for relu in relus] == ["gradient", "deconvnet", "gradient", "guided"]


@pytest.mark.parametrize("rule", RULES)
def test_a_leaky_relu_drops_what_is_negative_and_then_goes_back(rule: str) -> None:
    leaky = LeakyReLU(0.5)
    leaky.forward(F)
    slopes = np.where(F > 0, 1, 0.5)
    expected = {"guided": slopes * np.maximum(R, 0), "deconvnet": np.maximum(R, 0)}.get(rule, slopes * R)
    with backward_rule(leaky, rule):
        np.testing.assert_array_equal(leaky.backward(R), expected)


@pytest.mark.parametrize("rule", RULES)
def test_the_forward_pass_may_lie_before_the_block(rule: str) -> None:
    relu = ReLU()
    y = relu.forward(F)
    with backward_rule(relu, rule):
        np.testing.assert_array_equal(relu.backward(R), EXPECTED[rule])
    np.testing.assert_array_equal(y, np.maximum(F, 0))


def guided_by_hooks(torch: Any, w1: np.ndarray, w2: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Guided backpropagation as people do it in torch: a hook that cuts off what is negative."""
    relu, pixels = torch.nn.ReLU(), torch.tensor(x, requires_grad=True)
    relu.register_full_backward_hook(lambda _m, dx, _dy: (dx[0].clamp(min=0),))
    scores = relu(relu(pixels @ torch.tensor(w1).T) @ torch.tensor(w2).T)
    scores.sum().backward()
    return np.asarray(pixels.grad.numpy())


def test_hooks_in_torch_give_the_same_guided_gradient(torch: Any) -> None:
    net = Sequential(fc1=Linear(6, 5, bias=False), relu1=ReLU(), fc2=Linear(5, 4, bias=False), relu2=ReLU())
    net.initialize(0).to(dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((3, 6))
    y = net.forward(x)
    with backward_rule(net, "guided"):
        dx = net.backward(np.ones_like(y))
    w1, w2 = (net.named_parameters()[name].value for name in ("fc1.weight", "fc2.weight"))
    np.testing.assert_allclose(np.asarray(dx), guided_by_hooks(torch, w1, w2, x), rtol=0, atol=1e-14)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(MinicnnError, match="rule 'guide': there is gradient, guided, deconvnet, redirected"):
        ReLU("guide")
    with pytest.raises(MinicnnError, match="rule 'guide'"), backward_rule(ReLU(), "guide"):
        pass
