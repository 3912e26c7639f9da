"""GoogLeNet (Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich, "Going deeper with
convolutions", 2014, table 1): the paper's, and torchvision's with batch norm."""

from __future__ import annotations

from dataclasses import dataclass

from minicnn.layers import (
    AdaptiveAvgPool2d,
    Aside,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Normalize,
    ReLU,
    Sequential,
)
from minicnn.network import Network

from .alexnet import CAFFE_MEAN
from .foreign import Foreign, caffe2_names, torch_names, weighted
from .imagenet import imagenet_network

AUXILIARY = 0.3  # of the loss of each auxiliary classifier that is added in training (section 5)

# Table 1: maps of the 1×1 convolution, of the 3×3 and its reduction, of the 5×5 and its reduction, behind the pool.
MODULES = {
    "inception3a": (64, (96, 128), (16, 32), 32),
    "inception3b": (128, (128, 192), (32, 96), 64),
    "inception4a": (192, (96, 208), (16, 48), 64),
    "inception4b": (160, (112, 224), (24, 64), 64),
    "inception4c": (128, (128, 256), (24, 64), 64),
    "inception4d": (112, (144, 288), (32, 64), 64),
    "inception4e": (256, (160, 320), (32, 128), 128),
    "inception5a": (256, (160, 320), (32, 128), 128),
    "inception5b": (384, (192, 384), (48, 128), 128),
}
BEHIND = {"inception4a": "aux1", "inception4d": "aux2"}  # the auxiliary classifiers


@dataclass(frozen=True)
class Style:
    """In what the paper's network and torchvision's differ."""

    norm: bool  # batch norm behind each convolution, which then has no bias; otherwise LRN twice in the stem
    five: int  # the size of the filters that the paper has 5×5
    last_pool: int  # the size of the pool before inception5a
    dropout: float

    def unit(self, number: int, in_channels: int, channels: int, size: int, stride: int = 1) -> dict[str, Layer]:
        """A convolution, the batch norm behind it if there is one, and its ReLU."""
        conv = Conv2d(in_channels, channels, size, stride, size // 2, bias=not self.norm)
        layers: dict[str, Layer] = {f"conv{number}": conv}
        if self.norm:
            layers[f"norm{number}"] = BatchNorm2d(channels, eps=1e-3)
        return layers | {f"relu{number}": ReLU()}


PAPER = Style(norm=False, five=5, last_pool=3, dropout=0.4)
TORCHVISION = Style(norm=True, five=3, last_pool=2, dropout=0.2)


def googlenet(num_classes: int = 1000, *, heads: bool = False) -> Network:
    """torchvision's: 6,624,904 parameters, with its auxiliary heads 13,004,888; 224×224.

    It has batch norm, and 3×3 filters where the paper has 5×5. Its weights take pictures in −1 … 1.
    """
    half = (0.5, 0.5, 0.5)
    return inception_network("googlenet", Normalize(half, half), TORCHVISION, num_classes, heads)


def googlenet_paper(num_classes: int = 1000, *, heads: bool = False) -> Network:
    """The paper's, as Caffe trained it: 6,998,552 parameters, with its auxiliary heads 13,378,280; 224×224.

    It takes blue, green and red in 0 … 255 less their means.
    """
    normalize = Normalize(CAFFE_MEAN, (1.0, 1.0, 1.0), scale=255.0, bgr=True)
    return inception_network("googlenet_paper", normalize, PAPER, num_classes, heads)


def inception_network(name: str, normalize: Normalize, style: Style, num_classes: int, heads: bool) -> Network:
    """Table 1. With `heads`, two auxiliary classifiers learn along, each with 0.3 of its loss (section 5).

    They sit beside the network and run in training alone.
    """
    layers: dict[str, Layer] = {"normalize": normalize, **stem(style)}  # (192, 28, 28)
    in_channels = 192
    for module, sizes in MODULES.items():
        if module == "inception4a":
            layers["pool3"] = pool(3)  # (480, 14, 14)
        elif module == "inception5a":
            layers["pool4"] = pool(style.last_pool)  # (832, 7, 7)
        layers[module] = inception(in_channels, sizes, style)
        in_channels = sizes[0] + sizes[1][1] + sizes[2][1] + sizes[3]
        if heads and module in BEHIND:
            layers[BEHIND[module]] = auxiliary(in_channels, num_classes, style)
    return imagenet_network(
        {
            **layers,  # (1024, 7, 7)
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "drop": Dropout(style.dropout),
            "fc": Linear(in_channels, num_classes),
        },
        name=name,
        num_classes=num_classes,
        feature_layer="flatten",
        auxiliary={f"{head}.fc2": AUXILIARY for head in BEHIND.values()} if heads else {},
    )


def stem(style: Style) -> dict[str, Layer]:
    """What comes before the modules. The paper normalizes across the maps behind the first pool and before the next."""

    def lrn(name: str) -> dict[str, Layer]:
        return {} if style.norm else {name: LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)}

    return {
        **style.unit(1, 3, 64, 7, stride=2),  # (64, 112, 112)
        "pool1": pool(3),  # (64, 56, 56)
        **lrn("norm1"),
        **style.unit(2, 64, 64, 1),
        **style.unit(3, 64, 192, 3),  # (192, 56, 56)
        **lrn("norm3"),
        "pool2": pool(3),  # (192, 28, 28)
    }


def pool(size: int) -> MaxPool2d:
    """Halves the picture, rounding up."""
    return MaxPool2d(size, 2, ceil_mode=True)


def inception(in_channels: int, sizes: tuple[int, tuple[int, int], tuple[int, int], int], style: Style) -> Concat:
    """A module (figure 2b): 1×1, 3×3 and 5×5 convolutions and a pool, side by side, the wide ones behind 1×1."""
    one, (reduce3, three), (reduce5, five), behind_pool = sizes
    return Concat(
        branch1=Sequential(**style.unit(1, in_channels, one, 1)),
        branch2=Sequential(**style.unit(1, in_channels, reduce3, 1), **style.unit(2, reduce3, three, 3)),
        branch3=Sequential(**style.unit(1, in_channels, reduce5, 1), **style.unit(2, reduce5, five, style.five)),
        branch4=Sequential(pool=MaxPool2d(3, 1, padding=1), **style.unit(1, in_channels, behind_pool, 1)),
    )


def auxiliary(in_channels: int, num_classes: int, style: Style) -> Aside:
    """A small classifier beside the network, for gradients of its own to reach the layers before it (section 5)."""
    return Aside(
        # (in_channels, 4, 4); torchvision's takes pictures of any size
        avgpool=AdaptiveAvgPool2d(4) if style.norm else AvgPool2d(5, 3),
        **style.unit(1, in_channels, 128, 1),
        flatten=Flatten(),
        fc1=Linear(128 * 4 * 4, 1024),
        relu2=ReLU(),
        drop=Dropout(0.7),
        fc2=Linear(1024, num_classes),
    )


def foreign(net: Network) -> list[Foreign]:
    """torchvision's, whose file has the heads too; for the paper's those of inception-v1-12 in the ONNX model zoo."""
    if net.name == "googlenet_paper":
        return [caffe2_names(net, {path: caffe_name(path) for path in weighted(net)})]
    names = torch_names("torchvision", net, {path: torch_name(path) for path in weighted(net)})
    if not net.auxiliary:
        whole = foreign(googlenet(heads=True))[0]
        names = names._replace(dropped=whole.dropped | (set(whole.tensors.values()) - set(names.tensors.values())))
    return [names]


def torch_name(path: str) -> str:
    """inception3a.branch2.norm2 -> inception3a.branch2.1.bn, and so on."""
    *inside, layer = path.split(".")
    if layer.startswith("fc"):
        return path
    kind, number = {"conv": "conv", "norm": "bn"}[layer[:4]], int(layer[4:])
    if len(inside) < 2:
        return f"{inside[0]}.conv.{kind}" if inside else f"conv{number}.{kind}"
    place = {"branch1": "branch1", "branch4": "branch4.1"}.get(inside[1], f"{inside[1]}.{number - 1}")
    return f"{inside[0]}.{place}.{kind}"


CAFFE = {
    **{"conv1": "conv1/7x7_s2", "conv2": "conv2/3x3_reduce", "conv3": "conv2/3x3", "fc": "loss3/classifier"},
    **{"branch1.conv1": "1x1", "branch2.conv1": "3x3_reduce", "branch2.conv2": "3x3"},
    **{"branch3.conv1": "5x5_reduce", "branch3.conv2": "5x5", "branch4.conv1": "pool_proj"},
    **{"aux.conv1": "conv", "aux.fc1": "fc", "aux.fc2": "classifier"},
}


def caffe_name(path: str) -> str:
    """inception3a.branch2.conv2 -> inception_3a/3x3, and so on."""
    module, _, layer = path.partition(".")
    if module.startswith("aux"):
        return f"loss{module[3:]}/{CAFFE[f'aux.{layer}']}"
    return f"{module.replace('inception', 'inception_')}/{CAFFE[layer]}" if layer else CAFFE[module]
