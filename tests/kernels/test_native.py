"""The native convolutions and products, each against the array kernels in float64, for every kind of processor.

How far off they may be, as a part of the largest value: a sum of K products is rounded K times, and the errors, of
either sign, add up to about √K roundings of 6e-8: 5e-7·√K is many times what is usual. Winograd's transforms multiply
by up to 8 (16 with 5×5 taps) and subtract again, which costs two digits: 2e-5 (3e-5), however long the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicnn import kernels
from minicnn.kernels.native import library

from .levels import kernels_at, needs_native
from .oracles import family
from .test_conv import CASES, convolutions

WINOGRAD = {3: 2e-5, 5: 3e-5}  # by the taps of a filter's row
examples = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=library.LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    kernels_at(request.param)  # or it skips
    return request.param


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def close(actual: Any, expected: Any, terms: int, least: float = 0.0) -> None:
    """float32 `actual` within what sums of so many products may be off; None only with None."""
    assert (actual is None) == (expected is None)
    if actual is not None:
        assert (actual.dtype, actual.shape) == (np.float32, expected.shape)
        tolerance = max(least, 5e-7 * sqrt(max(1, terms))) * max(1.0, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def double(*arrays: np.ndarray | None) -> list[Any]:
    return [None if a is None else a.astype(np.float64) for a in arrays]


def check_convolution(
    native: Any, x_shape: Any, w_shape: Any, options: dict[str, Any], *, relu: bool, bias: bool, gated: bool
) -> None:
    """Forward, and all gradients, with dy behind a ReLU where `gated`."""
    rng = np.random.default_rng(prod(x_shape) + prod(w_shape))
    x, w, b = numbers(rng, *x_shape), numbers(rng, *w_shape), numbers(rng, w_shape[0]) if bias else None
    before = [None if a is None else a.copy() for a in (x, w, b)]
    winograd = WINOGRAD[w_shape[2]] if may_be_winograd(w_shape, options) else 0
    y, cache = native.conv2d_forward(x, w, b, **options, relu=relu)
    expected, exact = family("array").conv2d_forward(*double(x, w, b), **options)
    terms = prod(w_shape[1:])
    close(y, np.maximum(expected, 0) if relu else expected, terms, winograd)
    dy, gate, passed = numbers(rng, *y.shape), None, np.ones_like(y)
    if gated:
        before_relu = numbers(rng, *y.shape)
        _, gate = native.relu_forward(before_relu, rectified=True)
        passed = (before_relu > 0).astype(np.float32)
    wanted = family("array").conv2d_backward(double(dy * passed)[0], exact)
    out = (np.full_like(w, np.nan), None if b is None else np.full_like(b, np.nan))
    dx, dw, db = native.conv2d_backward(dy, cache, gate=gate, out=out)
    close(dx, wanted[0], w_shape[0] // options.get("groups", 1) * prod(w_shape[2:]), winograd)
    close(dw, wanted[1], prod(y.shape[:3]), winograd)
    close(db, wanted[2], prod(y.shape[:3]))
    assert dw is out[0] and db is out[1]
    for a, kept in zip((x, w, b), before, strict=True):
        np.testing.assert_array_equal(a, kept)  # also None with None
    alone, nothing, none = native.conv2d_backward(
        dy, native.conv2d_forward(x, w, b, **options, relu=relu, remember="input")[1], gate=gate, need_dparams=False
    )
    assert nothing is none is None
    np.testing.assert_array_equal(alone, dx)


def may_be_winograd(w_shape: Any, options: dict[str, Any]) -> bool:
    """Whether the table may choose it for such filters, at some level."""
    _, C, KH, KW = w_shape
    groups, step = options.get("groups", 1), [*options.get("stride", (1, 1)), *options.get("dilation", (1, 1))]
    return KH == KW and KH in WINOGRAD and not C % 4 and not w_shape[0] // groups % 4 and step == [1, 1, 1, 1]


# Convolutions -----------------------------------------------------------------------------------------------------

ODD: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "one pixel, ten filters": ((3, 1, 1, 1), (10, 1, 1, 1), {}),
    "one channel, ten filters": ((2, 9, 7, 1), (10, 1, 3, 3), {"padding": ((1, 1), (1, 1))}),
    "the same in one row": ((2, 1, 40, 1), (10, 1, 1, 5), {}),
    "stride above the kernel": ((2, 11, 13, 3), (10, 3, 2, 2), {"stride": (5, 3)}),
    "no picture": ((0, 5, 5, 3), (10, 3, 3, 3), {}),
    "no picture, whole vectors": ((0, 6, 6, 16), (16, 16, 3, 3), {"padding": ((1, 1), (1, 1))}),
    "LeNet's first": ((3, 28, 28, 1), (6, 1, 5, 5), {"padding": ((2, 2), (2, 2))}),
    "LeNet's second": ((2, 14, 14, 6), (16, 6, 5, 5), {}),
    "AlexNet's first": ((1, 47, 47, 3), (37, 3, 11, 11), {"stride": (4, 4), "padding": ((2, 2), (2, 2))}),
    "from 33 to 47": ((2, 9, 10, 33), (47, 33, 3, 3), {"padding": ((1, 1), (1, 1))}),
    "many groups": ((2, 6, 5, 12), (24, 2, 3, 3), {"groups": 6, "padding": ((1, 1), (1, 1))}),
    "groups of whole vectors": ((2, 6, 5, 64), (64, 32, 3, 3), {"groups": 2, "padding": ((1, 1), (1, 1))}),
    "strided, whole vectors": ((2, 9, 9, 32), (64, 32, 3, 3), {"stride": (2, 2), "padding": ((1, 1), (1, 1))}),
    "strided shortcut": ((2, 7, 7, 32), (64, 32, 1, 1), {"stride": (2, 2)}),
    "to a picture": ((1, 20, 37, 32), (3, 32, 9, 9), {"padding": ((4, 4), (4, 4))}),
    "a band of rows": ((1, 70, 130, 40), (10, 40, 3, 3), {"padding": ((1, 1), (1, 1))}),
    "more filters than picture": ((1, 2, 2, 24), (200, 24, 3, 3), {"padding": ((1, 1), (1, 1))}),
    "a batch of four pixels": ((9, 2, 2, 32), (80, 32, 3, 3), {"padding": ((1, 1), (1, 1))}),
    "a batch of one pixel": ((30, 1, 1, 21), (10, 21, 3, 3), {"padding": ((1, 1), (1, 1))}),
    "a batch to two pixels": ((11, 5, 4, 17), (33, 17, 3, 2), {"stride": (2, 3), "padding": ((0, 1), (1, 0))}),
    "many weights": ((1, 3, 3, 130), (400, 130, 3, 3), {"padding": ((1, 1), (1, 1)), "dilation": (2, 1)}),
}


@needs_native
@pytest.mark.parametrize("gated", [False, True], ids=["", "gate"])
@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("case", [*CASES, *ODD])
def test_the_kernel_that_the_table_chooses_is_right(level: str, case: str, relu: bool, gated: bool) -> None:
    x_shape, w_shape, options = {**CASES, **ODD}[case]
    check_convolution(kernels_at(level), x_shape, w_shape, options, relu=relu, bias=gated, gated=gated)


@needs_native
@examples
@given(
    geometry=convolutions(),
    way=st.sampled_from(["direct", "narrow", "pictures", "points"]),
    switches=st.fixed_dictionaries({name: st.booleans() for name in ("relu", "bias", "gated")}),
    batch=st.integers(0, 3),
)
def test_each_kernel_is_right_in_any_geometry(
    level: str, geometry: Any, way: str, switches: dict[str, bool], batch: int
) -> None:
    x_shape, w_shape, options = geometry
    if way == "narrow":  # is made for these
        options = {**options, "stride": (options["stride"][0], 1), "dilation": (options["dilation"][0], 1)}
    check_convolution(kernels_at(level, way), (batch, *x_shape[1:]), w_shape, options, **switches)


@needs_native
@pytest.mark.parametrize("images", [1, 15, 17, 33, 64, 65, 130])
def test_any_number_of_pictures_fills_vectors_of_pictures(level: str, images: int) -> None:
    for groups in (1, 2):
        options = {"padding": ((1, 0), (2, 1)), "groups": groups}
        shapes = (images, 5, 4, 2 * groups), (3 * groups, 2, 3, 2)
        check_convolution(kernels_at(level, "pictures"), *shapes, options, relu=True, bias=True, gated=True)


@needs_native
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 4), (5, 5), (6, 13), (8, 7), (12, 9), (13, 13)])
@pytest.mark.parametrize("channels", [(16, 16), (32, 16), (16, 48), (64, 96)])
def test_winograd_is_right(level: str, channels: tuple[int, int], size: tuple[int, int]) -> None:
    C, F = channels
    for padding in (((1, 1), (1, 1)), ((0, 2), (1, 0)), ((2, 2), (2, 2))):
        if min(s + sum(p) for s, p in zip(size, padding, strict=True)) >= 3:
            check_convolution(
                kernels_at(level, "winograd"),
                (3, *size, C),
                (F, C, 3, 3),
                {"padding": padding},
                relu=C == F,
                bias=C != 32,
                gated=F != 16,
            )


@needs_native
@pytest.mark.parametrize("channels", [(80, 80), (112, 40), (56, 144), (24, 88)])
@pytest.mark.parametrize("taps", [3, 5])
def test_channels_that_are_vectors_but_no_whole_blocks_are_all_computed(
    level: str, channels: tuple[int, int], taps: int
) -> None:
    border = {"padding": ((taps // 2, taps // 2), (taps // 2, taps // 2))}
    shapes = (2, 7, 9, channels[0]), (channels[1], channels[0], taps, taps)
    check_convolution(kernels_at(level), *shapes, border, relu=True, bias=True, gated=True)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((2, 5, 1, 3), (20, 3, 1, 1), {"stride": (1, 3), "padding": ((0, 0), (2, 0))}),
        ((2, 5, 2, 3), (20, 3, 1, 2), {"stride": (1, 2), "padding": ((0, 0), (3, 3)), "dilation": (1, 7)}),
    ],
)
def test_a_border_wider_than_all_that_is_read_is_zeros(level: str, x_shape: Any, w_shape: Any, options: Any) -> None:
    check_convolution(kernels_at(level), x_shape, w_shape, options, relu=False, bias=True, gated=False)


def test_a_relu_in_the_kernel_hides_no_nan(level: str) -> None:
    x, w = np.ones((1, 5, 5, 16), np.float32), np.full((32, 16, 3, 3), np.nan, np.float32)
    assert np.isnan(kernels_at(level).conv2d_forward(x, w, relu=True)[0]).all()


def test_arrays_of_another_shape_are_refused_before_they_are_read(level: str) -> None:
    native, rng = kernels_at(level), np.random.default_rng(0)
    y, cache = native.conv2d_forward(numbers(rng, 2, 6, 6, 4), numbers(rng, 16, 4, 3, 3))
    _, gate = native.relu_forward(numbers(rng, 2, 4, 4, 15), rectified=True)
    with pytest.raises(ValueError, match="gate"):
        native.conv2d_backward(y, cache, gate=gate[:8])
    with pytest.raises(ValueError, match="shape"):
        native.conv2d_backward(y[:1], cache)
    with pytest.raises(ValueError, match="out"):
        native.conv2d_backward(y, cache, out=(np.empty((16, 4, 3, 2), np.float32), None))
    with pytest.raises(ValueError, match="shape"):
        native.linear_forward(numbers(rng, 2, 6), numbers(rng, 3, 5))


def test_winograd_is_right_with_more_filters_than_the_cache_holds(level: str) -> None:
    for shape, C, F in (((2, 9, 6), 160, 128), ((1, 5, 5), 32, 480)):
        options = {"padding": ((1, 1), (1, 1))}
        way = kernels_at(level, "winograd")
        check_convolution(way, (*shape, C), (F, C, 3, 3), options, relu=True, bias=True, gated=True)


@needs_native
def test_winograd_is_right_over_several_passes(level: str) -> None:
    native, options = kernels_at(level, "winograd"), {"padding": ((1, 1), (1, 1))}
    check_convolution(native, (1, 150, 90, 256), (64, 256, 3, 3), options, relu=False, bias=True, gated=False)


@needs_native
def test_filters_that_are_kept_give_the_same(level: str) -> None:
    rng = np.random.default_rng(0)
    for way in ("direct", "winograd"):
        native = kernels_at(level, way)
        x, w, options = numbers(rng, 2, 9, 9, 32), numbers(rng, 64, 32, 3, 3), {"padding": ((1, 1), (1, 1))}
        y, cache = native.conv2d_forward(x, w, **options)
        dx = native.conv2d_backward(y, cache, need_dparams=False)[0]
        with kernels.frozen_weights():
            for _ in range(2):
                kept, cache = native.conv2d_forward(x, w, **options)
                np.testing.assert_array_equal(kept, y)
                np.testing.assert_array_equal(native.conv2d_backward(y, cache, need_dparams=False)[0], dx)


# Linear -----------------------------------------------------------------------------------------------------------


@needs_native
@pytest.mark.parametrize("bias", [True, False], ids=["bias", ""])
@pytest.mark.parametrize("N", [0, 1, 2, 7, 8, 9, 17, 33, 70])
@pytest.mark.parametrize(("D", "F"), [(1, 1), (1, 10), (10, 1), (3, 29), (16, 32), (37, 113), (513, 28), (1030, 57)])
def test_products_are_right(level: str, N: int, D: int, F: int, bias: bool) -> None:
    native, rng = kernels_at(level), np.random.default_rng(N + D)
    x, w, b, dy = numbers(rng, N, D), numbers(rng, F, D), numbers(rng, F) if bias else None, numbers(rng, N, F)
    y, cache = native.linear_forward(x, w, b)
    expected, exact = family("array").linear_forward(*double(x, w, b))
    close(y, expected, D)
    wanted = family("array").linear_backward(double(dy)[0], exact)
    for found, gradient, terms in zip(native.linear_backward(dy, cache), wanted, (F, N, N), strict=True):
        close(found, gradient, terms)


@needs_native
def test_a_product_of_nothing_is_the_bias(level: str) -> None:
    native, b = kernels_at(level), np.arange(3, dtype=np.float32)
    y, cache = native.linear_forward(np.empty((2, 0), np.float32), np.empty((3, 0), np.float32), b)
    np.testing.assert_array_equal(y, [b, b])
    dx, dw, db = native.linear_backward(y, cache)
    assert (dx.shape, dw.shape) == ((2, 0), (3, 0))
    np.testing.assert_array_equal(db, 2 * b)


# Arrays as they come ----------------------------------------------------------------------------------------------


def views(a: np.ndarray) -> Iterator[np.ndarray]:
    """The same numbers: with steps, backwards, transposed, read-only, from an odd address."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    yield wide[..., ::2]
    yield np.ascontiguousarray(a[::-1])[::-1]
    yield np.asfortranarray(a)
    yield np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape)
    yield np.frombuffer(b" " + a.tobytes(), a.dtype, offset=1).reshape(a.shape)


@needs_native
def test_arrays_that_are_not_contiguous_count_as_their_numbers() -> None:
    rng = np.random.default_rng(0)
    x, w, b, rows, matrix = (
        numbers(rng, *shape) for shape in ((2, 6, 5, 16), (16, 16, 3, 3), (16,), (9, 20), (16, 20))
    )

    def results(x: Any, w: Any, b: Any, rows: Any, matrix: Any) -> Iterator[np.ndarray]:
        y, cache = kernels.conv2d_forward(x, w, b)
        yield y
        yield from kernels.conv2d_backward(next(views(y)), cache)
        y, cache = kernels.linear_forward(rows, matrix, b)
        yield y
        yield from kernels.linear_backward(next(views(y)), cache)
        y, cache = kernels.relu_forward(x)
        yield from (y, kernels.relu_backward(next(views(y)), cache))

    expected = list(results(x, w, b, rows, matrix))
    for arrays in zip(*map(views, (x, w, b, rows, matrix)), strict=True):
        for actual, wanted in zip(results(*arrays), expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)


@needs_native
def test_arrays_that_overlap_are_read_before_anything_is_written() -> None:
    rng = np.random.default_rng(0)
    memory = numbers(rng, 5000)
    x, w, b = memory[:960].reshape(2, 6, 5, 16), memory[100:2404].reshape(16, 16, 3, 3), memory[7:23]
    rows = np.lib.stride_tricks.sliding_window_view(memory[:300], 16)[::4][:16]  # each overlaps the next one
    before = memory.copy()
    for arrays in ((x, w, b), (x.copy(), w.copy(), b.copy())):
        y, cache = kernels.conv2d_forward(*arrays)
        results = [y, *kernels.conv2d_backward(y, cache)]
        product, cache = kernels.linear_forward(rows if arrays[0] is x else rows.copy(), rows, arrays[2])
        results += [product, *kernels.linear_backward(product, cache)]
        if arrays[0] is x:
            expected = results
    for actual, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)
    np.testing.assert_array_equal(memory, before)


@needs_native
@pytest.mark.parametrize("shape", [(2, 0, 4, 3), (0, 0, 0, 3), (2, 4, 0, 3)])
def test_pictures_without_pixels_are_refused_as_by_the_array_kernels(shape: tuple[int, ...]) -> None:
    x, w = np.zeros(shape, np.float32), np.zeros((4, 3, 2, 2), np.float32)
    for name in ("array", "native"):
        with kernels.using(name), pytest.raises(ValueError, match="window of 2"):
            kernels.conv2d_forward(x, w)


@needs_native
def test_windows_in_the_border_of_pictures_without_pixels_see_zeros() -> None:
    x, w, b = np.zeros((2, 0, 4, 3), np.float32), np.ones((4, 3, 2, 2), np.float32), np.arange(4, dtype=np.float32)
    y, cache = kernels.conv2d_forward(x, w, b, padding=((1, 1), (0, 0)))
    np.testing.assert_array_equal(y, np.broadcast_to(b, (2, 1, 3, 4)))
    dx, dw, db = kernels.conv2d_backward(np.ones_like(y), cache)
    assert dx.shape == x.shape
    assert not dw.any()
    np.testing.assert_array_equal(db, [6] * 4)
