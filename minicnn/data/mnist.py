"""MNIST (LeCun, Cortes, Burges 1998): 70,000 handwritten digits of 28x28, in four idx files, packed by gzip or not.

An idx file is: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
32-bit number, the values in row-major order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..errors import MinicnnError
from ..files import reason
from . import places
from .dataset import Dataset
from .download import DownloadError, RemoteFile, fetch
from .places import Progress

NAME = "mnist"
CLASS_NAMES = tuple("0123456789")
IMAGE_SIZE = (28, 28)
# Of each split: the first part of its files' names, the number of pictures.
SPLITS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
SUBFOLDERS = ("mnist", "MNIST/raw", ".")  # in each searched folder; the second is torchvision's
MAX_BYTES = 1 << 30  # of one unpacked file
_CHUNK = 1 << 20

_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
FILES = tuple(
    RemoteFile(name, size, sha256, tuple(mirror + name for mirror in _MIRRORS))
    for name, size, sha256 in (
        (
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    )
)


def load(split: str, *, folder: Path | None = None, progress: Progress | None = None) -> Dataset:
    """MNIST's "train" (60,000) or "test" (10,000) digits, uint8 (N, 1, 28, 28), 0 is background.

    Taken from `folder` if given, else from MINICNN_DATA, the cache, or the network. Raises MinicnnError.
    """
    where = folder or find() or _download(progress)
    prefix, count = SPLITS[split]
    images_file = _file(where, f"{prefix}-images-idx3-ubyte")
    labels_file = _file(where, f"{prefix}-labels-idx1-ubyte")
    if images_file is None or labels_file is None:
        raise MinicnnError(f"{where}: expected {prefix}-images-idx3-ubyte and {prefix}-labels-idx1-ubyte, or .gz")
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if images.shape[1:] != IMAGE_SIZE:
        raise MinicnnError(f"{images_file}: pictures of {images.shape[1]}x{images.shape[2]}, MNIST's are 28x28")
    if len(labels) != len(images):
        raise MinicnnError(
            f"{labels_file}: {len(labels):,} labels, but {images_file.name} has {len(images):,} pictures"
        )
    if len(images) != count:
        raise MinicnnError(f"{images_file}: {len(images):,} pictures, MNIST's {split} set has {count:,}")
    if labels.max() > 9:
        at = int(labels.argmax())
        raise MinicnnError(f"{labels_file}: label {labels[at]} of picture {at}, expected 0 to 9")
    return Dataset(images[:, None], labels.astype(np.int64), CLASS_NAMES, NAME)


def find() -> Path | None:
    """The folder with all four files, in MINICNN_DATA or the cache."""
    folders = (root / sub for root in places.searched_folders() for sub in SUBFOLDERS)
    return next((folder for folder in folders if is_here(folder)), None)


def is_here(folder: Path) -> bool:
    """Whether all four files lie directly in this folder."""
    return all(_file(folder, remote.name.removesuffix(".gz")) for remote in FILES)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an idx file, packed by gzip if its name ends in .gz.

    Raises MinicnnError, naming the file, if it is not one with so many dimensions, if bytes are missing or left over,
    and before reading on when it says that it holds more than MAX_BYTES.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return _read_idx(cast(BinaryIO, file), dimensions)
    except MinicnnError as error:
        raise MinicnnError(f"{path}: {error}") from error
    except EOFError as error:
        raise MinicnnError(f"{path}: the gzip file is cut off") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise MinicnnError(f"{path}: damaged, or no gzip file: {error}") from error
    except OSError as error:
        raise MinicnnError(f"{path}: cannot be read: {reason(error)}") from error


def _read_idx(file: BinaryIO, dimensions: int) -> np.ndarray:
    header = file.read(4 + 4 * dimensions)
    expected = bytes((0, 0, 8, dimensions))
    if header[:4] != expected:
        raise MinicnnError(f"begins with {header[:4].hex(' ') or 'nothing'}, expected {expected.hex(' ')} (idx)")
    if len(header) < 4 + 4 * dimensions:
        raise MinicnnError(f"ends within its header, after {len(header)} bytes")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = math.prod(shape)
    if not 0 < size <= MAX_BYTES:
        raise MinicnnError(f"says that it holds {size:,} values {shape}, expected 1 to {MAX_BYTES:,}")
    values = b"".join(_chunks(file, size + 1))
    if len(values) < size:
        raise MinicnnError(f"{size - len(values):,} of {size:,} bytes are missing")
    if len(values) > size:
        raise MinicnnError(f"more bytes than the {size:,} that its header announces")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _chunks(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """At most `limit` bytes. By chunks: memory grows with what is there, not with what a header says."""
    while limit and (chunk := file.read(min(limit, _CHUNK))):
        limit -= len(chunk)
        yield chunk


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _download(progress: Progress | None) -> Path:
    folder = places.cache_folder() / NAME
    try:
        for remote in FILES:
            fetch(remote, folder, progress=progress)
    except DownloadError as error:
        raise MinicnnError(f"{error}; {places.advice('the four files')}") from error
    return folder
