"""What the tensors of a network are called in files that other programs wrote.

Every family's module ends in a function `foreign(net)` that lists the names it is known by elsewhere. Layouts are
torch's everywhere, so a file is read by renaming its tensors; nothing is transposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from minicnn.layers import Layer, Normalize
from minicnn.network import Network


class Foreign(NamedTuple):
    """The names of one origin. What is not in `tensors`, the preprocessing, such a file never has."""

    origin: str  # "torchvision"
    tensors: dict[str, str]  # path here -> name there
    dropped: frozenset[str] = frozenset()  # names there that mean nothing here, and may be missing


TORCH = {"weight": "{}.weight", "bias": "{}.bias", "running_mean": "{}.running_mean", "running_var": "{}.running_var"}
CAFFE2 = {"weight": "{}_w_0", "bias": "{}_b_0"}  # as the ONNX model zoo has them


def weighted(net: Network) -> dict[str, Layer]:
    """The layers that have weights of their own, by path, in order."""
    return {
        path: layer
        for path, layer in net.layers()
        if not isinstance(layer, Normalize) and (layer.own_parameters() or layer.own_buffers())
    }


def in_order(net: Network, names: Iterable[str]) -> dict[str, str]:
    """{path here: name there}, the layers with weights taken in order."""
    return dict(zip(weighted(net), names, strict=True))


def torch_names(origin: str, net: Network, layers: Mapping[str, str], *, dropped: Iterable[str] = ()) -> Foreign:
    """The tensors of {path here: module there}. torch counts the batches of a batch norm, which nobody needs."""
    names = _tensors(net, layers, TORCH)
    mean = ".running_mean"
    counters = {f"{name[: -len(mean)]}.num_batches_tracked" for name in names.values() if name.endswith(mean)}
    return Foreign(origin, names, frozenset(counters | set(dropped)))


def caffe2_names(net: Network, layers: Mapping[str, str]) -> Foreign:
    """The initializers of {path here: layer there} in an ONNX file that Caffe2 wrote, beside the shapes it adds."""
    shapes = frozenset(f"OC2_DUMMY_{number}" for number in range(10))
    return Foreign("ONNX model zoo (Caffe2)", _tensors(net, layers, CAFFE2), shapes)


def _tensors(net: Network, layers: Mapping[str, str], patterns: Mapping[str, str]) -> dict[str, str]:
    return {
        f"{path}.{tensor}": patterns[tensor].format(layers[path])
        for path, layer in weighted(net).items()
        for tensor in (*layer.own_parameters(), *layer.own_buffers())
    }
