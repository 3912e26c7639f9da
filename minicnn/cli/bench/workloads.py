"""What is measured: training steps, predictions and picture steps, by name, and how minicnn does them.

    lenet5-64               a training step of a model on a batch: forward, loss, backward, SGD with momentum
    predict-alexnet-1       the scores of a batch in evaluation mode
    picture-512             a step on one picture: VGG-19 up to relu4_1, and the gradient of ½‖relu4_1‖² at the pixels

Every name of these forms is a workload; `WORKLOADS` are the ones that `minicnn bench` measures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicnn import kernels, models
from minicnn.errors import MinicnnError, nearest
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.network import Network
from minicnn.optimizers import SGD
from minicnn.training import train_step

WORKLOADS = (
    "lenet5-64",
    "lenet5-128",
    "vgg11_bn_cifar-64",
    "resnet20-128",
    "alexnet-1",
    "alexnet-32",
    "predict-alexnet-1",
    "predict-vgg11_bn-1",
    "picture-512",
)
QUICK = ("lenet5-64", "lenet5-128", "resnet20-128", "predict-alexnet-1")

PICTURE_MODEL, PICTURE_LAYER = "vgg19_trunk", "relu4_1"
PICTURE_LEAST = 32  # pixels, which five pools halve
LR, MOMENTUM = 0.001, 0.9


class Workload(NamedTuple):
    """One kind of step of one model on pictures of one shape."""

    name: str
    kind: str  # "train", "predict" or "picture"
    model: str
    input_shape: tuple[int, int, int, int]  # (N, C, H, W)

    def inputs(self) -> np.ndarray:
        """The pictures (N, C, H, W), float32 in [0, 1)."""
        return np.random.default_rng(0).random(self.input_shape, np.float32)

    def labels(self, classes: int) -> np.ndarray:
        """A class for each picture."""
        return np.random.default_rng(1).integers(0, classes, self.input_shape[0])


class Prepared(NamedTuple):
    """One side of a workload, ready to run."""

    step: Callable[[], Any]
    kernels: str  # the family that runs
    optimizer_bytes: int = 0  # gradients and momentum, which are not counted as its memory
    net: Network | None = None  # of minicnn's side, and in training:
    loss: SoftmaxCrossEntropy | None = None
    optimizer: SGD | None = None


def workload(name: str) -> Workload:
    """The workload with a name. Raises MinicnnError with the nearest."""
    found = re.fullmatch(r"(predict-)?(\w+)-([1-9]\d*)", name)
    if not found:
        raise MinicnnError(f"no workload {name!r}{nearest(name, WORKLOADS)}")
    predict, model, number = found[1], found[2], int(found[3])
    if model == "picture" and not predict:
        if number < PICTURE_LEAST:
            raise MinicnnError(f"workload {name}: expected a picture of {PICTURE_LEAST} pixels or more")
        return Workload(name, "picture", PICTURE_MODEL, (1, 3, number, number))
    if model not in models.ARCHITECTURES or model == PICTURE_MODEL:
        raise MinicnnError(f"no workload {name!r}{nearest(name, WORKLOADS)}")
    shape = models.architecture(model).input_shape
    return Workload(name, "predict" if predict else "train", model, (number, *shape))


def prepare(work: Workload) -> Prepared:
    """minicnn's side: network, optimizer and pictures in memory."""
    net = models.build(work.model)
    family = kernels.choose("conv2d_forward").__name__.rpartition(".")[2]
    x = work.inputs()
    if work.kind == "predict":
        net.eval()
        return Prepared(lambda: net.scores(x), family, net=net)
    if work.kind == "picture":
        return Prepared(lambda: picture_step(net, x), family, net=net)
    y = work.labels(net.output_shape(net.input_shape)[0])
    loss, optimizer = SoftmaxCrossEntropy(), SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    return Prepared(
        lambda: train_step(net, loss, optimizer, x, y),
        family,
        optimizer_bytes=2 * 4 * net.num_parameters(),
        net=net,
        loss=loss,
        optimizer=optimizer,
    )


def picture_step(net: Network, x: np.ndarray) -> np.ndarray:
    """The gradient of ½‖relu4_1‖² at the pixels, which is what DeepDream climbs."""
    return net.input_gradient(net.activations(x, [PICTURE_LAYER], remember="input"))
