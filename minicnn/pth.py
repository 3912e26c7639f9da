"""Reads torch's files (`.pth`, `.pt`, `.pth.tar`) without torch, and without executing anything that is in them.

Both containers hold a pickle, in which each tensor is a call of a function with the key of its numbers, an offset, a
shape and strides; the numbers lie beside the pickle:

    since torch 1.6   a zip archive, nothing in it compressed: NAME/data.pkl, NAME/data/KEY, NAME/byteorder
    before            five pickles (a magic number, a version, a description of the machine, the object, a list of
                      keys), then for each key the count of its numbers (int64) and the numbers, little-endian

A pickle is a program: it names functions, and loading it calls them. Here each name that a dict of tensors needs leads
to a stand-in of this module, which takes down what it is called with; every other name is an error. The file is mapped
into memory and the arrays are views of it: what a header claims takes no memory, what the file has takes none twice.
"""

from __future__ import annotations

import io
import mmap
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .errors import MinicnnError
from .files import reason

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the container before 1.6
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
DEPTH = 4  # of wrappers in wrappers
DIMENSIONS = 64  # that an array can have

BFLOAT16 = "bfloat16"  # the upper half of a float32; NumPy has no such type
STORAGES: dict[str, str] = {
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "BFloat16": BFLOAT16,
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by their names, as views of the file that cannot be written to.

    What wraps the state dict (under the keys `state_dict`, `model`, …, beside an epoch or an optimizer) and the part
    `module` of a name, which torch's DataParallel puts there, are taken off. bfloat16 becomes float32. Raises
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


# What the pickle says: plain data, and these.


class _StorageType(NamedTuple):
    """torch.FloatStorage and its like: the type of its numbers."""

    kind: str

    @property
    def itemsize(self) -> int:
        return 2 if self.kind == BFLOAT16 else np.dtype(self.kind).itemsize


class _Storage(NamedTuple):
    """`used` numbers from number `begin` on, of the `total` under a key: all, but for views of early torch."""

    type: _StorageType
    key: str
    total: int
    begin: int
    used: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Dict(dict[Any, Any]):
    """Stands for an OrderedDict, whose attributes (torch sets `_metadata`) nobody needs."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _Function:
    """Stands for a function that the pickle names. Made anew for each use, so that no pickle leaves anything behind."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise MinicnnError("the pickle changes what it must not")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """torch._utils._rebuild_tensor, and _v2 with requires_grad, hooks and metadata."""
    for numbers in ((offset,), size, stride):
        if not isinstance(numbers, tuple) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
            raise MinicnnError("a tensor whose shape, strides or offset are no numbers")
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise MinicnnError("a tensor without its numbers, or with as many strides as dimensions")
    return _Tensor(storage, offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> _Tensor:
    """torch._utils._rebuild_parameter: a parameter is its tensor."""
    if not isinstance(tensor, _Tensor):
        raise MinicnnError("a parameter without its tensor")
    return tensor


def _size(size: Any) -> tuple[Any, ...]:
    if not isinstance(size, tuple):
        raise MinicnnError("a torch.Size of what is no tuple")
    return size


_ALLOWED: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    **{
        f"{module}.{name}Storage": _StorageType(kind)
        for module in ("torch", "torch.cuda")
        for name, kind in STORAGES.items()
    },
}


class _Unpickler(pickle.Unpickler):
    """What a pickle holds. Strings of Python 2 are read as Latin-1: names are ASCII, and nothing else may stop it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._room = len(data)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted == "collections.OrderedDict":
            return _Function(self._ordered_dict)
        if wanted not in _ALLOWED:
            raise MinicnnError(f"refused: it asks for {wanted}, which a state dict does not need; nothing was run")
        known = _ALLOWED[wanted]
        return known if isinstance(known, _StorageType) else _Function(known)

    def _ordered_dict(self, pairs: Any = ()) -> _Dict:
        """Python 2 passes the pairs. Each took some bytes to write: copies of one long list do not."""
        self._room -= len(pairs)
        if not isinstance(pairs, (list, tuple)) or self._room < 0:
            raise MinicnnError("an OrderedDict of what is no list of pairs")
        return _Dict(pairs)

    def persistent_load(self, pid: Any) -> _Storage:
        """("storage", type, key, device, count), before torch 0.4 with the part of it that a view has, or None."""
        what, kind, key, _, total, *more = pid
        view = more[0] if more else None
        _, begin, used = view or (key, 0, total)
        numbers = (total, begin, used)
        if what != "storage" or not isinstance(kind, _StorageType) or not isinstance(key, str):
            raise MinicnnError("a reference to what is no storage of numbers")
        if not all(type(n) is int and n >= 0 for n in numbers) or begin + used > total:
            raise MinicnnError(f"storage {key!r:.80} with a count that is none")
        storage = _Storage(kind, key, total, begin, used)
        if self.storages.setdefault(key, storage)[:3] != storage[:3]:
            raise MinicnnError(f"storage {key!r:.80} of two types or counts")
        return storage


def _unpickle(data: Any) -> tuple[Any, dict[str, _Storage]]:
    """What the pickle holds that begins where the file `data` stands, and its storages by key; behind it afterwards.

    Read over once before: it must be whole, and must not use what takes memory by a number alone (a place in the memo)
    or what goes round `find_class` (registered extensions).
    """
    begin = data.tell()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if opcode.name.startswith("EXT") or ("PUT" in opcode.name and int(argument or 0) > count):
                raise ValueError(f"{opcode.name} {argument}")
        end = data.tell()
        data.seek(begin)
        unpickler = _Unpickler(data.read(end - begin))
        return unpickler.load(), unpickler.storages
    except MinicnnError:
        raise
    except Exception as error:  # pickle says that damaged bytes may raise anything
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise MinicnnError(f"no file of torch, or damaged: its pickle cannot be read ({text})") from error


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
        self.saved, _ = _unpickle(io.BytesIO(self.content[slice(*self.span(pickles[0]))]))

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

    def begin(self, storage: _Storage) -> int:
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
            found, _ = _unpickle(content)
            if type(found) is not int or found != expected:
                raise MinicnnError(f"no file of torch: expected it to begin with the numbers {MAGIC} and {VERSION}")
        _unpickle(content)  # the machine that wrote it
        self.saved, storages = _unpickle(content)
        keys, _ = _unpickle(content)
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

    def begin(self, storage: _Storage) -> int:
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

    def of(self, storage: _Storage) -> np.ndarray:
        if storage.key not in self.known:
            self.known[storage.key] = self.whole(storage)
        return self.known[storage.key][storage.begin : storage.begin + storage.used]

    def whole(self, storage: _Storage) -> np.ndarray:
        kind = storage.type.kind
        dtype = np.dtype("u2" if kind == BFLOAT16 else kind).newbyteorder(">" if self.container.big_endian else "<")
        values = np.frombuffer(self.container.content, dtype, storage.total, self.container.begin(storage))
        if dtype.isnative and kind != BFLOAT16:
            return values
        self.room -= values.nbytes
        if self.room < 0:
            raise MinicnnError("refused: storages that lie over each other")
        values = values.astype(dtype.newbyteorder("="))
        return values if kind != BFLOAT16 else (values.astype(np.uint32) << 16).view(np.float32)


def _array(name: str, tensor: _Tensor, numbers: _Numbers) -> np.ndarray:
    """A tensor as a view of its storage. Raises MinicnnError that names it where it would leave that."""
    storage, offset, size, stride = tensor
    try:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if len(size) > DIMENSIONS or prod(size) > storage.used or (all(size) and last >= storage.used):
            raise MinicnnError(f"shape {size}, strides {stride}, offset {offset}, but a storage of {storage.used:,}")
        values = numbers.of(storage)
        if not all(size):
            return np.zeros(size, values.dtype)
        steps = [step * values.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)
    except (MinicnnError, ValueError, OverflowError) as error:  # the last two from NumPy, of numbers beyond 64 bits
        raise MinicnnError(f"{name}: {error}") from None


# The state dict in what was saved.


def _state_dict(saved: Any, depth: int = DEPTH) -> dict[str, _Tensor]:
    if not isinstance(saved, dict):
        raise MinicnnError(f"holds a {type(saved).__name__.strip('_').lower()}, expected a dict of tensors")
    wrapped = [key for key in WRAPPERS if isinstance(saved.get(key), dict) and saved[key]]
    if wrapped and depth:
        return _state_dict(saved[wrapped[0]], depth - 1)
    found: dict[str, _Tensor] = {}
    for name, value in saved.items():
        if isinstance(value, _Tensor) and isinstance(name, str):
            plain = ".".join(part for part in name.split(".") if part != "module")
            if plain in found:
                raise MinicnnError(f"two tensors {plain!r:.80}")
            found[plain] = value
    if not found:
        there = ", ".join(repr(key[:40]) for key in saved if isinstance(key, str)) or "nothing"
        raise MinicnnError(f"no tensors where a state dict should be; there is: {there}")
    return found
