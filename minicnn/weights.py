"""Weights in files: safetensors is the format; torch's and ONNX's files are read. Nothing in them is ever executed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import checkpoint
from .errors import MinicnnError, nearest
from .files import write_bytes
from .layers import Layer
from .network import Network
from .onnx_file import read_onnx
from .parameter import Buffer, Parameter, to_host
from .pth import is_torch, read_pth

FORMAT = "minicnn weights 1"  # the only key of the file's metadata: safetensors writes several in any order
TORCH_SUFFIXES = (".pth", ".pt", ".tar")


class Origin(Protocol):
    """What the tensors of a network are called in the files of another program (models/foreign.py)."""

    @property
    def tensors(self) -> Mapping[str, str]:
        """{path here: name there}; what is missing here, the preprocessing, such files do not have."""

    @property
    def dropped(self) -> Collection[str]:
        """Names there that mean nothing here."""


@dataclass(frozen=True)
class Classes:
    """What a weights file says of the network's classes: their number, and their names where they are known."""

    number: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file by the names that they have there, and what it says of the classes."""

    path: Path
    tensors: dict[str, np.ndarray]
    classes: Classes | None = None

    def names(self, net: Layer, origins: Sequence[Origin] = ()) -> dict[str, str]:
        """{path here: name there}: the network's own names, or those of the origin that more of the tensors have."""
        ours = {path: path for path in _targets(net)}
        candidates = [ours, *(dict(origin.tensors) for origin in origins)]
        return max(candidates, key=lambda names: len(self.tensors.keys() & set(names.values())))

    def state(self, net: Layer, origins: Sequence[Origin] = (), *, keep: Collection[str] = ()) -> dict[str, Any]:
        """The tensors under the network's paths; those of `keep`, and the preprocessing, as the network has them.

        Raises MinicnnError that names the tensor which is missing, extra or of another shape.
        """
        targets, names = _targets(net), self.names(net, origins)
        dropped = {name for origin in origins if dict(origin.tensors) == names for name in origin.dropped}
        state: dict[str, Any] = {}
        for path, target in targets.items():
            if path in keep or path not in names:
                state[path] = target.value
                continue
            there = names[path]
            called = there if there == path else f"{there} ({path} here)"
            if there not in self.tensors:
                extra = self.tensors.keys() - set(names.values()) - dropped
                raise self.error(f"{called} {target.shape} is missing{nearest(there, sorted(extra))}")
            shape = self.tensors[there].shape
            if shape != target.shape:
                raise self.error(f"{called} has shape {shape}, expected {target.shape}")
            state[path] = self.tensors[there]
        extra = self.tensors.keys() - set(names.values()) - dropped
        if extra:
            first = min(extra)
            raise self.error(f"{first} is not in the network{nearest(first, names.values())}")
        return state

    def error(self, text: str) -> MinicnnError:
        """An error that names the file."""
        return MinicnnError(f"{self.path}: weights: {' '.join(text.split())}")


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


def load_weights(net: Layer, path: str | Path, origins: Sequence[Origin] = (), *, keep: Collection[str] = ()) -> None:
    """Read a weights file, or the network inside a checkpoint, into a network; float16 becomes float32.

    Its names may be those of an origin; the tensors of `keep` stay as they are. A Network takes the names of the
    classes that the file has. Raises MinicnnError that names the file, and the tensor where one does not fit.
    """
    put_weights(net, read_weights(path), origins, keep=keep)


def put_weights(net: Layer, file: WeightsFile, origins: Sequence[Origin] = (), *, keep: Collection[str] = ()) -> None:
    """`load_weights` of a file that was read before."""
    state = file.state(net, origins, keep=keep)
    try:
        net.load_state_dict(state)
    except MinicnnError as error:
        raise MinicnnError(f"{file.path}: {error}") from None
    if isinstance(net, Network) and file.classes is not None and file.classes.names and not keep:
        net.class_names = file.classes.names


def read_weights(path: str | Path) -> WeightsFile:
    """A weights file of any kind: safetensors, a checkpoint, torch's, ONNX's (by its name, .onnx).

    Raises MinicnnError for what is none.
    """
    path = Path(path)
    if not path.is_file():
        raise MinicnnError(f"{path}: no such weights file")
    if path.suffix == ".onnx":
        return WeightsFile(path, read_onnx(path))
    if path.suffix in TORCH_SUFFIXES or is_torch(path):
        return WeightsFile(path, read_pth(path))
    metadata, tensors = _read(path)
    classes = _classes(metadata, path)
    return WeightsFile(path, checkpoint.part(tensors, "net.") if checkpoint.FORMAT in metadata else tensors, classes)


def read_classes(path: str | Path) -> Classes | None:
    """The classes that a safetensors file tells of, None where it does not. Raises MinicnnError for what is none."""
    return _classes(_read(path, tensors=False)[0], path)


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file by its name. Raises MinicnnError for what is none."""
    return _read(path)[1]


def _targets(net: Layer) -> dict[str, Parameter | Buffer]:
    return {**net.named_parameters(), **net.named_buffers()}


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
