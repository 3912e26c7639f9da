"""Work shared out to threads: blocks of pictures, or of a matrix, on CPUs.

NumPy gives up Python's lock inside its loops and products, so threads that each take the next block keep all cores busy
with copying as well as multiplying. BLAS is held to one thread meanwhile. Its own threads meet after every product;
where another process takes a core away from one of them, all wait, and small products become ten times slower.

There are as many threads as BLAS may use (OPENBLAS_NUM_THREADS, threadpoolctl), the calling one among them: while the
others wake up, it has begun. What is computed does not depend on their number: the blocks are the same for any number,
and so is the order in which their results are added up.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import lru_cache
from queue import SimpleQueue
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
            helpers = min(threads, len(work)) - 1
            if helpers < 1:
                return [function(item) for item in work]
            return work_through(function, work, crew(os.getpid(), threads), helpers)
    finally:
        _sharing.release()


def work_through(function: Callable[[Item], Result], work: list[Item], calls: Calls, helpers: int) -> list[Result]:
    """Each item is done by whichever thread comes to it first. An error waits until all the others are done."""
    waiting = deque(enumerate(work))
    finished: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()

    def take_turns() -> None:
        while True:
            try:
                index, item = waiting.popleft()
            except IndexError:
                return
            try:
                finished.put((index, function(item), None))
            except BaseException as error:
                finished.put((index, None, error))

    for _ in range(helpers):
        calls.put((copy_context(), take_turns))  # NumPy's error state and `using` hold in the threads too
    take_turns()
    results: list[Any] = [None] * len(work)
    errors = []
    for index, result, error in (finished.get() for _ in work):
        results[index] = result
        errors += [] if error is None else [error]
    if errors:
        raise errors[0]
    return results


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


Calls = SimpleQueue[tuple[Context, Callable[[], None]]]


@lru_cache(maxsize=2)
def crew(process: int, threads: int) -> Calls:
    """`threads` − 1 threads that wait for calls, one set a process: those of a parent do not come along in a fork."""
    calls: Calls = SimpleQueue()

    def wait() -> None:
        while True:
            context, call = calls.get()
            context.run(call)
            del context, call  # what they refer to is not kept until the next one comes

    for number in range(1, threads):
        threading.Thread(target=wait, name=f"minicnn-kernel-{number}", daemon=True).start()
    return calls
