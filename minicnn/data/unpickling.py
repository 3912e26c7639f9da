"""Reads the pickles of CIFAR-10 without executing anything that they ask for.

A pickle is a program: it names functions, and loading it calls them. Here each name that such a file needs leads to a
stand-in of this module, which builds plain data; every other name is an error. Not even NumPy's own functions are
called with a file's arguments.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import MinicnnError

_DTYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype(np.uint8), "i4": np.dtype("<i4"), "i8": np.dtype("<i8")}


def load_plain(data: bytes) -> Any:
    """What a pickle (protocol 0 to 5) of dicts, lists, strings, bytes, numbers and integer arrays holds.

    Strings of Python 2 come as bytes. Raises MinicnnError, which names a refused global, and for damaged bytes.
    """
    try:
        return _arrays_in(_Unpickler(io.BytesIO(data), encoding="bytes").load())
    except MinicnnError:
        raise
    except Exception as error:  # pickle says that damaged bytes may raise anything
        raise MinicnnError(f"no readable pickle: {' '.join(str(error).split()) or type(error).__name__}") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        for start in ("numpy.core.", "numpy._core."):  # the second since NumPy 2
            if module.startswith(start):
                return _stand_in(f"numpy.core.{module.removeprefix(start)}.{name}", f"{module}.{name}")
        return _stand_in(f"{module}.{name}", f"{module}.{name}")


def _stand_in(known_name: str, shown_name: str) -> Any:
    if known_name not in _ALLOWED:
        raise MinicnnError(f"refused: the pickle asks for {shown_name}, which pictures do not need; nothing was run")
    return _Function(known_name)


class _Data:
    """Of these objects a pickle can set nothing: without slots of its own, with __setstate__ that checks."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise MinicnnError("the pickle changes what it must not")


class _Function(_Data):
    """Stands for a name in the pickle. Made anew for each use, so that no pickle leaves anything behind."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        function = _ALLOWED[self.name]
        if function is None:
            raise MinicnnError(f"the pickle calls {self.name}")
        return function(*arguments)


class _DType(_Data):
    __slots__ = ("dtype",)
    dtype: np.dtype[Any]

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if text not in _DTYPES:
            raise MinicnnError(f"an array of {text!r}, expected integers ({', '.join(_DTYPES)})")
        self.dtype = _DTYPES[text]

    def __setstate__(self, state: Any) -> None:
        if state[1] in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Array(_Data):
    __slots__ = ("array",)

    def __init__(self, *_: Any) -> None:
        self.array = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.array = _array(data, kind, shape, "F" if fortran else "C")


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.array = _array(data, kind, shape, order)
    return made


def _array(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(data, (bytes, bytearray)) or not isinstance(kind, _DType):
        raise MinicnnError("an array without its bytes")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape) or len(shape) > 4:
        raise MinicnnError(f"an array of shape {shape!r:.80}")
    if len(data) != math.prod(shape) * kind.dtype.itemsize:
        raise MinicnnError(f"an array {shape} of {kind.dtype} with {len(data):,} bytes")
    values: np.ndarray = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")
    native: np.ndarray = values.astype(kind.dtype.newbyteorder("="), copy=False)
    return native


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in protocols 0 to 2."""
    if encoding != "latin1":
        raise MinicnnError(f"bytes in the encoding {encoding!r:.40}")
    return text.encode("latin1")


def _arrays_in(value: Any) -> Any:
    """The value, or the dict's values, with arrays for their stand-ins."""
    if isinstance(value, dict):
        return {key: _arrays_in(item) if not isinstance(item, dict) else item for key, item in value.items()}
    return value.array if isinstance(value, _Array) else value


_ALLOWED: dict[str, Callable[..., Any] | None] = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.ndarray": None,  # only an argument of _reconstruct
    "numpy.dtype": _DType,
    "_codecs.encode": _encode,
}
