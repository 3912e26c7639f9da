"""Files that are either whole or not there: written beside their place, then renamed; and their hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import MinicnnError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path beside `path` to write to; the file takes `path`'s place when the block ends without an exception.

    Otherwise it is removed and `path` stays as it was. The name is always the same, `.NAME.part`, so that what a killed
    process left is overwritten by the next one: two processes must not write one file at a time. Raises MinicnnError
    for what the operating system refuses (a full disk, no permission, no such folder).
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        _flush_to_disk(part)
        os.replace(part, path)
    except BaseException as error:
        _remove(part)
        if isinstance(error, OSError):
            raise MinicnnError(f"{path}: cannot be written: {reason(error)}") from error
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to the file `path`, whole or not at all. Raises MinicnnError as `replacing` does."""
    with replacing(path) as part:
        part.write_bytes(data)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Makes the folder `path`, and those it lies in, where they are missing. Raises MinicnnError where it cannot."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_the_way = next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), None)
        why = f"{in_the_way} is a file" if in_the_way else reason(error)
        raise MinicnnError(f"{path}: cannot make this folder: {why}") from error
    return path


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, as 64 hex digits. Raises MinicnnError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise MinicnnError(f"{os.fspath(path)}: cannot be read: {reason(error)}") from error
    return digest.hexdigest()


def reason(error: OSError) -> str:
    """What the operating system says, as the end of a sentence: "no space left on device"."""
    text = error.strerror or str(error) or type(error).__name__
    return text[0].lower() + text[1:]


def _flush_to_disk(path: Path) -> None:
    # Without it a power failure after the rename can leave an empty file under the final name.
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    with suppress(OSError):  # the error that brought us here says more than this one
        path.unlink(missing_ok=True)
