"""The architectures, by name: `build("lenet5")` with fresh weights, `load("lenet5")` with trained ones."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.data.places import Progress
from minicnn.errors import MinicnnError, nearest
from minicnn.network import Network

from . import alexnet, catalogue, cifar_small, darknet, densenet, googlenet, lenet, resnet, squeezenet, vgg, zfnet
from .foreign import Foreign

if TYPE_CHECKING:
    from minicnn.weights import WeightsFile

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    "lenet5": lenet.lenet5,
    "lenet5_1998": lenet.lenet5_1998,
    "alexnet": alexnet.alexnet,
    "alexnet_paper": alexnet.alexnet_paper,
    "alexnet_caffe": alexnet.alexnet_caffe,
    "alexnet_lecture": alexnet.alexnet_lecture,
    "alexnet_cifar": alexnet.alexnet_cifar,
    "zfnet": zfnet.zfnet,
    "zfnet_lecture": zfnet.zfnet_lecture,
    "zfnet512": zfnet.zfnet512,
    "vgg11": vgg.vgg11,
    "vgg13": vgg.vgg13,
    "vgg16": vgg.vgg16,
    "vgg19": vgg.vgg19,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19_bn": vgg.vgg19_bn,
    "vgg11_bn_cifar": vgg.vgg11_bn_cifar,
    "vgg19_trunk": vgg.vgg19_trunk,
    "googlenet": googlenet.googlenet,
    "googlenet_paper": googlenet.googlenet_paper,
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
    "resnet101": resnet.resnet101,
    "resnet152": resnet.resnet152,
    "resnet20": resnet.resnet20,
    "resnet32": resnet.resnet32,
    "resnet44": resnet.resnet44,
    "resnet56": resnet.resnet56,
    "resnet110": resnet.resnet110,
    "plain20": resnet.plain20,
    "plain32": resnet.plain32,
    "plain44": resnet.plain44,
    "plain56": resnet.plain56,
    "plain110": resnet.plain110,
    "densenet121": densenet.densenet121,
    "squeezenet1_0": squeezenet.squeezenet1_0,
    "squeezenet1_1": squeezenet.squeezenet1_1,
    "darknet_tiny": darknet.darknet_tiny,
    "cifar_small": cifar_small.cifar_small,
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


def foreign_names(name: str, net: Network) -> list[Foreign]:
    """What the tensors of `net`, an architecture(name), are called in the files of other programs, most usual first."""
    family = sys.modules[_maker(name).__module__]
    return family.foreign(net) if hasattr(family, "foreign") else []


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    head: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Network:
    """A network in evaluation mode with trained weights: those of the file `weights`, or those its name stands for.

    `name` is an architecture's or one of the catalogue's. The file is a .safetensors, .pth or .onnx, its names ours or
    those that the family knows; without one, the weights that come with minicnn, or the catalogue's, fetched where they
    are not on this machine (`progress` hears of it). The network has as many classes as the file, and is fed as it
    says, else as the catalogue says of this very file, else as of `name`. `head=False` loads all but the layers whose
    size is the number of classes, which are drawn anew, and their classes have no names: for `num_classes=` of one's
    own. Raises MinicnnError where the file does not fit, and says which weights there are when there are none.
    """
    from minicnn.weights import put_weights, read_weights

    named = catalogue.entries().get(name)
    model = named.network if named else name
    _maker(model)
    file = read_weights(weights if weights is not None else weights_of(name, progress=progress))
    known = named if weights is None else catalogue.entry_of(file.path, model)
    entry = known or named
    last = head_of(model, **options)
    if head and last and "num_classes" not in options:
        number = file.classes.number if file.classes else _classes_in(file, architecture(model, **options), model, last)
        options |= {} if number is None else {"num_classes": number}
    net = architecture(model, **options)
    if entry:
        entry.prepare(net)
    origins = foreign_names(model, net)
    if head:
        _check_head(file, net, last, origins)
    else:
        generator = np.random.default_rng(0)
        for path in last:
            net.named_parameters()[path].initialize(generator)
        if last:
            net.class_names = ()
    put_weights(net, file, origins, keep=() if head else last)
    if named and not known:
        _warn_of_another_way(named, name, file)
    net.eval()
    return net


def _warn_of_another_way(entry: catalogue.Entry, name: str, file: WeightsFile) -> None:
    """Warn where a file does not say how its pictures are fed, and `name` could mean weights that are fed otherwise."""
    if name not in ARCHITECTURES or "normalize.mean" in file.tensors:
        return
    for other in catalogue.entries().values():
        if other.network == name and other.feeding != entry.feeding:
            warnings.warn(
                f"{file.path}: does not say how its pictures are fed; they are fed as {name} stands for "
                f"({entry.feeding}), and would be otherwise by the name {other.name} ({other.feeding})",
                stacklevel=3,
            )


def head_of(model: str, **options: Any) -> tuple[str, ...]:
    """The parameters whose size is the number of classes: the last layer's, and those of auxiliary heads."""
    if "num_classes" not in inspect.signature(_maker(model)).parameters:
        return ()
    few, more = (architecture(model, **{**options, "num_classes": n}).named_parameters() for n in (2, 3))
    return tuple(path for path in few if few[path].shape != more[path].shape)


def _classes_in(file: WeightsFile, net: Network, model: str, last: Sequence[str]) -> int | None:
    """How many classes the head in a file has that does not say so; None where that cannot be told."""
    names = file.names(net, foreign_names(model, net))
    shapes = [file.tensors[names[path]].shape for path in last if names.get(path) in file.tensors]
    numbers = {shape[0] for shape in shapes if shape and shape[0] > 0}
    return numbers.pop() if len(numbers) == 1 else None


def _check_head(file: WeightsFile, net: Network, last: Sequence[str], origins: Sequence[Foreign]) -> None:
    """Raise MinicnnError, which says what to do, where nothing but the number of classes differs."""
    names, parameters = file.names(net, origins), net.named_parameters()
    for path in last:
        there, wanted = file.tensors.get(names[path]), parameters[path].shape
        if there is not None and there.shape[1:] == wanted[1:] and there.shape[:1] != wanted[:1]:
            raise file.error(
                f"{names[path]} has shape {there.shape}, expected {wanted}; "
                "`weights convert --without-head`, in Python head=False, takes all but the head"
            )


def _maker(name: str) -> Callable[..., Network]:
    if name not in ARCHITECTURES:
        entry = catalogue.entries().get(name)
        if entry:
            raise MinicnnError(f"{name!r} is the name of weights, to load; the network is {entry.network!r}")
        raise MinicnnError(f"no model {name!r}{nearest(name, {**ARCHITECTURES, **catalogue.entries()})}")
    return ARCHITECTURES[name]


def has_weights(name: str) -> bool:
    """Whether weights for a model come with minicnn."""
    return weights_file(name).is_file()


def weights_file(name: str) -> Path:
    """Where they are, or would be."""
    return Path(__file__).parent / "weights" / f"{name}.safetensors"


def weights_of(name: str, *, progress: Progress | None = None) -> Path:
    """The file with the weights that `name` stands for: the one that comes with minicnn, or the catalogue's.

    Raises MinicnnError when there is none, or when it is not on this machine and cannot be fetched.
    """
    if has_weights(name):
        return weights_file(name)
    if name in catalogue.entries():
        return catalogue.obtain(catalogue.entries()[name], progress=progress)
    there = ", ".join(other for other in ARCHITECTURES if has_weights(other))
    raise MinicnnError(
        f"model {name}: no weights come with minicnn (only for {there}), nor are there any in its catalogue; "
        "give a file with --weights"
    )
