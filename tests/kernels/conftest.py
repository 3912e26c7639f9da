"""Fixtures of the kernels' tests: each family in turn, and the oracles, which are skipped where they are missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn.kernels.native import library

from ..devices import DEVICES, KernelsOn, device
from .levels import Native, kernels_at
from .oracles import FAMILIES, SINGLE, TOLERANCE, family


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The native kernels compute in float32: what is asked of them is asked in it."""

    def in_vain(item: pytest.Item) -> bool:
        params: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        return params.get("ops") == "native" and params.get("dtype") == "float64"

    items[:] = [item for item in items if not in_vain(item)]


@pytest.fixture(params=[*FAMILIES, *DEVICES[1:]])
def ops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A family of kernels, as a module; or the array kernels on another device, called with host arrays."""
    if request.param not in FAMILIES:
        return KernelsOn(device(request.param))
    kernels = family(request.param)
    if isinstance(kernels, Native):  # computes in float32 whatever it is given
        monkeypatch.setitem(TOLERANCE, np.dtype(np.float64), SINGLE)
    return kernels


@pytest.fixture(params=library.LEVELS)
def native(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The native kernels at one level, on two threads."""
    kernels = kernels_at(request.param)
    kernels.set_threads(2)
    yield kernels
    kernels.set_threads(library.default_threads())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def onnx_case() -> Callable[[str], tuple[dict[str, Any], list[np.ndarray], list[np.ndarray]]]:
    """name -> attributes, inputs, outputs of ONNX's published test of that name for one node."""
    onnx = pytest.importorskip("onnx", reason="onnx is the oracle here: pip install 'minicnn[oracles]'")
    from onnx.backend.test.case.node import collect_testcases
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases of other operations overflows on purpose
        cases = collect_testcases(None)
    single = {case.name: case for case in cases if len(case.model.graph.node) == 1}
    converted = {case.name: case for case in load_model_tests(kind="pytorch-converted")}

    def load(name: str) -> tuple[dict[str, Any], list[np.ndarray], list[np.ndarray]]:
        if name in single:
            (inputs, outputs), model = single[name].data_sets[0], single[name].model
        else:
            inputs, outputs, model = read_folder(onnx, converted[name].model_dir)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in model.graph.node[0].attribute}
        return attributes, inputs, outputs

    return load


def read_folder(onnx: Any, folder: str) -> tuple[list[np.ndarray], list[np.ndarray], Any]:
    """Inputs (with the weights after them), outputs and model of a case of one node that is stored in a folder."""
    model = onnx.load(Path(folder, "model.onnx"))
    assert len(model.graph.node) == 1

    def tensors(kind: str) -> list[np.ndarray]:
        files = sorted(Path(folder, "test_data_set_0").glob(f"{kind}_*.pb"))
        return [onnx.numpy_helper.to_array(onnx.load_tensor(str(file))) for file in files]

    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    return [*tensors("input"), *(weights[name] for name in model.graph.node[0].input[1:])], tensors("output"), model
