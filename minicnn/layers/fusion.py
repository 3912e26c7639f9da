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

from .activations import ReLU
from .conv import Conv2d
from .layer import Layer, Remember
from .norm import BatchNorm2d
from .pool import MaxPool2d


class Fusion(NamedTuple):
    """Layers of these types, one behind the other, are one call of the first one's kernel with these options."""

    types: tuple[type[Layer], ...]
    options: dict[str, Any]


FUSIONS = (
    Fusion((Conv2d, ReLU), {"relu": True}),
    Fusion((BatchNorm2d, ReLU, MaxPool2d), {"relu": True, "pool": True}),
    Fusion((BatchNorm2d, ReLU), {"relu": True}),
)
ALONE = Fusion((Layer,), {})
HEADS = {fusion.types[0] for fusion in FUSIONS}

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
    return _off.get() or (norm and remember == "input")


def fusion_of(layers: Sequence[Layer], remember: Remember) -> Fusion:
    """The first row of the table that these layers begin with, or ALONE. A container counts as the layer it ends in."""
    _, last = layers[0].end()
    if type(last) not in HEADS or separate(remember, isinstance(last, BatchNorm2d)):
        return ALONE
    for fusion in FUSIONS:
        found = [last, *layers[1 : len(fusion.types)]]
        # The very types: a subclass may compute something else.
        if tuple(type(layer) for layer in found) == fusion.types and all(plain(layer) for layer in found[1:]):
            return fusion
    return ALONE


def plain(layer: Layer) -> bool:
    """Whether a layer does what the kernels do in its place: the ReLU's derivative, 2×2 max pooling."""
    if isinstance(layer, MaxPool2d):
        return layer.kernel_size == layer.stride == (2, 2) and layer.padding == (0, 0) and not layer.ceil_mode
    return isinstance(layer, ReLU) and layer.rule == "gradient"
