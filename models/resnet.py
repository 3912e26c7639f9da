"""The residual networks for CIFAR (He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015, section
4.2), of 6n + 2 layers with weights:

    output size   32×32   16×16   8×8
    layers        1 + 2n  2n      2n     and one fully connected layer
    filters       16      32      64
"""

from __future__ import annotations

from minicnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Normalize,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
)
from minicnn.network import Network

from .alexnet import CIFAR10_CLASSES, CIFAR_MEAN, CIFAR_STD


def resnet20(num_classes: int = 10) -> Network:
    """n = 3: 269,722 parameters, 40.6 million multiply-adds for ten classes."""
    return cifar_resnet("resnet20", 3, num_classes)


def cifar_resnet(name: str, n: int, num_classes: int) -> Network:
    """The network of 6n + 2 layers. Its shortcuts have no parameters (option A of section 3.3)."""
    return Network(
        {
            "normalize": Normalize(CIFAR_MEAN, CIFAR_STD),
            "conv1": Conv2d(3, 16, 3, padding=1, bias=False),  # (16, 32, 32)
            "norm1": BatchNorm2d(16),
            "relu1": ReLU(),
            "stage1": stage(16, 16, n),  # (16, 32, 32)
            "stage2": stage(16, 32, n),  # (32, 16, 16)
            "stage3": stage(32, 64, n),  # (64, 8, 8)
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "fc": Linear(64, num_classes),
        },
        name=name,
        input_shape=(3, 32, 32),
        class_names=CIFAR10_CLASSES if num_classes == 10 else (),
        feature_layer="flatten",
    )


def stage(in_channels: int, channels: int, n: int) -> Sequential:
    """n blocks, each followed by its ReLU. The first block halves the picture where the channels grow."""
    layers: dict[str, Layer] = {}
    for number in range(1, n + 1):
        layers[f"block{number}"] = block(in_channels, channels)
        layers[f"relu{number}"] = ReLU()
        in_channels = channels
    return Sequential(**layers)


def block(in_channels: int, channels: int) -> Residual:
    """Two convolutions beside a shortcut (figure 2); what is added up goes through the ReLU behind the block."""
    stride = 1 if in_channels == channels else 2
    layers: dict[str, Layer] = {
        "conv1": Conv2d(in_channels, channels, 3, stride, padding=1, bias=False),
        "norm1": BatchNorm2d(channels),
        "relu1": ReLU(),
        "conv2": Conv2d(channels, channels, 3, padding=1, bias=False),
        "norm2": BatchNorm2d(channels),
    }
    if stride == 2:
        layers["shortcut"] = PadShortcut(in_channels, channels, stride)
    return Residual(**layers)
