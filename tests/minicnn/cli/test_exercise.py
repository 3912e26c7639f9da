"""`minicnn exercise`: the answer is taken away, the learner's file is graded and never lost."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from minicnn import kernels
from minicnn.cli import exercise, main
from minicnn.layers import registered

Run = Callable[..., tuple[int, str, str]]

EXERCISED = {
    layer: [op for op in exercise.ops_of(layer, examples) if op.endswith("_backward")]
    for layer, examples in (registered() | exercise.LOSS).items()
    if layer.__module__.startswith("minicnn.")
}
EXERCISED = {layer: ops for layer, ops in EXERCISED.items() if ops}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command line in an empty folder: (exit status, what it printed, what it complained of)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return command


def answer(path: Path, family: str, ops: list[str], change: str = "") -> None:
    """Write the right backward functions at the end of a learner's file, or functions that `change` what they give."""
    lines = [f"from minicnn.kernels.{family} import {', '.join(ops)}"]
    if change:
        lines += [f"right = {ops[0]}", f"def {ops[0]}(*args, **options):", "    d = right(*args, **options)"]
        lines += ["    dx = d[0] if isinstance(d, tuple) else d", f"    {change}", "    return d"]
    path.write_text(path.read_text(encoding="utf-8") + "\n" + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("family", exercise.FAMILIES)
@pytest.mark.parametrize("layer", EXERCISED, ids=lambda layer: layer.__name__)
def test_an_exercise_is_empty_then_wrong_then_right(run: Run, layer: type, family: str) -> None:
    name, ops = layer.__name__.lower(), EXERCISED[layer]
    file = Path(f"exercise_{name}.py" if family == "reference" else f"exercise_{name}_{family}.py")
    arguments = ["exercise", name, *(["--family", family] if family != "reference" else [])]
    assert run(*arguments)[0] == 0
    written = file.read_text(encoding="utf-8")

    status, printed, _ = run(*arguments)
    line = 1 + written[: written.index("raise NotImplementedError")].count("\n")
    assert status == 1
    assert printed == f"wrong: {layer.__name__} 1: {file}, line {line}: NotImplementedError: {ops[0]}: write it here\n"
    assert file.read_text(encoding="utf-8") == written

    answer(file, family, ops, change="dx *= 1.001")
    status, printed, _ = run(*arguments)
    assert status == 1
    assert f"wrong: {layer.__name__} 1 dx: at x(" in printed

    answer(file, family, ops)
    status, printed, _ = run(*arguments)
    assert status == 0, printed
    assert "right: every gradient agrees" in printed


@pytest.mark.parametrize("family", exercise.FAMILIES)
@pytest.mark.parametrize("layer", EXERCISED, ids=lambda layer: layer.__name__)
def test_the_answer_is_nowhere_in_the_file(layer: type, family: str) -> None:
    examples = (registered() | exercise.LOSS)[layer]
    text = exercise.blank(kernels.family(family), exercise.ops_of(layer, examples), layer.__name__.lower())
    tree = ast.parse(text)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {name for name in functions if name.endswith("_backward")} == set(EXERCISED[layer])
    for name in EXERCISED[layer]:
        assert ast.get_docstring(functions[name])
        assert isinstance(functions[name].body[-1], ast.Raise)
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in functions.keys() - called:
        assert re.search("_(forward|backward)$|^batch_moments$", name), f"only the answer needs {name}"
    formulas = [line for line in (ast.get_docstring(tree) or "").splitlines() if line.startswith("    ")]
    assert not [line for line in formulas if re.search(r"d[xwb]\S* +=|∂", line)]


def test_the_explanation_keeps_the_forward_formula_and_hides_the_derivation() -> None:
    text = "Title.\n\n    y = x²        dx = 2x · dy\n\nSo:\n\n    dx  = dy · ∂y/∂x\n        = dy · 2x\n\nEnd."
    assert "\n".join(exercise.without_answers(text)) == "Title.\n\n    y = x² …\n\nSo:\n\n    …\n\nEnd."


def test_the_learners_file_is_kept_unless_restart_is_given(run: Run) -> None:
    run("exercise", "relu")
    file = Path("exercise_relu.py")
    file.write_text("mine = 1\n")
    status, _, complaint = run("exercise", "relu")
    assert status == 2 and "relu_forward is missing; --restart" in complaint
    assert file.read_text() == "mine = 1\n"
    assert run("exercise", "relu", "--restart")[0] == 0
    assert "def relu_backward" in file.read_text(encoding="utf-8")


def test_an_error_in_the_learners_file_is_one_line_with_its_place(run: Run) -> None:
    run("exercise", "tanh")
    file = Path("exercise_tanh.py")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('raise NotImplementedError("tanh_backward: write it here")', "return dy * slope"))
    status, printed, _ = run("exercise", "tanh")
    assert status == 1
    assert re.match(r"wrong: Tanh 1: exercise_tanh.py, line \d+: NameError: name 'slope' is not defined\n$", printed)
    file.write_text(text + "def f(:\n")
    status, _, complaint = run("exercise", "tanh")
    assert status == 2
    assert complaint.startswith(f"minicnn: exercise_tanh.py, line {text.count(chr(10)) + 1}: ")


def test_a_dx_of_another_shape_is_wrong(run: Run) -> None:
    run("exercise", "tanh")
    file = Path("exercise_tanh.py")
    file.write_text(file.read_text(encoding="utf-8") + "def tanh_backward(dy, cache):\n    return dy[:1]\n")
    status, printed, _ = run("exercise", "tanh")
    assert status == 1
    assert "backward gave shape (1, 3, 4, 5), expected dx of shape (3, 3, 4, 5)" in printed


def test_without_a_layer_the_exercises_are_listed(run: Run) -> None:
    status, printed, _ = run("exercise")
    assert status == 0
    for layer, ops in EXERCISED.items():
        assert layer.__name__.lower() in printed and ops[0] in printed
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["conv3d"], "no layer 'conv3d'; did you mean 'conv2d'"),
        (["flatten"], "Flatten has no kernel to write"),
        (["relu", "--family", "fortran"], "--family fortran: there is reference, array"),
        (["relu", "--family", "native"], "--family native: there is reference, array"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: list[str], words: str) -> None:
    status, _, complaint = run("exercise", *arguments)
    assert status == 2
    assert words in complaint and complaint.count("\n") == 1
    assert not list(Path().iterdir())
