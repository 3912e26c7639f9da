"""Between channels first and channels last: see turn.c."""

from __future__ import annotations

import numpy as np

from .arguments import empty, floats, pointer
from .library import function

_turn = function("turn", "ppnnn")


def turn(x: np.ndarray) -> np.ndarray:
    """x (N, A, B) -> y (N, B, A), contiguous."""
    x, (N, A, B) = floats(x), x.shape
    y = empty((N, B, A))
    _turn(pointer(x), pointer(y), N, A, B)
    return y
