from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import DTYPES, assert_agree, family, few_examples, normal, torch_gradients


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "D", "F"), [(3, 5, 4), (1, 7, 1), (4, 1, 3)])
def test_torch_computes_the_same(
    ops: Any, torch: Any, rng: Any, N: int, D: int, F: int, dtype: str, bias: bool
) -> None:
    x, w, b = normal(rng, (N, D), dtype), normal(rng, (F, D), dtype), normal(rng, (F,), dtype) if bias else None
    y, cache = ops.linear_forward(x, w, b)
    dy = normal(rng, y.shape, dtype)
    expected = torch_gradients(torch, torch.nn.functional.linear, x, w, b, dy=dy)
    *gradients, db = ops.linear_backward(dy, cache)
    for actual, wanted in zip([y, *gradients, *([db] if bias else [])], expected, strict=True):
        assert_agree(actual, wanted)
    assert bias or db is None


@pytest.mark.parametrize("name", ["test_gemm_transposeB", "test_gemm_default_vector_bias", "test_Linear"])
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (x, w, b), (expected,) = onnx_case(name)
    weights = w if attributes.get("transB") else np.ascontiguousarray(w.T)
    y, _ = ops.linear_forward(x, weights, b.ravel())
    assert_agree(y, expected)


@few_examples
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_the_families_agree_in_any_shape(N: int, D: int, F: int, bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w, b, dy = normal(rng, (N, D)), normal(rng, (F, D)), normal(rng, (F,)) if bias else None, normal(rng, (N, F))
    expected, reference_cache = family("reference").linear_forward(x, w, b)
    y, cache = family("array").linear_forward(x, w, b)
    assert_agree(y, expected)
    wanted = family("reference").linear_backward(dy, reference_cache)
    for actual, gradient in zip(family("array").linear_backward(dy, cache), wanted, strict=True):
        if gradient is None:
            assert actual is None
        else:
            assert_agree(actual, gradient)
