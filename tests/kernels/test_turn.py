from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import kernels


@pytest.mark.parametrize("family", kernels.FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(2, 3, 5), (1, 4, 4), (3, 16, 25), (2, 9, 6), (1, 1, 7), (2, 3, 1100), (0, 3, 4), (2, 0, 4)]
)
def test_rows_and_columns_of_each_picture_change_places(
    rng: Any, shape: tuple[int, ...], dtype: str, family: str
) -> None:
    x = rng.standard_normal(shape).astype(dtype)
    with kernels.using(family):
        y = kernels.turn(x)
    assert y.flags.c_contiguous
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.moveaxis(x, 1, 2))
