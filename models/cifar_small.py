"""A small network for CIFAR-10 that comes trained: every technique has a network of natural pictures to look into.

VGG's plan (3×3 convolutions in pairs, the picture halved where the channels grow) with batch norm, and the mean of each
channel in place of the large fully connected layers (Lin, Chen, Yan, "Network in network", 2013, section 3.2).
"""

from __future__ import annotations

from minicnn.layers import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, Normalize, ReLU
from minicnn.network import Network

from .alexnet import CIFAR10_CLASSES, CIFAR_MEAN, CIFAR_STD

BLOCKS = ((32, 64), (128, 128), (192, 192, 192))  # channels of the convolutions between two pools


def cifar_small(num_classes: int = 10) -> Network:
    """Seven convolutions, 32×32 pictures: 1,129,002 parameters and 133 million multiply-adds for ten classes."""
    layers: dict[str, Layer] = {"normalize": Normalize(CIFAR_MEAN, CIFAR_STD)}
    in_channels = 3
    for number, block in enumerate(BLOCKS, 1):
        for place, channels in enumerate(block, 1):
            layers[f"conv{number}_{place}"] = Conv2d(in_channels, channels, 3, padding=1, bias=False)
            layers[f"norm{number}_{place}"] = BatchNorm2d(channels)
            layers[f"relu{number}_{place}"] = ReLU()
            in_channels = channels
        if number < len(BLOCKS):
            layers[f"pool{number}"] = MaxPool2d(2)  # (64, 16, 16), (128, 8, 8)
    layers |= {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(in_channels, num_classes)}
    return Network(
        layers,
        name="cifar_small",
        input_shape=(3, 32, 32),
        class_names=CIFAR10_CLASSES if num_classes == 10 else (),
        feature_layer="flatten",
    )
