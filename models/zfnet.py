"""ZFNet (Zeiler, Fergus, "Visualizing and understanding convolutional networks", 2013, figure 3 and table 3): AlexNet
with smaller filters and steps in the first two layers, found by looking at what AlexNet's had learned."""

from __future__ import annotations

from minicnn.layers import Conv2d, Layer, LocalResponseNorm, MaxPool2d, Normalize, ReLU
from minicnn.network import Network

from .alexnet import CAFFE_MEAN, CONVOLUTIONS_AND_FC, IMAGENET_MEAN, IMAGENET_STD, fully_connected
from .foreign import Foreign, caffe2_names, in_order
from .imagenet import imagenet_network


def zfnet(num_classes: int = 1000) -> Network:
    """384, 384 and 256 maps in the last three convolutions, as figure 3 draws it: 62,357,608 parameters, 224×224."""
    return with_maps("zfnet", (384, 384, 256), num_classes)


def zfnet_lecture(num_classes: int = 1000) -> Network:
    """512, 1024 and 512 maps, the lecture's and the larger one of the paper's table 3: 107,627,624 parameters."""
    return with_maps("zfnet_lecture", (512, 1024, 512), num_classes)


def with_maps(name: str, maps: tuple[int, int, int], num_classes: int) -> Network:
    """Figure 3: each of the first two convolutions, its ReLU, its pool, then contrast normalized across the maps.

    Pools round up: 110 → 55 and 26 → 13, as the figure has it.
    """
    return imagenet_network(
        {
            "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
            "conv1": Conv2d(3, 96, 7, stride=2, padding=1),  # (96, 110, 110)
            "relu1": ReLU(),
            "pool1": MaxPool2d(3, 2, ceil_mode=True),  # (96, 55, 55)
            "norm1": lrn(),
            "conv2": Conv2d(96, 256, 5, stride=2),  # (256, 26, 26)
            "relu2": ReLU(),
            "pool2": MaxPool2d(3, 2, ceil_mode=True),  # (256, 13, 13)
            "norm2": lrn(),
            **last_three(maps),  # (maps[-1], 6, 6)
            **fully_connected(maps[-1] * 6 * 6, 4096, num_classes),
        },
        name=name,
        num_classes=num_classes,
        feature_layer="relu7",
    )


def zfnet512(num_classes: int = 1000) -> Network:
    """What the ONNX model zoo calls ZFNet-512: 87,250,536 parameters, 224×224.

    Its layers are those of CNN-M-1024 (Chatfield, Simonyan, Vedaldi, Zisserman, "Return of the devil in the details",
    2014, table 1): 512 maps in the last three convolutions, 1024 hidden units in the last layer but one, LRN before the
    pools. Its input is blue, green, red in 0 … 255 less their means.
    """
    layers: dict[str, Layer] = {
        "normalize": Normalize(CAFFE_MEAN, (1.0, 1.0, 1.0), scale=255.0, bgr=True),
        "conv1": Conv2d(3, 96, 7, stride=2),  # (96, 109, 109)
        "relu1": ReLU(),
        "norm1": lrn(),
        "pool1": MaxPool2d(3, 2),  # (96, 54, 54)
        "conv2": Conv2d(96, 256, 5, stride=2),  # (256, 25, 25)
        "relu2": ReLU(),
        "norm2": lrn(),
        "pool2": MaxPool2d(3, 2),  # (256, 12, 12)
        **last_three((512, 512, 512)),  # (512, 6, 6)
        **fully_connected(512 * 6 * 6, 4096, num_classes, last=1024),
    }
    return imagenet_network(layers, name="zfnet512", num_classes=num_classes, feature_layer="relu7")


def last_three(maps: tuple[int, int, int]) -> dict[str, Layer]:
    """The convolutions 3 to 5 behind 256 maps, and the pool."""
    c3, c4, c5 = maps
    return {
        "conv3": Conv2d(256, c3, 3, padding=1),
        "relu3": ReLU(),
        "conv4": Conv2d(c3, c4, 3, padding=1),
        "relu4": ReLU(),
        "conv5": Conv2d(c4, c5, 3, padding=1),
        "relu5": ReLU(),
        "pool5": MaxPool2d(3, 2, ceil_mode=True),
    }


def lrn() -> LocalResponseNorm:
    """AlexNet's: the paper gives no constants of its own."""
    return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def foreign(net: Network) -> list[Foreign]:
    """The names in zfnet512-12 of the ONNX model zoo."""
    if net.name != "zfnet512":
        return []
    return [caffe2_names(net, in_order(net, (f"gpu_0/{name}" for name in CONVOLUTIONS_AND_FC)))]
