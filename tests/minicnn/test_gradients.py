"""Gradients are zeroed when somebody looks: what is read, added up and stepped with is as if they had been at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import SGD, Adam, SoftmaxCrossEntropy, kernels, train_step
from minicnn.checkpoint import RunState, load_checkpoint, save_checkpoint
from minicnn.layers import Linear, Sequential
from minicnn.network import Network

from ..kernels.levels import missing
from .nets import nested, pictures

FAMILIES = ["array", *([] if missing() else ["native"])]


def backward(net: Network, seed: int = 0) -> None:
    """Add the gradients of one batch."""
    y = net.forward(pictures(net, dtype=np.float32, seed=seed))
    net.backward(np.random.default_rng(seed).standard_normal(y.shape).astype(np.float32))


def gradients(net: Network) -> list[np.ndarray]:
    return [parameter.grad.copy() for parameter in net.parameters()]


@pytest.fixture(params=FAMILIES)
def net(request: pytest.FixtureRequest) -> Any:
    with kernels.using(request.param):
        yield nested()


def test_a_gradient_reads_as_zeros_after_zero_grad(net: Network) -> None:
    backward(net)
    assert all(grad.any() for name, grad in zip(net.named_parameters(), gradients(net), strict=True) if "fc" in name)
    for parameter in net.parameters():
        parameter.zero_grad()
    assert not any(grad.any() for grad in gradients(net))


def test_nothing_of_an_earlier_batch_is_left_in_the_next_ones_gradient(net: Network) -> None:
    fresh = nested()
    backward(fresh, 1)
    backward(net, 0)
    for parameter in net.parameters():
        parameter.zero_grad()
    net.load_state_dict(fresh.state_dict())
    backward(net, 1)
    for found, expected in zip(gradients(net), gradients(fresh), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_two_backward_passes_add_up_to_the_bit(net: Network) -> None:
    net.eval()
    alone = []
    for seed in (0, 1):
        for parameter in net.parameters():
            parameter.zero_grad()
        backward(net, seed)
        alone.append(gradients(net))
    for parameter in net.parameters():
        parameter.zero_grad()
    backward(net, 0)
    backward(net, 1)
    for found, first, second in zip(gradients(net), *alone, strict=True):
        np.testing.assert_array_equal(found, first + second)


def test_a_gradient_that_was_set_by_hand_is_added_to(net: Network) -> None:
    net.eval()
    backward(net)
    expected = [grad + 1 for grad in gradients(net)]
    for parameter in net.parameters():
        parameter.zero_grad()
        parameter.grad = np.ones(parameter.shape, np.float32)
    backward(net)
    for found, wanted in zip(gradients(net), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_a_parameter_that_no_gradient_reached_steps_with_zeros(make: Any) -> None:
    net = Sequential(used=Linear(3, 2), unused=Linear(2, 2)).initialize(0)
    for parameter in net.parameters():
        parameter.grad[...] = np.nan  # of an earlier step
    optimizer, before = make(net.parameters(), 0.1), net.state_dict()
    optimizer.zero_grad()
    used = net.layer("used")
    used.backward(np.ones_like(used.forward(np.ones((1, 3), np.float32))))
    optimizer.step()
    assert (net.state_dict()["used.weight"] != before["used.weight"]).any()
    np.testing.assert_array_equal(net.state_dict()["unused.weight"], before["unused.weight"])
    np.testing.assert_array_equal(net.state_dict()["unused.bias"], before["unused.bias"])


def test_converting_a_network_does_not_bring_zeroed_gradients_back(net: Network) -> None:
    backward(net)
    for parameter in net.parameters():
        parameter.zero_grad()
    net.to(dtype=np.float64)
    assert not any(grad.any() for grad in gradients(net))


def test_a_run_saved_between_two_steps_goes_on_with_the_same_bits(net: Network, tmp_path: Path) -> None:
    """The gradients of the step before are no part of it."""

    def step(net: Network, optimizer: SGD, seed: int) -> None:
        x = pictures(net, dtype=np.float32, seed=seed)
        train_step(net, SoftmaxCrossEntropy(), optimizer, x, np.array([1, 2]))

    optimizer = SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    step(net, optimizer, 0)
    save_checkpoint(tmp_path / "c", net, optimizer, RunState())
    step(net, optimizer, 1)
    resumed = nested(seed=5)
    other = SGD(resumed.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    step(resumed, other, 7)
    load_checkpoint(tmp_path / "c", resumed, other)
    step(resumed, other, 1)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name], value, err_msg=name)
