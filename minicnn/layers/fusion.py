"""Fusion without a graph: layers whose work one kernel does along with that of the layer before them.

The table below is all there is. A chain looks at it when it runs forward: where its layers match, and nobody asked for
an activation inside the group, the kernel of the group's first layer computes all of it, and an array as large as the
activations passes through memory once instead of three times. Each layer keeps its own readable forward and backward,
which are used whenever one of these conditions does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from .. import kernels
from .activations import ReLU
from .conv import Conv2d
from .layer import Layer, Remember
from .norm import BatchNorm2d
from .pool import MaxPool2d


class Fusion(NamedTuple):
    """That the first `size` layers of a chain are one call of the first one's kernel, with these options."""

    size: int
    options: dict[str, Any]


FUSIONS: tuple[tuple[type[Layer], ...], ...] = (
    (Conv2d, ReLU, MaxPool2d),
    (Conv2d, ReLU),
    (BatchNorm2d, ReLU, MaxPool2d),
    (BatchNorm2d, ReLU),
)
ALONE = Fusion(1, {})
HEADS = {types[0] for types in FUSIONS}
LONGEST = max(map(len, FUSIONS))

_off: ContextVar[bool] = ContextVar("unfused", default=False)


@contextmanager
def unfused() -> Iterator[None]:
    """Within the block every layer's own forward and backward run, one after another: to look on, and to compare."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def separate(remember: Remember, norm: bool) -> bool:
    """Whether a layer runs by itself whatever is behind it; `norm`: it is a batch norm.

    For dx alone a batch norm keeps nothing and its ReLU one bit an element: less than together.
    """
    return _off.get() or kernels.own_in_use() or (norm and remember == "input")


def fusion_of(layers: Sequence[Layer], remember: Remember) -> Fusion:
    """What the first row of the table says that these layers begin with. A container counts as the layer it ends in."""
    _, head = layers[0].end()
    if type(head) not in HEADS or len(layers) == 1 or separate(remember, isinstance(head, BatchNorm2d)):
        return ALONE
    for types in FUSIONS:
        behind = layers[1 : len(types)]
        # The very types: a subclass may compute something else.
        if (type(head), *map(type, behind)) == types and all(goes_along(layer, head, remember) for layer in behind):
            return Fusion(len(types), {"relu": True} if len(types) == 2 else {"relu": True, "pool": behind[-1]})
    return ALONE


def goes_along(layer: Layer, head: Layer, remember: Remember) -> bool:
    """Whether the kernel of the group's first layer does what this layer does."""
    if not isinstance(layer, MaxPool2d):
        return plain(layer)
    if isinstance(head, BatchNorm2d):
        return layer.kernel_size == layer.stride == (2, 2) and layer.padding == (0, 0) and not layer.ceil_mode
    # A gradient inside the group needs the convolution's output, which is then made again from its input.
    return remember != "input"


def plain(layer: Layer) -> bool:
    """Whether a layer goes back as the kernels do in its place: a ReLU by its derivative."""
    return not isinstance(layer, ReLU) or layer.rule == "gradient"
