"""Weights in files: safetensors is the format; torch's and ONNX's files are read. Nothing in them is ever executed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import checkpoint
from .errors import MinicnnError, nearest, printable
from .files import write_bytes
from .layers import Layer, Normalize
from .layers.norm import BatchNorm
from .network import Network
from .onnx_file import read_onnx
from .parameter import Buffer, Parameter, to_host
from .pth import from_bfloat16, is_torch, read_pth

FORMAT = "minicnn weights 1"  # the only key of the file's metadata: safetensors writes several in any order
LACKING = (TypeError, AttributeError)  # what safetensors raises of numbers that NumPy lacks
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

    def state(self, net: Layer, origins: Sequence[Origin] = (), *, keep: Collection[str] = ()) -> dict[str, np.ndarray]:
        """The tensors under the network's paths, without those of `keep`, and those that such a file never has.

        Raises MinicnnError that names the tensor which is missing, extra or of another shape.
        """
        targets, names = _targets(net), self.names(net, origins)
        dropped = {name for origin in origins if dict(origin.tensors) == names for name in origin.dropped}
        state: dict[str, np.ndarray] = {}
        for path, target in targets.items():
            if path in keep or path not in names:
                continue
            there = names[path]
            called = _called(there, path)
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

    A Network's number of classes and their names are written beside them. Raises MinicnnError that names the tensor
    which has a number too large for the dtype.
    """
    from safetensors.numpy import save

    tensors = {}
    for name, a in net.state_dict().items():
        here = to_host(a)
        tensors[name] = _as(here, np.dtype(dtype))
        if np.isinf(tensors[name]).sum() > np.isinf(here).sum():
            raise MinicnnError(
                f"{path}: weights: not written: {name} has a number beyond {np.finfo(dtype).max:.5g}, "
                f"the largest of {np.dtype(dtype)}"
            )
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
    found, names = file.state(net, origins, keep=keep), file.names(net, origins)
    for path, layer in net.nodes():
        for name in (*layer.own_parameters(), *layer.own_buffers()):
            tensor = f"{path}.{name}".lstrip(".")
            if tensor in found and (wrong := _wrong(layer, name, found[tensor])):
                raise file.error(f"{_called(names[tensor], tensor)} {wrong}")
    try:
        net.load_state_dict({path: target.value for path, target in _targets(net).items() if path not in found} | found)
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


def _called(there: str, here: str) -> str:
    """A tensor by its name in a file, and its name here where that is another."""
    return there if there == here else f"{there} ({here} here)"


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values in another dtype; what that cannot hold is infinite."""
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _wrong(layer: Layer, name: str, values: np.ndarray) -> str:
    """What is wrong with the numbers for a tensor of a layer; "" for nothing. They are gone over once, not copied."""
    if values.dtype.kind != "f":
        return ""  # which `load_state_dict` refuses
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum(dtype=np.float32)
    if not np.isfinite(total):  # as it is where one of them is not; or where all are, but the sum is too large
        bad = values.size - np.isfinite(_as(values, np.dtype(np.float32))).sum()
        if bad:
            return f"has {bad:,} of {values.size:,} numbers that are NaN, infinite or too large for float32"
    if isinstance(layer, BatchNorm) and name == "running_var" and values.min() < 0:
        return f"has a variance of {values.min():.3g}, expected 0 or more"
    if isinstance(layer, Normalize) and name in ("std", "scale") and values.min() <= 0:
        return f"has {values.min():.3g}, expected more than 0"
    if isinstance(layer, Normalize) and name == "order":
        ways = [list(range(len(values))), list(range(len(values)))[::-1]]
        if values.tolist() not in ways:
            return f"has {values.tolist()}, expected an order of the colours: {' or '.join(map(str, ways))}"
    return ""


def _targets(net: Layer) -> dict[str, Parameter | Buffer]:
    return {**net.named_parameters(), **net.named_buffers()}


def _read(path: str | Path, *, tensors: bool = True) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """(Metadata, tensors by name) of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise MinicnnError(f"{path}: no such weights file")
    try:
        with safe_open(str(path), "numpy") as file:
            found = dict(_tensors(file, path)) if tensors else {}
            return file.metadata() or {}, found
    except (OSError, SafetensorError, ValueError, *LACKING) as error:
        raise MinicnnError(f"{path}: not a safetensors file that NumPy can read ({error})") from None


def _tensors(file: Any, path: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of an open safetensors file, which is whole: bfloat16, which NumPy lacks, is read from its bytes.

    The file begins with the length of the header (8 bytes) and the header, in JSON; offsets count behind it.
    """
    with open(path, "rb") as bytes_of:
        length = int.from_bytes(bytes_of.read(8), "little")
        header = json.loads(bytes_of.read(length))
    for name in file.keys():  # noqa: SIM118
        said = header[name]
        if said["dtype"] == "BF16":
            begin, end = said["data_offsets"]
            numbers = np.fromfile(path, "<u2", (end - begin) // 2, offset=8 + length + begin)
            yield name, from_bfloat16(numbers).reshape(said["shape"])
            continue
        tensor = file.get_tensor(name)
        if tensor.dtype.kind == "V":  # of eight bits, say, where another library has taught it to NumPy
            raise TypeError(f"{name} is {tensor.dtype}")
        yield name, tensor


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
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MinicnnError(f"{path}: what it says of its classes is damaged ({error})") from None
    return Classes(number, tuple(map(printable, names)))
