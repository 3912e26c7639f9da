"""A branch beside the way through: it runs where somebody asks, and its gradients join those of the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.gradcheck import check_gradients
from minicnn.layers import Aside, BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU, Sequential
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.network import Network
from minicnn.optimizers import SGD
from minicnn.training import train_step

from ...twins import activations, twin


def small() -> Network:
    """Two convolutions, and beside them a small classifier with 0.3 of the loss."""
    net = Network(
        {
            "conv1": Conv2d(3, 4, 3, padding=1),
            "relu1": ReLU(),
            "aux": Aside(
                conv=Conv2d(4, 2, 1), norm=BatchNorm2d(2), relu=ReLU(), flatten=Flatten(), fc=Linear(2 * 5 * 5, 3)
            ),
            "conv2": Conv2d(4, 3, 5),
            "flatten": Flatten(),
        },
        input_shape=(3, 5, 5),
        auxiliary={"aux.fc": 0.3},
    )
    net.initialize(0).to(dtype=np.float64)
    return net


X = np.random.default_rng(0).random((4, 3, 5, 5))
LABELS = np.array([0, 2, 1, 1])


def test_nothing_of_it_runs_unless_somebody_asks() -> None:
    net, without = small(), small()
    for _, layer in net.layer("aux").layers():
        layer.forward = None  # type: ignore[method-assign,assignment]
    y = net.forward(X)
    dx = net.backward(y)
    assert not any(p.grad.any() for p in net.layer("aux").parameters())
    plain = Sequential(**{name: layer for name, layer in without.children().items() if name != "aux"})
    np.testing.assert_array_equal(plain.forward(X), y)
    np.testing.assert_array_equal(plain.backward(y), dx)
    assert net.activations(X, ["conv2"], remember="input").keys() == {"conv2"}


def test_an_activation_inside_is_found_without_running_what_is_behind_it() -> None:
    net = small()
    net.layer("conv2").forward = None  # type: ignore[method-assign,assignment]
    found = net.activations(X, ["aux.fc", "aux"], remember="input")
    assert found["aux.fc"].shape == (4, 3)
    np.testing.assert_array_equal(found["aux"], net.activations(X, ["relu1"])["relu1"])
    net.activations(X, ["aux.fc"], remember="input")
    assert net.input_gradient({"aux.fc": found["aux.fc"]}).shape == X.shape


def test_a_gradient_inside_needs_a_pass_that_ran_it() -> None:
    net = small()
    net.forward(X)
    with pytest.raises(MinicnnError, match=r"aux.fc .*call forward\(x\) first"):
        net.input_gradient({"aux.fc": np.ones((4, 3))})


@pytest.mark.parametrize("training", [True, False])
def test_torch_computes_the_same_gradients(torch: Any, training: bool) -> None:
    net = small().train(training)
    module, pixels = twin(torch, net), torch.tensor(X, requires_grad=True)
    y, inside = net.trace(X, {"", "aux.fc"}, "all")
    theirs, found = activations(module, pixels, ["aux.fc"])
    (theirs.sin().sum() + found["aux.fc"].cos().sum()).backward()
    assert y is not None
    dx = net.inject(np.cos(y), {"aux.fc": -np.sin(inside["aux.fc"])}, True, True)
    assert dx is not None
    np.testing.assert_allclose(dx, pixels.grad, rtol=0, atol=1e-12)
    for path, parameter in module.named_parameters():
        np.testing.assert_allclose(net.named_parameters()[path].grad, parameter.grad, rtol=0, atol=1e-11, err_msg=path)


def test_a_training_step_learns_from_the_loss_inside_too(torch: Any) -> None:
    net = small().train()
    module = twin(torch, net)
    theirs, found = activations(module, torch.tensor(X), ["aux.fc"])
    criterion, labels = torch.nn.CrossEntropyLoss(), torch.tensor(LABELS)
    expected = criterion(theirs, labels) + 0.3 * criterion(found["aux.fc"], labels)
    expected.backward()
    before = {path: parameter.value.copy() for path, parameter in net.named_parameters().items()}
    value = train_step(net, SoftmaxCrossEntropy(), SGD(net.parameters(), lr=1.0), X, LABELS)
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-12)
    for path, parameter in module.named_parameters():
        moved = before[path] - net.named_parameters()[path].value
        np.testing.assert_allclose(moved, parameter.grad, rtol=0, atol=1e-12, err_msg=path)


def test_a_network_with_a_branch_beside_it_is_checked_to_the_last_layer() -> None:
    report = check_gradients(small(), (3, 5, 5))
    assert report, report.failures
    assert {"aux.conv", "aux.fc", "whole"} <= {check.layer for check in report.checks}


def test_what_is_dropped_beside_the_way_is_drawn_only_when_it_runs() -> None:
    net = Network({"conv1": Conv2d(3, 2, 1), "aside": Aside(drop=Dropout(0.5))}, input_shape=(3, 5, 5)).initialize(0)
    states = net.random_states()
    net.forward(X.astype(np.float32))
    assert net.random_states() == states
    net.activations(X.astype(np.float32), ["aside.drop"])
    assert net.random_states() != states


def test_auxiliary_scores_that_are_not_there_are_refused_at_once() -> None:
    with pytest.raises(MinicnnError, match=r"no layer 'aux\.fc2'"):
        Network({"fc": Flatten()}, input_shape=(3, 5, 5), auxiliary={"aux.fc2": 0.3})
