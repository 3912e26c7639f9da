"""Reads torch's files (`.pth`, `.pt`, `.pth.tar`) without torch, and without executing anything that is in them.

Both containers hold a pickle, in which each tensor is a call of a function with the key of its numbers, an offset, a
shape and strides; the numbers lie beside the pickle:

    since torch 1.6   a zip archive, nothing in it compressed: NAME/data.pkl, NAME/data/KEY, NAME/byteorder
    before            five pickles (a magic number, a version, a description of the machine, the object, a list of
                      keys), then for each key the count of its numbers (int64) and the numbers, little-endian

What the pickles ask for is not executed (torch_pickle.py). The file is mapped into memory and the arrays are views of
it: what a header claims takes no memory, what the file has takes none twice.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .errors import MinicnnError
from .files import reason
from .torch_pickle import BFLOAT16, Storage, Tensor, unpickle

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the container before 1.6
WRAPPERS = (  # the weights as they are before their running averages, where a file has both
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
)
DEPTH = 4  # of wrappers in wrappers
PARTS = ("module", "_orig_mod")  # of names: DataParallel puts the first there, torch.compile the second
DIMENSIONS = 64  # that an array can have
EXPANDED = 1 << 24  # numbers that a tensor may have of fewer in its storage: torch's `expand` makes such


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by their names, as views of the file that cannot be written to.

    What wraps the state dict (under the keys `state_dict`, `model`, …, beside an epoch or an optimizer) and the parts
    of names that wrapped networks have (`module`, `_orig_mod`) are taken off. bfloat16 becomes float32. Raises
    MinicnnError, which names the file, and the tensor or the refused global.
    """
    try:
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            container = _Zip(content, file) if content[:4] == b"PK\x03\x04" else _Legacy(content)
            numbers = _Numbers(container)
            return {name: _array(name, tensor, numbers) for name, tensor in _state_dict(container.saved).items()}
    except FileNotFoundError:
        raise MinicnnError(f"{path}: no such weights file") from None
    except OSError as error:
        raise MinicnnError(f"{path}: cannot be read: {reason(error)}") from None
    except MinicnnError as error:  # on one line, whatever the names in the file are
        raise MinicnnError(f"{path}: {' '.join(str(error).split())[:500]}") from None
    except ValueError as error:  # of an empty file, from mmap
        raise MinicnnError(f"{path}: no file of torch ({error})") from None


def is_torch(path: Path) -> bool:
    """Whether a file's first bytes are those of either container."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return head.startswith(b"PK\x03\x04") or MAGIC.to_bytes(10, "little") in head


# The containers: the object that was saved, and the bytes under a key.


class _Zip:
    def __init__(self, content: mmap.mmap, file: Any) -> None:
        self.content = content
        try:
            members = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OverflowError, struct.error) as error:
            raise MinicnnError(f"no whole zip archive ({error})") from None
        self.members = {member.filename: member for member in members}
        for name in self.members:
            if name.startswith(("/", "\\")) or ".." in name.split("/"):
                raise MinicnnError(f"refused: the archive has a member {name!r:.80}")
        if len(self.members) < len(members):
            raise MinicnnError("refused: the archive has two members of one name")
        pickles = [name for name in self.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise MinicnnError("a zip archive, but not of torch.save: expected one NAME/data.pkl")
        self.name = pickles[0].removesuffix("/data.pkl")
        if f"{self.name}/constants.pkl" in self.members:
            raise MinicnnError("holds a program of TorchScript; save its state_dict() instead")
        order = f"{self.name}/byteorder"
        self.big_endian = order in self.members and self.content[slice(*self.span(order))] == b"big"
        self.saved, _ = unpickle(io.BytesIO(self.content[slice(*self.span(pickles[0]))]))

    def span(self, name: str) -> tuple[int, int]:
        """Where the bytes of a member begin and end in the file."""
        if name not in self.members:
            raise MinicnnError(f"the archive has no member {name!r:.80}")
        member = self.members[name]
        if member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED:
            raise MinicnnError(f"refused: member {name!r:.80} is compressed or encrypted, which torch never does")
        at = member.header_offset
        header = self.content[at : at + 30]
        if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
            raise MinicnnError(f"damaged: the archive's member {name!r:.80} is not where it should be")
        begin = at + 30 + sum(struct.unpack("<HH", header[26:30]))
        end = begin + member.file_size
        if end > len(self.content) or member.file_size != member.compress_size:
            raise MinicnnError(f"damaged: {name!r:.80} does not have the {member.file_size:,} bytes it announces")
        return begin, end

    def begin(self, storage: Storage) -> int:
        """Where the numbers of a storage begin in the file."""
        begin, end = self.span(f"{self.name}/data/{storage.key}")
        expected = storage.total * storage.type.itemsize
        if end - begin != expected:
            raise MinicnnError(f"storage {storage.key!r:.80} has {end - begin:,} bytes, expected {expected:,}")
        return begin


class _Legacy:
    big_endian = False  # torch turns the numbers round on machines that are

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        for expected in (MAGIC, VERSION):
            found, _ = unpickle(content)
            if type(found) is not int or found != expected:
                raise MinicnnError(f"no file of torch: expected it to begin with the numbers {MAGIC} and {VERSION}")
        unpickle(content)  # the machine that wrote it
        self.saved, storages = unpickle(content)
        keys, _ = unpickle(content)
        if not isinstance(keys, list):
            raise MinicnnError("damaged: the list of its storages is none")
        self.begins: dict[str, int] = {}
        at = content.tell()
        for key in keys:  # they lie one behind the other: where one begins follows from the types of those before it
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None:
                raise MinicnnError("damaged: nothing says what one of its storages holds")
            size = storage.total * storage.type.itemsize
            there = int.from_bytes(content[at : at + 8], "little")
            if there != storage.total or at + 8 + size > len(content):
                raise MinicnnError(f"damaged: storage {key!r:.80} does not have its {storage.total:,} numbers")
            self.begins[key] = at + 8
            at += 8 + size

    def begin(self, storage: Storage) -> int:
        """Where the numbers of a storage begin in the file."""
        if storage.key not in self.begins:
            raise MinicnnError(f"damaged: storage {storage.key!r:.80} is missing")
        return self.begins[storage.key]


class _Numbers:
    """The numbers of the storages: views of the file, or converted once where NumPy lacks their type or order."""

    def __init__(self, container: _Zip | _Legacy) -> None:
        self.container = container
        self.known: dict[str, np.ndarray] = {}
        self.room = len(container.content)  # bytes that may still be converted: storages do not overlap

    def of(self, storage: Storage) -> np.ndarray:
        if storage.key not in self.known:
            self.known[storage.key] = self.whole(storage)
        return self.known[storage.key][storage.begin : storage.begin + storage.used]

    def whole(self, storage: Storage) -> np.ndarray:
        kind = storage.type.kind
        dtype = np.dtype("u2" if kind == BFLOAT16 else kind).newbyteorder(">" if self.container.big_endian else "<")
        values = np.frombuffer(self.container.content, dtype, storage.total, self.container.begin(storage))
        if dtype.isnative and kind != BFLOAT16:
            return values
        self.room -= values.nbytes
        if self.room < 0:
            raise MinicnnError("refused: storages that lie over each other")
        values = values.astype(dtype.newbyteorder("="))
        return values if kind != BFLOAT16 else from_bfloat16(values)


def from_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 of the same numbers in bfloat16, which come as uint16."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def _array(name: str, tensor: Tensor, numbers: _Numbers) -> np.ndarray:
    """A tensor as a view of its storage. Raises MinicnnError that names it where it would leave that."""
    storage, offset, size, stride = tensor
    try:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        count = prod(size)
        if len(size) > DIMENSIONS or count > max(storage.used, EXPANDED) or (count and last >= storage.used):
            raise MinicnnError(f"shape {size}, strides {stride}, offset {offset}, but a storage of {storage.used:,}")
        values = numbers.of(storage)
        if not count:
            return np.zeros(size, values.dtype)
        steps = [step * values.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)
    except (MinicnnError, ValueError, OverflowError) as error:  # the last two from NumPy, of numbers beyond 64 bits
        raise MinicnnError(f"{name}: {error}") from None


# The state dict in what was saved.


def _state_dict(saved: Any, depth: int = DEPTH) -> dict[str, Tensor]:
    if not isinstance(saved, dict):
        raise MinicnnError(f"holds a {type(saved).__name__.strip('_').lower()}, expected a dict of tensors")
    wrapped = [key for key in WRAPPERS if isinstance(saved.get(key), dict) and saved[key]]
    if wrapped and depth:
        return _state_dict(saved[wrapped[0]], depth - 1)
    found: dict[str, Tensor] = {}
    for name, value in saved.items():
        if isinstance(value, Tensor) and isinstance(name, str):
            plain = ".".join(part for part in name.split(".") if part not in PARTS)
            if plain in found:
                raise MinicnnError(f"two tensors {plain!r:.80}")
            found[plain] = value
    if not found:
        there = ", ".join(repr(key[:40]) for key in saved if isinstance(key, str)) or "nothing"
        raise MinicnnError(f"no tensors where a state dict should be; there is: {there}")
    return found
