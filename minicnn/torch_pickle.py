"""The pickles in torch's files: a state dict and what lies beside it, without executing anything.

A pickle is a program: it names functions, and loading it calls them. Here each name that a dict of tensors needs leads
to a stand-in of this module, which takes down what it is called with; what people like to save beside the weights leads
to one that takes down nothing; every other name is an error.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .errors import MinicnnError

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


class StorageType(NamedTuple):
    """torch.FloatStorage and its like: the type of its numbers."""

    kind: str

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return 2 if self.kind == BFLOAT16 else np.dtype(self.kind).itemsize


class Storage(NamedTuple):
    """`used` numbers from number `begin` on, of the `total` under a key: all, but for views of early torch."""

    type: StorageType
    key: str
    total: int
    begin: int
    used: int


class Tensor(NamedTuple):
    """A view of a storage: offset, shape and strides count its numbers."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def unpickle(data: Any) -> tuple[Any, dict[str, Storage]]:
    """What the pickle holds that begins where the file `data` stands, and its storages by key; behind it afterwards.

    Raises MinicnnError for what is damaged, and for what is refused.
    """
    begin = data.tell()
    try:
        _check(pickletools.genops(data))
        end = data.tell()
        data.seek(begin)
        unpickler = _Unpickler(data.read(end - begin))
        return unpickler.load(), unpickler.storages
    except MinicnnError:
        raise
    except Exception as error:  # pickle says that damaged bytes may raise anything
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise MinicnnError(f"no file of torch, or damaged: its pickle cannot be read ({text})") from error


# What a pickle may be called with: each stands for a name in it.


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


class _Passed:
    """Stands for what lies beside a state dict and is passed over: whatever it is made of, nothing of that is kept."""

    __slots__ = ()

    def __new__(cls, *_: Any) -> _Passed:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """torch._utils._rebuild_tensor, and _v2 with requires_grad, hooks and metadata."""
    for numbers in ((offset,), size, stride):
        if not isinstance(numbers, tuple) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
            raise MinicnnError("a tensor whose shape, strides or offset are no numbers")
    if not isinstance(storage, Storage) or len(size) != len(stride):
        raise MinicnnError("a tensor without its numbers, or with as many strides as dimensions")
    return Tensor(storage, offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    """torch._utils._rebuild_parameter: a parameter is its tensor."""
    if not isinstance(tensor, Tensor):
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
        f"{module}.{name}Storage": StorageType(kind)
        for module in ("torch", "torch.cuda")
        for name, kind in STORAGES.items()
    },
    "argparse.Namespace": _Passed,
    "numpy.core.multiarray.scalar": _Passed,  # a number of NumPy: an accuracy, mostly
    "numpy._core.multiarray.scalar": _Passed,  # since NumPy 2
    "numpy.dtype": _Passed,  # its type
    "_codecs.encode": _Passed,  # its bytes, as Python 3 writes them in protocol 2
}


class _Unpickler(pickle.Unpickler):
    """What a pickle holds. Strings of Python 2 are read as Latin-1: names are ASCII, and nothing else may stop it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._room = len(data)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted == "collections.OrderedDict":
            return _Function(self._ordered_dict)
        if wanted not in _ALLOWED:
            raise MinicnnError(f"refused: it asks for {wanted}, which a state dict does not need; nothing was run")
        known = _ALLOWED[wanted]
        return known if isinstance(known, StorageType) or known is _Passed else _Function(known)

    def _ordered_dict(self, pairs: Any = ()) -> _Dict:
        """Python 2 passes the pairs. Each took some bytes to write: copies of one long list do not."""
        self._room -= len(pairs)
        if not isinstance(pairs, (list, tuple)) or self._room < 0:
            raise MinicnnError("an OrderedDict of what is no list of pairs")
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or not pair or not _plain(pair[0]):
                raise MinicnnError(_KEYS)
        return _Dict(pairs)

    def persistent_load(self, pid: Any) -> Storage:
        """("storage", type, key, device, count), before torch 0.4 with the part of it that a view has, or None."""
        what, kind, key, _, total, *more = pid
        view = more[0] if more else None
        _, begin, used = view or (key, 0, total)
        numbers = (total, begin, used)
        if what != "storage" or not isinstance(kind, StorageType) or not isinstance(key, str):
            raise MinicnnError("a reference to what is no storage of numbers")
        if not all(type(n) is int and n >= 0 for n in numbers) or begin + used > total:
            raise MinicnnError(f"storage {key!r:.80} with a count that is none")
        storage = Storage(kind, key, total, begin, used)
        if self.storages.setdefault(key, storage)[:3] != storage[:3]:
            raise MinicnnError(f"storage {key!r:.80} of two types or counts")
        return storage


# What is looked at before anything is loaded.

_PLAIN = {str, bytes, int, float, bool, type(None)}
_KEYS = "refused: it has a dict or a set of what is neither text nor a number; a state dict has not"


def _plain(value: Any) -> bool:
    """Whether a value may be the key of a dict, or in a set: its hash is quickly made, and no two are easily alike."""
    return type(value) in _PLAIN and not (type(value) is int and value.bit_length() > 64)


def _check(program: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> None:
    """Read a pickle's program over without running it: it must be whole, and hold nothing that is known to do harm.

    That is what takes memory by a number alone (a place in the memo), what goes round `find_class` (registered
    extensions), and keys that are not plain: tuples of tuples of tuples take a few bytes to write, and no end of time,
    or of room on the machine's stack, to hash. Of each value on the pickle's stack it is known whether it is plain.
    """
    stack: list[bool] = []
    marks: list[int] = []
    memo: dict[int, bool] = {}
    for count, (opcode, argument, _) in enumerate(program):
        name = opcode.name
        if name.startswith("EXT") or ("PUT" in name and int(argument or 0) > count):
            raise ValueError(f"{name} {argument}")
        if name == "MARK":
            marks.append(len(stack))
        elif name == "POP" and marks and marks[-1] == len(stack):
            marks.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif "GET" in name:
            stack.append(memo.get(argument, False))  # loading it will say that there is none
        elif "PUT" in name or name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = stack[-1]
        else:
            taken = _taken(opcode, stack, marks)
            if not all(_keys(name, taken)):
                raise MinicnnError(_KEYS)
            stack += [_makes_plain(made, argument) for made in opcode.stack_after]


def _taken(opcode: pickletools.OpcodeInfo, stack: list[bool], marks: list[int]) -> list[bool]:
    """What an opcode takes off the stack: a fixed number of values, those above the last mark, or first the one."""
    before = opcode.stack_before
    marked = pickletools.markobject in before
    top = marks.pop() if marked else len(stack)
    begin = top - (before.index(pickletools.markobject) if marked else len(before))
    if begin < 0:
        raise ValueError(f"{opcode.name} takes more than there is")
    taken = stack[begin:]
    del stack[begin:]
    return taken


def _keys(name: str, taken: list[bool]) -> list[bool]:
    """Those of the values that an opcode takes that become keys of a dict, or come into a set."""
    if name in ("SETITEM", "SETITEMS"):
        return taken[1::2]
    if name == "DICT":
        return taken[::2]
    return taken[1:] if name == "ADDITEMS" else taken if name == "FROZENSET" else []


def _makes_plain(made: pickletools.StackObject, argument: Any) -> bool:
    """Whether what an opcode puts on the stack is its argument, and plain."""
    types = made.obtype if isinstance(made.obtype, tuple) else (made.obtype,)
    return set(types) <= _PLAIN and _plain(argument)
