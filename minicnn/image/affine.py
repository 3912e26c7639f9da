"""Pictures turned, scaled and moved with bilinear interpolation, and the adjoint.

Pixel q of the result looks at the place f(q) = M·(q − c) + c + shift of the picture, c its centre, and sees the four
pixels around it. The weight of pixel p is a product of two triangles:

    A(q, p) = Λ(f(q) − p)     Λ(v) = max(0, 1 − |v₁|)·max(0, 1 − |v₂|)

    y(q)  = Σ_p A(q, p)·x(p)      over the 2 × 2 pixels p around f(q)
    dx(p) = Σ_q A(q, p)·dy(q)     over the window of pixels q around f⁻¹(p) that look at p

Both directions gather: nothing is added to one place by two, so the sums have the same order on every device.
"""

from __future__ import annotations

from math import ceil

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module

Vector = tuple[float, float]  # down, right
Matrix = tuple[Vector, Vector]
Places = tuple[Array, Array]  # rows and columns, float64 (H, W)


def affine(x: Array, matrix: Matrix, shift: Vector = (0.0, 0.0), border: float = 0.0) -> Array:
    """x (N, C, H, W) -> y of the same shape: pixel q from the centre shows what lies at `matrix`·q + `shift` of x.

    A matrix with 1/s on the diagonal shows the picture s times as large. What lies outside has the value `border`.
    """
    floor = get_array_module(x).floor
    rows, columns = _look(_pixels(x), x.shape[2:], matrix, shift)
    first = floor(rows), floor(columns)
    away = rows - first[0], columns - first[1]
    return _gathered(x, first, (2, 2), away, ((-1.0, 0.0), (0.0, -1.0)), border)


def affine_adjoint(dy: Array, matrix: Matrix, shift: Vector = (0.0, 0.0)) -> Array:
    """The gradient at `affine(x, …)` -> the gradient at x."""
    floor, sides, pixels = get_array_module(dy).floor, dy.shape[2:], _pixels(dy)
    back = _inverse(matrix)
    middles = _look((pixels[0] - shift[0], pixels[1] - shift[1]), sides, back)  # f⁻¹(p)
    reach = [abs(a) + abs(b) for a, b in back]  # how far from there a pixel that looks at p may lie, down and right
    first = floor(middles[0] - reach[0]) + 1, floor(middles[1] - reach[1]) + 1
    rows, columns = _look(first, sides, matrix, shift)
    away = rows - pixels[0], columns - pixels[1]
    return _gathered(dy, first, (ceil(2 * reach[0]), ceil(2 * reach[1])), away, matrix, 0.0)


def _inverse(matrix: Matrix) -> Matrix:
    (a, b), (c, d) = matrix
    determinant = a * d - b * c
    if determinant == 0:
        raise MinicnnError(f"affine map {matrix}: expected a matrix that has an inverse")
    return (d / determinant, -b / determinant), (-c / determinant, a / determinant)


def _pixels(x: Array) -> Places:
    """The rows (H, 1) and the columns (1, W) of x."""
    xp, (height, width) = get_array_module(x), x.shape[2:]
    return xp.arange(height, dtype=xp.float64)[:, None], xp.arange(width, dtype=xp.float64)[None]


def _look(pixels: Places, sides: tuple[int, int], matrix: Matrix, shift: Vector = (0.0, 0.0)) -> Places:
    """f: the places that pixels look at."""
    middle = [(side - 1) / 2 for side in sides]
    down, right = pixels[0] - middle[0], pixels[1] - middle[1]
    (a, b), (c, d) = matrix
    return a * down + b * right + (middle[0] + shift[0]), c * down + d * right + (middle[1] + shift[1])


def _gathered(x: Array, first: Places, window: tuple[int, int], away: Places, step: Matrix, border: float) -> Array:
    """Σ Λ(away + step·o)·x(first + o) over the pixels o of a window; (N, C, H, W) as x, which goes on as `border`."""
    xp, (n, c, height, width) = get_array_module(x), x.shape
    down, right = window
    # A window that lies further out than one beside the picture sees the same as that one: border alone.
    padded = xp.pad(x, [(0, 0), (0, 0), (down, down), (right, right)], mode="constant", constant_values=border)
    pitch, padded = width + 2 * right, padded.reshape(n, c, -1)
    corner = xp.clip(first[0], -down, height) + down, xp.clip(first[1], -right, width) + right
    corners = (corner[0] * pitch + corner[1]).astype(xp.int64)
    rows, columns = (a.astype(x.dtype) for a in away)
    y = xp.zeros_like(x)
    for i in range(down):
        for j in range(right):
            (a, b), (c, d) = step
            weights = _triangle(rows + (a * i + b * j)) * _triangle(columns + (c * i + d * j))
            y += xp.take(padded, corners + (i * pitch + j), axis=2) * weights
    return y


def _triangle(v: Array) -> Array:
    return get_array_module(v).maximum(0, 1 - abs(v))
