"""Residual networks (He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015): those for ImageNet
(table 1), those for CIFAR (section 4.2), and the plain networks that show what they are for.

Weights are drawn as He et al. say; batch norm is behind every convolution, and nothing is dropped. The networks for
CIFAR have 6n + 2 layers with weights:

    output size   32×32   16×16   8×8
    layers        1 + 2n  2n      2n     and one fully connected layer
    filters       16      32      64
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minicnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Normalize,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
)
from minicnn.network import Network

from .alexnet import CIFAR10_CLASSES, CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD
from .foreign import Foreign, torch_names, weighted
from .imagenet import imagenet_network

# For ImageNet ---------------------------------------------------------------------------------------------------------


def resnet18(num_classes: int = 1000) -> Network:
    """11,689,512 parameters, 224×224."""
    return imagenet_resnet("resnet18", (2, 2, 2, 2), basic, num_classes)


def resnet34(num_classes: int = 1000) -> Network:
    """21,797,672 parameters, 224×224."""
    return imagenet_resnet("resnet34", (3, 4, 6, 3), basic, num_classes)


def resnet50(num_classes: int = 1000) -> Network:
    """25,557,032 parameters, 224×224."""
    return imagenet_resnet("resnet50", (3, 4, 6, 3), bottleneck, num_classes)


def resnet101(num_classes: int = 1000) -> Network:
    """44,549,160 parameters, 224×224."""
    return imagenet_resnet("resnet101", (3, 4, 23, 3), bottleneck, num_classes)


def resnet152(num_classes: int = 1000) -> Network:
    """60,192,808 parameters, 224×224."""
    return imagenet_resnet("resnet152", (3, 8, 36, 3), bottleneck, num_classes)


Block = Callable[[int, int, int], Residual]  # (maps that come in, width, stride) -> the block


def imagenet_resnet(name: str, blocks: tuple[int, ...], block: Block, num_classes: int) -> Network:
    """Table 1: four stages of so many blocks. Each but the first halves the picture and doubles the maps."""
    layers: dict[str, Layer] = {
        "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
        "conv1": Conv2d(3, 64, 7, stride=2, padding=3, bias=False),  # (64, 112, 112)
        "norm1": BatchNorm2d(64),
        "relu1": ReLU(),
        "pool1": MaxPool2d(3, 2, padding=1),  # (64, 56, 56)
    }
    channels = 64
    for number, count in enumerate(blocks):
        width, stride = 64 << number, 1 if number == 0 else 2
        expanded = width * (4 if block is bottleneck else 1)
        first = block(channels, width, stride)
        layers[f"stage{number + 1}"] = stage([first, *(block(expanded, width, 1) for _ in range(count - 1))])
        channels = expanded
    return imagenet_network(
        {**layers, "avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(channels, num_classes)},
        name=name,
        num_classes=num_classes,
        feature_layer="flatten",
    )


def stage(blocks: Iterable[Layer]) -> Sequential:
    """The blocks, each followed by its ReLU."""
    layers: dict[str, Layer] = {}
    for number, block in enumerate(blocks, 1):
        layers[f"block{number}"] = block
        layers[f"relu{number}"] = ReLU()
    return Sequential(**layers)


def basic(in_channels: int, width: int, stride: int) -> Residual:
    """Two 3×3 convolutions (figure 5, left)."""
    return Residual(**two_convolutions(in_channels, width, stride), **projection(in_channels, width, stride))


def bottleneck(in_channels: int, width: int, stride: int) -> Residual:
    """1×1, 3×3 and 1×1, which widens four times (figure 5, right).

    The 3×3 takes the stride, as in torchvision ("ResNet v1.5"); in the paper it is the 1×1 before it.
    """
    return Residual(
        conv1=Conv2d(in_channels, width, 1, bias=False),
        norm1=BatchNorm2d(width),
        relu1=ReLU(),
        conv2=Conv2d(width, width, 3, stride, padding=1, bias=False),
        norm2=BatchNorm2d(width),
        relu2=ReLU(),
        conv3=Conv2d(width, 4 * width, 1, bias=False),
        norm3=BatchNorm2d(4 * width),
        **projection(in_channels, 4 * width, stride),
    )


def two_convolutions(in_channels: int, width: int, stride: int) -> dict[str, Layer]:
    """What a basic block has beside its shortcut."""
    return {
        "conv1": Conv2d(in_channels, width, 3, stride, padding=1, bias=False),
        "norm1": BatchNorm2d(width),
        "relu1": ReLU(),
        "conv2": Conv2d(width, width, 3, padding=1, bias=False),
        "norm2": BatchNorm2d(width),
    }


def projection(in_channels: int, channels: int, stride: int) -> dict[str, Layer]:
    """A 1×1 convolution as the shortcut where maps or sizes change (option B of section 3.3)."""
    if in_channels == channels and stride == 1:
        return {}
    conv = Conv2d(in_channels, channels, 1, stride, bias=False)
    return {"shortcut": Sequential(conv=conv, norm=BatchNorm2d(channels))}


# For CIFAR ------------------------------------------------------------------------------------------------------------


def resnet20(num_classes: int = 10) -> Network:
    """n = 3: 269,722 parameters, 40.6 million multiply-adds for ten classes."""
    return cifar_resnet("resnet20", 3, num_classes)


def resnet32(num_classes: int = 10) -> Network:
    """n = 5: 464,154 parameters for ten classes."""
    return cifar_resnet("resnet32", 5, num_classes)


def resnet44(num_classes: int = 10) -> Network:
    """n = 7: 658,586 parameters for ten classes."""
    return cifar_resnet("resnet44", 7, num_classes)


def resnet56(num_classes: int = 10) -> Network:
    """n = 9: 853,018 parameters for ten classes."""
    return cifar_resnet("resnet56", 9, num_classes)


def resnet110(num_classes: int = 10) -> Network:
    """n = 18: 1,727,962 parameters for ten classes."""
    return cifar_resnet("resnet110", 18, num_classes)


def plain20(num_classes: int = 10) -> Network:
    """`resnet20` without its shortcuts: as many parameters, of the same names."""
    return cifar_resnet("plain20", 3, num_classes, shortcuts=False)


def plain32(num_classes: int = 10) -> Network:
    """`resnet32` without its shortcuts."""
    return cifar_resnet("plain32", 5, num_classes, shortcuts=False)


def plain44(num_classes: int = 10) -> Network:
    """`resnet44` without its shortcuts."""
    return cifar_resnet("plain44", 7, num_classes, shortcuts=False)


def plain56(num_classes: int = 10) -> Network:
    """`resnet56` without its shortcuts: the deeper network that learns worse (figure 1)."""
    return cifar_resnet("plain56", 9, num_classes, shortcuts=False)


def plain110(num_classes: int = 10) -> Network:
    """`resnet110` without its shortcuts."""
    return cifar_resnet("plain110", 18, num_classes, shortcuts=False)


def cifar_resnet(name: str, n: int, num_classes: int, *, shortcuts: bool = True) -> Network:
    """The network of 6n + 2 layers. Its shortcuts have no parameters (option A of section 3.3)."""
    make = block if shortcuts else plain_block
    return Network(
        {
            "normalize": Normalize(CIFAR_MEAN, CIFAR_STD),
            "conv1": Conv2d(3, 16, 3, padding=1, bias=False),  # (16, 32, 32)
            "norm1": BatchNorm2d(16),
            "relu1": ReLU(),
            "stage1": stage(make(16, 16) for _ in range(n)),  # (16, 32, 32)
            "stage2": stage(make(16 if i == 0 else 32, 32) for i in range(n)),  # (32, 16, 16)
            "stage3": stage(make(32 if i == 0 else 64, 64) for i in range(n)),  # (64, 8, 8)
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "fc": Linear(64, num_classes),
        },
        name=name,
        input_shape=(3, 32, 32),
        class_names=CIFAR10_CLASSES if num_classes == 10 else (),
        feature_layer="flatten",
    )


def block(in_channels: int, channels: int) -> Residual:
    """Two convolutions beside a shortcut (figure 2); what is added up goes through the ReLU behind the block."""
    stride = 1 if in_channels == channels else 2
    layers = two_convolutions(in_channels, channels, stride)
    if stride == 2:
        layers["shortcut"] = PadShortcut(in_channels, channels, stride)
    return Residual(**layers)


def plain_block(in_channels: int, channels: int) -> Sequential:
    """The two convolutions alone."""
    return Sequential(**two_convolutions(in_channels, channels, 1 if in_channels == channels else 2))


# Names elsewhere ------------------------------------------------------------------------------------------------------


def foreign(net: Network) -> list[Foreign]:
    """torchvision's: conv1, bn1, layer1.0.conv1 …; for CIFAR akamaster/pytorch_resnet_cifar10's, nearly the same."""
    layers = {path: torch_name(path) for path in weighted(net)}
    if "stage4" in net.children():
        return [torch_names("torchvision", net, layers)]
    return [torch_names("akamaster/pytorch_resnet_cifar10", net, layers | {"fc": "linear"})]


def torch_name(path: str) -> str:
    """stage2.block1.norm2 -> layer2.0.bn2, stage2.block1.shortcut.conv -> layer2.0.downsample.0."""
    stage, *inside = path.split(".")
    if not inside:
        return stage.replace("norm", "bn")
    block, *layer = inside
    name = layer[0].replace("norm", "bn").replace("shortcut", "downsample")
    if layer[1:]:
        name += {"conv": ".0", "norm": ".1"}[layer[1]]
    return f"{stage.replace('stage', 'layer')}.{int(block.removeprefix('block')) - 1}.{name}"
