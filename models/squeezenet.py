"""SqueezeNet (Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x fewer
parameters", 2016, table 1), in version 1.0, the paper's, and 1.1, which needs 2.4 times fewer multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator

from minicnn.initialization import normal
from minicnn.kernels.backend import Array
from minicnn.layers import (
    AdaptiveAvgPool2d,
    Aside,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    MaxPool2d,
    Normalize,
    ReLU,
    Remember,
    Sequential,
    Shape,
)
from minicnn.layers.containers import Grads, below
from minicnn.network import Network
from minicnn.receptive import source

from .alexnet import IMAGENET_MEAN, IMAGENET_STD
from .foreign import Foreign, torch_names, weighted
from .imagenet import imagenet_network


def squeezenet1_0(num_classes: int = 1000) -> Network:
    """1,248,424 parameters, 227×227."""
    layers: dict[str, Layer] = {
        "conv1": Conv2d(3, 96, 7, stride=2),  # (96, 111, 111)
        "relu1": ReLU(),
        "pool1": pool(),  # (96, 55, 55)
        "fire2": Fire(96, 16, 64),
        "fire3": Fire(128, 16, 64),
        "fire4": Fire(128, 32, 128),
        "pool4": pool(),  # (256, 27, 27)
        "fire5": Fire(256, 32, 128),
        "fire6": Fire(256, 48, 192),
        "fire7": Fire(384, 48, 192),
        "fire8": Fire(384, 64, 256),
        "pool8": pool(),  # (512, 13, 13)
        "fire9": Fire(512, 64, 256),
    }
    return squeezenet("squeezenet1_0", layers, num_classes, size=227)


def squeezenet1_1(num_classes: int = 1000) -> Network:
    """1,235,496 parameters, 224×224: smaller filters first, and pools earlier."""
    layers: dict[str, Layer] = {
        "conv1": Conv2d(3, 64, 3, stride=2),  # (64, 111, 111)
        "relu1": ReLU(),
        "pool1": pool(),  # (64, 55, 55)
        "fire2": Fire(64, 16, 64),
        "fire3": Fire(128, 16, 64),
        "pool3": pool(),  # (128, 27, 27)
        "fire4": Fire(128, 32, 128),
        "fire5": Fire(256, 32, 128),
        "pool5": pool(),  # (256, 13, 13)
        "fire6": Fire(256, 48, 192),
        "fire7": Fire(384, 48, 192),
        "fire8": Fire(384, 64, 256),
        "fire9": Fire(512, 64, 256),
    }
    return squeezenet("squeezenet1_1", layers, num_classes, size=224)


def squeezenet(name: str, layers: dict[str, Layer], num_classes: int, *, size: int) -> Network:
    """The layers between the preprocessing and the classifier: a convolution, a ReLU and the mean of each class's map.

    What comes out may be 0 for a class with no gradient at all, where its map is nowhere positive. The score layer, at
    which an explanation of a class begins, therefore takes the mean of the map before that ReLU.
    """
    return imagenet_network(
        {
            "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
            **layers,
            "feature": mean(),
            "drop9": Dropout(0.5),
            "conv10": Conv2d(512, num_classes, 1, init=normal(0.01)),
            "score": mean(),
            "relu10": ReLU(),
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
        },
        name=name,
        num_classes=num_classes,
        size=size,
        score_layer="score.flatten",
        feature_layer="feature.flatten",
    )


def mean() -> Aside:
    """The mean of each map, for whoever asks."""
    return Aside(avgpool=AdaptiveAvgPool2d(1), flatten=Flatten())


def pool() -> MaxPool2d:
    """Overlapping, and rounding up."""
    return MaxPool2d(3, 2, ceil_mode=True)


class Fire(Concat):
    """A fire module (figure 1): few maps by 1×1 filters, s = squeeze(x); then expand1x1(s) beside expand3x3(s)."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__(
            squeeze=Sequential(conv=Conv2d(in_channels, squeeze, 1), relu=ReLU()),
            expand1x1=Sequential(conv=Conv2d(squeeze, expand, 1), relu=ReLU()),
            expand3x3=Sequential(conv=Conv2d(squeeze, expand, 3, padding=1), relu=ReLU()),
        )

    def branches(self) -> list[str]:
        return ["expand1x1", "expand3x3"]

    def trace(  # type: ignore[override]  # nothing fused
        self, x: Array, wanted: set[str], remember: Remember
    ) -> tuple[Array | None, dict[str, Array]]:
        self.forget()
        deeper = "" in wanted or any(name in wanted or below(name, wanted) for name in self.branches())
        squeezed, found = self.trace_child("squeeze", x, wanted, remember, deeper)
        if not deeper or squeezed is None:
            return None, found
        y, more = super().trace(squeezed, wanted, remember)
        return y, found | more

    def inject(  # type: ignore[override]  # nothing fused
        self, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool
    ) -> Array | None:
        squeezed = super().inject(dy, grads, True, need_dparams)
        return self.inject_child("squeeze", squeezed, grads, need_dx, need_dparams)

    def output_shape(self, input_shape: Shape) -> Shape:
        return super().output_shape(self.children()["squeeze"].output_shape(input_shape))

    def inputs(self, input_shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        squeeze = self.children()["squeeze"]
        yield squeeze, input_shape
        yield from super().inputs(squeeze.output_shape(input_shape))


@source.register
def _(container: Fire, name: str) -> str:
    return "" if name == "squeeze" else "squeeze"


def foreign(net: Network) -> list[Foreign]:
    """torchvision's: features.N counts convolution, ReLU, pools and fire modules; classifier.1 is the last one."""
    modules = [path for path in net.children() if path not in ("normalize", "feature")]
    numbers = {path: f"features.{number}" for number, path in enumerate(modules)} | {"conv10": "classifier.1"}
    layers = {}
    for path in weighted(net):
        module, *inside = path.split(".")
        layers[path] = ".".join([numbers[module], *inside[:1]])  # fire2.squeeze.conv is features.3.squeeze
    return [torch_names("torchvision", net, layers)]
