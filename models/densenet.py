"""DenseNet (Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", 2016, table 1)."""

from __future__ import annotations

import re

from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Normalize,
    ReLU,
    Remember,
    Sequential,
    Shape,
)
from minicnn.layers.containers import Chain, Grads
from minicnn.layers.layer import add_gradients, channels_first, channels_last
from minicnn.network import Network
from minicnn.receptive import Region, parts, side_by_side

from .alexnet import IMAGENET_MEAN, IMAGENET_STD
from .foreign import Foreign, torch_names, weighted
from .imagenet import imagenet_network

GROWTH = 32  # maps that each layer adds: k
BOTTLENECK = 4 * GROWTH  # maps between its two convolutions (section 3, "Bottleneck layers")


def densenet121(num_classes: int = 1000) -> Network:
    """6, 12, 24 and 16 layers, each of two convolutions: 7,978,856 parameters, 224×224."""
    return densenet("densenet121", (6, 12, 24, 16), num_classes)


def densenet(name: str, blocks: tuple[int, ...], num_classes: int) -> Network:
    """Dense blocks of so many layers, and between them transitions that halve maps and sizes (DenseNet-BC)."""
    channels = 2 * GROWTH
    layers: dict[str, Layer] = {
        "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
        "conv1": Conv2d(3, channels, 7, stride=2, padding=3, bias=False),  # (64, 112, 112)
        "norm1": BatchNorm2d(channels),
        "relu1": ReLU(),
        "pool1": MaxPool2d(3, 2, padding=1),  # (64, 56, 56)
    }
    for number, count in enumerate(blocks, 1):
        layers[f"dense{number}"] = dense_block(channels, count)
        channels += count * GROWTH
        if number < len(blocks):
            layers[f"transition{number}"] = transition(channels)
            channels //= 2
    last = len(blocks) + 1
    layers |= {
        f"norm{last}": BatchNorm2d(channels),  # (1024, 7, 7)
        f"relu{last}": ReLU(),
        "avgpool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
        "fc": Linear(channels, num_classes),
    }
    return imagenet_network(layers, name=name, num_classes=num_classes, feature_layer="flatten")


class Dense(Chain):
    """y = x beside layers(x): what comes in goes on, with new maps behind it (equation 2)."""

    of_a_pass = (*Chain.of_a_pass, "_cut")
    _cut: int | None = None  # of how many maps x was, in the last forward pass that remembers

    def trace(  # type: ignore[override]  # nothing fused
        self, x: Array, wanted: set[str], remember: Remember
    ) -> tuple[Array | None, dict[str, Array]]:
        need_y = "" in wanted
        y, found = self.trace_chain(x, wanted, remember, need_y)
        self._cut = x.shape[1] if need_y and remember else None
        if not need_y:
            return None, found
        return channels_first(get_array_module(x).concatenate([channels_last(a) for a in (x, y)], axis=-1)), found

    def inject(  # type: ignore[override]  # nothing fused
        self, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool
    ) -> Array | None:
        straight = new = None
        if dy is not None:
            if self._cut is None:
                raise self.error("backward without a forward pass that remembers: call forward(x) first")
            straight, new = dy[:, : self._cut], dy[:, self._cut :]
        dx = self.inject_chain(new, grads, need_dx, need_dparams)
        return add_gradients(straight, dx) if need_dx else None

    def forget(self) -> None:
        super().forget()
        self._cut = None

    def output_shape(self, input_shape: Shape) -> Shape:
        new = super().output_shape(input_shape)
        return input_shape[0] + new[0], *new[1:]


@parts.register
def _(container: Dense, region: Region, shape: Shape) -> list[tuple[str, Region]]:
    *_, last = container.chain()
    return side_by_side(region, [("", shape[0]), (last, container.output_shape(shape)[0] - shape[0])])


def dense_block(in_channels: int, count: int) -> Sequential:
    """Layers that each see the maps of all before them, first through a 1×1 bottleneck, and add GROWTH maps."""
    layers: dict[str, Layer] = {}
    for number in range(1, count + 1):
        layers[f"layer{number}"] = Dense(
            norm1=BatchNorm2d(in_channels),
            relu1=ReLU(),
            conv1=Conv2d(in_channels, BOTTLENECK, 1, bias=False),
            norm2=BatchNorm2d(BOTTLENECK),
            relu2=ReLU(),
            conv2=Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False),
        )
        in_channels += GROWTH
    return Sequential(**layers)


def transition(channels: int) -> Sequential:
    """Half as many maps, each half as high and wide (compression θ = 0.5)."""
    return Sequential(
        norm=BatchNorm2d(channels),
        relu=ReLU(),
        conv=Conv2d(channels, channels // 2, 1, bias=False),
        pool=AvgPool2d(2),
    )


def foreign(net: Network) -> list[Foreign]:
    """torchvision's; its published file writes norm.1 where the library of today writes norm1."""
    layers = {
        path: "classifier"
        if path == "fc"
        else "features."
        + re.sub(r"^(conv|norm)1$", r"\g<1>0", path).replace("dense", "denseblock").replace("layer", "denselayer")
        for path in weighted(net)
    }
    old = {path: re.sub(r"(denselayer\d+\.)(norm|conv)(\d)", r"\1\2.\3", name) for path, name in layers.items()}
    return [torch_names("torchvision", net, layers), torch_names("torchvision, its published file", net, old)]
