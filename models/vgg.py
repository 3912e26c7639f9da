"""VGG (Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014), table 1."""

from __future__ import annotations

from minicnn.errors import MinicnnError, nearest
from minicnn.initialization import normal
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Normalize,
    ReLU,
)
from minicnn.network import Network

from .alexnet import CIFAR10_CLASSES, CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD
from .foreign import Foreign, torch_names
from .imagenet import imagenet_network

CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks; each ends in a pool that halves the picture
COLUMNS = {  # convolutions in each block: columns A, B, D and E
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
POOLS = {"max": MaxPool2d, "avg": AvgPool2d}


def trunk(convolutions: tuple[int, ...], *, norm: bool = False, pool: str = "max") -> dict[str, Layer]:
    """The 3×3 convolutions conv1_1 … conv5_k, each with its batch norm (if `norm`) and ReLU, and pool1 … pool5."""
    layers: dict[str, Layer] = {}
    in_channels = 3
    for number, (channels, count) in enumerate(zip(CHANNELS, convolutions, strict=True), 1):
        for place in (f"{number}_{k}" for k in range(1, count + 1)):
            layers[f"conv{place}"] = Conv2d(in_channels, channels, 3, padding=1)
            if norm:
                layers[f"norm{place}"] = BatchNorm2d(channels)
            layers[f"relu{place}"] = ReLU()
            in_channels = channels
        layers[f"pool{number}"] = POOLS[pool](2)
    return layers


def fully_connected(features: int, hidden: int, num_classes: int) -> dict[str, Layer]:
    """The three layers that all columns end in, with dropout behind the first two (section 3.1)."""
    return {
        "flatten": Flatten(),
        "fc6": Linear(features, hidden),
        "relu6": ReLU(),
        "drop6": Dropout(0.5),
        "fc7": Linear(hidden, hidden),
        "relu7": ReLU(),
        "drop7": Dropout(0.5),
        "fc8": Linear(hidden, num_classes, init=normal(0.01)),
    }


def vgg(name: str, num_classes: int) -> Network:
    """A column of the table, 224×224; with batch norm behind each convolution where the name ends in _bn."""
    column = COLUMNS[name.removesuffix("_bn")]
    return imagenet_network(
        {
            "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
            **trunk(column, norm=name.endswith("_bn")),  # (512, 7, 7)
            "avgpool": AdaptiveAvgPool2d(7),
            **fully_connected(512 * 7 * 7, 4096, num_classes),
        },
        name=name,
        num_classes=num_classes,
        feature_layer="relu7",
    )


def vgg11(num_classes: int = 1000) -> Network:
    """Column A: 132,863,336 parameters."""
    return vgg("vgg11", num_classes)


def vgg13(num_classes: int = 1000) -> Network:
    """Column B: 133,047,848 parameters."""
    return vgg("vgg13", num_classes)


def vgg16(num_classes: int = 1000) -> Network:
    """Column D: 138,357,544 parameters, 123.6 million of them in the fully connected layers."""
    return vgg("vgg16", num_classes)


def vgg19(num_classes: int = 1000) -> Network:
    """Column E: 143,667,240 parameters."""
    return vgg("vgg19", num_classes)


def vgg11_bn(num_classes: int = 1000) -> Network:
    """Column A with batch norm, as torchvision has it: 132,868,840 parameters."""
    return vgg("vgg11_bn", num_classes)


def vgg13_bn(num_classes: int = 1000) -> Network:
    """Column B with batch norm: 133,053,736 parameters."""
    return vgg("vgg13_bn", num_classes)


def vgg16_bn(num_classes: int = 1000) -> Network:
    """Column D with batch norm: 138,365,992 parameters."""
    return vgg("vgg16_bn", num_classes)


def vgg19_bn(num_classes: int = 1000) -> Network:
    """Column E with batch norm: 143,678,248 parameters."""
    return vgg("vgg19_bn", num_classes)


def vgg11_bn_cifar(num_classes: int = 10) -> Network:
    """The same trunk on 32×32 pictures, and one fully connected layer: 9,231,114 parameters for ten classes."""
    return Network(
        {
            "normalize": Normalize(CIFAR_MEAN, CIFAR_STD),
            **trunk(COLUMNS["vgg11"], norm=True),  # (512, 1, 1)
            "flatten": Flatten(),
            "fc": Linear(512, num_classes),
        },
        name="vgg11_bn_cifar",
        input_shape=(3, 32, 32),
        class_names=CIFAR10_CLASSES if num_classes == 10 else (),
        feature_layer="flatten",
    )


def vgg19_trunk(*, pool: str = "avg") -> Network:
    """Column E without its classifier, for pictures of any size from 32×32: 20,024,384 parameters.

    What texture, style and DeepDream look into. Its pools take the mean, which makes smoother pictures (Gatys, Ecker,
    Bethge, "Texture synthesis using convolutional neural networks", 2015, section 2); "max" is the paper's network.
    """
    if pool not in POOLS:
        raise MinicnnError(f"model vgg19_trunk: pool {pool!r}{nearest(pool, POOLS)}")
    return Network(
        {"normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD), **trunk(COLUMNS["vgg19"], pool=pool)},
        name="vgg19_trunk",
        input_shape=(3, 224, 224),
        resize=256,
        feature_layer="pool5",
    )


def foreign(net: Network) -> list[Foreign]:
    """torchvision counts the layers: features.0, … up to the last pool, then classifier.0, …

    The trunk is read from a whole VGG-19, of which it leaves the classifier.
    """
    if net.name == "vgg11_bn_cifar":
        return []
    names = list(net.children())
    behind = names[names.index("fc6") :] if "fc6" in names else []
    layers = {name: f"features.{number}" for number, name in enumerate(names[1:])}
    layers |= {name: f"classifier.{number}" for number, name in enumerate(behind)}
    left = [] if behind else [f"classifier.{number}.{kind}" for number in (0, 3, 6) for kind in ("weight", "bias")]
    return [torch_names("torchvision", net, layers, dropped=left)]
