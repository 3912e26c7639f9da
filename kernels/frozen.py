"""Weights that do not change for a while: what kernels derive from them is kept instead of being made again.

An experiment on pictures runs the same network hundreds of times. Inside `with kernels.frozen_weights():` the caller
promises not to change any weights, and packed or transformed filters are made once. Whoever breaks the promise gets
results of the old weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .backend import Array

_kept: ContextVar[dict[Hashable, Any] | None] = ContextVar("frozen weights", default=None)


@contextmanager
def frozen_weights() -> Iterator[None]:
    """Within the block no weights change. Blocks may be nested; what was kept goes with the outermost one."""
    if _kept.get() is not None:
        yield
        return
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def derived(w: Array, key: Hashable, make: Callable[[], Array]) -> Array | None:
    """What `make` makes of the array w, kept under `key` for as long as w lives; None where weights may change."""
    kept = _kept.get()
    if kept is None:
        return None
    place = (id(w), key)
    if place not in kept:
        kept[place] = make()
        weakref.finalize(w, kept.pop, place, None)  # another array may get the same id
    return kept[place]
