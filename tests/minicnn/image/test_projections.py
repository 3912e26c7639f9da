"""Balls and masks: the nearest point inside, for each picture; everything else is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import Ball, Masked


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape or (2, 3, 4, 5))


def test_what_is_inside_a_ball_is_left_to_the_bit() -> None:
    center = picture().astype(np.float32)
    near = center + np.float32(1e-3) * picture(seed=1).astype(np.float32)
    for norm in ("l2", "linf"):
        np.testing.assert_array_equal(Ball(center, 0.1, norm).project(near, near), near)
        np.testing.assert_array_equal(Ball(center, 0.0, norm).project(center, center), center)


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", np.inf)])
def test_each_picture_is_drawn_back_to_its_own_ball(norm: str, order: float) -> None:
    center = picture()
    far = center + np.array([5.0, 1e-3])[:, None, None, None] * (picture(seed=1) - 0.5)
    y = Ball(center, 0.25, norm).project(far, far)
    assert np.linalg.norm((y - center)[0].ravel(), order) == pytest.approx(0.25, rel=1e-12)
    np.testing.assert_array_equal(y[1], far[1])


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_goes_to_the_nearest_point_of_the_ball(norm: str) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is the oracle")
    center, far = picture(1, 1, 1, 3), 3 * picture(1, 1, 1, 3, seed=1)
    inside = {
        "l2": lambda y: 0.5**2 - ((y - center.ravel()) ** 2).sum(),
        "linf": lambda y: 0.5 - abs(y - center.ravel()),
    }
    found = optimize.minimize(
        lambda y: ((y - far.ravel()) ** 2).sum(),
        center.ravel(),
        constraints={"type": "ineq", "fun": inside[norm]},
        options={"ftol": 1e-12},
    )
    np.testing.assert_allclose(Ball(center, 0.5, norm).project(far, far).ravel(), found.x, atol=1e-4)


def test_one_centre_serves_a_whole_batch() -> None:
    value = picture()
    y = Ball(np.zeros((1, 3, 4, 5)), 0.1, "linf").project(value, value)
    np.testing.assert_array_equal(y, np.minimum(value, 0.1))


def test_only_what_the_mask_leaves_free_differs_from_the_original() -> None:
    value, original, mask = picture(), picture(seed=1), picture(1, 1, 4, 5, seed=2) > 0.5
    y = Masked(mask, original).project(value, value)
    free = np.broadcast_to(mask, value.shape)
    np.testing.assert_array_equal(y[free], value[free])
    np.testing.assert_array_equal(y[~free], original[~free])


def test_those_that_hold_arrays_are_short_to_print_and_equal_to_themselves_alone() -> None:
    ball = Ball(picture(), 0.5, every=2)
    assert repr(ball) == "Ball(every=2, last=True, radius=0.5, norm='l2')"
    assert repr(Masked(picture(), picture())) == "Masked(every=1, last=True)"
    assert ball == ball and ball != Ball(picture(), 0.5, every=2)
    assert len({ball, ball, Masked(picture(), picture())}) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ball(picture(), -1), "Ball: radius -1: expected 0 or more"),
        (lambda: Ball(picture(), 1, "l1"), "norm 'l1'; did you mean 'l2'"),
        (
            lambda: Ball(picture(2, 3, 4, 4), 1).project(picture(), picture()),
            r"Ball: a center \(2, 3, 4, 4\) for pictures \(2, 3, 4, 5\)",
        ),
        (
            lambda: Masked(picture(4, 5), picture()).project(picture(), picture()),
            r"Masked: a mask \(4, 5\) for pictures \(2, 3, 4, 5\)",
        ),
        (
            lambda: Masked(picture(), picture(3, 3, 4, 5)).project(picture(), picture()),
            r"Masked: an original \(3, 3, 4, 5\) for pictures",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        make()
