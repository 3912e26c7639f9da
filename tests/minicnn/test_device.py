"""Devices by name."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from minicnn.device import device_module, why_no_gpu
from minicnn.errors import MinicnnError
from minicnn.kernels.backend import get_array_module
from minicnn.layers import Linear


def test_the_host_is_numpy() -> None:
    assert device_module("cpu") is np
    assert Linear(2, 2).initialize(0).to("cpu").parameters()[0].value.dtype == np.float32


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(MinicnnError, match="device 'gpu': there is cpu, cuda"):
        Linear(2, 2).to("gpu")


def fake_cupy(monkeypatch: pytest.MonkeyPatch, count: object) -> None:
    """An importable CuPy whose driver answers so."""

    def device_count() -> object:
        if isinstance(count, Exception):
            raise count
        return count

    cupy = types.ModuleType("cupy")
    runtime = types.SimpleNamespace(getDeviceCount=device_count)
    cupy.cuda = types.SimpleNamespace(runtime=runtime)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_no_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MinicnnError, match=r"device 'cuda': CuPy is not installed \(pip install 'minicnn\[gpu12\]'"):
        device_module("cuda")


@pytest.mark.parametrize(
    ("count", "message"), [(0, "CUDA sees no GPU"), (RuntimeError("no driver"), r"does not answer \(no driver\)")]
)
def test_a_cupy_without_a_gpu_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, count: object, message: str
) -> None:
    fake_cupy(monkeypatch, count)
    with pytest.raises(MinicnnError, match=message):
        device_module("cuda")


def test_a_gpu_is_cupys(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch, 1)
    assert why_no_gpu() == ""
    assert device_module("cuda") is sys.modules["cupy"]


def test_what_is_no_array_is_refused() -> None:
    for wrong in ([1.0], 1.0, None):
        with pytest.raises(TypeError, match="expected a NumPy or CuPy array"):
            get_array_module(wrong)
    assert get_array_module(np.float32(1)) is np
