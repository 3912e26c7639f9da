"""The parameter counts that the lecture prints, beside those of the networks as they are built here.

Some of the printed ones are rounded, count without biases, or are slips; `why` says which.
"""

from __future__ import annotations

from typing import NamedTuple

from minicnn.errors import MinicnnError
from minicnn.network import Network

from . import architecture


class Printed(NamedTuple):
    """A count on a slide: of a layer ("all": the network), as printed, with or without the biases, and why."""

    layer: str
    printed: str
    biases: bool
    why: str


class Count(NamedTuple):
    """The same beside the number of the network itself."""

    layer: str
    printed: str
    computed: int
    why: str


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
}


def counts(model: str) -> list[Count]:
    """The lecture's counts for a model. Raises MinicnnError when it prints none."""
    if model not in PRINTED:
        raise MinicnnError(f"the lecture prints no counts for {model}; it does for {', '.join(PRINTED)}")
    net = architecture(model)
    return [Count(p.layer, p.printed, true_count(net, p), p.why) for p in PRINTED[model]]


def true_count(net: Network, printed: Printed) -> int:
    """Parameters of a layer or of the whole network, counted as the lecture counted them."""
    layer = net if printed.layer == "all" else net.layer(printed.layer)
    biases = sum(p.size for name, p in layer.named_parameters().items() if name.endswith("bias"))
    return layer.num_parameters() - (0 if printed.biases else biases)
