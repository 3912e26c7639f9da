"""Where any network is asked about textures: the last layer at each resolution. And pools that average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minicnn.errors import MinicnnError, nearest
from minicnn.layers import AdaptiveAvgPool2d, Aside, AvgPool2d, Dropout, Layer, MaxPool2d
from minicnn.layers.pool import Pool2d
from minicnn.layers.rules import standing_in
from minicnn.network import Network

from .chain import chain

PASSING = (Pool2d, AdaptiveAvgPool2d, Aside, Dropout)  # what adds nothing to what is there before it
POOLING = ("average", "max")


def stages(net: Network) -> list[str]:
    """The last layer at each resolution, the shallowest first: what is known before the picture gets smaller.

    Only layers that everything passes through count, from the first weights as far as `net.feature_layer`. In VGG-16
    they are relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 (the layers of Johnson et al. 2016), in SqueezeNet relu1,
    fire4, fire8 and fire9.
    """
    found: dict[tuple[int, ...], str] = {}
    shape, learned, end = net.input_shape, False, net.feature_layer.split(".")[0]
    for path, layer in chain(net):
        shape = layer.output_shape(shape)  # type: ignore[assignment]
        learned = learned or bool(layer.parameters())
        if len(shape) == 3 and max(shape[1:]) > 1 and learned and not isinstance(layer, PASSING):
            found[shape[1:]] = path
        if path.split(".")[0] == end:
            break
    if not found:
        raise MinicnnError(f"{net.name} has no layer with places: expected a convolutional network")
    return list(found.values())


@contextmanager
def pooling(net: Network, kind: str) -> Iterator[None]:
    """Within the block every max pooling is an average over the same windows, where `kind` is "average".

    Gatys, Ecker, Bethge 2016, section 2: the pictures get smoother, as every pixel of a window has a gradient.
    """
    if kind not in POOLING:
        raise MinicnnError(f"pooling {kind!r}{nearest(kind, POOLING)}")
    with standing_in(net, averaging if kind == "average" else lambda layer: None):
        yield


def averaging(layer: Layer) -> AvgPool2d | None:
    """The mean over the windows of a max pooling, what its padding adds left out; None for any other layer."""
    if not isinstance(layer, MaxPool2d):
        return None
    mean = AvgPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode, count_include_pad=False)
    mean.path, mean.training = layer.path, layer.training
    return mean
