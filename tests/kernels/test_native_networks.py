"""Whole networks learn the same on native kernels as on array kernels.

How far apart they may be after 20 steps. The two ways round differently: a direct sum is off by up to 2e-6 of its
largest value, Winograd's by 2e-5. That is no more than if the weights had been another 2e-6, or 2e-5, of their size at
the start, so this is the yardstick: the array kernels against themselves, from weights moved by so much at random. A
fixed bound would have to be far wider. Whenever a ReLU or a max pool decides otherwise for a number that lies within
rounding of zero or of a tie, a gradient jumps, and after 20 steps of ResNet-20 the weights of a run from weights moved
by 2e-7 are 0.13 of the way apart, while its losses agree to 0.004.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import minicnn
from minicnn import kernels

from .levels import needs_native

ROUNDING = {"lenet5": 2e-6, "resnet20": 2e-5, "vgg11_bn_cifar": 2e-5}  # the last two have Winograd's convolutions
SHAPES = {"lenet5": (8, 1, 28, 28), "resnet20": (8, 3, 32, 32), "vgg11_bn_cifar": (8, 3, 32, 32)}
LEARNING_RATE = {"lenet5": 0.01, "resnet20": 0.01, "vgg11_bn_cifar": 0.002}


class Learned(NamedTuple):
    """What 20 steps of training leave behind."""

    losses: np.ndarray
    first: np.ndarray  # all weights
    last: np.ndarray

    def apart(self, other: Learned) -> tuple[float, float]:
        """The largest difference of the losses, and that of the weights as a part of the way they have gone."""
        way = np.linalg.norm(other.last - other.first)
        return float(np.abs(self.losses - other.losses).max()), float(np.linalg.norm(self.last - other.last) / way)


def learn(family: str, name: str, moved: float = 0.0) -> Learned:
    """20 steps from the same weights, each moved by up to `moved` of its size."""
    rng, another = np.random.default_rng(0), np.random.default_rng(1)
    with kernels.using(family):
        net = minicnn.models.build(name, num_classes=10)
        parameters = list(net.parameters())
        for parameter in parameters:
            value = parameter.value
            value *= (1 + moved * another.uniform(-1, 1, value.shape)).astype(np.float32)
        first = np.concatenate([parameter.value.ravel() for parameter in parameters])
        loss = minicnn.SoftmaxCrossEntropy()
        optimizer = minicnn.SGD(parameters, lr=LEARNING_RATE[name], momentum=0.9)
        shape = SHAPES[name]
        batches = [(rng.random(shape, np.float32), rng.integers(0, 10, shape[0])) for _ in range(4)]
        losses = [float(minicnn.train_step(net, loss, optimizer, *batches[step % 4])) for step in range(20)]
        return Learned(np.array(losses), first, np.concatenate([parameter.value.ravel() for parameter in parameters]))


@needs_native
@pytest.mark.parametrize("name", SHAPES)
def test_a_network_learns_the_same_on_native_and_on_array_kernels(name: str) -> None:
    array = learn("array", name)
    found, yardstick = learn("native", name).apart(array), learn("array", name, ROUNDING[name]).apart(array)
    assert array.losses[-1] < array.losses[0]
    assert all(a <= 3 * b for a, b in zip(found, yardstick, strict=True)), (found, yardstick)
    assert found[0] <= 0.05
