from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import (
    DTYPES,
    assert_agree,
    channels_first,
    channels_last,
    family,
    few_examples,
    normal,
    torch_gradients,
)

# name: shape of x (N, H, W, C), shape of w (F, C/groups, KH, KW), options
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 5, 6, 3), (4, 3, 3, 3), {}),
    "one_by_one": ((2, 3, 4, 5), (2, 5, 1, 1), {}),
    "as_large_as_the_picture": ((2, 3, 4, 2), (5, 2, 3, 4), {}),
    "rectangular_in_everything": ((1, 9, 6, 2), (3, 2, 4, 2), {"stride": (3, 2), "padding": ((2, 2), (1, 1))}),
    "stride_larger_than_the_kernel": ((2, 8, 7, 2), (3, 2, 2, 1), {"stride": (3, 2)}),
    "last_rows_and_columns_unread": ((1, 6, 8, 2), (3, 2, 3, 3), {"stride": (2, 3)}),
    "padded_on_every_side_differently": ((2, 4, 5, 2), (3, 2, 3, 2), {"padding": ((2, 0), (1, 3))}),
    "padded_unevenly_within_the_kernel": ((2, 4, 5, 2), (3, 2, 3, 4), {"padding": ((2, 0), (1, 3))}),
    "padded_unevenly_in_groups": ((2, 4, 5, 4), (6, 2, 3, 2), {"padding": ((0, 2), (1, 0)), "groups": 2}),
    "padded_on_one_side_only": ((2, 4, 5, 2), (3, 2, 3, 3), {"stride": (2, 2), "padding": ((0, 1), (0, 1))}),
    "padding_wider_than_the_kernel": ((1, 3, 3, 2), (2, 2, 2, 2), {"padding": ((3, 2), (2, 4))}),
    "windows_all_in_the_border": ((1, 1, 1, 2), (2, 2, 1, 1), {"stride": (2, 2), "padding": ((2, 3), (1, 2))}),
    "dilated": ((2, 7, 8, 2), (3, 2, 3, 2), {"dilation": (2, 3)}),
    "dilated_strided_padded": (
        (1, 8, 9, 2),
        (3, 2, 3, 3),
        {"dilation": (2, 2), "stride": (2, 3), "padding": ((2, 1), (1, 2))},
    ),
    "groups": ((2, 5, 4, 6), (9, 2, 3, 3), {"groups": 3, "padding": ((1, 1), (1, 1))}),
    "depthwise": ((2, 5, 5, 4), (8, 1, 3, 3), {"groups": 4, "stride": (2, 2)}),
    "many_filters": ((1, 4, 4, 1), (7, 1, 3, 3), {"padding": ((1, 1), (1, 1))}),
}


def gate_of(ops: Any, y: np.ndarray, relu: bool) -> dict[str, Any]:
    """What the backward pass of a convolution gets for the ReLU that it ended in."""
    return {"gate": ops.relu_forward(y, rectified=True)[1]} if relu else {}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    return CASES[request.param]


@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_computes_the_same(ops: Any, torch: Any, rng: Any, case: Any, dtype: str, bias: bool, relu: bool) -> None:
    x_shape, w_shape, options = case
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    b = normal(rng, w_shape[:1], dtype) if bias else None
    y, cache = ops.conv2d_forward(x, w, b, **options, relu=relu)
    dy = normal(rng, y.shape, dtype)
    dx, dw, db = ops.conv2d_backward(dy, cache, **gate_of(ops, y, relu))

    def function(x: Any, w: Any, b: Any) -> Any:
        rows, columns = options.get("padding", ((0, 0), (0, 0)))
        padded = torch.nn.functional.pad(x, (*columns, *rows))
        rest = {key: value for key, value in options.items() if key != "padding"}
        y = torch.nn.functional.conv2d(padded, w, b, **rest)
        return torch.relu(y) if relu else y

    expected = torch_gradients(torch, function, channels_first(x), w, b, dy=channels_first(dy))
    assert_agree(y, channels_last(expected[0]))
    assert_agree(dx, channels_last(expected[1]))
    assert_agree(dw, expected[2])
    if bias:
        assert_agree(db, expected[3])
    else:
        assert db is None


ONNX_CASES = [
    "test_basic_conv_with_padding",
    "test_basic_conv_without_padding",
    "test_conv_with_strides_padding",
    "test_conv_with_strides_no_padding",
    "test_conv_with_strides_and_asymmetric_padding",
    "test_Conv2d",
    "test_Conv2d_depthwise",
    "test_Conv2d_depthwise_padded",
    "test_Conv2d_depthwise_strided",
    "test_Conv2d_depthwise_with_multiplier",
    "test_Conv2d_dilated",
    "test_Conv2d_groups",
    "test_Conv2d_no_bias",
    "test_Conv2d_padding",
    "test_Conv2d_strided",
]


@pytest.mark.parametrize("name", ONNX_CASES)
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (x, w, *b), (expected,) = onnx_case(name)
    top, left, bottom, right = attributes["pads"]
    y, _ = ops.conv2d_forward(
        channels_last(x),
        w,
        *b,
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=((top, bottom), (left, right)),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=attributes.get("group", 1),
    )
    assert_agree(y, channels_last(expected))


def test_scipy_correlates_the_same(ops: Any, rng: Any) -> None:
    signal = pytest.importorskip("scipy.signal", reason="scipy is the oracle here")
    x, w = normal(rng, (1, 6, 7, 2)), normal(rng, (3, 2, 3, 2))
    y, _ = ops.conv2d_forward(x, w)
    for f in range(3):
        expected = sum(signal.correlate2d(x[0, :, :, c], w[f, c], mode="valid") for c in range(2))
        assert_agree(y[0, :, :, f], expected)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Any geometry in which the window fits at least once."""
    sizes, axes = [], []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
        before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        smallest = max(1, dilation * (kernel - 1) + 1 - before - after)
        sizes.append(smallest + draw(st.integers(0, 4)))
        axes.append((kernel, stride, dilation, (before, after)))
    kernels, strides, dilations, paddings = zip(*axes, strict=True)
    groups, group_size = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    filters = groups * draw(st.integers(1, 3))
    options = {"stride": strides, "dilation": dilations, "padding": paddings, "groups": groups}
    return (draw(st.integers(1, 2)), *sizes, groups * group_size), (filters, group_size, *kernels), options


@few_examples
@given(convolutions(), st.booleans(), st.integers(0, 99))
def test_the_families_agree_in_any_geometry(geometry: Any, bias: bool, seed: int) -> None:
    x_shape, w_shape, options = geometry
    rng = np.random.default_rng(seed)
    x, w, b = normal(rng, x_shape), normal(rng, w_shape), normal(rng, w_shape[:1]) if bias else None
    expected, reference_cache = family("reference").conv2d_forward(x, w, b, **options)
    y, cache = family("array").conv2d_forward(x, w, b, **options)
    assert_agree(y, expected)
    dy = normal(rng, y.shape)
    gradients = zip(
        family("array").conv2d_backward(dy, cache),
        family("reference").conv2d_backward(dy, reference_cache),
        strict=True,
    )
    for actual, wanted in gradients:
        if wanted is None:
            assert actual is None
        else:
            assert_agree(actual, wanted)


@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("bytes_in_a_block", [1, 1500, 4000])
def test_the_size_of_the_blocks_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, rng: Any, case: Any, bytes_in_a_block: int, relu: bool
) -> None:
    monkeypatch.setattr("minicnn.kernels.array.patches.BLOCK_BYTES", bytes_in_a_block)
    x_shape, w_shape, options = case
    x, w, b = normal(rng, (3, *x_shape[1:])), normal(rng, w_shape), normal(rng, w_shape[:1])
    expected, reference_cache = family("reference").conv2d_forward(x, w, b, **options, relu=relu)
    y, cache = family("array").conv2d_forward(x, w, b, **options, relu=relu)
    assert_agree(y, expected)
    dy = normal(rng, y.shape)
    gradients = family("array").conv2d_backward(dy, cache, **gate_of(family("array"), y, relu))
    for actual, wanted in zip(
        gradients,
        family("reference").conv2d_backward(dy, reference_cache, **gate_of(family("reference"), y, relu)),
        strict=True,
    ):
        assert_agree(actual, wanted)


def test_overlapping_windows_add_their_gradients(ops: Any) -> None:
    x, w = np.zeros((1, 1, 4, 1)), np.ones((1, 1, 1, 2))
    y, cache = ops.conv2d_forward(x, w)
    dx, _, _ = ops.conv2d_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx.ravel(), [1, 2, 2, 1])


def test_the_kernel_is_not_flipped(ops: Any) -> None:
    x = np.zeros((1, 3, 3, 1))
    x[0, 0, 1] = 1
    w = np.arange(9.0).reshape(1, 1, 3, 3)
    y, _ = ops.conv2d_forward(x, w)
    assert y.item() == w[0, 0, 0, 1]


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "message"),
    [
        ((1, 4, 4, 1), (1, 1, 5, 1), {}, "window of 5"),
        ((1, 4, 4, 1), (1, 1, 1, 3), {"dilation": (1, 2)}, "window of 5"),
        ((1, 2, 4, 1), (1, 1, 5, 1), {"padding": ((1, 1), (0, 0))}, "padded to 4"),
        ((1, 4, 4, 3), (2, 2, 1, 1), {}, "input of 3 channels"),
        ((1, 4, 4, 3), (2, 1, 1, 1), {"groups": 2}, "2 groups"),
        ((1, 4, 4, 4), (3, 2, 1, 1), {"groups": 2}, "2 groups"),
    ],
)
def test_impossible_geometry_is_refused(ops: Any, x_shape: Any, w_shape: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.conv2d_forward(np.zeros(x_shape), np.zeros(w_shape), **options)


@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
def test_whole_rows_in_place_of_patches_give_the_same(
    monkeypatch: pytest.MonkeyPatch, rng: Any, case: Any, relu: bool
) -> None:
    monkeypatch.setattr("minicnn.kernels.array.bands.POSITIONS", 0)
    x_shape, w_shape, options = case
    x, w, b = normal(rng, x_shape), normal(rng, w_shape), normal(rng, w_shape[:1])
    expected, reference_cache = family("reference").conv2d_forward(x, w, b, **options, relu=relu)
    y, cache = family("array").conv2d_forward(x, w, b, **options, relu=relu)
    assert_agree(y, expected)
    dy = normal(rng, y.shape)
    wanted = family("reference").conv2d_backward(dy, reference_cache, **gate_of(family("reference"), y, relu))
    out = (np.full_like(w, np.nan), np.full_like(b, np.nan))
    for actual, gradient in zip(
        family("array").conv2d_backward(dy, cache, out=out, **gate_of(family("array"), y, relu)), wanted, strict=True
    ):
        assert_agree(actual, gradient)
    assert_agree(out[0], wanted[1])
    assert_agree(out[1], wanted[2])


@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("bytes_in_a_block", [1, 1 << 20])
def test_single_taps_in_place_of_patches_give_the_same(
    monkeypatch: pytest.MonkeyPatch, rng: Any, case: Any, bytes_in_a_block: int, relu: bool
) -> None:
    monkeypatch.setattr("minicnn.kernels.array.patches.BLOCK_BYTES", bytes_in_a_block)
    monkeypatch.setattr("minicnn.kernels.array.patches.INSIDE", 2)
    monkeypatch.setattr("minicnn.kernels.array.patches.CHANNELS", 1)
    x_shape, w_shape, options = case
    x, w, b = normal(rng, x_shape), normal(rng, w_shape), normal(rng, w_shape[:1])
    expected, reference_cache = family("reference").conv2d_forward(x, w, b, **options, relu=relu)
    y, cache = family("array").conv2d_forward(x, w, b, **options, relu=relu)
    assert_agree(y, expected)
    dy = normal(rng, y.shape)
    wanted = family("reference").conv2d_backward(dy, reference_cache, **gate_of(family("reference"), y, relu))
    for actual, gradient in zip(
        family("array").conv2d_backward(dy, cache, **gate_of(family("array"), y, relu)), wanted, strict=True
    ):
        assert_agree(actual, gradient)
