"""Bilinear resizing of pictures, and its adjoint.

    y = R·x·Cᵀ        dx = Rᵀ·dy·C

R (H′, H) says how the rows of the result are mixed from those of the picture, C (W′, W) the same of the columns. A row
of either has few entries that are not 0, and these lie side by side: only they are kept, and a product with the matrix
is a few products of whole planes. O(N·C·(H·W + H′·W′)·k) for k entries a row: 2 to enlarge.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module

Size = tuple[int, int]


def resize(x: Array, size: Size, *, antialias: bool = True) -> Array:
    """x (N, C, H, W) -> (N, C, *size), by bilinear interpolation; the outer edges of the two pictures coincide.

    Pixels are squares with half-pixel centres, and beyond its edges the picture goes on as its edge pixels (torch:
    align_corners=False). antialias: a side that shrinks by s is averaged with a triangle of 2s pixels (that of Pillow's
    BILINEAR), so that no pixel is passed over.
    """
    for axis, after in zip((2, 3), _checked(size), strict=True):
        x = _mixed(x, axis, x.shape[axis], after, antialias, False)
    return x


def resize_adjoint(dy: Array, size: Size, *, antialias: bool = True) -> Array:
    """The gradient at `resize(x, …)` -> the gradient at x, whose height and width are `size`."""
    for axis, before in zip((2, 3), _checked(size), strict=True):
        dy = _mixed(dy, axis, before, dy.shape[axis], antialias, True)
    return dy


def _checked(size: Size) -> Size:
    if min(size) < 1:
        raise MinicnnError(f"resize to {size[0]}×{size[1]}: expected 1 pixel or more")
    return size


def _mixed(x: Array, axis: int, before: int, after: int, antialias: bool, transposed: bool) -> Array:
    """The matrix from `before` to `after` pixels, or its transpose, times x along an axis."""
    if before == after:
        return x.copy()  # the matrix is the identity
    xp, shape = get_array_module(x), tuple(-1 if i == axis else 1 for i in range(x.ndim))
    places, weights = _uploaded(before, after, antialias, transposed, xp, x.dtype)
    y = xp.take(x, places[0], axis=axis) * weights[0].reshape(shape)
    for k in range(1, len(places)):
        y += xp.take(x, places[k], axis=axis) * weights[k].reshape(shape)
    return y


@lru_cache(maxsize=64)
def _uploaded(
    before: int, after: int, antialias: bool, transposed: bool, xp: Any, dtype: np.dtype
) -> tuple[Array, Array]:
    """`band` of the matrix or of its transpose, on a device and in a precision."""
    matrix = interpolation(before, after, antialias)
    places, weights = band(matrix.T if transposed else matrix)
    return xp.asarray(places), xp.asarray(weights, dtype=dtype)


def interpolation(before: int, after: int, antialias: bool) -> np.ndarray:
    """The matrix (after, before), float64: each row a triangle about where its pixel lies, with the sum 1."""
    step = before / after
    centres = (np.arange(after) + 0.5) * step - 0.5
    reach = max(step, 1.0) if antialias else 1.0
    weights = np.maximum(0, 1 - abs(centres[:, None] - np.arange(before)) / reach)
    matrix: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return matrix


def band(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is not 0 in a matrix whose rows have it side by side: the columns (K, rows), and what stands in them."""
    filled = matrix != 0
    width = int(filled.sum(axis=1).max())
    first = np.minimum(filled.argmax(axis=1), matrix.shape[1] - width)
    places = first[:, None] + np.arange(width)
    return places.T.copy(), np.take_along_axis(matrix, places, axis=1).T.copy()
