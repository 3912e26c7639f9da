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

from .backend import Array

Kept = dict[Hashable, tuple["weakref.ref[Array]", Array]]  # from weights and use to those weights and what was made

_kept: ContextVar[Kept | None] = ContextVar("frozen weights", default=None)


@contextmanager
def frozen_weights() -> Iterator[None]:
    """Within the block no weights change. Blocks may be nested; what was kept goes with the outermost one."""
    if _kept.get() is not None:
        yield
        return
    kept: Kept = {}
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        kept.clear()


def derived(w: Array, key: Hashable, make: Callable[[], Array]) -> Array | None:
    """What `make` makes of the array w, kept under `key` for as long as w lives; None where weights may change."""
    kept = _kept.get()
    if kept is None:
        return None
    place = (id(w), key)  # another array may get the same id: the entry goes with w
    if place not in kept:
        kept[place] = weakref.ref(w, lambda _: kept.pop(place, None)), make()
    return kept[place][1]
