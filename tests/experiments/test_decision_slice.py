"""Slices of decision regions: against a network whose regions one knows, and the drawing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from minicnn.errors import MinicnnError
from minicnn.experiments.attacks import fgsm
from minicnn.experiments.decision_slice import (
    COLOURS,
    OTHERS,
    REACH,
    SHOWN,
    Slice,
    across,
    colours_of,
    decision_slice,
    draw_slice,
)
from minicnn.layers import Flatten, Linear
from minicnn.network import Network


@pytest.fixture
def linear() -> Network:
    """Three classes, scores W x + b of pictures of 4×6 pixels."""
    net = Network({"flatten": Flatten(), "fc": Linear(24, 3)}, input_shape=(1, 4, 6), class_names=("a", "b", "c"))
    return net.initialize(3).eval()


def test_the_regions_of_a_linear_network_are_exact(linear):
    x = np.full((1, 1, 4, 6), 0.5, np.float32)
    linear.layer("fc").bias.value[...] = -linear.layer("fc").weight.value.sum(axis=1) / 2  # three regions meet at x
    delta = np.random.default_rng(0).uniform(-0.05, 0.05, x.shape).astype(np.float32)  # no place is cut at 0 or 1
    found = decision_slice(linear, x, x + delta, side=5, seed=4)
    assert found.length == pytest.approx(np.linalg.norm(delta), rel=1e-6)
    nu, steps = across(delta.astype(np.float64), 4), np.linspace(-REACH, REACH, SHOWN)
    places = x + steps[None, :, None, None, None] * delta[0] + steps[::-1, None, None, None, None] * nu[0]
    expected = linear.scores(places.reshape(-1, 1, 4, 6).astype(np.float32)).argmax(axis=1).reshape(SHOWN, SHOWN)
    assert (found.classes == expected).mean() > 0.999  # but for the rounding of scores at a border
    assert len(np.unique(expected)) == 3


def test_the_second_direction_is_as_long_and_at_right_angles():
    delta = np.random.default_rng(0).standard_normal((1, 3, 5, 7))
    nu = across(delta, 1)
    assert np.linalg.norm(nu) == pytest.approx(np.linalg.norm(delta), rel=1e-12)
    assert np.vdot(nu, delta) == pytest.approx(0, abs=1e-12 * float(np.vdot(delta, delta)))
    assert not np.allclose(nu, across(delta, 2))


def test_both_pictures_lie_where_they_are_marked(small, image):
    other = fgsm(small, image, int(small.scores(image).argmax()), 0.2)
    found = decision_slice(small, image, other, side=13)
    middle, right = (SHOWN - 1) // 2, round((SHOWN - 1) * (REACH + 1) / (2 * REACH))
    assert found.classes[middle, middle] == small.scores(image).argmax()
    assert found.classes[middle, right] == small.scores(other).argmax() != small.scores(image).argmax()


def test_the_same_on_every_device_and_progress_is_told(small, image, on):
    other = np.clip(image + 0.1, 0, 1)
    expected = decision_slice(small, image, other, side=5).classes
    on.place(small)
    told = []
    found = decision_slice(
        small, on.upload(image), on.upload(other), side=5, progress=lambda done, count: told.append((done, count))
    )
    assert (found.classes == expected).mean() > 0.99
    assert told[-1] == (25, 25)


def test_the_class_in_the_middle_comes_first_and_what_has_no_colour_is_grey():
    classes = np.full((SHOWN, SHOWN), 50)
    classes[: 20 * len(COLOURS)] = np.arange(len(COLOURS)).repeat(20)[:, None]
    classes[SHOWN // 2, SHOWN // 2] = 77
    colours = colours_of(classes)
    assert list(colours)[:2] == [77, 50] and len(colours) == len(COLOURS)
    picture = draw_slice(Network({"fc": Linear(4, 90)}, input_shape=(1, 2, 2)), Slice(classes, 1.0))
    drawn = {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3).tolist()}
    assert isinstance(picture, Image.Image) and set(colours.values()) - {colours[77]} <= drawn and OTHERS in drawn


def test_two_equal_pictures_are_refused(small, image):
    with pytest.raises(MinicnnError, match="two different pictures"):
        decision_slice(small, image, image)
    with pytest.raises(MinicnnError, match="side 1: expected 2 or more"):
        decision_slice(small, image, image + 0.1, side=1)
