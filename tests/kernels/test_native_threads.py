"""The native kernels and threads: the same bits for any number of them, several callers at once, forks."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minicnn import kernels
from minicnn.kernels.native import library

from .levels import kernels_at, needs_native
from .test_native import numbers

pytestmark = needs_native
if not hasattr(os, "fork"):
    pytest.skip("no forks here", allow_module_level=True)

# shapes of x and w, and options: each kernel of convolutions, cut into several items, and those that share filters out
CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((5, 17, 19, 7), (21, 7, 3, 3), {"stride": (2, 1)}),  # direct
    ((1, 6, 6, 40), (200, 40, 3, 3), {"padding": ((1, 1), (1, 1)), "dilation": (1, 2)}),
    ((3, 40, 41, 3), (2, 3, 5, 5), {"padding": ((2, 2), (2, 2))}),  # narrow
    ((50, 9, 8, 3), (5, 3, 3, 3), {"padding": ((1, 1), (1, 1))}),  # pictures
    ((6, 13, 11, 32), (32, 32, 3, 3), {"padding": ((1, 1), (1, 1))}),  # Winograd, few filters
    ((2, 14, 14, 128), (128, 128, 3, 3), {"padding": ((1, 1), (1, 1))}),  # many
]
LINEAR = [(3, 700, 90), (40, 1100, 70)]


@pytest.fixture
def native() -> Iterator[Any]:
    """The native family; the number of threads is put back."""
    native = kernels.family("native")
    before = native.threads()
    yield native
    native.set_threads(before)


def everything(native: Any) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for x_shape, w_shape, options in CONVOLUTIONS:
        x, w, b = numbers(rng, *x_shape), numbers(rng, *w_shape), numbers(rng, w_shape[0])
        y, cache = native.conv2d_forward(x, w, b, **options, relu=True)
        _, gate = native.relu_forward(y, rectified=True)
        yield from (y, *native.conv2d_backward(numbers(rng, *y.shape), cache, gate=gate))
    for N, D, F in LINEAR:
        y, cache = native.linear_forward(numbers(rng, N, D), numbers(rng, F, D), numbers(rng, F))
        yield from (y, *native.linear_backward(y, cache))


def bits(native: Any) -> list[bytes]:
    return [a.tobytes() for a in everything(native)]


@pytest.mark.parametrize("level", library.LEVELS)
def test_the_bits_depend_neither_on_the_number_of_threads_nor_on_the_run(level: str) -> None:
    native = kernels_at(level)
    before = native.threads()
    try:
        native.set_threads(1)
        alone = bits(native)
        assert bits(native) == alone
        for threads in (2, 3, 5):
            assert native.set_threads(threads) == native.threads() == threads
            assert bits(native) == alone
    finally:
        native.set_threads(before)


def test_the_number_of_threads_stays_between_1_and_256(native: Any) -> None:
    assert native.set_threads(0) == 1
    assert native.set_threads(100_000) == 256  # none is started before there is work for it


def test_several_threads_of_python_may_call_at_once(native: Any) -> None:
    native.set_threads(3)
    alone, found = bits(native), []

    def call() -> None:
        found.append(all(bits(native) == alone for _ in range(3)))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [True] * 4


def test_a_child_of_a_process_whose_threads_work_computes_the_same(native: Any) -> None:
    native.set_threads(3)
    alone, stop = bits(native), threading.Event()

    def work() -> None:
        while not stop.is_set():
            bits(native)

    busy = threading.Thread(target=work)
    busy.start()
    try:
        for _ in range(5):
            child = os.fork()
            if not child:
                os._exit(0 if bits(native) == alone == bits(native) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        busy.join()
    assert bits(native) == alone


def child_bits(queue: Any) -> None:
    queue.put(bits(kernels.family("native")))


def test_a_worker_of_multiprocessing_computes_the_same(native: Any) -> None:
    native.set_threads(2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=child_bits, args=(queue,))
    worker.start()
    found = queue.get(timeout=60)
    worker.join()
    assert found == bits(native)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_a_thread_that_ends_gives_its_memory_back(native: Any) -> None:
    """A convolution that alone takes 20 MB of workspace, in one new thread after another."""
    x, w = np.ones((1, 96, 96, 128), np.float32), np.ones((128, 128, 3, 3), np.float32)
    padding = ((1, 1), (1, 1))

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def in_a_thread() -> int:
        thread = threading.Thread(target=native.conv2d_forward, args=(x, w), kwargs={"padding": padding})
        thread.start()
        thread.join()
        return resident()

    before = [in_a_thread() for _ in range(3)][-1]
    after = [in_a_thread() for _ in range(12)][-1]
    assert after - before < 60e6
