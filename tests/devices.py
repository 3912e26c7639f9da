"""The array libraries that the tests run over: NumPy, the device-strict stand-in, and CuPy where there is a GPU."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar
from unittest import mock

import numpy as np
import pytest

from minicnn.device import why_no_gpu
from minicnn.layers import Layer

from .strict import strict

L = TypeVar("L", bound=Layer)


class Device(NamedTuple):
    """An array library, and the ways to it and back."""

    name: str
    xp: Any

    def upload(self, a: np.ndarray) -> Any:
        """A host array as an array of this library, in the same order of memory."""
        return a if self.xp is np else self.xp.asarray(a)

    def download(self, a: Any) -> np.ndarray:
        return np.asarray(a) if self.xp is np else self.xp.asnumpy(a)

    def place(self, layer: L) -> L:
        """The layer, its parameters and buffers now there."""
        with mock.patch("minicnn.device.device_module", return_value=self.xp):
            layer.to(self.name)
        return layer


def device(name: str) -> Device:
    """By the names of DEVICES."""
    if name == "cupy":
        import cupy

        return Device(name, cupy)
    return Device(name, {"numpy": np, "strict": strict}[name])


GPU = (pytest.mark.gpu, pytest.mark.skipif(bool(why_no_gpu()), reason=why_no_gpu() or "there is a GPU"))
DEVICES = ["numpy", "strict", pytest.param("cupy", marks=GPU)]
