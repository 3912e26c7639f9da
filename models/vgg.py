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

CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks; each ends in a pool that halves the picture
VGG11 = (1, 1, 2, 2, 2)  # convolutions in each block: column A
VGG19 = (2, 2, 4, 4, 4)  # column E
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


def vgg11_bn(num_classes: int = 1000) -> Network:
    """Column A with batch norm, as torchvision has it: 132,868,840 parameters, 224×224."""
    return Network(
        {
            "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
            **trunk(VGG11, norm=True),  # (512, 7, 7)
            "avgpool": AdaptiveAvgPool2d(7),
            **fully_connected(512 * 7 * 7, 4096, num_classes),
        },
        name="vgg11_bn",
        input_shape=(3, 224, 224),
        feature_layer="relu7",
    )


def vgg11_bn_cifar(num_classes: int = 10) -> Network:
    """The same trunk on 32×32 pictures, and one fully connected layer: 9,231,114 parameters for ten classes."""
    return Network(
        {
            "normalize": Normalize(CIFAR_MEAN, CIFAR_STD),
            **trunk(VGG11, norm=True),  # (512, 1, 1)
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
        {"normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD), **trunk(VGG19, pool=pool)},
        name="vgg19_trunk",
        input_shape=(3, 224, 224),
        feature_layer="pool5",
    )
