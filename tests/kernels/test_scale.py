from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import DTYPES, assert_agree, family, few_examples, normal, torch_gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5), (1, 1)])
def test_torch_computes_the_same(ops: Any, torch: Any, rng: Any, shape: tuple[int, ...], dtype: str) -> None:
    x, dy = normal(rng, shape, dtype), normal(rng, shape, dtype)
    gamma, beta = normal(rng, shape[-1:], dtype), normal(rng, shape[-1:], dtype)
    y, cache = ops.scale_forward(x, gamma, beta)

    def function(x: Any, gamma: Any, beta: Any) -> Any:
        return gamma * x + beta  # broadcast over the last axis

    expected = torch_gradients(torch, function, x, gamma, beta, dy=dy)
    for actual, wanted in zip([y, *ops.scale_backward(dy, cache)], expected, strict=True):
        assert_agree(actual, wanted)


@few_examples
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 99))
def test_the_families_agree_in_any_shape(axes: list[int], C: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, dy, gamma, beta = normal(rng, (*axes, C)), normal(rng, (*axes, C)), normal(rng, (C,)), normal(rng, (C,))
    expected, reference_cache = family("reference").scale_forward(x, gamma, beta)
    y, cache = family("array").scale_forward(x, gamma, beta)
    assert_agree(y, expected)
    wanted = family("reference").scale_backward(dy, reference_cache)
    for actual, gradient in zip(family("array").scale_backward(dy, cache), wanted, strict=True):
        np.testing.assert_allclose(actual, gradient, rtol=1e-12, atol=1e-13)
