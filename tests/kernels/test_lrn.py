from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .oracles import (
    DTYPES,
    TOLERANCE,
    assert_agree,
    channels_first,
    channels_last,
    family,
    few_examples,
    normal,
    torch_gradients,
)

ALEXNET = {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}
STRONG: dict[str, Any] = {"alpha": 2.0, "beta": 0.6, "k": 0.5}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, ALEXNET, *({"size": size, **STRONG} for size in range(1, 7))], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 8])  # also fewer than a window
def test_torch_computes_the_same(
    ops: Any, torch: Any, rng: Any, channels: int, options: dict[str, Any], dtype: str
) -> None:
    x, dy = 4 * normal(rng, (2, 2, 3, channels), dtype), normal(rng, (2, 2, 3, channels), dtype)
    y, cache = ops.local_response_norm_forward(x, **options)

    def function(x: Any) -> Any:
        return torch.nn.functional.local_response_norm(x, **{"size": 5, **options})

    expected_y, expected_dx = torch_gradients(torch, function, channels_first(x), dy=channels_first(dy))
    assert_agree(y, channels_last(expected_y))
    assert_agree(ops.local_response_norm_backward(dy, cache), channels_last(expected_dx))


@pytest.mark.parametrize("name", ["test_lrn", "test_lrn_default"])
def test_onnx_publishes_the_same(ops: Any, onnx_case: Any, name: str) -> None:
    attributes, (x,), (expected,) = onnx_case(name)
    y, _ = ops.local_response_norm_forward(
        channels_last(x),
        size=attributes["size"],
        alpha=attributes.get("alpha", 1e-4),
        beta=attributes.get("beta", 0.75),
        k=attributes.get("bias", 1.0),
    )
    assert_agree(y, channels_last(expected))


def test_alpha_is_divided_by_the_size_of_the_window(ops: Any) -> None:
    y, _ = ops.local_response_norm_forward(np.full((1, 1, 1, 9), 2.0), size=3, alpha=1.5, beta=1.0, k=1.0)
    assert y[0, 0, 0, 4] == pytest.approx(2 / (1 + 1.5 / 3 * 3 * 4), rel=TOLERANCE[y.dtype])


@few_examples
@given(st.integers(1, 8), st.integers(1, 9), st.sampled_from([0.5, 0.75, 1.3]), st.floats(0, 3), st.integers(0, 99))
def test_the_families_agree_in_any_window(channels: int, size: int, beta: float, alpha: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, (2, 2, 1, channels)), normal(rng, (2, 2, 1, channels))
    options = {"size": size, "alpha": alpha, "beta": beta, "k": 1.5}
    expected, reference_cache = family("reference").local_response_norm_forward(x, **options)
    y, cache = family("array").local_response_norm_forward(x, **options)
    assert_agree(y, expected)
    wanted = family("reference").local_response_norm_backward(dy, reference_cache)
    assert_agree(family("array").local_response_norm_backward(dy, cache), wanted)
