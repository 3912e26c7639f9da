"""Darknet's tiny classifier (Redmon, pjreddie.com/darknet/tiny-darknet): 1×1 convolutions that narrow between 3×3 ones
that widen, as in SqueezeNet's modules, but without branches."""

from __future__ import annotations

from minicnn.layers import (
    AdaptiveAvgPool2d,
    Aside,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    LeakyReLU,
    MaxPool2d,
    Normalize,
)
from minicnn.network import Network

from .foreign import Foreign, torch_names, weighted
from .imagenet import imagenet_network

# Maps of each convolution, with the size of its filters; None where a pool halves the picture.
TINY = (
    *((16, 3), None, (32, 3), None),
    *((16, 1), (128, 3), (16, 1), (128, 3), None),
    *((32, 1), (256, 3), (32, 1), (256, 3), None),
    *((64, 1), (512, 3), (64, 1), (512, 3), (128, 1)),
)


def darknet_tiny(num_classes: int = 1000) -> Network:
    """1.05 million parameters; 224×224, or any multiple of 16. Takes red, green and blue in 0 … 1 as they are."""
    layers: dict[str, Layer] = {"normalize": Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))}
    in_channels, number = 3, 0
    for step in TINY:
        if step is None:
            layers[f"pool{number}"] = MaxPool2d(2)
            continue
        (channels, size), number = step, number + 1
        layers[f"conv{number}"] = Conv2d(in_channels, channels, size, padding=size // 2, bias=False)
        layers[f"norm{number}"] = BatchNorm2d(channels, eps=1e-3)
        layers[f"relu{number}"] = LeakyReLU(0.1)
        in_channels = channels
    layers |= {
        "feature": Aside(avgpool=AdaptiveAvgPool2d(1), flatten=Flatten()),
        f"conv{number + 1}": Conv2d(in_channels, num_classes, 1),
        "avgpool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
    }
    return imagenet_network(layers, name="darknet_tiny", num_classes=num_classes, feature_layer="feature.flatten")


def foreign(net: Network) -> list[Foreign]:
    """Darknet counts from 0: conv0, its batch norm bn0, …"""
    numbers = {path: int(path.removeprefix("conv").removeprefix("norm")) - 1 for path in weighted(net)}
    layers = {path: f"{'conv' if path.startswith('conv') else 'bn'}{number}" for path, number in numbers.items()}
    return [torch_names("Darknet", net, layers)]
