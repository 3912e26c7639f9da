"""LeNet-5: the lecture's, and the one of 1998 (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to
document recognition", section II.B and figure 2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.initialization import lecun_normal
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Normalize, ReLU, Scale, Shape, Tanh, ZeroPad2d
from minicnn.network import Network

DIGITS = tuple("0123456789")


def lenet5(num_classes: int = 10) -> Network:
    """28×28 pictures padded by 2, ReLU and max pooling: 61,706 parameters for ten classes."""
    return Network(
        {
            "normalize": Normalize((0.1307,), (0.3081,)),  # of MNIST's training pixels
            "conv1": Conv2d(1, 6, 5, padding=2),  # (6, 28, 28)
            "relu1": ReLU(),
            "pool1": MaxPool2d(2),  # (6, 14, 14)
            "conv2": Conv2d(6, 16, 5),  # (16, 10, 10)
            "relu2": ReLU(),
            "pool2": MaxPool2d(2),  # (16, 5, 5)
            "flatten": Flatten(),
            "fc3": Linear(400, 120),
            "relu3": ReLU(),
            "fc4": Linear(120, 84),
            "relu4": ReLU(),
            "fc5": Linear(84, num_classes),
        },
        name="lenet5",
        input_shape=(1, 28, 28),
        class_names=DIGITS if num_classes == 10 else (),
        feature_layer="relu4",
    )


# Table I of the paper: the six maps of S2 (rows) that each of the sixteen maps of C3 (columns) sees.
C3_CONNECTIONS = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


class TableConv2d(Conv2d):
    """A convolution in which each output map sees some of the input maps only: a table of bools (F, C)."""

    def __init__(self, table: np.ndarray, kernel_size: int) -> None:
        super().__init__(table.shape[1], table.shape[0], kernel_size, init=self.draw)
        self.table = table

    def draw(self, shape: Shape, generator: np.random.Generator) -> np.ndarray:
        """N(0, 1/fan-in), the fan-in being that of each map; 0 where nothing is connected."""
        fan_in = self.table.sum(axis=1) * shape[2] * shape[3]
        weights = generator.standard_normal(shape) / np.sqrt(fan_in)[:, None, None, None]
        return (weights * self.table[:, :, None, None]).astype(np.float32)

    def effective_weight(self) -> Array:
        return self.weight.value * self.mask()

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool, *, gate: Any = None) -> Array | None:
        dx = super().pullback(dy, cache, need_dx, need_dparams, gate=gate)
        if need_dparams:
            self.weight.grad *= self.mask()  # what is not connected has no gradient
        return dx

    def mask(self) -> Array:
        """(F, C, 1, 1): 1 where connected, 0 elsewhere, where the weights are."""
        mask = self.table[:, :, None, None].astype(self.weight.value.dtype)
        return get_array_module(self.weight.value).asarray(mask)

    def num_parameters(self) -> int:
        return int(self.table.sum()) * self.weight.shape[2] * self.weight.shape[3] + self.out_channels

    def macs(self, input_shape: Shape) -> int:
        _, OH, OW = self.output_shape(input_shape)
        return (self.num_parameters() - self.out_channels) * OH * OW


def lenet5_1998(num_classes: int = 10) -> Network:
    """The paper's net: C3's connection table, trainable subsampling, scaled tanh, 60,000 trainable parameters to F6.

    28×28 pictures are padded to its 32×32 by the first layer; background −0.1, ink 1.175, as in the paper. Subsampling
    takes the mean of four pixels where the paper takes the sum, the trained coefficient being four times as large. The
    paper ends in fixed radial basis functions, codes drawn as 7×12 characters; here a linear layer of 84·10 + 10
    parameters takes their place. Weights are drawn as "Efficient BackProp" of the same year says.
    """
    table = np.array([[mark == "X" for mark in row] for row in C3_CONNECTIONS.split()]).T  # (16, 6)

    def tanh() -> Tanh:
        return Tanh(gain=1.7159, slope=2 / 3)

    return Network(
        {
            "pad": ZeroPad2d(2),  # (1, 32, 32), with background
            "normalize": Normalize((0.1 / 1.275,), (1 / 1.275,)),  # 0 -> −0.1, 1 -> 1.175
            "conv1": Conv2d(1, 6, 5, init=lecun_normal),  # C1 (6, 28, 28)
            "tanh1": tanh(),
            "pool1": AvgPool2d(2),
            "scale1": Scale(6),  # S2 (6, 14, 14)
            "tanh2": tanh(),
            "conv2": TableConv2d(table, 5),  # C3 (16, 10, 10)
            "tanh3": tanh(),
            "pool2": AvgPool2d(2),
            "scale2": Scale(16),  # S4 (16, 5, 5)
            "tanh4": tanh(),
            "conv3": Conv2d(16, 120, 5, init=lecun_normal),  # C5 (120, 1, 1)
            "tanh5": tanh(),
            "flatten": Flatten(),
            "fc4": Linear(120, 84, init=lecun_normal),  # F6
            "tanh6": tanh(),
            "fc5": Linear(84, num_classes, init=lecun_normal),
        },
        name="lenet5_1998",
        input_shape=(1, 28, 28),
        class_names=DIGITS if num_classes == 10 else (),
        feature_layer="tanh6",
    )
