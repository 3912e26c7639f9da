"""The architectures, by name: `build("lenet5")` with fresh weights, `load("lenet5")` with trained ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicnn.errors import MinicnnError, nearest
from minicnn.network import Network

from . import alexnet, lenet, resnet, vgg

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    "lenet5": lenet.lenet5,
    "lenet5_1998": lenet.lenet5_1998,
    "alexnet": alexnet.alexnet,
    "alexnet_paper": alexnet.alexnet_paper,
    "alexnet_lecture": alexnet.alexnet_lecture,
    "alexnet_cifar": alexnet.alexnet_cifar,
    "resnet20": resnet.resnet20,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg11_bn_cifar": vgg.vgg11_bn_cifar,
    "vgg19_trunk": vgg.vgg19_trunk,
}


def architecture(name: str, **options: Any) -> Network:
    """A network whose weights are not drawn yet. Raises MinicnnError for an unknown name or option."""
    make = _maker(name)
    known = inspect.signature(make).parameters
    for option, value in options.items():
        if option not in known:
            raise MinicnnError(f"model {name}: no option {option!r}{nearest(option, known)}")
        default = known[option].default
        if type(value) is not type(default) and not (type(default) is float and type(value) is int):
            raise MinicnnError(f"model {name}: {option} = {value!r}: expected a value such as {default!r}")
    return make(**options)


def build(name: str, *, seed: int = 0, **options: Any) -> Network:
    """A network with freshly drawn weights: the same seed gives the same bits. `num_classes=` sets its last layer."""
    net = architecture(name, **options)
    net.initialize(seed)
    return net


def load(name: str, *, weights: str | Path | None = None, **options: Any) -> Network:
    """A network in evaluation mode with trained weights: those of the file `weights`, or the ones that are shipped.

    It has as many classes as the file says, with the names there. Raises MinicnnError where `num_classes=` or the file
    does not fit, and says which weights there are when there are none for `name`.
    """
    from minicnn.weights import load_weights, read_classes

    _maker(name)
    path = weights if weights is not None else shipped(name)
    classes = read_classes(path)
    if classes is not None:
        options = {"num_classes": classes.number, **options}
    net = architecture(name, **options)
    load_weights(net, path)
    net.eval()
    return net


def _maker(name: str) -> Callable[..., Network]:
    if name not in ARCHITECTURES:
        raise MinicnnError(f"no model {name!r}{nearest(name, ARCHITECTURES)}")
    return ARCHITECTURES[name]


def shipped(name: str) -> Path:
    """The file of the weights that come with minicnn. Raises MinicnnError when there are none."""
    if not has_weights(name):
        there = ", ".join(other for other in ARCHITECTURES if has_weights(other))
        raise MinicnnError(f"model {name}: no weights come with minicnn (only for {there}); give a file with --weights")
    return weights_file(name)


def has_weights(name: str) -> bool:
    """Whether weights for a model come with minicnn."""
    return weights_file(name).is_file()


def weights_file(name: str) -> Path:
    """Where they are, or would be."""
    return Path(__file__).parent / "weights" / f"{name}.safetensors"
