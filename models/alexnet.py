"""AlexNet (Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", 2012), in
the four forms that people mean by the name."""

from __future__ import annotations

from minicnn.initialization import normal
from minicnn.layers import (
    AdaptiveAvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Normalize,
    ReLU,
)
from minicnn.network import Network

from .foreign import Foreign, caffe2_names, in_order, torch_names
from .imagenet import imagenet_network

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (104.0, 117.0, 123.0)  # of blue, green, red in 0 … 255
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
CONVOLUTIONS_AND_FC = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def fully_connected(
    features: int, hidden: int, num_classes: int, dropout: float = 0.5, *, last: int | None = None
) -> dict[str, Layer]:
    """The three layers that all forms end in, dropout before the first two (section 4.2).

    last: hidden units of the second, where it has not as many as the first.
    """
    last = last or hidden
    return {
        "flatten": Flatten(),
        "drop6": Dropout(dropout),
        "fc6": Linear(features, hidden),
        "relu6": ReLU(),
        "drop7": Dropout(dropout),
        "fc7": Linear(hidden, last),
        "relu7": ReLU(),
        "fc8": Linear(last, num_classes, init=normal(0.01)),
    }


def alexnet(num_classes: int = 1000) -> Network:
    """torchvision's ("One weird trick", Krizhevsky 2014): no groups, no LRN, 61,100,840 parameters, 224×224."""
    return imagenet_network(
        {
            "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
            "conv1": Conv2d(3, 64, 11, stride=4, padding=2),  # (64, 55, 55)
            "relu1": ReLU(),
            "pool1": MaxPool2d(3, 2),  # (64, 27, 27)
            "conv2": Conv2d(64, 192, 5, padding=2),
            "relu2": ReLU(),
            "pool2": MaxPool2d(3, 2),  # (192, 13, 13)
            "conv3": Conv2d(192, 384, 3, padding=1),
            "relu3": ReLU(),
            "conv4": Conv2d(384, 256, 3, padding=1),
            "relu4": ReLU(),
            "conv5": Conv2d(256, 256, 3, padding=1),
            "relu5": ReLU(),
            "pool5": MaxPool2d(3, 2),  # (256, 6, 6)
            "avgpool": AdaptiveAvgPool2d(6),
            **fully_connected(256 * 6 * 6, 4096, num_classes),
        },
        name="alexnet",
        num_classes=num_classes,
        feature_layer="relu7",
    )


def alexnet_paper(num_classes: int = 1000) -> Network:
    """The paper's, with its two groups (the two GPUs of figure 2) and LRN: 60,965,224 parameters, 227×227.

    The paper prints 224×224, from which 55×55 does not follow without padding; 227 does. n = 5, k = 2, β = 0.75 and
    the paper's α = 1e-4, which is 5e-4 in torch's form (section 3.3).
    """
    return imagenet_network(
        {"normalize": Normalize(IMAGENET_MEAN, (1.0, 1.0, 1.0)), **two_groups(num_classes, alpha=5e-4, k=2.0)},
        name="alexnet_paper",
        num_classes=num_classes,
        size=227,
        feature_layer="relu7",
    )


def alexnet_caffe(num_classes: int = 1000) -> Network:
    """Caffe's bvlc_alexnet, whose published weights the lectures invert: the paper's, but for LRN's α = 2e-5 and k = 1.

    It takes blue, green and red in 0 … 255 less their means.
    """
    return imagenet_network(
        {
            "normalize": Normalize(CAFFE_MEAN, (1.0, 1.0, 1.0), scale=255.0, bgr=True),
            **two_groups(num_classes, alpha=1e-4, k=1.0),
        },
        name="alexnet_caffe",
        num_classes=num_classes,
        size=227,
        feature_layer="relu7",
    )


def two_groups(num_classes: int, *, alpha: float, k: float) -> dict[str, Layer]:
    """The layers of the paper, with the constants of LRN in torch's form."""

    def lrn() -> LocalResponseNorm:
        return LocalResponseNorm(5, alpha=alpha, beta=0.75, k=k)

    return {
        "conv1": Conv2d(3, 96, 11, stride=4),  # (96, 55, 55)
        "relu1": ReLU(),
        "norm1": lrn(),
        "pool1": MaxPool2d(3, 2),  # (96, 27, 27)
        "conv2": Conv2d(96, 256, 5, padding=2, groups=2),
        "relu2": ReLU(),
        "norm2": lrn(),
        "pool2": MaxPool2d(3, 2),  # (256, 13, 13)
        "conv3": Conv2d(256, 384, 3, padding=1),
        "relu3": ReLU(),
        "conv4": Conv2d(384, 384, 3, padding=1, groups=2),
        "relu4": ReLU(),
        "conv5": Conv2d(384, 256, 3, padding=1, groups=2),
        "relu5": ReLU(),
        "pool5": MaxPool2d(3, 2),  # (256, 6, 6)
        **fully_connected(256 * 6 * 6, 4096, num_classes),
    }


def alexnet_lecture(num_classes: int = 1000) -> Network:
    """The lecture's, drawn without any padding: 227→55→27→23→11→9→7→5→2; 28,813,344 weights without the biases."""
    return imagenet_network(
        {
            "normalize": Normalize(IMAGENET_MEAN, IMAGENET_STD),
            "conv1": Conv2d(3, 96, 11, stride=4),  # (96, 55, 55)
            "relu1": ReLU(),
            "pool1": MaxPool2d(3, 2),  # (96, 27, 27)
            "conv2": Conv2d(96, 256, 5),  # (256, 23, 23)
            "relu2": ReLU(),
            "pool2": MaxPool2d(3, 2),  # (256, 11, 11)
            "conv3": Conv2d(256, 384, 3),  # (384, 9, 9)
            "relu3": ReLU(),
            "conv4": Conv2d(384, 384, 3),  # (384, 7, 7)
            "relu4": ReLU(),
            "conv5": Conv2d(384, 256, 3),  # (256, 5, 5)
            "relu5": ReLU(),
            "pool5": MaxPool2d(3, 2),  # (256, 2, 2)
            **fully_connected(256 * 2 * 2, 4096, num_classes),
        },
        name="alexnet_lecture",
        num_classes=num_classes,
        size=227,
        feature_layer="relu7",
    )


def alexnet_cifar(num_classes: int = 10, *, dropout: float = 0.5) -> Network:
    """For 32×32 pictures: five convolutions, overlapping pools, LRN; 1,793,226 parameters."""

    def lrn() -> LocalResponseNorm:
        return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=1.0)

    return Network(
        {
            "normalize": Normalize(CIFAR_MEAN, CIFAR_STD),
            "conv1": Conv2d(3, 64, 5, padding=2),  # (64, 32, 32)
            "relu1": ReLU(),
            "pool1": MaxPool2d(3, 2, 1),  # (64, 16, 16)
            "norm1": lrn(),
            "conv2": Conv2d(64, 64, 5, padding=2),
            "relu2": ReLU(),
            "pool2": MaxPool2d(3, 2, 1),  # (64, 8, 8)
            "norm2": lrn(),
            "conv3": Conv2d(64, 128, 3, padding=1),
            "relu3": ReLU(),
            "conv4": Conv2d(128, 128, 3, padding=1),
            "relu4": ReLU(),
            "conv5": Conv2d(128, 128, 3, padding=1),
            "relu5": ReLU(),
            "pool5": MaxPool2d(3, 2, 1),  # (128, 4, 4)
            **fully_connected(128 * 4 * 4, 512, num_classes, dropout),
        },
        name="alexnet_cifar",
        input_shape=(3, 32, 32),
        class_names=CIFAR10_CLASSES if num_classes == 10 else (),
        feature_layer="relu7",
    )


def foreign(net: Network) -> list[Foreign]:
    """torchvision's names of `alexnet`; those of bvlcalexnet-12 in the ONNX model zoo of `alexnet_caffe`."""
    if net.name == "alexnet":
        places = [*(f"features.{i}" for i in (0, 3, 6, 8, 10)), *(f"classifier.{i}" for i in (1, 4, 6))]
        return [torch_names("torchvision", net, in_order(net, places))]
    if net.name == "alexnet_caffe":
        return [caffe2_names(net, in_order(net, CONVOLUTIONS_AND_FC))]
    return []
