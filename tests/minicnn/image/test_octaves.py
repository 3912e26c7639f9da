"""Sizes that grow, and what is carried from one to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import LBFGS, Adam, GradientAscent, Optimizer
from minicnn.image.octaves import carried, octave_sizes, over_octaves
from minicnn.image.resize import resize
from minicnn.schedules import Clock


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, shape)


def test_each_octave_is_so_much_larger_and_the_last_is_the_picture() -> None:
    assert octave_sizes((140, 280), 3, 1.4) == [(71, 143), (100, 200), (140, 280)]


@pytest.mark.parametrize(("octaves", "scale"), [(0, 1.4), (3, 1.0), (2, 0.5)])
def test_no_octaves_and_no_growth_are_refused(octaves: int, scale: float) -> None:
    with pytest.raises(MinicnnError, match="expected 1 or more, and a scale above 1"):
        octave_sizes((100, 100), octaves, scale)


def test_a_picture_too_small_for_its_octaves_is_refused() -> None:
    with pytest.raises(MinicnnError, match="begins with 25×50: the network needs 32×32; take fewer octaves"):
        octave_sizes((100, 200), 3, 2.0, least=(32, 32))


def test_a_picture_to_which_nothing_is_drawn_keeps_its_sharpness() -> None:
    image = picture(1, 3, 20, 30)
    np.testing.assert_array_equal(over_octaves(image, octave_sizes((20, 30), 3), lambda start, base: start), image)


def test_what_was_drawn_is_carried_up_and_nothing_else() -> None:
    image, sizes, starts = picture(1, 1, 8, 8), [(4, 4), (8, 8)], []

    def draw(start: np.ndarray, base: np.ndarray) -> np.ndarray:
        starts.append(start - base)
        return base + 0.25

    over_octaves(image, sizes, draw)
    np.testing.assert_allclose(starts[0], 0)
    np.testing.assert_allclose(starts[1], 0.25)


@pytest.mark.parametrize("optimizer", [Adam(0.1), GradientAscent(0.1, momentum=0.9), LBFGS()])
def test_every_optimizer_remembers_at_another_size(optimizer: Optimizer) -> None:
    def evaluate(x: np.ndarray) -> tuple[Any, Any]:
        return -(x**4).sum(), -4 * x**3

    value, state = optimizer.step(picture(1, 3, 6, 8), evaluate, None, Clock(0, 9, 9))
    value, state = resize(value, (9, 12)), carried(state, (9, 12))
    with_memory, without = (optimizer.step(value, evaluate, s, Clock(1, 9, 9))[0] for s in (state, None))
    assert with_memory.shape == (1, 3, 9, 12) and not np.array_equal(with_memory, without)
    assert evaluate(with_memory)[0] > evaluate(value)[0]
