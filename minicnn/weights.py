"""Weights in files: safetensors, nothing in which is ever executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint import part
from .errors import MinicnnError
from .files import write_bytes
from .layers import Layer
from .parameter import to_host


def save_weights(net: Layer, path: str | Path, *, dtype: Any = np.float32) -> None:
    """Write parameters and buffers to a safetensors file, float32 or float16; whole or not at all."""
    from safetensors.numpy import save

    tensors = {name: to_host(a).astype(dtype) for name, a in net.state_dict().items()}
    write_bytes(Path(path), save(tensors, metadata={"format": "minicnn weights 1"}))


def load_weights(net: Layer, path: str | Path) -> None:
    """Read a weights file, or the network inside a checkpoint, into a network; float16 becomes float32.

    Raises MinicnnError that names the file, and the tensor where one does not fit.
    """
    tensors = read_tensors(path)
    try:
        net.load_state_dict(part(tensors, "net.") or tensors)
    except MinicnnError as error:
        raise MinicnnError(f"{path}: {error}") from None


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file by its name. Raises MinicnnError for what is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not Path(path).is_file():
        raise MinicnnError(f"{path}: no such weights file")
    try:
        tensors: dict[str, np.ndarray] = load_file(str(path))
    except (OSError, SafetensorError, TypeError, ValueError) as error:  # TypeError: numbers that NumPy lacks, bfloat16
        raise MinicnnError(f"{path}: not a safetensors file that NumPy can read ({error})") from None
    return tensors
