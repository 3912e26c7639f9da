"""The trained weights that others publish (catalogue.toml): where they lie, and how the network is fed that has them.

They are looked for as data sets are: by file name and hash in the folders of MINICNN_DATA, then in the cache, then in
the network. A file with another hash is not used.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.data import places
from minicnn.data.download import DownloadError, RemoteFile, fetch
from minicnn.data.places import Progress
from minicnn.errors import MinicnnError
from minicnn.files import sha256
from minicnn.layers import Normalize
from minicnn.network import Network

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUBFOLDERS = ("weights", ".")  # in each folder that is searched; in the cache the first


@dataclass(frozen=True)
class Entry:
    """One entry. Mean and std are those of `scale`·picture, blue first where `bgr`; accuracies are in percent."""

    name: str
    network: str
    file: str
    folders: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input: int
    resize: int
    classes: str
    licence: str
    source: str
    folder: str = ""
    scale: float = 1.0
    bgr: bool = False
    sha256: str = ""
    bytes: int | None = None
    about: int | None = None
    top1: float | None = None
    top5: float | None = None
    measured: str = field(default="", repr=False)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the file lies in the network."""
        return tuple(folder + self.folder + self.file for folder in self.folders)

    @property
    def fetchable(self) -> bool:
        """Whether it can be fetched: from somewhere, and so that a wrong file would be noticed."""
        return bool(self.urls and self.sha256)

    @property
    def feeding(self) -> str:
        """How a network is fed that has these weights, as people read it."""
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        colours = f"{'BGR' if self.bgr else 'RGB'} from 0 to {self.scale:g}"
        return f"{colours}, mean {mean}, std {std}, {self.input}×{self.input} of {self.resize}"

    def prepare(self, net: Network) -> None:
        """Set how a network is fed: the size of its pictures, mean, std, scale and order of colours."""
        normalize = net.layer("normalize")
        assert isinstance(normalize, Normalize)
        new = Normalize(self.mean, self.std, scale=self.scale, bgr=self.bgr)
        for name, buffer in normalize.named_buffers().items():
            buffer.value[...] = new.named_buffers()[name].value
        normalize.after_loading()
        net.input_shape, net.resize = (3, self.input, self.input), self.resize


@cache
def entries() -> dict[str, Entry]:
    """All entries by name, in the file's order."""
    data = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    found = {}
    for name, said in data["weights"].items():
        settings: dict[str, Any] = {"name": name, **data["source"][said["source"]], **said}
        for key in ("folders", "mean", "std"):
            settings[key] = tuple(settings[key])
        found[name] = Entry(**settings)
    return found


def entry_of(path: Path, network: str) -> Entry | None:
    """The entry whose file this is, wherever it lies: by its hash, or by its name where no hash is known."""
    size = path.stat().st_size
    for entry in entries().values():
        alike = path.name == entry.file or size == entry.bytes
        if entry.network == network and alike and (not entry.sha256 or sha256(path).startswith(entry.sha256)):
            return entry
    return None


def find(entry: Entry, *, check: bool = True) -> Path | None:
    """Where the file lies on this machine, or None. Raises MinicnnError where one of its name has another hash."""
    for folder in places.searched_folders():
        for sub in SUBFOLDERS:
            path = folder / sub / entry.file
            if path.is_file():
                if check and not sha256(path).startswith(entry.sha256):
                    raise MinicnnError(
                        f"{path}: not used: its SHA-256 is {sha256(path)}, that of {entry.name} {entry.sha256}; "
                        f"remove the file, or use it all the same by `--model {entry.name} --weights {path}`"
                    )
                return path
    return None


def obtain(entry: Entry, *, progress: Progress | None = None) -> Path:
    """The file, fetched into the cache where it is not on this machine.

    Raises MinicnnError that says where it was looked for, where it can be fetched by hand, and where to put it.
    """
    path = find(entry)
    if path is not None:
        return path
    by_hand = places.advice(entry.file)
    if not entry.fetchable:
        source = f"; fetch it by hand from {' or '.join(entry.urls)}" if entry.urls else ""
        raise MinicnnError(f"weights {entry.name}: {entry.file} is not on this machine{source}: {by_hand}")
    remote = RemoteFile(entry.file, entry.bytes, entry.sha256, entry.urls)
    try:
        return fetch(remote, cache_folder(), progress=progress)
    except DownloadError as error:
        raise MinicnnError(f"weights {entry.name}: {error}; {by_hand}") from error


class State(NamedTuple):
    """Whether weights are here ("found", "cached") or not ("to fetch", "by hand", "missing"), and where they lie."""

    word: str
    where: str


def state(entry: Entry) -> State:
    """Where a file is, by its name alone: its hash is looked at when it is loaded."""
    path = find(entry, check=False)
    if path is not None:
        return State("cached" if path.is_relative_to(cache_folder()) else "found", str(path))
    if entry.fetchable:
        return State("to fetch", ", ".join(url.split("/")[2] for url in entry.urls))
    if entry.urls:
        return State("by hand", entry.urls[0])
    return State("missing", f"in no folder that {places.VARIABLE} names")


def cache_folder() -> Path:
    """Where fetched weights are kept."""
    return places.cache_folder() / SUBFOLDERS[0]


def megabytes(entry: Entry) -> str:
    """How large the file is, as people read it."""
    size = entry.bytes or entry.about
    return "not known" if size is None else f"{size / 1e6:.3g} MB" if size < 1e8 else f"{size / 1e6:.0f} MB"
