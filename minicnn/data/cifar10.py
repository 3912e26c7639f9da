"""CIFAR-10 (Krizhevsky 2009): 60,000 colour pictures of 32x32 in ten classes, in each form that it is passed on in.

All forms become records: uint8 rows of a label and the red, the green and the blue plane, each row-major (3073 bytes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MinicnnError
from ..files import reason
from . import cifar10_archives, places
from .dataset import Dataset
from .download import DownloadError, RemoteFile, fetch
from .places import Progress
from .unpickling import load_plain

NAME = "cifar10"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = 3 * 32 * 32
BATCH_SIZE = 10_000  # pictures in each official file
BATCHES = {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)}
SUBFOLDERS = (".", "cifar10")  # in each searched folder

BINARY, PICKLES = "cifar-10-batches-bin", "cifar-10-batches-py"
BINARY_ARCHIVE, PICKLES_ARCHIVE, PICTURES_ARCHIVE = (
    "cifar-10-binary.tar.gz",
    "cifar-10-python.tar.gz",
    "cifar10-images.tar.gz",
)
ARCHIVE = RemoteFile(
    PICKLES_ARCHIVE,
    170_498_071,
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    (
        f"https://www.cs.toronto.edu/~kriz/{PICKLES_ARCHIVE}",
        f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{PICKLES_ARCHIVE}",
    ),
)


def load(split: str, *, source: Path | None = None, progress: Progress | None = None) -> Dataset:
    """CIFAR-10's "train" (50,000) or "test" (10,000) pictures, uint8 (N, 3, 32, 32), RGB.

    Taken from `source` if given (a folder of official batches or one of the archives), else from MINICNN_DATA, the
    cache, or the network. The archive of JPEGs is close to the official pixels, not equal; it is decoded once, into the
    cache, and mixed by a permutation that is always the same. Raises MinicnnError.
    """
    source = source or find() or _download(progress)
    records = _records(source, split, progress)
    images = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
    return Dataset(images, records[:, 0].astype(np.int64), CLASS_NAMES, NAME)


def find() -> Path | None:
    """The first form of CIFAR-10 in MINICNN_DATA or the cache: an official folder before its archive before JPEGs."""
    folders = (root / sub for root in places.searched_folders() for sub in SUBFOLDERS)
    return next((source for folder in folders if (source := find_in(folder))), None)


def find_in(path: Path) -> Path | None:
    """What `load` can take as its source: `path` itself, or what lies in this folder."""
    if is_source(path):
        return path
    names = (BINARY, PICKLES, BINARY_ARCHIVE, PICKLES_ARCHIVE, PICTURES_ARCHIVE)
    return next((path / name for name in names if is_source(path / name)), None)


def is_source(path: Path) -> bool:
    """Whether this is a folder of official batches, by its first file, or one of the archives, by its name."""
    if path.is_dir():
        return (path / "data_batch_1.bin").is_file() or (path / "data_batch_1").is_file()
    return path.name in (BINARY_ARCHIVE, PICKLES_ARCHIVE, PICTURES_ARCHIVE) and path.is_file()


def _records(source: Path, split: str, progress: Progress | None) -> np.ndarray:
    """uint8 (N, 3073)."""
    if source.name == PICTURES_ARCHIVE:
        return cifar10_archives.picture_records(source, split, CLASS_NAMES, progress)
    if source.is_dir():
        binary = (source / "data_batch_1.bin").is_file()
        files: Iterable[tuple[str, bytes]] = _files(source, [_file_name(n, binary) for n in BATCHES[split]])
    else:
        binary = source.name == BINARY_ARCHIVE
        folder = BINARY if binary else PICKLES
        names = [f"{folder}/{_file_name(name, binary)}" for name in BATCHES[split]]
        files = cifar10_archives.members(source, names).items()
    read: Callable[[bytes], np.ndarray] = _read_binary if binary else _read_pickle
    parts = []
    for name, data in files:
        try:
            parts.append(_checked(read(data)))
        except MinicnnError as error:
            raise MinicnnError(f"{source / name}: {error}") from error
    return np.concatenate(parts)


def _files(folder: Path, names: list[str]) -> Iterable[tuple[str, bytes]]:
    for name in names:
        try:
            yield name, (folder / name).read_bytes()
        except OSError as error:
            raise MinicnnError(f"{folder / name}: cannot be read: {reason(error)}") from error


def _file_name(batch: str, binary: bool) -> str:
    return f"{batch}.bin" if binary else batch


def _read_binary(data: bytes) -> np.ndarray:
    size = BATCH_SIZE * (1 + PIXELS)
    if len(data) != size:
        raise MinicnnError(f"{len(data):,} bytes, expected {size:,} ({BATCH_SIZE:,} records of {1 + PIXELS})")
    return np.frombuffer(data, np.uint8).reshape(BATCH_SIZE, 1 + PIXELS)


def _read_pickle(data: bytes) -> np.ndarray:
    batch = load_plain(data)
    if not isinstance(batch, dict):
        raise MinicnnError(f"a pickle of {type(batch).__name__}, expected a dict with data and labels")
    pixels, labels = _entry(batch, "data"), _entry(batch, "labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (BATCH_SIZE, PIXELS):
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise MinicnnError(f"data is {got}, expected uint8 ({BATCH_SIZE}, {PIXELS})")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or len(labels) != BATCH_SIZE:
        got = f"{len(labels):,} of them" if isinstance(labels, list) else type(labels).__name__
        raise MinicnnError(f"labels are {got}, expected a list of {BATCH_SIZE:,}")
    wrong = [label for label in labels if type(label) is not int or not 0 <= label < 256]
    if wrong:
        raise MinicnnError(f"a label is {wrong[0]!r:.40}, expected 0 to 9")
    return np.column_stack([np.array(labels, np.uint8), pixels])


def _entry(batch: dict[Any, Any], key: str) -> Any:
    value = batch.get(key, batch.get(key.encode()))
    if value is None:
        raise MinicnnError(f"a pickle without {key!r}")
    return value


def _checked(records: np.ndarray) -> np.ndarray:
    if records[:, 0].max() > 9:
        at = int(records[:, 0].argmax())
        raise MinicnnError(f"label {records[at, 0]} of picture {at}, expected 0 to 9")
    return records


def _download(progress: Progress | None) -> Path:
    try:
        return fetch(ARCHIVE, places.cache_folder() / NAME, progress=progress)
    except DownloadError as error:
        raise MinicnnError(f"{error}; {places.advice(f'{PICKLES_ARCHIVE} or {BINARY}')}") from error
