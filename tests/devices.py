"""The array libraries that the tests run over: NumPy, the device-strict stand-in, and CuPy where there is a GPU."""

from __future__ import annotations

import functools
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import numpy as np
import pytest

from minicnn.device import why_no_gpu
from minicnn.kernels import array as array_kernels
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


class KernelsOn:
    """The array kernels on a device, for tests that know host arrays only.

    Every argument is uploaded and the results come back; what a kernel writes to an argument comes back as well.
    """

    def __init__(self, device: Device) -> None:
        self.device = device

    def __getattr__(self, op: str) -> Any:
        kernel = getattr(array_kernels, op)
        return functools.partial(self.call, kernel) if callable(kernel) else kernel

    def call(self, kernel: Any, *args: Any, **options: Any) -> Any:
        out = options.pop("out", ())
        here = [*args, *options.values(), *out]
        there = [self.device.upload(a) if isinstance(a, np.ndarray) else a for a in here]
        given = iter(there)
        positional, named = list(islice(given, len(args))), dict(zip(options, given, strict=False))
        result = kernel(*positional, **named, **({"out": tuple(given)} if out else {}))
        for a, uploaded in zip(here, there, strict=True):
            if isinstance(a, np.ndarray) and a.tobytes() != (now := self.device.download(uploaded)).tobytes():
                a[...] = now
        return tuple(map(self.back, result)) if type(result) is tuple else self.back(result)

    def back(self, value: Any) -> Any:
        return self.device.download(value) if isinstance(value, self.device.xp.ndarray) else value


def device(name: str) -> Device:
    """By the names of DEVICES."""
    if name == "cupy":
        import cupy

        return Device(name, cupy)
    return Device(name, {"numpy": np, "strict": strict}[name])


DEVICES: list[Any] = ["numpy", "strict"]
if not why_no_gpu():
    DEVICES.append(pytest.param("cupy", marks=pytest.mark.gpu))
