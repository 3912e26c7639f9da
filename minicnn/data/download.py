"""Downloads: several mirrors, resumed, checked by SHA-256, one process at a time, whole or not there.

The bytes grow in `NAME.part` beside the file, which survives an interruption: the next attempt asks for the rest.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import MinicnnError
from ..files import make_folder, reason, sha256
from .places import Progress

TIMEOUT = 30.0  # seconds without an answer or a byte
ATTEMPTS = 3  # times a mirror is asked for the rest while its connection breaks after some progress
CHUNK = 1 << 18


class DownloadError(MinicnnError):
    """No mirror gave the file: the text says what each of them did."""


class _MirrorError(Exception):
    """This mirror cannot serve; the next one may."""


class _WriteError(Exception):
    """This machine cannot store the file; no mirror helps."""


@dataclass(frozen=True)
class RemoteFile:
    """A file in the network: its `name`, its size in bytes, its SHA-256, and where it lies (whole URLs).

    Of the SHA-256 the first eight digits or more may be known, of the size nothing: then the server says it, and what
    an interrupted download left is not gone on with.
    """

    name: str
    size: int | None
    sha256: str
    urls: tuple[str, ...]


def fetch(remote: RemoteFile, folder: Path, *, progress: Progress | None = None, timeout: float = TIMEOUT) -> Path:
    """Downloads `remote` into `folder`, unless it is there, and gives its path.

    Waits while another process downloads the same file, then uses that one. Raises DownloadError if every mirror
    fails, MinicnnError if the folder cannot be written or the disk is full. Nothing but the whole, right file ever has
    the final name.
    """
    target = folder / remote.name
    if target.is_file():
        return target
    make_folder(folder)
    try:
        with FileLock(f"{target}.lock"):
            if not target.is_file():  # another process may have been faster
                _fetch(remote, target, progress or (lambda *_: None), timeout)
    except (_WriteError, OSError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise MinicnnError(f"{target}: cannot be written: {why}") from error
    return target


def _fetch(remote: RemoteFile, target: Path, progress: Progress, timeout: float) -> None:
    part = target.with_name(target.name + ".part")
    failures = []
    for url in remote.urls:
        try:
            _from_mirror(url, remote, part, lambda done: progress(remote.name, done, remote.size), timeout)
        except _MirrorError as error:
            failures.append(f"{url}: {error}")
            continue
        os.replace(part, target)
        return
    raise DownloadError(f"{remote.name} cannot be downloaded: " + "; ".join(failures))


def _from_mirror(url: str, remote: RemoteFile, part: Path, progress: Callable[[int], None], timeout: float) -> None:
    """Makes `part` whole and right from one mirror, or raises _MirrorError."""
    _check_address(url)
    attempts = 0
    while True:
        begin = _size(part) if remote.size is not None else 0
        if remote.size is None or begin < remote.size:
            try:
                resumed = _receive(url, remote, part, begin, progress, timeout)
            except _MirrorError:
                attempts += 1
                if attempts < ATTEMPTS and _size(part) > begin:
                    continue
                raise
        else:
            resumed = True
        got = sha256(part)
        if got.startswith(remote.sha256) and remote.size in (None, _size(part)):
            return
        part.unlink()
        if not resumed:
            raise _MirrorError(f"gave a file with SHA-256 {got}, expected {remote.sha256}")
        # The wrong bytes may be what lay in the part before: once more, from the beginning.


def _receive(
    url: str, remote: RemoteFile, part: Path, begin: int, progress: Callable[[int], None], timeout: float
) -> bool:
    """Appends what is missing from byte `begin` on; True if the server did send only that."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "minicnn"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        with _OPENER.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            resumed = begin > 0 and response.status == 206
            if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
                raise _MirrorError(f"sent {response.headers.get('Content-Range')!r} when asked for bytes {begin}-")
            done = begin if resumed else 0
            size = remote.size if remote.size is not None else _announced(response.headers)
            with _Writer(part, append=resumed) as writer:
                progress(done)
                while chunk := response.read(CHUNK):
                    done += len(chunk)
                    if done > size:
                        raise _MirrorError(f"sent more than the {size:,} bytes of the file")
                    writer.write(chunk)
                    progress(done)
    except urllib.error.HTTPError as error:
        error.close()
        raise _MirrorError(f"answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _MirrorError(reason(error.reason) if isinstance(error.reason, OSError) else str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _MirrorError(reason(error) if isinstance(error, OSError) else repr(error)) from error
    if done < size:
        raise _MirrorError(f"the connection ended after {done:,} of {size:,} bytes")
    return resumed


def _announced(headers: Any) -> int:
    length = headers.get("Content-Length", "")
    if not length.isdigit():
        raise _MirrorError("does not say how long the file is")
    return int(length)


class _Writer:
    """A file whose errors cannot be taken for those of the network, which are OSErrors too. Frees a full disk."""

    def __init__(self, path: Path, append: bool) -> None:
        self.path = path
        try:
            self.file = open(path, "ab" if append else "wb")  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise _WriteError(reason(error)) from error

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            with suppress(OSError):
                self.file.close()
            with suppress(OSError):
                self.path.unlink()
            raise _WriteError(reason(error)) from error

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file.closed:
            return
        try:
            with self.file:
                self.file.flush()
                os.fsync(self.file.fileno())  # the bytes first, the name later
        except OSError as error:
            raise _WriteError(reason(error)) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_address(url: str) -> None:
    """https only; http from this machine itself, where nobody can change the bytes on the way."""
    address = urllib.parse.urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in ("127.0.0.1", "localhost")):
        raise _MirrorError(f"refused: {address.scheme}://{address.hostname} is not https")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_CheckedRedirects)
