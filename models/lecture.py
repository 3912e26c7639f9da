"""The counts that the lecture prints, beside those of the networks as they are built here.

Some of the printed ones are rounded, count without biases, or are slips; `why` says which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minicnn.errors import MinicnnError
from minicnn.layers import Layer, Linear
from minicnn.network import Network

from . import architecture


class Printed(NamedTuple):
    """A count on a slide: of a layer or of a PART, as printed, with or without the biases, and why.

    `against` names a network whose count of the same is taken off, or with `times` divided by this one's.
    """

    layer: str
    printed: str
    biases: bool
    why: str
    against: str = ""
    times: bool = False
    macs: bool = False  # multiply-adds, not parameters


class Count(NamedTuple):
    """The same beside the number of the network itself: an integer, or how many times as many."""

    layer: str
    printed: str
    computed: int | float
    why: str


PARTS: dict[str, Callable[[Layer], bool]] = {
    "all": lambda layer: True,
    "outside the FC layers": lambda layer: not isinstance(layer, Linear),
    "in the FC layers": lambda layer: isinstance(layer, Linear),
}


PRINTED: dict[str, list[Printed]] = {
    "lenet5": [
        Printed("conv1", "150", False, "equal: 6·1·5·5, without the 6 biases"),
        Printed("conv2", "2400", False, "equal: 16·6·5·5, without the 16 biases"),
        Printed("fc3", "48120", True, "equal: 400·120 + 120, with the biases this time"),
        Printed("fc4", "10164", True, "equal: 120·84 + 84"),
    ],
    "lenet5_1998": [
        Printed("conv1", "150", True, "with its 6 biases 156"),
        Printed("conv2", "2400", True, "the connection table leaves 60 of 96 kernels: 60·25 + 16"),
        Printed("conv3", "48120", True, "equal: as a convolution 120·16·5·5 + 120"),
        Printed("fc4", "10164", True, "equal: 120·84 + 84"),
    ],
    "alexnet_lecture": [
        Printed("conv2", "0.6 M", False, "256·96·5·5, rounded"),
        Printed("conv3", "0.8 M", False, "384·256·3·3, rounded down: 0.9 is nearer"),
        Printed("conv4", "1.372 M", False, "384·384·3·3 = 1.327 M: two digits of the printed number changed places"),
        Printed("fc6", "4 M", False, "256·2·2·4096, rounded"),
        Printed("all", "27.55 M", False, "the printed total is a sum of rounded terms"),
    ],
    "alexnet_paper": [
        Printed("conv2", "0.6 M", False, "two groups: each filter sees 48 of the 96 maps, half the weights"),
        Printed("conv3", "0.8 M", False, "equal, rounded down"),
        Printed("conv4", "1.372 M", False, "two groups: half of 1.327 M (the printed 1.372 is a slip)"),
        Printed("fc6", "4 M", False, "256·6·6·4096: padding leaves 6×6 where the lecture has 2×2"),
        Printed("all", "27.55 M", False, "fc6 is nine times as large; with biases 60,965,224"),
    ],
    "alexnet": [
        Printed(
            "conv2", "0.6 M", False, "192·64·5·5: torchvision's has 64 and 192 maps where the lecture has 96 and 256"
        ),
        Printed("conv3", "0.8 M", False, "384·192·3·3"),
        Printed("conv4", "1.372 M", False, "256·384·3·3"),
        Printed("fc6", "4 M", False, "256·6·6·4096: padding leaves 6×6 where the lecture has 2×2"),
        Printed("all", "27.55 M", False, "fc6 is nine times as large; with biases 61,100,840"),
    ],
    "zfnet": [
        Printed("conv1", "20.7 K", False, "equal: 96·3·(11·11 − 7·7) fewer", against="alexnet_lecture"),
        Printed("conv3", "0.29 M", False, "384 maps, as AlexNet has; the lecture's has 512", against="alexnet_lecture"),
        Printed("conv5", "0.36 M", False, "384 to 256 maps, as in AlexNet", against="alexnet_lecture"),
    ],
    "zfnet_lecture": [
        Printed("conv1", "20.7 K", False, "equal: 96·3·(11·11 − 7·7) fewer", against="alexnet_lecture"),
        Printed("conv3", "0.29 M", False, "equal: 256·(512 − 384)·3·3 more", against="alexnet_lecture"),
        Printed(
            "conv5",
            "0.36 M",
            False,
            "(1024·512 − 384·256)·3·3: about ten times what is printed; conv4 has 3.39 M more",
            against="alexnet_lecture",
        ),
    ],
    "vgg16": [
        Printed("outside the FC layers", "16 M", True, "13 convolutions: 14.71 M, rounded up"),
        Printed("in the FC layers", "122 M", True, "123.64 M, of them 102.76 M in fc6, 512·7·7·4096 + 4096"),
    ],
    "googlenet_paper": [
        Printed("all", "12×", True, "the paper's claim; 60,965,224 / 6,998,552", against="alexnet_paper", times=True),
        Printed("all", "2×", True, "equal, rounded", against="alexnet_paper", times=True, macs=True),
        Printed(
            "inception3a.branch3",
            "",
            False,
            "what a 1×1 convolution saves: 192·16 + 16·32·5·5; without it 192·32·5·5 = 153,600",
        ),
    ],
    "googlenet": [
        Printed(
            "all",
            "12×",
            True,
            "the paper's claim; torchvision's has 3×3 where the paper has 5×5",
            against="alexnet_paper",
            times=True,
        ),
        Printed("all", "2×", True, "equal, rounded", against="alexnet_paper", times=True, macs=True),
    ],
}


def counts(model: str) -> list[Count]:
    """The lecture's counts for a model. Raises MinicnnError when it prints none."""
    if model not in PRINTED:
        raise MinicnnError(f"the lecture prints no counts for {model}; it does for {', '.join(PRINTED)}")
    net = architecture(model)
    return [Count(label(p), p.printed, true_count(net, p), p.why) for p in PRINTED[model]]


def label(printed: Printed) -> str:
    """What is counted: "conv1", "conv1 − alexnet_lecture's", "parameters, against alexnet_paper"."""
    whole = "multiply-adds" if printed.macs else "parameters"
    what = whole if printed.times else printed.layer
    if not printed.against:
        return what
    return f"{what}, against {printed.against}" if printed.times else f"{what} − {printed.against}'s"


def true_count(net: Network, printed: Printed) -> int | float:
    """The number of the network itself, counted as the lecture counted it."""
    here = measured(net, printed)
    if not printed.against:
        return here
    there = measured(architecture(printed.against), printed)
    return max(here, there) / min(here, there) if printed.times else here - there


def measured(net: Network, printed: Printed) -> int:
    """Multiply-adds, or parameters of a layer or a part."""
    if printed.macs:
        return net.macs(net.input_shape)
    if printed.layer in PARTS:
        layers = [layer for _, layer in net.layers() if not layer.children() and PARTS[printed.layer](layer)]
    else:
        layers = [net.layer(printed.layer)]
    biases = sum(p.size for layer in layers for name, p in layer.named_parameters().items() if name.endswith("bias"))
    return sum(layer.num_parameters() for layer in layers) - (0 if printed.biases else biases)
