"""Optimizers over a whole network, against torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.network import Network
from minicnn.optimizers import SGD, Adam, Optimizer
from minicnn.training import train_step

from ..twins import twin
from .nets import nested, pictures

SETTINGS: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
    "plain": (SGD, {"lr": 0.1}),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "sgd_decay": (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    "sgd_decay_of_all": (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "decay_all": True}),
    "adam": (Adam, {"lr": 0.01}),
    "adam_other_betas": (Adam, {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-4}),
    "adam_decay": (Adam, {"lr": 0.01, "weight_decay": 0.05}),
}


def torch_optimizer(torch: Any, module: Any, kind: Callable[..., Optimizer], options: dict[str, Any]) -> Any:
    """The same one, with norms and biases in a group without decay."""
    options = dict(options)
    decay, decay_all = options.pop("weight_decay", 0.0), options.pop("decay_all", False)
    if kind is Adam:
        options["betas"] = (options.pop("beta1", 0.9), options.pop("beta2", 0.999))
    named = dict(module.named_parameters())
    spared = [p for n, p in named.items() if not decay_all and (n.endswith("bias") or ".bn" in n or ".norm" in n)]
    decayed = [p for p in named.values() if not any(p is s for s in spared)]
    groups = [{"params": decayed, "weight_decay": decay}]
    groups += [{"params": spared, "weight_decay": 0.0}] if spared else []
    return (torch.optim.SGD if kind is SGD else torch.optim.Adam)(groups, **options)


@pytest.mark.parametrize(("kind", "options"), SETTINGS.values(), ids=SETTINGS)
def test_torch_takes_the_same_five_steps(torch: Any, kind: Callable[..., Optimizer], options: dict[str, Any]) -> None:
    net = nested()
    net.to(dtype=np.float64)
    module = twin(torch, net).train()
    optimizer, loss = kind(net.parameters(), **options), SoftmaxCrossEntropy()
    theirs = torch_optimizer(torch, module, kind, options)
    for step in range(5):
        x, y = pictures(net, 4, seed=step), np.random.default_rng(step).integers(0, 5, 4)
        value = train_step(net, loss, optimizer, x, y)
        theirs.zero_grad()
        expected = torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(y))
        expected.backward()
        theirs.step()
        np.testing.assert_allclose(value, expected.item(), rtol=1e-9)
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    for name, parameter in net.named_parameters().items():
        np.testing.assert_allclose(parameter.value, parameters[name].detach(), rtol=0, atol=1e-8, err_msg=name)
    for name in ("stem.bn1.running_mean", "stem.bn1.running_var"):
        np.testing.assert_allclose(net.named_buffers()[name].value, buffers[name], rtol=0, atol=1e-9)


def stepped(net: Network, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        train_step(net, SoftmaxCrossEntropy(), optimizer, pictures(net, 4, np.float32, step), np.arange(4))


@pytest.mark.parametrize(("kind", "options"), SETTINGS.values(), ids=SETTINGS)
def test_a_restored_optimizer_goes_on_with_the_same_bits(
    kind: Callable[..., Optimizer], options: dict[str, Any]
) -> None:
    net = nested()
    optimizer = kind(net.parameters(), **options)
    stepped(net, optimizer, range(3))
    weights, state = net.state_dict(), optimizer.state_dict()
    stepped(net, optimizer, range(3, 6))

    other = nested(seed=9)
    restored = kind(other.parameters(), **options)
    stepped(other, restored, range(2))  # what it was in the middle of is forgotten
    other.load_state_dict(weights)
    restored.load_state_dict(state)
    stepped(other, restored, range(3, 6))
    for name, value in net.state_dict().items():
        assert other.state_dict()[name].tobytes() == value.tobytes(), name
    assert restored.steps == optimizer.steps == 6


def test_the_gaps_between_parameters_stay_zero() -> None:
    net = nested()
    optimizer = Adam(net.parameters(), 0.1, weight_decay=0.1, decay_all=True)
    stepped(net, optimizer, range(3))
    flat = net.parameters()[0].flat
    assert flat is not None
    gaps = np.ones(flat.value.size, bool)
    for parameter in net.parameters():
        gaps[parameter.offset : parameter.offset + parameter.size] = False
    assert gaps.any()
    assert not flat.value[gaps].any()


def test_a_state_that_does_not_fit_is_refused_by_name() -> None:
    net = nested()
    optimizer = SGD(net.parameters(), 0.1, momentum=0.9)
    stepped(net, optimizer, range(1))
    state = optimizer.state_dict()
    missing = {name: a for name, a in state.items() if name != "velocity.fc.weight"}
    with pytest.raises(MinicnnError, match=r"velocity.fc.weight \(5, 6\) is missing"):
        optimizer.load_state_dict(missing)
    with pytest.raises(MinicnnError, match=r"velocity.fc.bias \(5,\) is missing or misshaped"):
        optimizer.load_state_dict(state | {"velocity.fc.bias": np.zeros(6)})
    with pytest.raises(MinicnnError, match=r"m\.stem\.conv1\.weight .*missing"):
        Adam(net.parameters()).load_state_dict(state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, 0), "lr 0"),
        (lambda p: SGD(p, 0.1, momentum=1), "momentum 1"),
        (lambda p: SGD(p, 0.1, nesterov=True), "Nesterov"),
        (lambda p: SGD(p, 0.1, weight_decay=-1), "weight decay -1"),
        (lambda p: Adam(p, 0.1, beta2=1), "beta2 1"),
        (lambda p: Adam(p, 0.1, eps=0), "eps 0"),
        (lambda p: SGD([], 0.1), "no parameters"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[Any], Optimizer], message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        make(nested().parameters())
