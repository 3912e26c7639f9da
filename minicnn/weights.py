"""Weights in files: safetensors, nothing in which is ever executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import checkpoint
from .errors import MinicnnError
from .files import write_bytes
from .layers import Layer
from .network import Network
from .parameter import to_host

FORMAT = "minicnn weights 1"  # the only key of the file's metadata: safetensors writes several in any order


@dataclass(frozen=True)
class Classes:
    """What a weights file says of the network's classes: their number, and their names where they are known."""

    number: int
    names: tuple[str, ...] = ()


def save_weights(net: Layer, path: str | Path, *, dtype: Any = np.float32) -> None:
    """Write parameters and buffers to a safetensors file, float32 or float16; whole or not at all.

    A Network's number of classes and their names are written beside them.
    """
    from safetensors.numpy import save

    tensors = {name: to_host(a).astype(dtype) for name, a in net.state_dict().items()}
    said: dict[str, Any] = {}
    if isinstance(net, Network):
        said = {"num_classes": net.output_shape(net.input_shape)[0], "class_names": net.class_names}
    write_bytes(Path(path), save(tensors, metadata={FORMAT: json.dumps(said)}))


def load_weights(net: Layer, path: str | Path) -> None:
    """Read a weights file, or the network inside a checkpoint, into a network; float16 becomes float32.

    A Network takes the names of the classes that the file has. Raises MinicnnError that names the file, and the tensor
    where one does not fit.
    """
    metadata, tensors = _read(path)
    classes = _classes(metadata, path)
    try:
        net.load_state_dict(checkpoint.part(tensors, "net.") if checkpoint.FORMAT in metadata else tensors)
    except MinicnnError as error:
        raise MinicnnError(f"{path}: {error}") from None
    if isinstance(net, Network) and classes is not None and classes.names:
        net.class_names = classes.names


def read_classes(path: str | Path) -> Classes | None:
    """The classes that a weights file tells of, None where it does not. Raises MinicnnError for what is none."""
    return _classes(_read(path, tensors=False)[0], path)


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file by its name. Raises MinicnnError for what is none."""
    return _read(path)[1]


def _read(path: str | Path, *, tensors: bool = True) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """(Metadata, tensors by name) of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise MinicnnError(f"{path}: no such weights file")
    try:
        with safe_open(str(path), "numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys() if tensors}  # noqa: SIM118
            for name, tensor in found.items():
                if tensor.dtype.kind == "V":  # bfloat16, where another library has taught it to NumPy
                    raise TypeError(f"{name} is {tensor.dtype}")
            return file.metadata() or {}, found
    except (OSError, SafetensorError, TypeError, ValueError) as error:  # TypeError: numbers that NumPy lacks, bfloat16
        raise MinicnnError(f"{path}: not a safetensors file that NumPy can read ({error})") from None


def _classes(metadata: dict[str, str], path: str | Path) -> Classes | None:
    try:
        said = json.loads(metadata.get(FORMAT, "{}"))
        if not said:
            return None
        number, names = said["num_classes"], tuple(said["class_names"])
        if type(number) is not int or number < 1 or len(names) not in (0, number):
            raise ValueError(f"{number!r} classes with {len(names)} names")
        if not all(isinstance(name, str) for name in names):
            raise ValueError("names of classes that are no text")
    except (ValueError, TypeError, KeyError) as error:
        raise MinicnnError(f"{path}: what it says of its classes is damaged ({error})") from None
    return Classes(number, names)
