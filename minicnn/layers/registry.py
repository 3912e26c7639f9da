"""The layers there are, each with small examples of itself.

The contract tests, the gradient checks and the exercises run over every registered layer, so a new layer is tested by
being registered:

    @register(Example({"slope": 0.1}, (3, 4, 5)))
    class MyReLU(Layer): …
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ..errors import MinicnnError
from .layer import Layer, Shape

L = TypeVar("L", bound=type[Layer])


class Example(NamedTuple):
    """A layer's constructor arguments, and the shape (without the batch) of an input to try it on."""

    options: dict[str, Any] | Callable[[], dict[str, Any]]  # a function where the arguments are layers themselves
    input_shape: Shape

    def build(self, layer: type[Layer]) -> Layer:
        """A new layer, its weights drawn from a fixed seed."""
        built = layer(**(self.options() if callable(self.options) else self.options))
        return built.initialize(0)


_examples: dict[type[Layer], tuple[Example, ...]] = {}


def register(*examples: Example) -> Callable[[L], L]:
    """Class decorator: list a layer with at least one example."""
    if not examples:
        raise MinicnnError("register: give at least one Example(options, input_shape)")

    def add(layer: L) -> L:
        _examples[layer] = examples
        return layer

    return add


def registered() -> dict[type[Layer], tuple[Example, ...]]:
    """Every registered layer with its examples."""
    return dict(_examples)
