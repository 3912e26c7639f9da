"""The parts there are, each with small examples of itself: the contract tests run over every registered one.

@register(Example({"sigma": 1.5}))
class Blur(Transform): …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..errors import MinicnnError

C = TypeVar("C", bound=type)

PICTURES = {"input": (2, 3, 6, 7)}


class Example(NamedTuple):
    """Constructor arguments of a part, and the shapes of the arrays to try it on.

    `shapes`: for an objective those of the layers that it reads; for all others that of "input" alone.
    """

    options: Mapping[str, Any] | Callable[[], Mapping[str, Any]]  # a function where the arguments are parts themselves
    shapes: Mapping[str, tuple[int, ...]] = PICTURES

    def build(self, part: type, place: Callable[[np.ndarray], Any] = lambda a: a) -> Any:
        """A new part; `place` puts the arrays among its arguments on another device, or into another precision."""
        options = self.options() if callable(self.options) else self.options
        return part(**{name: place(a) if isinstance(a, np.ndarray) else a for name, a in options.items()})


_examples: dict[type, tuple[Example, ...]] = {}


def register(*examples: Example) -> Callable[[C], C]:
    """Class decorator: list a part with at least one example."""
    if not examples:
        raise MinicnnError("register: give at least one Example(options, shapes)")

    def add(part: C) -> C:
        _examples[part] = examples
        return part

    return add


def registered(kind: type) -> dict[type, tuple[Example, ...]]:
    """Every registered subclass of `kind`, one of the five base classes, with its examples."""
    return {part: examples for part, examples in _examples.items() if issubclass(part, kind)}
