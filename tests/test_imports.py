"""Imports point one way, kernels ← minicnn ← models ← experiments, and importing the package takes no time."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("kernels", "minicnn", "models", "experiments")  # each may import those before it
FOLDERS = (*LAYERS, "benchmarks", "docs", "tests")
TOP = LAYERS.index("experiments")
REACH_DOWN = ("minicnn.cli", "minicnn.__main__")  # may import everything, and only the experiments may import them


def dotted(path: Path) -> str:
    """The installed name of a file: kernels/array/conv.py is minicnn.kernels.array.conv."""
    parts = path.with_suffix("").parts
    return ".".join(("minicnn", *parts) if parts[0] in ("kernels", "models", "experiments") else parts)


def rank(name: str) -> int:
    """The place of an installed name in LAYERS; of what may reach down, the last place; of other packages, -1."""
    if any(f"{name}.".startswith(f"{free}.") for free in REACH_DOWN) or name == "minicnn.__init__":
        return TOP
    first, second, *_ = (*name.split("."), "")
    if first != "minicnn":
        return -1
    return LAYERS.index(second) if second in LAYERS else LAYERS.index("minicnn")


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of all that a file of `package` imports, wherever in the file, or looks up in minicnn."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:  # `from .. import models` imports the module minicnn.models
                submodule = f"{module}.{alias.name}"
                yield node.lineno, submodule if module == "minicnn" else module
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "minicnn":
            yield node.lineno, f"minicnn.{node.attr}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                anchor = node.args[1] if len(node.args) > 1 else None  # of a relative name
                start = str(anchor.value) if isinstance(anchor, ast.Constant) else package
                yield node.lineno, resolve_name(str(node.args[0].value), start)


def violations(root: Path) -> list[str]:
    """What is imported against the rule, as FILE:LINE: NAME, in all Python files of a project."""
    found = []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        relative = path.relative_to(root)
        name = dotted(relative)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(relative))
        for line, target in imported(tree, name.rpartition(".")[0]):
            top_level = target.partition(".")[0] in ("kernels", "models", "experiments")
            if top_level or rank(target) > rank(name) >= 0:
                found.append(f"{relative.as_posix()}:{line}: {target}")
    return found


def test_no_file_imports_against_the_direction() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("kernels/array/conv.py", "import minicnn"),
        ("kernels/array/conv.py", "from ...errors import MinicnnError"),
        ("kernels/backend.py", "from .. import layers"),
        ("minicnn/training.py", "from . import models"),
        ("minicnn/training.py", "from .models.lenet import lenet5"),
        ("minicnn/layers/conv.py", "def build():\n    from minicnn.models import build"),
        ("minicnn/training.py", "import minicnn\nnet = minicnn.models.build('lenet5')"),
        ("minicnn/layers/conv.py", "import importlib\nimportlib.import_module('.models', 'minicnn')"),
        ("minicnn/training.py", "from .cli import app"),
        ("models/lenet.py", "from ..experiments import demo"),
        ("models/lenet.py", "import minicnn.cli.app as app"),
        ("experiments/demo.py", "import models"),
        ("minicnn/cli/app.py", "from kernels.array import conv2d_forward"),
        ("tests/models/test_lenet.py", "from models.lenet import lenet5"),
        ("benchmarks/conv.py", "import experiments.demo"),
    ],
)
def test_an_import_against_the_direction_is_found(tmp_path: Path, file: str, line: str) -> None:
    plant(tmp_path, file, line)
    assert [violation.split(":")[0] for violation in violations(tmp_path)] == [file]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("kernels/array/conv.py", "from ..backend import Array\nfrom .products import channel_sum\nimport numpy as np"),
        ("minicnn/layers/conv.py", "from .. import kernels\nfrom ..kernels.backend import Array"),
        ("models/lenet.py", "from minicnn.layers import Conv2d\nfrom .. import initialization\nimport minicnn"),
        ("experiments/demo.py", "from minicnn.models import build\nfrom minicnn.cli import console"),
        ("minicnn/cli/app.py", "from .. import experiments, models"),
        ("minicnn/__init__.py", "from . import experiments, kernels, models"),
        ("tests/kernels/test_conv.py", "from .oracles import FAMILIES\nfrom minicnn import experiments, kernels"),
    ],
)
def test_an_import_in_the_direction_is_left_alone(tmp_path: Path, file: str, line: str) -> None:
    plant(tmp_path, file, line)
    assert violations(tmp_path) == []


def plant(root: Path, file: str, text: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def test_importing_minicnn_loads_nothing_else() -> None:
    loaded = run("before = set(sys.modules); import minicnn; names = set(sys.modules) - before")
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"minicnn"}


@pytest.mark.skipif(find_spec("minicnn.cli") is None, reason="there is no minicnn.cli yet")
def test_the_help_of_the_command_line_loads_no_numpy() -> None:
    loaded = run(
        "sys.argv = ['minicnn', '--help']",
        "from minicnn.cli import main",
        "try: main()",
        "except SystemExit as done: assert not done.code, done.code",
        "names = set(sys.modules)",
    )
    slow = {"PIL", "cupy", "matplotlib", "numpy", "safetensors", "scipy", "sklearn", "torch"}
    assert slow & loaded == set()


def run(*code: str) -> set[str]:
    """The set `names` after running some lines of Python in a new process."""
    script = "\n".join(("import sys", *code, "print('', *sorted(names))"))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())
