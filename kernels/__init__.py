"""Numerical kernels: pairs of pure functions, `op_forward(...) -> y, cache` and `op_backward(dy, cache) -> dx, …`.

The same names exist in each family, one file an operation:

- `reference`: plain loops, the definition, slow;
- `array`: NumPy and CuPy through `xp`, what people read and everything can run on;
- `native`: the operations that take the time, in C, for float32 on processors; without a compiler there is none.

`kernels.conv2d_forward(x, …)` picks the family (choosing.py) and puts it into the cache, so that the backward pass runs
in the family that did the forward pass. Kernels see contiguous channels-last arrays, (N, H, W, C). A kernel writes to
nothing but its result, `out` and its workspace (optimizer steps, which update in place, excepted), keeps the dtype, and
is deterministic.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from .choosing import choose_family
from .frozen import frozen_weights

FAMILIES = ("reference", "array", "native")

_chosen: ContextVar[ModuleType | None] = ContextVar("kernels", default=None)


class Cache(NamedTuple):
    """What a forward pass leaves for the backward pass, and the family that must read it."""

    family: ModuleType
    content: Any


@lru_cache
def family(name: str) -> ModuleType:
    """The module of a family by its name. Raises ValueError that lists the names.

    Where there is no library of native kernels, "native" is `array`; a library that does not load is warned of, once.
    """
    if name not in FAMILIES:
        raise ValueError(f"kernels {name!r} (of MINICNN_KERNELS, or kernels.using): there is {', '.join(FAMILIES)}")
    if name == "native":
        from .native.library import Broken, Unavailable, library

        try:
            library()
        except Unavailable as reason:
            if isinstance(reason, Broken):
                warnings.warn(f"native kernels: {reason}; the array kernels take their place", stacklevel=2)
            return family("array")
    return importlib.import_module(f"{__name__}.{name}")


@lru_cache(maxsize=1)
def usual_family() -> ModuleType:
    """That of MINICNN_KERNELS as it is when the first kernel runs; else native."""
    return family(os.environ.get("MINICNN_KERNELS") or "native")


def is_own(chosen: ModuleType | None) -> bool:
    """Whether it is a module of somebody's own. Its kernels need not know the options by which ours do more at once."""
    return chosen is not None and not getattr(chosen, "__name__", "").startswith(f"{__name__}.")


def own_in_use() -> bool:
    """Whether a module of one's own computes here."""
    return is_own(_chosen.get())


@contextmanager
def using(kernels: str | ModuleType) -> Iterator[None]:
    """Run a `with` block on one family, by name, or on a module of one's own (what it lacks comes from `array`).

    It holds for this thread, not for those that are started within the block.
    """
    token = _chosen.set(family(kernels) if isinstance(kernels, str) else kernels)
    try:
        yield
    finally:
        _chosen.reset(token)


def choose(op: str, array: Any = None) -> ModuleType:
    """The family that computes `op` on an array here: that of `using` or of MINICNN_KERNELS; else native.

    The native kernels hand on what they are not made for, and every family what it lacks, to `array`.
    """
    chosen = _chosen.get() or usual_family()
    if chosen.__name__ == _NATIVE and array is not None and choose_family(array) != "native":
        return _array
    return chosen if hasattr(chosen, op) else _array


_array, _NATIVE = family("array"), f"{__name__}.native"


def __getattr__(op: str) -> Callable[..., Any]:
    if op.startswith("_") or not hasattr(_array, op):
        raise AttributeError(f"no kernel {op!r}")

    def forward(x: Any, *args: Any, **options: Any) -> tuple[Any, Cache | None]:
        chosen = choose(op, x)
        y, content = getattr(chosen, op)(x, *args, **options)
        return y, None if content is None else Cache(chosen, content)

    def backward(dy: Any, cache: Cache, *, gate: Cache | None = None, **options: Any) -> Any:
        if gate is not None:
            options["gate"] = gate.content
        if "out" in options and is_own(cache.family):
            del options["out"]
        return getattr(cache.family, op)(dy, cache.content, **options)

    def plain(x: Any, *args: Any, **options: Any) -> Any:
        return getattr(choose(op, x), op)(x, *args, **options)

    call = forward if op.endswith("_forward") else backward if op.endswith("_backward") else plain
    globals()[op] = call  # found at once the next time
    return call
