"""What the tests of the kernels share: layouts, comparison, torch's gradients, ONNX's published cases."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings

from .levels import Native, missing

FAMILIES = ["reference", "array", *([] if missing() else ["native"])]
SINGLE = 1e-5  # of the largest value; sums here are short
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): SINGLE}
DTYPES = ["float64", "float32"]

few_examples = settings(max_examples=40, deadline=None)


def family(name: str) -> Any:
    """A family of kernels; the native one, which computes in float32 alone, made fit for float64."""
    return Native() if name == "native" else importlib.import_module(f"minicnn.kernels.{name}")


def channels_first(a: np.ndarray) -> np.ndarray:
    """(N, …, C) -> (N, C, …), contiguous: the layout of torch and ONNX."""
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def channels_last(a: np.ndarray) -> np.ndarray:
    """(N, C, …) -> (N, …, C), contiguous: the layout of the kernels."""
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float64") -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def assert_agree(actual: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> None:
    """Same shape, same dtype, and no value further off than `tolerance` times the largest expected one."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if expected.size:
        bound = (TOLERANCE[expected.dtype] if tolerance is None else tolerance) * np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def torch_gradients(
    torch: Any, function: Callable[..., Any], *arrays: np.ndarray | None, dy: np.ndarray
) -> list[np.ndarray]:
    """[y, gradient by each array that is not None], all as torch's autograd computes them."""
    tensors = [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]
    y = function(*tensors)
    y.backward(torch.from_numpy(dy))
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors if t is not None)]
