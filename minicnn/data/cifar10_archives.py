"""CIFAR-10 in archives: official batches, read in memory, and 60,000 JPEGs, decoded once into the cache.

Nothing is ever unpacked into the file system: members are read by their exact names and the others skipped, so a name
like ../../x is never used as a path.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from filelock import FileLock
from PIL import Image

from ..errors import MinicnnError
from ..files import make_folder, reason, replacing, sha256
from . import places
from .places import Progress

MAX_BYTES = 1 << 30  # of an unpacked archive; the official ones have 185 MB
PER_CLASS = {"train": 5000, "test": 1000}


def members(archive: Path, names: Collection[str]) -> dict[str, bytes]:
    """The named files of a .tar.gz, in the order of `names`. Raises MinicnnError if one is missing or it is damaged."""
    found = {}
    with _opened(archive) as tar:
        for member in tar:
            if member.name in names:
                found[member.name] = _content(tar, member, archive)
                if len(found) == len(names):
                    break
    missing = [name for name in names if name not in found]
    if missing:
        raise MinicnnError(f"{archive}: there is no file {missing[0]} in it")
    return {name: found[name] for name in names}


def picture_records(
    archive: Path, split: str, class_names: tuple[str, ...], progress: Progress | None = None
) -> np.ndarray:
    """uint8 (N, 3073): the records of one split of the JPEGs `train/CLASS/NNNN.jpg` and `test/CLASS/NNNN.jpg`.

    Decoded into the cache when this archive, known by its SHA-256, is first seen. Raises MinicnnError.
    """
    folder = make_folder(places.cache_folder() / "cifar10" / sha256(archive)[:16])
    target = folder / f"{split}.npy"
    try:
        with FileLock(folder / "lock"):
            if not all((folder / f"{name}.npy").is_file() for name in PER_CLASS):
                _decode_archive(archive, folder, class_names, progress or (lambda *_: None))
    except OSError as error:
        raise MinicnnError(f"{folder}: cannot be written: {reason(error)}") from error
    try:
        records: np.ndarray = np.load(target, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MinicnnError(f"{target}: damaged ({error}); delete it, and it will be made anew") from error
    expected = (PER_CLASS[split] * len(class_names), 1 + 3 * 32 * 32)
    if records.dtype != np.uint8 or records.shape != expected:
        raise MinicnnError(f"{target}: holds {records.dtype} {records.shape}, expected uint8 {expected}; delete it")
    return records


def _decode_archive(archive: Path, folder: Path, class_names: tuple[str, ...], progress: Progress) -> None:
    total = sum(PER_CLASS.values()) * len(class_names)
    names = {
        f"{split}/{name}/{number:04}.jpg": (split, label, number)
        for split, count in PER_CLASS.items()
        for label, name in enumerate(class_names)
        for number in range(count)
    }
    # In the order of sorted names, whatever the order in the archive.
    records = {s: np.empty((count * len(class_names), 1 + 3 * 32 * 32), np.uint8) for s, count in PER_CLASS.items()}
    seen = set()
    with _opened(archive) as tar:
        for member in tar:
            if member.name not in names:
                continue
            split, label, number = names[member.name]
            record = records[split][label * PER_CLASS[split] + number]
            record[0] = label
            record[1:] = _decode(_content(tar, member, archive), f"{archive}: {member.name}").transpose(2, 0, 1).ravel()
            seen.add(member.name)
            if len(seen) % 1000 == 0:
                progress(f"decoding {archive.name}", len(seen), total)
    missing = sorted(names.keys() - seen)
    if missing:
        raise MinicnnError(f"{archive}: {len(missing):,} of {total:,} pictures are missing, the first is {missing[0]}")
    order = np.random.RandomState(0)  # its stream never changes between NumPy versions
    for split, rows in records.items():
        with replacing(folder / f"{split}.npy") as part, open(part, "wb") as file:
            np.save(file, rows[order.permutation(len(rows))])


def _decode(jpeg: bytes, name: str) -> np.ndarray:
    """uint8 (32, 32, 3). The header is checked before anything is decoded."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            if image.size != (32, 32) or image.mode != "RGB":
                raise MinicnnError(f"{name}: {image.width}x{image.height} {image.mode}, expected 32x32 RGB")
            return np.asarray(image)
    except MinicnnError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise MinicnnError(f"{name}: no readable JPEG: {' '.join(str(error).split())}") from error


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """The archive as a stream of members. What fails while it is read is an error that names it."""
    try:
        with gzip.open(archive) as packed:
            limited = cast(BinaryIO, _Limited(cast(BinaryIO, packed)))
            with tarfile.open(fileobj=limited, mode="r|") as tar:
                yield tar
    except EOFError as error:
        raise MinicnnError(f"{archive}: the archive is cut off") from error
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
        raise MinicnnError(f"{archive}: damaged, or no .tar.gz: {error}") from error
    except OSError as error:
        raise MinicnnError(f"{archive}: cannot be read: {reason(error)}") from error


class _Limited:
    """The unpacked stream, up to MAX_BYTES: a small archive can hold terabytes of zeros."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = MAX_BYTES

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise MinicnnError(f"the archive holds more than {MAX_BYTES:,} bytes, refused")
        return data


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> bytes:
    file = tar.extractfile(member) if member.isfile() else None
    if file is None:
        raise MinicnnError(f"{archive}: {member.name} is not a plain file")
    with file:
        data = file.read()
    if len(data) < member.size:
        raise EOFError
    return data
