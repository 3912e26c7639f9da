"""The package as it is installed: complete, importable from everywhere, its public names where they should be."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import minicnn
from minicnn.kernels.native import library

from .kernels.levels import needs_native

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("minicnn", "kernels", "models", "experiments")
SUBPACKAGES = ("minicnn.kernels", "minicnn.models", "minicnn.experiments")
BUILT = ("built.json", "*.so")  # by the C compiler, where there is one
PLANTED = (
    "kernels/native/planted.h",
    "kernels/planted/__init__.py",
    "minicnn/planted/deeper/__init__.py",
    "minicnn/planted/__init__.py",
    "models/planted.toml",
    "models/data/planted.txt",
    "models/weights/planted.safetensors",
    "experiments/recipes/planted.toml",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed, with a new file of each kind in it."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", ".*", *BUILT))
    for name in PLANTED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, unpacked, that was built from an unpacked source distribution."""
    pytest.importorskip("setuptools", reason="setuptools builds the package: pip install 'minicnn[test]'")
    folder = tmp_path_factory.mktemp("built")
    build("sdist", checkout, folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    build("wheel", next(path for path in folder.iterdir() if path.is_dir()), folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def build(kind: str, source: Path, target: Path) -> None:
    """Build without an environment of its own, which would have to be downloaded."""
    python("-c", f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})", cwd=source)


def python(*arguments: str, cwd: Path, path: str = "") -> str:
    """What a new Python process prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "CFLAGS": "-O0", "PYTHONPATH": path},  # what is compiled need not be fast here
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path, root: Path) -> set[str]:
    """The files in a folder, as seen from `root`."""
    return {path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_file_of_the_four_folders_is_installed(checkout: Path, wheel: Path) -> None:
    source = {name.removeprefix("minicnn/") for folder in FOLDERS for name in files(checkout / folder, checkout)}
    installed = {name for name in files(wheel / "minicnn", wheel / "minicnn") if not Path(name).match("*.so")}
    installed.remove("kernels/native/built.json")
    assert source == installed  # a file that is missing here is one that DATA in setup.py forgets


@needs_native  # otherwise the compiler that builds the wheel fails as well
def test_a_wheel_brings_the_native_kernels_and_is_for_this_platform_and_any_python(wheel: Path) -> None:
    assert list(wheel.glob("minicnn/kernels/native/baseline.so"))
    (name,) = (path.name for path in wheel.parent.glob("*.whl"))
    assert re.fullmatch(r"minicnn-.*-py3-none-(?!any).*\.whl", name)
    script = "from minicnn.kernels.native import library; print(library.library().level, library.__file__)"
    level, file = python("-c", script, cwd=wheel.parent, path=str(wheel)).split()
    assert level in library.LEVELS and Path(file).is_relative_to(wheel.resolve())


def test_without_a_compiler_the_wheel_is_for_any_platform(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("setuptools", reason="setuptools builds the package: pip install 'minicnn[test]'")
    stale = checkout / "build" / "lib" / "minicnn" / "kernels" / "native" / "baseline.so"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_bytes(b"of an earlier build")
    monkeypatch.setenv("CC", "/bin/false")
    build("wheel", checkout, tmp_path)
    (built,) = tmp_path.glob("minicnn-*-py3-none-any.whl")
    with zipfile.ZipFile(built) as archive:
        assert [name for name in archive.namelist() if name.endswith(".so")] == []
        archive.extractall(tmp_path / "site")
    script = "import numpy, minicnn; print(minicnn.layers.ReLU().forward(numpy.ones((1, 2))))"
    assert python("-c", script, cwd=tmp_path, path=str(tmp_path / "site")) == "[[1. 1.]]\n"


def test_nothing_but_minicnn_is_installed_at_the_top(wheel: Path) -> None:
    assert sorted(path.name.split("-")[0] for path in wheel.iterdir()) == ["minicnn", "minicnn"]  # and its .dist-info


def test_the_version_is_the_same_everywhere(wheel: Path) -> None:
    metadata = message_from_string(next(wheel.glob("*.dist-info/METADATA")).read_text(encoding="utf-8"))
    assert metadata["Version"] == minicnn.__version__


@pytest.mark.parametrize("kind", ["checkout", "wheel"])
def test_subpackages_import_from_another_folder(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place: Path = request.getfixturevalue(kind)
    script = f"import {', '.join(SUBPACKAGES)}; print(*(m.__file__ for m in ({', '.join(SUBPACKAGES)})), sep='\\n')"
    paths = python("-c", script, cwd=tmp_path, path=str(place)).splitlines()
    where = place.resolve() / ("minicnn" if kind == "wheel" else "")
    assert [Path(file).resolve().parent for file in paths] == [where / name.split(".")[1] for name in SUBPACKAGES]


def test_every_public_name_is_found_when_it_is_used() -> None:
    assert all(getattr(minicnn, name) is not None for name in dir(minicnn))


def test_what_the_layers_export_is_public() -> None:
    from minicnn import layers

    assert set(layers.__all__) <= set(dir(minicnn))
    assert all(getattr(minicnn, name) is getattr(layers, name) for name in layers.__all__)


def test_editors_see_the_public_names() -> None:
    tree = ast.parse(Path(minicnn.__file__).read_text(encoding="utf-8"))
    shown = {
        alias.name
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    exported = set(minicnn._NAMES["layers"])  # by `from .layers import *`
    assert shown - {"*"} == {*minicnn._NAMES, *minicnn._MODULE_OF} - exported


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sequental'"):
        minicnn.Sequental  # type: ignore[attr-defined]  # noqa: B018
