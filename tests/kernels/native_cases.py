"""What the tests of single native kernels share: arrays, and how near the results must be."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings

TOLERANCE = 2e-6  # of the largest value
CHANNELS = [1, 3, 6, 10, 16, 37, 64, 300]

few_examples = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def close(actual: np.ndarray | None, expected: np.ndarray | None, tolerance: float = TOLERANCE) -> None:
    """float32 `actual` within tolerance × the largest value, or × 1 where all are smaller; None only with None."""
    assert (actual is None) == (expected is None)
    if actual is not None and expected is not None:
        assert actual.shape == expected.shape
        assert actual.dtype == np.float32
        bound = tolerance * max(1, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def double(*arrays: np.ndarray | None) -> list[np.ndarray | None]:
    return [None if a is None else a.astype(np.float64) for a in arrays]
