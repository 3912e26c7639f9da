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

# name: shape of x (N, L, C), shape of w (F, C/groups, K), options
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 8, 3), (4, 3, 3), {}),
    "one_sample_wide": ((2, 5, 3), (2, 3, 1), {}),
    "stride_larger_than_the_kernel": ((2, 9, 2), (3, 2, 2), {"stride": 3}),
    "causal": ((2, 6, 2), (3, 2, 3), {"padding": (4, 0), "dilation": 2}),
    "padded_unevenly_strided": ((1, 6, 2), (3, 2, 4), {"padding": (1, 2), "stride": 2}),
    "groups": ((2, 7, 6), (4, 3, 3), {"groups": 2, "padding": (1, 1)}),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_torch_computes_the_same(ops: Any, torch: Any, rng: Any, case: str, dtype: str, bias: bool) -> None:
    x_shape, w_shape, options = CASES[case]
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    b = normal(rng, w_shape[:1], dtype) if bias else None
    y, cache = ops.conv1d_forward(x, w, b, **options)
    dy = normal(rng, y.shape, dtype)
    dx, dw, db = ops.conv1d_backward(dy, cache)

    def function(x: Any, w: Any, b: Any) -> Any:
        padded = torch.nn.functional.pad(x, options.get("padding", (0, 0)))
        rest = {key: value for key, value in options.items() if key != "padding"}
        return torch.nn.functional.conv1d(padded, w, b, **rest)

    expected = torch_gradients(torch, function, channels_first(x), w, b, dy=channels_first(dy))
    assert_agree(y, channels_last(expected[0]))
    assert_agree(dx, channels_last(expected[1]))
    assert_agree(dw, expected[2])
    if bias:
        assert_agree(db, expected[3])
    else:
        assert db is None


ONNX_CASES = [
    "test_Conv1d",
    "test_Conv1d_dilated",
    "test_Conv1d_groups",
    "test_Conv1d_pad1",
    "test_Conv1d_pad1size1",
    "test_Conv1d_pad2",
    "test_Conv1d_pad2size1",
    "test_Conv1d_stride",
]


@pytest.mark.parametrize("name", ONNX_CASES)
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (x, w, b), (expected,) = onnx_case(name)
    y, _ = ops.conv1d_forward(
        channels_last(x),
        w,
        b,
        stride=attributes["strides"][0],
        padding=tuple(attributes["pads"]),
        dilation=attributes["dilations"][0],
        groups=attributes["group"],
    )
    assert_agree(y, channels_last(expected))


def test_numpy_correlates_the_same(ops: Any, rng: Any) -> None:
    x, w = normal(rng, (1, 9, 1)), normal(rng, (1, 1, 4))
    y, _ = ops.conv1d_forward(x, w)
    assert_agree(y.ravel(), np.correlate(x.ravel(), w.ravel(), mode="valid"))


@few_examples
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    extra=st.integers(0, 5),
    groups=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_families_agree_in_any_geometry(
    kernel: int, stride: int, dilation: int, padding: tuple[int, int], extra: int, groups: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    length = max(1, dilation * (kernel - 1) + 1 - sum(padding)) + extra
    x, w, b = normal(rng, (2, length, 2 * groups)), normal(rng, (3 * groups, 2, kernel)), normal(rng, (3 * groups,))
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    expected, reference_cache = family("reference").conv1d_forward(x, w, b, **options)
    y, cache = family("array").conv1d_forward(x, w, b, **options)
    assert_agree(y, expected)
    dy = normal(rng, y.shape)
    wanted = family("reference").conv1d_backward(dy, reference_cache)
    for actual, gradient in zip(family("array").conv1d_backward(dy, cache), wanted, strict=True):
        assert_agree(actual, gradient)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "message"),
    [
        ((1, 4, 1), (1, 1, 5), {}, "window of 5"),
        ((1, 4, 1), (1, 1, 3), {"dilation": 2}, "window of 5"),
        ((1, 4, 3), (2, 1, 1), {"groups": 2}, "2 groups"),
    ],
)
def test_impossible_geometry_is_refused(ops: Any, x_shape: Any, w_shape: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.conv1d_forward(np.zeros(x_shape), np.zeros(w_shape), **options)
