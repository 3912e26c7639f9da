"""Files as torch writes them, put together byte by byte: without torch, and with whatever should not be in them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.pth import read_pth

STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}


def text(value: str) -> bytes:
    """A string of Python 3."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if -(2**31) <= value < 2**31 else b"I%d\n" % value


def several(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def called(module: str, name: str, *arguments: bytes) -> bytes:
    """What a call of a global with these arguments gives."""
    return named(module, name) + several(*arguments) + b"R"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(key: str, count: int, kind: str = "FloatStorage", *view: bytes) -> bytes:
    """A reference to numbers that lie outside the pickle; in the old container with a view, or None."""
    return several(text("storage"), named("torch", kind), text(key), text("cpu"), number(count), *view) + b"Q"


def tensor(where: bytes, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    shape, steps = (several(*map(number, numbers)) for numbers in (size, stride))
    hooks = called("collections", "OrderedDict")
    return called("torch._utils", "_rebuild_tensor_v2", where, number(offset), shape, steps, b"\x89", hooks)


def mapping(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


def whole(value: bytes) -> bytes:
    """The pickle of a value."""
    return b"\x80\x02" + value + b"."


def archive(pickled: bytes, storages: Mapping[str, bytes] | None = None, **more: bytes) -> bytes:
    """The container since torch 1.6; `more` members by their name in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for name, data in {"byteorder": b"little", **more}.items():
            file.writestr(f"archive/{name}", data)
        for key, data in (storages or {}).items():
            file.writestr(f"archive/data/{key}", data)
        file.writestr("archive/version", b"3\n")
    return out.getvalue()


def legacy(pickled: bytes, storages: Mapping[str, bytes] | None = None, *, itemsize: int = 4) -> bytes:
    """The container before: the storages of one item size."""
    head = [
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x80\x02M\xe9\x03.",
        whole(mapping({"protocol_version": number(1001), "little_endian": b"\x88"})),
    ]
    keys = b"](" + b"".join(text(key) for key in storages or {}) + b"e"
    data = [struct.pack("<q", len(numbers) // itemsize) + numbers for numbers in (storages or {}).values()]
    return b"".join([*head, pickled, whole(keys), *data])


def state_dict(arrays: Mapping[str, np.ndarray], *, container: str = "zip") -> bytes:
    """A file with these arrays; those of the old container of one item size."""
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    items, view = {}, [b"N"] if container == "legacy" else []
    for key, (name, a) in enumerate(arrays.items()):
        stride = tuple(prod(a.shape[axis + 1 :]) for axis in range(a.ndim))
        items[name] = tensor(storage(str(key), a.size, STORAGES[a.dtype.str[1:]], *view), a.shape, stride)
    storages = {str(key): a.tobytes() for key, a in enumerate(arrays.values())}
    if container == "zip":
        return archive(whole(mapping(items)), storages)
    return legacy(whole(mapping(items)), storages, itemsize=next(iter(arrays.values())).itemsize)


FOUR = np.arange(4, dtype=np.float32)
PAIR = {"a": tensor(storage("0", 4), (2, 2), (2, 1))}
CONTAINERS = ["zip", "legacy"]


def read(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    (folder / "w.pth").write_bytes(content)
    return read_pth(folder / "w.pth")


def refusal(content: bytes, folder: Path) -> str:
    with pytest.raises(MinicnnError) as caught:
        read(content, folder)
    message = str(caught.value)
    assert message.startswith(str(folder / "w.pth")) and "\n" not in message and len(message) < 600
    return message


def in_container(pickled: bytes, container: str) -> bytes:
    """A pickle with one storage of four float32."""
    make = archive if container == "zip" else legacy
    return make(pickled, {"0": FOUR.tobytes()})
