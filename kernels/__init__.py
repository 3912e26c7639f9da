"""Numerical kernels: pairs of pure functions, `op_forward(...) -> y, cache` and `op_backward(dy, cache) -> dx, …`.

The same names exist in each family, one file an operation:

- `reference`: plain loops, the definition, slow;
- `array`: NumPy and CuPy through `xp`, what everything runs on.

`kernels.conv2d_forward(x, …)` picks the family (see `choose`) and puts it into the cache, so that the
backward pass runs in the family that did the forward pass. Kernels see contiguous channels-last arrays, (N, H, W, C).
A kernel writes to nothing but its result and its workspace (optimizer steps, which update in place, excepted), keeps
the dtype, and is deterministic.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

FAMILIES = ("reference", "array")

_chosen: ContextVar[ModuleType | None] = ContextVar("kernels", default=None)


class Cache(NamedTuple):
    """What a forward pass leaves for the backward pass, and the family that must read it."""

    family: ModuleType
    content: Any


@lru_cache
def family(name: str) -> ModuleType:
    """The module of a family by its name. Raises ValueError that lists the names."""
    if name not in FAMILIES:
        raise ValueError(f"kernels {name!r}: there is {', '.join(FAMILIES)}")
    return importlib.import_module(f"{__name__}.{name}")


@contextmanager
def using(kernels: str | ModuleType) -> Iterator[None]:
    """Run a `with` block on one family, by name, or on a module of one's own (what it lacks comes from `array`)."""
    token = _chosen.set(family(kernels) if isinstance(kernels, str) else kernels)
    try:
        yield
    finally:
        _chosen.reset(token)


def choose(op: str) -> ModuleType:
    """The family that computes `op` here: the one of `using`, of MINICNN_KERNELS, or `array`."""
    chosen = _chosen.get()
    if chosen is not None and hasattr(chosen, op):
        return chosen
    return family(os.environ.get("MINICNN_KERNELS", "array") if chosen is None else "array")


def __getattr__(op: str) -> Callable[..., Any]:
    if op.startswith("_") or not hasattr(family("array"), op):
        raise AttributeError(f"no kernel {op!r}")

    def forward(*args: Any, **options: Any) -> tuple[Any, Cache | None]:
        chosen = choose(op)
        y, content = getattr(chosen, op)(*args, **options)
        return y, None if content is None else Cache(chosen, content)

    def backward(dy: Any, cache: Cache, **options: Any) -> Any:
        return getattr(cache.family, op)(dy, cache.content, **options)

    def plain(*args: Any, **options: Any) -> Any:
        return getattr(choose(op), op)(*args, **options)

    call = forward if op.endswith("_forward") else backward if op.endswith("_backward") else plain
    globals()[op] = call  # found at once the next time
    return call
