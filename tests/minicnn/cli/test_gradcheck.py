"""`minicnn gradcheck` as a person types it: the table, the exit status, files of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minicnn import models
from minicnn.cli import main
from minicnn.layers import registry
from minicnn.layers.activations import ReLU
from minicnn.weights import save_weights

Run = Callable[..., tuple[int, str, str]]

LAYER = """
from minicnn.layers import Example, Layer, register

@register(Example({}, (3, 4)), Example({"factor": 3}, (2,)))
class Cube(Layer):
    def __init__(self, factor=1):
        self.factor = factor

    def compute(self, x, remember):
        return self.factor * x**3, x

    def pullback(self, dy, cache, need_dx, need_dparams):
        return FACTOR * self.factor * cache**2 * dy
"""

EDGE = """
from minicnn.layers import Example, Layer, register

@register(Example({}, (3,)))
class Edge(Layer):
    at = None

    def compute(self, x, remember):
        self.at = x if self.at is None else self.at  # the first x that it sees
        return abs(x - self.at), None

    def pullback(self, dy, cache, need_dx, need_dparams):
        return dy

    def sides(self, x):
        return x > self.at if x.size else x
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a command line: (exit status, what it printed, what it complained of). What it registers is forgotten."""
    monkeypatch.setattr(registry, "_examples", dict(registry._examples))
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    yield command


def test_a_right_network_ends_with_status_0_and_a_row_for_each_layer(run: Run) -> None:
    status, printed, _ = run("gradcheck", "lenet5")
    assert status == 0
    assert "34 of 34 gradients are right" in printed
    for path, _ in models.build("lenet5").layers():
        assert f" {path} " in printed
    assert "WRONG" not in printed


def test_a_wrong_network_ends_with_status_1_and_says_where(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pullback = ReLU.pullback

    def wrong(self: ReLU, *args: Any) -> Any:
        dx: Any = pullback(self, *args)
        return dx * 1.001 if self.path == "relu3" else dx

    monkeypatch.setattr(ReLU, "pullback", wrong)
    status, printed, _ = run("gradcheck", "lenet5", "--batch", 2)
    assert status == 1
    assert "WRONG" in printed
    assert "wrong: relu3 dx: at x(" in printed
    assert "wrong: whole dconv1.weight: a layer inside is wrong already" in printed


def test_a_kink_is_called_a_kink(run: Run, tmp_path: Path) -> None:
    (tmp_path / "edge.py").write_text(EDGE)
    status, printed, _ = run("gradcheck", tmp_path / "edge.py")
    assert status == 1
    assert " kink " in printed and "WRONG" not in printed
    assert "on a kink: Edge dx: a kink at the layer (0, 0) lies within 2e-10; at x(" in printed


def test_weights_of_ones_own_are_checked(run: Run, tmp_path: Path) -> None:
    save_weights(models.build("lenet5", seed=5), tmp_path / "own.safetensors")
    assert run("gradcheck", "lenet5", "--weights", tmp_path / "own.safetensors")[0] == 0
    status, _, complaint = run("gradcheck", "lenet5", "--weights", tmp_path / "none.safetensors")
    assert status == 2 and "none.safetensors" in complaint


def test_the_layers_of_a_file_are_checked(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "cube.py"
    file.write_text(LAYER.replace("FACTOR", "3"))
    status, printed, _ = run("gradcheck", file)
    assert status == 0
    assert "2 of 2 gradients are right" in printed and " Cube 1 " in printed
    assert "Conv2d" not in printed


def test_a_wrong_layer_of_a_file_ends_with_status_1(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "cube.py"
    file.write_text(LAYER.replace("FACTOR", "3.003"))
    status, printed, _ = run("gradcheck", file)
    assert status == 1
    assert "wrong: Cube 2 dx: at x(" in printed and "0 of 2" in printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = 1\n", "registers no layer"),
        ("def f(:\n", "own.py, line 1: "),
        ("import numpy\n\nnumpy.nothing\n", "own.py, line 3: AttributeError"),
        (LAYER.replace("FACTOR", "nowhere"), "own.py, line 13: NameError: name 'nowhere' is not defined"),
        (LAYER.replace("return FACTOR", "FACTOR = 3"), "Cube: backward gave None"),
    ],
)
def test_a_file_that_does_not_work_is_one_line_with_its_place(run: Run, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "own.py").write_text(text)
    status, _, complaint = run("gradcheck", tmp_path / "own.py")
    assert status == 2
    assert words in complaint and complaint.count("\n") == 1


def test_a_file_that_is_not_there_and_an_unknown_model_are_said(run: Run) -> None:
    assert run("gradcheck", "nowhere.py")[2] == "minicnn: nowhere.py: no such file\n"
    status, _, complaint = run("gradcheck", "lenet")
    assert status == 2 and "did you mean 'lenet5'" in complaint


def test_a_negative_seed_is_refused(run: Run) -> None:
    status, _, complaint = run("gradcheck", "lenet5", "--seed", -1)
    assert status == 2 and "--seed" in complaint


def test_without_a_name_every_layer_is_checked(run: Run) -> None:
    status, printed, _ = run("gradcheck")
    assert status == 0
    for layer in registry.registered():
        assert f" {layer.__name__} 1" in printed
