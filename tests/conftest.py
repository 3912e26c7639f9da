"""What all tests share: where the real data lie, how hypothesis draws its examples, `--layers` for one's own layers."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Few examples, so that the whole suite stays short; in CI the same ones each time.
settings.register_profile("minicnn", max_examples=25, deadline=None, derandomize="CI" in os.environ)
settings.load_profile("minicnn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--layers", metavar="FILE.py", help="run this file first: the layers that it registers are tested")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--layers")
    if not file:
        return
    spec = importlib.util.spec_from_file_location(Path(file).stem, file) if Path(file).is_file() else None
    if spec is None or spec.loader is None:
        raise pytest.UsageError(f"--layers {file}: expected a Python file")
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The first folder of MINICNN_DATA that exists. Skips the test where there is none."""
    folders = [Path(folder) for folder in os.environ.get("MINICNN_DATA", "").split(os.pathsep) if folder]
    for folder in folders:
        if folder.is_dir():
            return folder
    pytest.skip("no real data: MINICNN_DATA names no folder that exists")


@pytest.fixture(scope="session")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is the oracle here: pip install 'minicnn[oracles]'")


@pytest.fixture(scope="session")
def torchvision(torch: Any) -> Iterator[Any]:
    """torchvision, also where its compiled part does not load, which its networks do not need."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is the oracle here: pip install 'minicnn[oracles]'")
    library = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it cannot read pictures
        try:
            module = importlib.import_module("torchvision")
        except RuntimeError:  # two operators are missing that it looks for when it is imported
            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}() -> ()")
            module = importlib.import_module("torchvision")
    yield module
    del library  # with it go the operators


@pytest.fixture
def asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """MINICNN_KERNELS is looked at once a process: within the test each time."""
    from minicnn import kernels

    monkeypatch.setattr(kernels, "usual_family", kernels.usual_family.__wrapped__)
