"""`minicnn exercise LAYER`: a copy of its kernels with an empty backward pass, which the gradient check grades.

The copy keeps what the layer runs, and takes away the answer: the bodies of the backward functions, what only they
call, and the lines of the explanation that say what dx is.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeGuard

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from .. import kernels
from ..errors import MinicnnError, nearest
from ..files import make_folder, write_bytes
from ..gradcheck import Report, check_gradients
from ..kernels.backend import Array
from ..layers import Example, Layer, Remember, Shape, registered
from .gradcheck import WRONG, show
from .own_code import load_file, what_went_wrong


class SoftmaxCrossEntropy(Layer):
    """The loss as a layer: scores (N, K) -> its value (1,), for the targets 0, 1, … in turn."""

    ndim = 2

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        targets = np.arange(x.shape[0]) % x.shape[1]
        loss, cache = kernels.softmax_cross_entropy_forward(
            x, targets, label_smoothing=self.label_smoothing, remember=remember
        )
        return loss.reshape(1), cache

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.softmax_cross_entropy_backward(dy[0], cache)

    def output_shape(self, input_shape: Shape) -> Shape:
        return ()


FAMILIES = ("reference", "array")  # those that people read

DERIVATIVE = re.compile(r"∂|\bd[a-zA-Zγβ](_\w+|gamma|beta|logits)?\b")

LOSS = {SoftmaxCrossEntropy: (Example({}, (4,)), Example({"label_smoothing": 0.2}, (3,)))}


def command(
    layer: Annotated[str | None, typer.Argument(help="A layer's name; without one, the list of exercises.")] = None,
    family: Annotated[str, typer.Option("--family", help="reference: loops. array: matrix products.")] = "reference",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the exercise's file.")] = Path("."),
    restart: Annotated[bool, typer.Option("--restart", help="Replace your file by a new, empty one.")] = False,
) -> None:
    """Write a backward pass yourself and have it graded.

    The first call writes exercise_LAYER.py; fill in its backward function. The next call runs your file and compares
    your gradients with differences. Status 1: something is wrong yet.
    """
    if layer is None:
        Console().print(exercises())
        print("minicnn exercise LAYER writes one; the same command again grades it.")
        return
    chosen, examples = find(layer)
    if family not in FAMILIES:
        raise MinicnnError(f"--family {family}: there is {', '.join(FAMILIES)}")
    name = chosen.__name__.lower()
    path = make_folder(out) / (f"exercise_{name}.py" if family == "reference" else f"exercise_{name}_{family}.py")
    ops = ops_of(chosen, examples)
    written = [op for op in ops if op.endswith("_backward")]
    if path.exists() and not restart:
        grade(path, chosen, examples, ops)
        return
    text = blank(kernels.family(family), ops, f"{name} --family {family}" if family != "reference" else name)
    write_bytes(path, text.encode())
    print(f"{path}: write {' and '.join(written)}, then run the same command again to have it graded")


def exercises() -> Table:
    """The layers with a kernel of their own."""
    table = Table("layer", "to write", title="Exercises", title_justify="left")
    for layer, examples in (registered() | LOSS).items():
        written = [op for op in ops_of(layer, examples) if op.endswith("_backward")]
        if written:
            table.add_row(layer.__name__.lower(), ", ".join(written))
    return table


def find(name: str) -> tuple[type[Layer], tuple[Example, ...]]:
    """A layer that can be exercised, by its name in any case, and its examples."""
    known = {layer.__name__.lower(): (layer, examples) for layer, examples in (registered() | LOSS).items()}
    if name.lower() not in known:
        raise MinicnnError(f"no layer {name!r}{nearest(name.lower(), known)}")
    layer, examples = known[name.lower()]
    if not any(op.endswith("_backward") for op in ops_of(layer, examples)):
        raise MinicnnError(f"{layer.__name__} has no kernel to write; `minicnn exercise` lists those that have one")
    return layer, examples


class Recorder(ModuleType):
    """A family of kernels that is the array family, and notes which operations are called."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.ops: dict[str, None] = {}

    def __getattr__(self, op: str) -> Any:
        function = getattr(kernels.family("array"), op)
        self.ops[op] = None
        return function


def ops_of(layer: type[Layer], examples: tuple[Example, ...]) -> list[str]:
    """The kernels that a layer runs, forward and backward; `turn`, at its border, is not the layer's own."""
    recorder = Recorder()
    with kernels.using(recorder):
        for example in examples:
            built = example.build(layer)
            if not built.children():
                built.backward(built.forward(np.ones((2, *example.input_shape), np.float32)))
    return [op for op in recorder.ops if op != "turn"]


# Writing ------------------------------------------------------------------------------------------------------------


def blank(family: ModuleType, ops: list[str], arguments: str) -> str:
    """The file of the kernels `ops` in a family, without the answer."""
    module = inspect.getmodule(getattr(family, ops[0]))
    assert module is not None and module.__package__ is not None
    source = inspect.getsource(module)
    tree, lines = ast.parse(source), source.splitlines()
    needed = reachable(tree, ops)
    for node in reversed(tree.body):  # from the end, so that the line numbers before it stay true
        first, last = node.lineno - 1, node.end_lineno
        if defined(node) and not defined(node) & needed:
            while not lines[first - 1]:
                first -= 1
            lines[first:last] = []
        elif isinstance(node, ast.ImportFrom) and node.level:
            relative = "." * node.level + (node.module or "")
            lines[first] = lines[first].replace(relative, resolve_name(relative, module.__package__), 1)
        elif is_backward(node):
            lines[first:last] = emptied(node, lines)
    names = [op for op in ops if op.endswith("_backward")]
    head = ['"""Exercise: write', "", *(f"    {name}" for name in names), "", "and have it graded by", ""]
    head += [f"    minicnn exercise {arguments}", "", *without_answers(ast.get_docstring(tree) or ""), '"""']
    return "\n".join([*head, *lines[tree.body[0].end_lineno :]]) + "\n"


def is_backward(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    return isinstance(node, ast.FunctionDef) and node.name.endswith("_backward")


def emptied(node: ast.FunctionDef, lines: list[str]) -> list[str]:
    """The lines of a backward function with nothing in it but its description and what it finds in the cache."""
    described = lines[node.lineno - 1 : node.body[0].end_lineno]
    found = [line for part in unpacking(node) for line in lines[part.lineno - 1 : part.end_lineno]]
    return [*described, *found, f'    raise NotImplementedError("{node.name}: write it here")']


def unpacking(node: ast.FunctionDef) -> list[ast.stmt]:
    """The statements that take the cache apart."""
    return [
        part
        for part in node.body
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Name) and part.value.id == "cache"
    ]


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement at the top level defines, imports aside."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def reachable(tree: ast.Module, ops: list[str]) -> set[str]:
    """The names at the top level that these operations use, once the backward ones are empty."""
    uses: dict[str, set[str]] = {}
    for node in tree.body:
        parts = [node.args, *filter(None, [node.returns]), *unpacking(node)] if is_backward(node) else [node]
        used = {n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)}
        uses |= dict.fromkeys(defined(node), used)
    found: set[str] = set()
    ahead = set(ops)
    while ahead:
        found |= ahead
        ahead = {name for known in ahead for name in uses.get(known, set()) & uses.keys()} - found
    return found


def without_answers(explanation: str) -> Iterator[str]:
    """The lines of a kernel's explanation; of a formula, what stands before its first derivative."""
    hidden = False
    for line in explanation.splitlines():
        answer = DERIVATIVE.search(line) if line.startswith("    ") else None
        goes_on = hidden and line.strip().startswith("=")  # the next line of an answer
        if answer and not goes_on:
            before = line[: answer.start()].rstrip()
            if before or not hidden:
                yield (before or "   ") + " …"
        elif not goes_on:
            yield line
        hidden = bool(answer) or goes_on


# Grading --------------------------------------------------------------------------------------------------------------


def grade(path: Path, layer: type[Layer], examples: tuple[Example, ...], ops: list[str]) -> None:
    """Run the learner's file, check the layer's gradients with its kernels, and print what is right and what is not."""
    module = load_file(path)
    missing = [op for op in ops if not hasattr(module, op)]
    if missing:
        raise MinicnnError(f"{path}: {missing[0]} is missing; --restart writes the file anew")
    report = Report()
    for number, example in enumerate(examples, 1):
        name = f"{layer.__name__} {number}"
        try:
            with kernels.using(module):
                one = check_gradients(example.build(layer), example.input_shape)
        except Exception as error:
            print(f"wrong: {name}: {what_went_wrong(error, path)}")
            raise typer.Exit(WRONG) from None
        report.checks += [replace(check, layer=name) for check in one.checks]
    show(report, title=path.name)
    if not report:
        print("Places are counted (N, C, H, W); a kernel gets them as (N, H, W, C).")
        raise typer.Exit(WRONG)
    answer = inspect.getsourcefile(getattr(kernels.family("reference"), ops[0]))
    print(f"right: every gradient agrees with its difference. Compare yours with {answer}")
