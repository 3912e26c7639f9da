"""Work shared out to threads: blocks of pictures, or of a matrix, on CPUs.

NumPy gives up Python's lock inside its loops and products, so threads that each take the next block keep all cores busy
with copying as well as multiplying. BLAS is held to one thread meanwhile. Its own threads meet after every product;
where another process takes a core away from one of them, all wait, and small products become ten times slower.

There are as many threads as BLAS may use (OPENBLAS_NUM_THREADS, threadpoolctl). What is computed does not depend on it:
the blocks are the same for any number, and so is the order in which their results are added up.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from .backend import Array, get_array_module

Item = TypeVar("Item")
Result = TypeVar("Result")

SLABS = 4  # parts of work whose results are added up: enough for a small machine's threads, few enough to add

_sharing = threading.Lock()  # one call at a time has the threads; another one meanwhile works alone


def share_out(function: Callable[[Item], Result], items: Iterable[Item], like: Array) -> list[Result]:
    """[function(item) for item in items], for NumPy arrays on threads. `function` writes only what is its own."""
    work = list(items)
    if get_array_module(like) is not np or not _sharing.acquire(blocking=False):
        return [function(item) for item in work]
    try:
        with one_blas_thread() as threads:
            if min(threads, len(work)) < 2:
                return [function(item) for item in work]
            contexts = [copy_context() for _ in work]  # NumPy's error state and `using` hold in the threads too
            return list(_pool(os.getpid(), threads).map(lambda own, item: own.run(function, item), contexts, work))
    finally:
        _sharing.release()


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """Within the block NumPy's BLAS has one thread; gives the number that it had."""
    libraries = _blas_libraries()
    before = [library.get_num_threads() or 1 for library in libraries]
    for library, threads in zip(libraries, before, strict=True):
        if threads > 1:
            library.set_num_threads(1)
    try:
        yield max(before, default=1)
    finally:
        for library, threads in zip(libraries, before, strict=True):
            if threads > 1:
                library.set_num_threads(threads)


@lru_cache(maxsize=1)
def _blas_libraries() -> list[Any]:
    """NumPy's BLAS, and others that were in the process when this was first asked: later ones are not used here."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@lru_cache(maxsize=2)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads, one set a process: those of a parent do not come along in a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="minicnn-kernel")
