"""Other layers in the places of some, for a while: how a network goes forward and back by rules of one's own.

An explanation such as DeepLIFT is a backward rule: a rectifier answers with another number than its derivative, and
the layers between carry it on as they carry gradients. A `StandIn` takes a layer's place with a rule of its own:

    class Negated(StandIn):
        def pullback(self, dy, cache, need_dx, need_dparams):
            return -self.original.pullback(dy, cache, need_dx, need_dparams)

    with standing_in(net, lambda layer: Negated(layer) if isinstance(layer, ReLU) else None):
        net.forward(x)
        dx = net.backward(dy)

It works inside every container, as they find their layers by name. Layers that run as one (fusion.py) are the very
types of a table, which no stand-in is: beside one, each runs by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..kernels.backend import Array
from .containers import Container
from .layer import Layer, Remember, Shape


class StandIn(Layer):
    """In the place of `layer`. It computes and goes back as that does, but for what a subclass says otherwise."""

    def __init__(self, layer: Layer) -> None:
        self.original = layer
        self.path, self.training = layer.path, layer.training

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return self.original.compute(x, remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return self.original.pullback(dy, cache, need_dx, need_dparams)

    def check_input(self, x: Array) -> None:
        self.original.check_input(x)

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.original.output_shape(input_shape)

    def describe(self) -> str:
        return repr(self.original)


@contextmanager
def standing_in(net: Container, stand_in: Callable[[Layer], Layer | None]) -> Iterator[None]:
    """Within the block `stand_in(layer)` takes the place of each layer without layers inside (None: it stays).

    What a stand-in remembers goes with the block. Not for two threads on one network.
    """
    places = [
        (container, name, layer)
        for container in (node for _, node in net.nodes() if isinstance(node, Container))
        for name, layer in container.children().items()
        if not isinstance(layer, Container)
    ]
    others = [(container, name, stand_in(layer)) for container, name, layer in places]  # all, before any is put in
    try:
        for container, name, other in others:
            if other is not None:
                container.children()[name] = other
        yield
    finally:
        for container, name, layer in places:
            container.children()[name] = layer
            layer.forget()
