"""Training remembers a forward pass for one backward pass, and gives its memory back on the way."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from minicnn import SGD, SoftmaxCrossEntropy, kernels, models, train_step
from minicnn.errors import MinicnnError
from minicnn.kernels.backend import Array
from minicnn.layers import BatchNorm2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Residual, Sequential
from minicnn.network import Network

from ..kernels.levels import missing
from .nets import nested, pictures

FAMILIES = ["array", *([] if missing() else ["native"])]


def kept_by(net: Layer) -> list[str]:
    """The layers that keep something for a backward pass."""
    names = ("_memory", "_fused_pass", "_straight", "_residual_gradient")
    return [path for path, layer in net.nodes() if any(getattr(layer, name, None) is not None for name in names)]


class Probe(Layer):
    """The identity; keeps an array of its own, and notes in a backward pass how many such arrays there are."""

    def __init__(self, alive: list[Any], counts: list[int]) -> None:
        self.alive, self.counts = alive, counts

    def compute(self, x: Array, remember: Any) -> tuple[Array, Any]:
        kept = x.copy()
        self.alive.append(weakref.ref(kept))
        return x, kept

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        self.counts.append(sum(ref() is not None for ref in self.alive))
        return dy


def probed(alive: list[Any], counts: list[int]) -> Network:
    """Probes before, inside and behind groups of every kind."""
    inner = Residual(conv1=Conv2d(4, 4, 3, padding=1), probe2=Probe(alive, counts), norm2=BatchNorm2d(4))
    return Network(
        {
            "probe0": Probe(alive, counts),
            "conv1": Conv2d(3, 4, 3, padding=1),
            "norm1": BatchNorm2d(4),
            "relu1": ReLU(),
            "pool1": MaxPool2d(2),
            "probe1": Probe(alive, counts),
            "block": inner,
            "relu2": ReLU(),
            "chain": Sequential(conv3=Conv2d(4, 4, 3), relu3=ReLU(), probe3=Probe(alive, counts)),
            "flatten": Flatten(),
            "fc": Linear(16, 3),
        },
        input_shape=(3, 8, 8),
    ).initialize(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_goes_layer_by_layer_as_the_backward_pass_comes_by(family: str) -> None:
    counts: dict[str, list[int]] = {"once": [], "all": []}
    for remember in ("once", "all"):
        alive: list[Any] = []
        with kernels.using(family):
            net = probed(alive, counts[remember])
            y = net.forward(pictures(net, dtype=np.float32), remember=remember)
            net.backward(np.ones_like(y))
            assert bool(kept_by(net)) == (remember == "all")
        gc.disable()  # what has gone has gone by itself
        try:
            assert sum(ref() is not None for ref in alive) == (0 if remember == "once" else 4)
        finally:
            gc.enable()
    assert counts == {"once": [4, 3, 2, 1], "all": [4, 4, 4, 4]}


@pytest.mark.parametrize("build", [nested, lambda: probed([], []), lambda: models.build("resnet20")])
def test_going_back_a_second_time_is_an_error_that_says_why(build: Any) -> None:
    net = build()
    y = net.forward(pictures(net, dtype=np.float32), remember="once")
    net.backward(np.ones_like(y))
    with pytest.raises(MinicnnError, match=r'backward without .* \(remember="once" serves one backward pass\)'):
        net.backward(np.ones_like(y))


@pytest.mark.parametrize("inside", ["norm1", "relu1", "block", "block.norm2"])
def test_a_gradient_inside_a_group_that_is_gone_is_an_error(inside: str) -> None:
    net = probed([], [])
    x = pictures(net, dtype=np.float32)
    dy = np.ones_like(net.activations(x, [inside])[inside])
    net.backward(np.ones_like(net.forward(x, remember="once")))
    with pytest.raises(MinicnnError, match="backward without a forward pass"):
        net.input_gradient({inside: dy})


@pytest.mark.parametrize("inside", ["norm1", "relu1", "block", "block.norm2", "chain.conv3"])
def test_a_group_taken_apart_on_the_way_back_leaves_nothing_either(inside: str) -> None:
    net = probed([], [])
    x = pictures(net, dtype=np.float32)
    found = net.activations(x, [inside, "fc"])
    grads = {name: np.ones_like(a) for name, a in found.items()}
    net.forward(x)
    expected = net.input_gradient(grads)
    net.forward(x, remember="once")
    np.testing.assert_array_equal(net.input_gradient(grads), expected)
    assert kept_by(net) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bits_are_those_of_a_pass_that_keeps_everything(family: str) -> None:
    results = []
    for remember in ("all", "once"):
        with kernels.using(family):
            net = nested()
            y = net.forward(pictures(net, dtype=np.float32), remember=remember)
            dx = net.backward(np.ones_like(y))
        results.append([y, dx, *(parameter.grad for parameter in net.parameters())])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_training_step_leaves_no_activations_behind() -> None:
    net = models.build("resnet20")
    optimizer, loss = SGD(net.parameters(), 0.1, momentum=0.9), SoftmaxCrossEntropy()
    train_step(net, loss, optimizer, pictures(net, dtype=np.float32), np.array([1, 2]))
    assert kept_by(net) == ["normalize"]  # its factors: without dx nothing goes back as far as there


def test_nothing_of_the_pass_before_is_kept_while_the_next_one_runs() -> None:
    alive: list[Any] = []
    net = probed(alive, [])
    x = pictures(net, dtype=np.float32)
    net.forward(x)
    first = list(alive)
    net.forward(x)
    assert [ref() for ref in first] == [None] * 4
