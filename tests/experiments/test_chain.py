"""Which layers a picture passes, and which of them count."""

from __future__ import annotations

from minicnn.experiments.chain import chain, main_layers
from minicnn.layers import BatchNorm2d, Conv2d, Dropout, Flatten, LeakyReLU, Linear, MaxPool2d, Normalize, Sequential
from minicnn.models import build
from minicnn.network import Network

ALEXNET = (
    "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 fc6 relu6 fc7 relu7"
)


def test_of_alexnet_they_are_those_of_figure_6_of_mahendran_and_vedaldi() -> None:
    assert sorted(main_layers(build("alexnet_caffe"))) == sorted([*ALEXNET.split(), "fc8"])


def test_what_can_be_inverted_stands_for_what_is_before_it() -> None:
    layers = {
        "normalize": Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
        "stage1": Sequential(conv1=Conv2d(3, 4, 3), norm1=BatchNorm2d(4), relu1=LeakyReLU(0.1), pool1=MaxPool2d(2)),
        "drop1": Dropout(0.5),
        "flatten": Flatten(),
        "fc2": Linear(4 * 3 * 3, 2),
    }
    net = Network(layers, input_shape=(3, 8, 8), name="leaky")
    inside = [f"stage1.{name}" for name in ("conv1", "norm1", "relu1", "pool1")]
    assert [path for path, _ in chain(net)] == ["normalize", *inside, "drop1", "flatten", "fc2"]
    assert main_layers(net) == ["stage1.relu1", "stage1.pool1", "fc2"]


def test_a_block_with_branches_is_one_layer() -> None:
    layers = main_layers(build("squeezenet1_0"))
    assert layers[:4] == ["conv1", "relu1", "pool1", "fire2"] and layers[-3:] == ["conv10", "relu10", "avgpool"]
