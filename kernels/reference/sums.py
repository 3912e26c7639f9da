"""Where gradients of parameters are added up."""

from __future__ import annotations

from typing import Any

import numpy as np


def cleared(out: np.ndarray | None, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros to add to: `out`, where there is one."""
    if out is None:
        return np.zeros(shape, dtype)
    out[...] = 0
    return out
