"""Devices by name: "cpu" is NumPy, "cuda" is CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import MinicnnError


def device_module(device: str) -> Any:
    """The array module of a device. Raises MinicnnError that says why a GPU cannot be used."""
    if device == "cpu":
        return np
    if device != "cuda":
        raise MinicnnError(f"device {device!r}: there is cpu, cuda")
    reason = why_no_gpu()
    if reason:
        raise MinicnnError(f"device 'cuda': {reason}")
    import cupy

    return cupy


def why_no_gpu() -> str:
    """Why CuPy cannot compute here, with what to do about it; empty when it can. `import cupy` alone proves nothing."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (pip install 'minicnn[gpu12]' for CUDA 12, 'minicnn[gpu13]' for CUDA 13)"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # a broken driver raises whatever it likes
        return f"the CUDA driver does not answer ({error})"
    return "" if count else "CUDA sees no GPU on this machine"
