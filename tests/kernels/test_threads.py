"""Threads: the same bits for any number of them, no error lost, and BLAS left as it was found."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from minicnn.kernels import array
from minicnn.kernels.threads import _blas_libraries, one_blas_thread, share_out


def blas_threads():
    return [library.get_num_threads() for library in _blas_libraries()]


def convolution(threads, N=9, size=12):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((N, size, size, 24), np.float32)
    w = generator.standard_normal((40, 24, 3, 3), np.float32)
    with threadpool_limits(threads, "blas"):
        y, cache = array.conv2d_forward(x, w, padding=((1, 1), (1, 1)), stride=(1, 2))
        return [y, *array.conv2d_backward(np.tanh(y), cache)[:2]]


@pytest.mark.parametrize("shape", [(9, 12), (1, 70), (64, 6)])
def test_a_convolution_has_the_same_bits_for_any_number_of_threads(shape, monkeypatch):
    monkeypatch.setattr(array.patches, "BLOCK_BYTES", 50_000)
    alone = convolution(1, *shape)
    for threads in (2, 3):
        for a, b in zip(alone, convolution(threads, *shape), strict=True):
            assert np.array_equal(a, b)


def test_a_large_product_has_the_same_bits_for_any_number_of_threads():
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((300, 200), np.float32), generator.standard_normal((200, 130), np.float32)
    results = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, "blas"):
            results.append(array.products.product(a, b))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_the_threads_really_share_the_work():
    meeting = threading.Barrier(2, timeout=10)  # passed only when two items are under way at once
    with threadpool_limits(2, "blas"):
        assert share_out(lambda item: meeting.wait() in (0, 1), [0, 1], np.zeros(1)) == [True, True]


def test_an_error_in_a_thread_reaches_the_caller_and_blas_is_as_it_was():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with pytest.raises(ZeroDivisionError):
            share_out(lambda item: 1 // item, [1, 0, 2, 3], np.zeros(1))
        assert blas_threads() == before
        assert share_out(lambda item: 2 * item, [1, 2, 3], np.zeros(1)) == [2, 4, 6]  # and goes on working


def test_a_call_within_a_shared_call_works_alone():
    def outer(item):
        return sum(share_out(lambda inner: inner * item, [1, 2, 3], np.zeros(1)))

    with threadpool_limits(2, "blas"):
        assert share_out(outer, [1, 10], np.zeros(1)) == [6, 60]


def test_one_blas_thread_gives_the_number_before_and_restores_it():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with one_blas_thread() as threads:
            assert threads == max(before)
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


def test_numpys_error_state_holds_in_the_threads():
    overflow = np.full((4, 4), 3e38, np.float32)
    with threadpool_limits(2, "blas"), np.errstate(all="ignore"):  # a warning would be an error in these tests
        results = share_out(lambda item: np.isinf(overflow * item).all(), [10, 20, 30, 40], overflow)
    assert results == [True] * 4
