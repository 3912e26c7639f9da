"""Turning, scaling and moving pictures: SciPy's and torch's, there and back."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image.affine import Matrix, Vector, affine, affine_adjoint

IDENTITY: Matrix = ((1.0, 0.0), (0.0, 1.0))
MAPS: list[tuple[Matrix, Vector]] = [
    (((0.9, 0.3), (-0.2, 1.1)), (0.0, 0.0)),
    (((2.3, 0.0), (0.0, 0.4)), (0.7, -1.6)),
    (((0.0, 1.0), (-1.0, 0.0)), (3.25, 0.0)),
    (((0.1, 0.0), (0.5, 0.1)), (0.0, 0.4)),
    (IDENTITY, (100.0, 0.0)),
    (IDENTITY, (-1.0, 2.0)),
]


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape or (2, 3, 8, 9))


@pytest.mark.parametrize(("matrix", "shift"), MAPS)
@pytest.mark.parametrize("sides", [(8, 9), (5, 12), (1, 6), (1, 1)])
@pytest.mark.parametrize("border", [0.0, 0.5])
def test_an_affine_map_is_scipys(matrix: Matrix, shift: Vector, sides: tuple[int, int], border: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is the oracle")
    x, middle = picture(1, 1, *sides), (np.array(sides) - 1) / 2
    offset = middle - np.array(matrix) @ middle + shift
    expected = ndimage.affine_transform(x[0, 0], matrix, offset, order=1, mode="grid-constant", cval=border)
    np.testing.assert_allclose(affine(x, matrix, shift, border)[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("sides", [(8, 8), (6, 11), (1, 5)])
def test_a_turn_and_its_adjoint_are_torchs(sides: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    (height, width), angle = sides, radians(33)
    matrix = ((cos(angle), sin(angle)), (-sin(angle), cos(angle)))
    x, dy = torch.tensor(picture(2, 3, *sides), requires_grad=True), picture(2, 3, *sides, seed=1)
    # torch measures in half widths and half heights, columns first
    theta = torch.tensor(
        [[cos(angle), -sin(angle) * height / width, 0], [sin(angle) * width / height, cos(angle), 0]],
        dtype=torch.float64,
    )
    grid = torch.nn.functional.affine_grid(theta.expand(2, 2, 3), (2, 3, *sides), align_corners=False)
    y = torch.nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(affine(x.detach().numpy(), matrix), y.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(affine_adjoint(dy, matrix), x.grad.numpy(), atol=1e-13)


@pytest.mark.parametrize(("matrix", "shift"), MAPS)
@pytest.mark.parametrize("sides", [(8, 9), (5, 12), (1, 6)])
def test_the_adjoint_is_exact_whatever_the_map(matrix: Matrix, shift: Vector, sides: tuple[int, int]) -> None:
    x, dy = picture(1, 2, *sides), picture(1, 2, *sides, seed=1)
    assert np.vdot(affine(x, matrix, shift), dy) == pytest.approx(
        np.vdot(x, affine_adjoint(dy, matrix, shift)), rel=1e-12, abs=1e-13
    )


def test_a_border_comes_in_at_its_own_value() -> None:
    x = np.zeros((1, 1, 3, 3))
    np.testing.assert_array_equal(affine(x, IDENTITY, (0, 1.5), 0.5)[0, 0], [[0, 0.25, 0.5]] * 3)


def test_nothing_is_changed_by_no_change() -> None:
    x = picture()
    np.testing.assert_array_equal(affine(x, IDENTITY, border=0.7), x)
    np.testing.assert_array_equal(affine_adjoint(x, IDENTITY), x)


def test_a_map_without_an_inverse_has_no_way_back() -> None:
    with pytest.raises(MinicnnError, match="expected a matrix that has an inverse"):
        affine_adjoint(picture(), ((1.0, 2.0), (2.0, 4.0)))
