"""`pytest tests/contracts --layers FILE.py`: a layer of one's own is held to every contract, and faults are found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = """
from minicnn.kernels.backend import get_array_module
from minicnn.layers import Example, Layer, register


class Square(Layer):
    def compute(self, x, remember):
        return x * x, x

    def pullback(self, dy, cache, need_dx, need_dparams):
        return 2 * cache * dy

    def memory(self, input_shape):
        size = 4
        for n in input_shape:
            size *= n
        return size


@register(Example({}, (3, 4, 5)), Example({}, (2, 3)))
class Good(Square):
    pass


@register(Example({}, (3, 4, 5)))
class WritesToDy(Square):
    def pullback(self, dy, cache, need_dx, need_dparams):
        dy *= 2 * cache
        return dy


@register(Example({}, (3, 4, 5)))
class OffByAThousandth(Square):
    def pullback(self, dy, cache, need_dx, need_dparams):
        return 2.002 * cache * dy


@register(Example({}, (3, 4, 5)))
class AlwaysDouble(Square):
    def compute(self, x, remember):
        return (x * x).astype("float64"), x


@register(Example({}, (3, 4, 5)))
class WaitsForTheDevice(Square):
    def compute(self, x, remember):
        return x * x if float(x.sum()) else x * x, x


@register(Example({}, (3, 4, 5)))
class KeepsTwice(Square):
    def compute(self, x, remember):
        return x * x, (x, x + 0)

    def pullback(self, dy, cache, need_dx, need_dparams):
        return 2 * cache[0] * dy


@register(Example({}, (3, 4, 5)))
class ChangesTheShape(Square):
    def output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)


@register(Example({}, (3, 4, 5)))
class Accumulates(Square):
    total = 0

    def compute(self, x, remember):
        Accumulates.total += 1
        return x * x + Accumulates.total, x
"""

FOUND_BY = {
    "WritesToDy": "test_no_argument_is_changed",
    "OffByAThousandth": "test_the_gradients_are_the_derivatives",
    "AlwaysDouble": "test_dtype_and_shapes_are_kept",
    "WaitsForTheDevice": "test_another_array_library_computes_the_same",
    "KeepsTwice": "test_memory_is_what_is_kept",
    "ChangesTheShape": "test_dtype_and_shapes_are_kept",
    "Accumulates": "test_the_same_passes_twice_give_the_same_bits",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """{layer: the tests that failed} of one run over the layers above."""
    file = tmp_path_factory.mktemp("own") / "own_layers.py"
    file.write_text(LAYERS, encoding="utf-8")
    names = ["Good", *FOUND_BY]
    only = " or ".join(f"{name}-" for name in names)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rA", "-p", "no:cacheprovider"]
    command += ["tests/contracts/test_layers.py", "--layers", str(file), "-k", only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    ended = re.findall(r"^(PASSED|FAILED) \S+::(\w+)\[.*?(\w+)-\d", done.stdout, re.MULTILINE)
    assert ended, done.stdout + done.stderr
    assert {layer for _, _, layer in ended} == set(names)
    return {name: {test for how, test, layer in ended if layer == name and how == "FAILED"} for name in names}


def test_a_right_layer_passes_everything(outcomes: dict[str, set[str]]) -> None:
    assert outcomes["Good"] == set()


@pytest.mark.parametrize("layer", FOUND_BY)
def test_a_wrong_layer_is_found_by_the_contract_that_it_breaks(outcomes: dict[str, set[str]], layer: str) -> None:
    assert FOUND_BY[layer] in outcomes[layer]


def test_a_missing_file_is_said_in_one_line() -> None:
    command = [sys.executable, "-m", "pytest", "tests/contracts", "--layers", "nowhere.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --layers nowhere.py: expected a Python file" in done.stderr
