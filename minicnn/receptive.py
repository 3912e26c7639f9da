"""The receptive field: which pixels of the picture a unit sees.

From layer to layer it grows by the window k less one, in steps of the jump j, the distance between neighbouring units
in pixels of the picture (Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, draw it):

    r_out = r_in + (k − 1)·j        j_out = j·s        start_out = start_in − p·j

for a window k (dilated: d·(k − 1) + 1), stride s and padding p; `windows` gives these three numbers. For one unit the
same is done backward here, from its place to the picture: row i of a layer's output sees of its input the

    rows  i·s − p + d·t   for t = 0 … k − 1,   as far as there are any,

so what lies in some layer's padding does not count. Branches see what any of their parts sees, a unit of a Concat no
more than the branch that it comes from. That is exact: `receptive_field` is the smallest box outside of which no pixel
can change the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

import numpy as np

from .errors import MinicnnError, nearest
from .layers import (
    AdaptiveAvgPool2d,
    Aside,
    Concat,
    Container,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    Normalize,
    PadShortcut,
    ReLU,
    Residual,
    Scale,
    Shape,
    Sigmoid,
    Softmax,
    Tanh,
    ZeroPad2d,
)
from .layers.containers import Chain
from .layers.norm import BatchNorm
from .layers.pool import Pool2d
from .network import INPUT, Network

Region = tuple[np.ndarray, ...]  # of an array (C, H, W) or (D,): the indices along each of its axes, in order


class Field(NamedTuple):
    """A box of pixels: rows `top` up to `bottom`, columns `left` up to `right`, these two not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


class Windows(NamedTuple):
    """The fields of all units of a layer, each as (rows, columns): their size r, the distance j between neighbours, and
    where the first begins, outside the picture where there is padding."""

    size: tuple[int, int]
    jump: tuple[int, int]
    start: tuple[int, int]


def receptive_field(net: Network, layer: str, index: Sequence[int], *, inside: bool = True) -> Field:
    """The pixels that the unit `index` of a layer sees: (channel, row, column), or (unit,) in a layer without places.

    A unit that sees nothing (a map of zeros) has a field of 0×0. With `inside=False` it is not cut off at the picture's
    border, nor at any other. Raises MinicnnError with the nearest names for another layer, and for an index out of
    range.

    Example: `receptive_field(net, "conv2", (5, 0, 0))`
    """
    shape = activation_shape(net, layer)
    if len(index) != len(shape) or not all(0 <= i < size for i, size in zip(index, shape, strict=True)):
        expected = " × ".join(f"0 to {size - 1}" for size in shape)
        raise MinicnnError(f"{layer} of {net.name}: no unit {tuple(index)}, expected {expected}")
    return _field(net, layer, tuple(np.array([i]) for i in index), inside)


def windows(net: Network, layer: str) -> Windows:
    """r, j and the start of a layer's units, borders aside. Raises MinicnnError for a layer without places.

    Where channels see differently much (behind a Concat), the largest field counts.

    Example: `windows(net, "conv2").size`
    """
    shape = activation_shape(net, layer)
    if len(shape) != 3:
        raise MinicnnError(f"{layer} of {net.name} has no places: its units are not windows that slide")
    channels, places = np.arange(shape[0]), (np.array([0]), np.array([1]))
    first, second = (_field(net, layer, (channels, i, i), inside=False) for i in places)
    size, start = (first.height, first.width), (first.top, first.left)
    return Windows(size, (second.top - first.top, second.left - first.left), start)


def activation_shape(net: Network, layer: str) -> Shape:
    """(C, H, W) or (D,) of a layer's activation; "input" is the picture. Raises MinicnnError with the nearest names."""
    known = dict(net.layers())
    if layer == INPUT:
        return net.input_shape
    if layer not in known:
        raise MinicnnError(f"{net.name} has no layer {layer!r}{nearest(layer, known)}")
    container: Layer = net
    shape: Shape = net.input_shape
    for name in layer.split("."):
        assert isinstance(container, Container)
        child = container.children()[name]
        shape = next(s for c, s in container.inputs(shape) if c is child)
        container = child
    return container.output_shape(shape)


def _field(net: Network, layer: str, region: Region, inside: bool) -> Field:
    seen = region if layer == INPUT else walk(net, layer, region, net.input_shape, inside)
    if seen is None:
        return Field(0, 0, 0, 0)
    _, rows, columns = seen
    return Field(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


# Backward through the tree


def walk(container: Container, path: str, region: Region, shape: Shape, inside: bool) -> Region | None:
    """What a region of the activation at `path` sees of the container's input of `shape`; None where that is nothing.

    inside: cut off what lies outside of a layer's input.
    """
    shapes = {id(child): child_shape for child, child_shape in container.inputs(shape)}
    name, _, rest = path.partition(".")
    seen: Region | None = region
    while name and seen is not None:
        child = container.children()[name]
        if rest:
            assert isinstance(child, Container)
            seen = walk(child, rest, seen, shapes[id(child)], inside)
        else:
            seen = through(child, seen, shapes[id(child)], inside)
        name, rest = source(container, name), ""
    return seen


def through(layer: Layer, region: Region, shape: Shape, inside: bool) -> Region | None:
    """What a region of a layer's output sees of its input of `shape`."""
    if isinstance(layer, Container):
        return union([walk(layer, path, part, shape, inside) for path, part in parts(layer, region, shape)])
    seen = seen_by(layer, region, shape)
    if seen is region:
        return seen
    if inside:
        seen = tuple(among(axis, 0, size) for axis, size in zip(seen, shape, strict=True))
    return seen if all(map(len, seen)) else None


def among(indices: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Those of the indices, which are in order, from `start` up to `stop`."""
    if not len(indices) or (indices[0] >= start and indices[-1] < stop):
        return indices
    return indices[(indices >= start) & (indices < stop)]


def union(regions: Sequence[Region | None]) -> Region | None:
    """Along each axis what any of them has."""
    some = [region for region in regions if region is not None]
    if len(some) < 2:
        return some[0] if some else None
    return tuple(np.unique(np.concatenate(axis)) for axis in zip(*some, strict=True))


@singledispatch
def source(container: Container, name: str) -> str:
    """The layer whose output is the input of the layer `name` inside a container; "" is the container's own input."""
    raise container.error("does not say how its layers are joined: register its type with receptive.source and parts")


@singledispatch
def parts(container: Container, region: Region, shape: Shape) -> list[tuple[str, Region]]:
    """What a region of a container's output is made of: regions of layers inside ("" is the container's own input)."""
    raise container.error("does not say how its layers are joined: register its type with receptive.source and parts")


@source.register
def _(container: Chain, name: str) -> str:
    names = ["", *container.chain()]
    return names[names.index(name) - 1] if name in names else ""  # a shortcut begins at the input


@source.register
def _(container: Concat, name: str) -> str:
    return ""


@parts.register
def _(container: Chain, region: Region, shape: Shape) -> list[tuple[str, Region]]:
    return [(["", *container.chain()][-1], region)]


@parts.register
def _(container: Residual, region: Region, shape: Shape) -> list[tuple[str, Region]]:
    shortcut = "shortcut" if "shortcut" in container.children() else ""
    return [(["", *container.chain()][-1], region), (shortcut, region)]


@parts.register
def _(container: Aside, region: Region, shape: Shape) -> list[tuple[str, Region]]:
    return [("", region)]


@parts.register
def _(container: Concat, region: Region, shape: Shape) -> list[tuple[str, Region]]:
    shapes = {id(child): child.output_shape(child_shape) for child, child_shape in container.inputs(shape)}
    return side_by_side(region, [(name, shapes[id(container.children()[name])][0]) for name in container.branches()])


def side_by_side(region: Region, widths: Sequence[tuple[str, int]]) -> list[tuple[str, Region]]:
    """A region of arrays that lie side by side along the channels, (name, channels of it) each, cut apart."""
    channels, *places = region
    found, start = [], 0
    for name, width in widths:
        own = among(channels, start, start + width) - start
        if len(own):
            found.append((name, (own, *places)))
        start += width
    return found


# Layer by layer


@singledispatch
def seen_by(layer: Layer, region: Region, shape: Shape) -> Region:
    """What a region of a layer's output sees of its input of `shape`; it may reach beyond the border."""
    raise layer.error("does not say what its units see: register its type with receptive.seen_by")


@seen_by.register(ReLU)
@seen_by.register(LeakyReLU)
@seen_by.register(Tanh)
@seen_by.register(Sigmoid)
@seen_by.register(Dropout)
@seen_by.register(BatchNorm)
@seen_by.register(Scale)
def _(layer: Layer, region: Region, shape: Shape) -> Region:
    return region


@seen_by.register
def _(layer: Normalize, region: Region, shape: Shape) -> Region:
    channels, *places = region
    return (shape[0] - 1 - channels[::-1] if layer.bgr else channels, *places)


@seen_by.register
def _(layer: Softmax, region: Region, shape: Shape) -> Region:
    return (np.arange(shape[0]), *region[1:])


@seen_by.register
def _(layer: LocalResponseNorm, region: Region, shape: Shape) -> Region:
    channels, *places = region
    near = spread(channels, layer.size, padding=layer.size // 2)
    return (among(near, 0, shape[0]), *places)


@seen_by.register
def _(layer: Conv2d, region: Region, shape: Shape) -> Region:
    filters, rows, columns = region
    per_group = layer.in_channels // layer.groups
    channels = np.arange(per_group)
    if layer.groups > 1:
        channels = spread(np.unique(filters // (layer.out_channels // layer.groups)), per_group, per_group)
    KH, KW = layer.weight.shape[2:]
    (SH, SW), (DH, DW), ((top, _), (left, _)) = layer.stride, layer.dilation, layer.padding
    return channels, spread(rows, KH, SH, top, DH), spread(columns, KW, SW, left, DW)


@seen_by.register
def _(layer: Pool2d, region: Region, shape: Shape) -> Region:
    settings = zip(region[1:], layer.kernel_size, layer.stride, layer.padding, strict=True)
    return (region[0], *(spread(*axis) for axis in settings))


def spread(places: np.ndarray, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> np.ndarray:
    """What the windows at these places see along one axis."""
    if kernel == stride == 1 and padding == 0:
        return places
    return np.unique(places[:, None] * stride - padding + dilation * np.arange(kernel))


@seen_by.register
def _(layer: AdaptiveAvgPool2d, region: Region, shape: Shape) -> Region:
    channels, *places = region
    seen = []
    for axis, size, out in zip(places, shape[1:], layer.output_size, strict=True):
        seen.append(np.unique(np.concatenate([np.arange(i * size // out, -(-(i + 1) * size // out)) for i in axis])))
    return (channels, *seen)


@seen_by.register
def _(layer: ZeroPad2d, region: Region, shape: Shape) -> Region:
    channels, rows, columns = region
    return channels, rows - layer.padding[0][0], columns - layer.padding[1][0]


@seen_by.register
def _(layer: PadShortcut, region: Region, shape: Shape) -> Region:
    channels, rows, columns = region
    own = among(channels - layer.place.start, 0, shape[0])
    return own, rows * layer.stride, columns * layer.stride


@seen_by.register
def _(layer: Linear, region: Region, shape: Shape) -> Region:
    return (np.arange(shape[0]),)


@seen_by.register
def _(layer: Flatten, region: Region, shape: Shape) -> Region:
    return tuple(np.unique(axis) for axis in np.unravel_index(region[0], shape))
