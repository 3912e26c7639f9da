"""Curves of training runs: the same bytes each time, and nothing drawn that is not there."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import pictures
from minicnn.curves import COLOURS, compared_curves, training_curves
from minicnn.errors import MinicnnError

HISTORY = [
    {"epoch": i, "train_loss": 2.0 / i**2, "test_loss": 2.1 / i**2, "train_accuracy": 1 - 0.5 / i, "test_accuracy": 0.5}
    for i in range(1, 8)
]


def test_the_same_history_gives_the_same_bytes_whatever_the_user_set(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    pictures.save_png(tmp_path / "a.png", training_curves(HISTORY))
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        pictures.save_png(tmp_path / "b.png", training_curves(HISTORY))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"matplotlib" not in (tmp_path / "a.png").read_bytes().lower()


def test_a_history_without_accuracy_has_one_panel_and_gaps_are_left_out():
    pytest.importorskip("matplotlib")
    two = training_curves(HISTORY[:2])
    one = training_curves([{"train_loss": 1.0}, {"train_loss": float("nan"), "test_loss": None}])
    assert one.height == two.height and one.width == two.width / 2


def test_fooled_pictures_have_a_line_of_their_own():
    pytest.importorskip("matplotlib")
    plain, more = training_curves(HISTORY), training_curves([{**h, "fooled_accuracy": 0.2} for h in HISTORY])
    orange = tuple(bytes.fromhex("b4530a"))
    assert not (np.asarray(plain) == orange).all(axis=2).any() and (np.asarray(more) == orange).all(axis=2).any()


def test_an_empty_history_is_an_error():
    with pytest.raises(MinicnnError, match="expected a history with losses or accuracies"):
        training_curves([{"epoch": 1}])


def test_each_run_has_a_line_of_its_own_in_both_diagrams():
    pytest.importorskip("matplotlib")
    names = ["plain20", "plain56", "resnet20", "resnet56"]
    drawn = compared_curves(dict.fromkeys(names, HISTORY)).convert("RGB")
    left, right = (drawn.crop((x, 0, x + drawn.width // 2, drawn.height)) for x in (0, drawn.width // 2))
    for colour in COLOURS[: len(names)]:
        rgb = tuple(bytes.fromhex(colour[1:]))
        assert all((np.asarray(half) == rgb).all(axis=2).any() for half in (left, right))
