"""The folder that a command leaves behind: its pictures, and run.json, which says how they came about.

    with Run("out", command=sys.argv, settings={"steps": 200}, seed=0) as run:
        run.hash_input("cat.jpg")
        run.save("saliency.png", picture)
        run.finish(probability=0.93)

run.json is whole at any moment. Times are in it, and on a page that compares times: all other files depend on seed and
settings alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from . import pictures
from .errors import MinicnnError, nearest
from .files import make_folder, reason, sha256, write_bytes
from .report import Section, write_index

RECORD = "run.json"
EXIST = ("error", "overwrite", "resume")
OBJECTS = ("settings", "inputs", "fingerprints", "files")  # in run.json


class Run:
    """A run folder. As a context manager it ends as "finished", "interrupted" (Ctrl-C) or "failed"; files stay.

    A run that ends with an error before it has made a file leaves the folder as it found it.

    `exist` says what to do about a run that is already in `folder`: "error" (a training run's choice), "overwrite" it
    (a picture command's), or "resume", which starts afresh where there is none and wants the same settings and seed
    where there is one. MinicnnError otherwise, and where `folder` cannot be made or written to. A run that says that it
    is `resumable` is hours of work: only the same command overwrites it, once it is finished. Files of earlier runs
    stay, and `files` in run.json says which are this one's. `settings` holds plain values, paths, NumPy scalars and
    arrays, lists and dicts.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        command: str | Sequence[str],
        settings: Mapping[str, Any],
        seed: int,
        exist: str = "error",
        resumable: bool = False,
    ) -> None:
        if exist not in EXIST:
            raise MinicnnError(f"exist={exist!r}{nearest(exist, EXIST)}")
        self.folder = Path(folder)
        self._clock = time.monotonic()
        self._record: dict[str, Any] = {
            "status": "running",
            "command": command if isinstance(command, str) else list(command),
            "seed": seed,
            "settings": _plain(settings),
            "resumable": resumable,
            "versions": versions(),
            "inputs": {},
            "fingerprints": {},
            "files": {},
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "duration_seconds": 0.0,
        }
        self._reserved = {*self._record, "error"}
        self._before = 0.0  # seconds that earlier parts of a resumed run took
        self._made_something = False
        record = self.folder / RECORD
        old = read_run(self.folder) if record.exists() else None
        self._earlier = None if old is None else record.read_bytes()
        self.resumed = exist == "resume" and old is not None
        if old is not None and self.resumed:
            self._take_up(old)
        elif old is not None:
            self._refuse_to_overwrite(old, exist)
        make_folder(self.folder)
        self._write()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        self._record["status"] = "interrupted" if interrupted else "failed"
        if not interrupted:  # which says all there is to say
            self._record["error"] = " ".join(f"{type(error).__name__}: {error}".split())
        with contextlib.suppress(MinicnnError, OSError):  # a full disk, say: the error under way matters more
            self._write()
            if not (self.resumed and interrupted):
                self._withdraw()

    def note(self, **values: Any) -> None:
        """Records values that are no settings (the device, …) as keys at the top level of run.json."""
        self._add(values)
        self._write()

    def finish(self, **values: Any) -> None:
        """Marks the run "finished" and records `values` (the final accuracy, …) as `note` does."""
        self._add(values)
        self._record["status"] = "finished"
        self._record.pop("error", None)
        self._write()

    def path(self, name: str) -> Path:
        """The path of a file of this run, in folders that are made. `name` is relative and stays inside the folder."""
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts or name in ("", ".", RECORD):
            raise MinicnnError(f"{name!r}: expected the name of a file inside the run's folder")
        make_folder((self.folder / name).parent)
        return self.folder / name

    def hash_input(self, path: str | os.PathLike[str]) -> str:
        """Records the SHA-256 of a file that the run reads, a picture or weights, and returns it."""
        digest = sha256(path)
        self._record["inputs"][os.fspath(path)] = digest
        self._write()
        return digest

    def identify(self, **digests: str) -> None:
        """Records what stood behind the names in the settings: the fingerprint of pictures, the hash of weights.

        Raises MinicnnError where a resumed run began with others.
        """
        for what, digest in digests.items():
            if self._record["fingerprints"].setdefault(what, digest) != digest:
                raise MinicnnError(f"{self.folder}: cannot resume: the {what} are not those that the run began with")
        self._write()

    def record(self, name: str) -> Path:
        """Records the SHA-256 of a file of the run that was written by someone else, such as weights; its path."""
        path, key = self.path(name), PurePath(name).as_posix()
        self._record["files"][key] = sha256(path)
        self._made_something = True
        self._write()
        return path

    def save(self, name: str, picture: Image.Image | np.ndarray) -> Path:
        """Writes a PNG, from a PIL picture or floats (C, H, W) in [0, 1], and records it."""
        if PurePath(name).suffix != ".png":
            raise MinicnnError(f"{name!r}: expected a name that ends in .png")
        image = picture if isinstance(picture, Image.Image) else pictures.to_picture(picture)
        pictures.save_png(self.path(name), image)
        return self.record(name)

    def save_animation(self, name: str, frames: Iterable[Image.Image], fps: float = 10) -> Path:
        """Writes an animated GIF and records it."""
        if PurePath(name).suffix != ".gif":
            raise MinicnnError(f"{name!r}: expected a name that ends in .gif")
        pictures.save_gif(self.path(name), frames, fps)
        return self.record(name)

    def write_index(
        self, title: str, sections: Sequence[Section], *, lead: str = "", facts: Sequence[tuple[str, str]] = ()
    ) -> Path:
        """Writes index.html, the page to look at (see `report.write_index`), and records it."""
        write_index(self.folder, title, sections, lead=lead, facts=facts)
        return self.record("index.html")

    def _withdraw(self) -> None:
        """Leaves the folder as it was before a run that made nothing: so a bad option harms and blocks nothing."""
        if self._made_something:
            return
        if self._earlier is not None:
            write_bytes(self.folder / RECORD, self._earlier)
        elif [path.name for path in self.folder.iterdir()] == [RECORD]:
            (self.folder / RECORD).unlink()
            self.folder.rmdir()

    def _add(self, values: Mapping[str, Any]) -> None:
        taken = self._reserved & values.keys()
        if taken:
            raise MinicnnError(f"run.json has its own {', '.join(sorted(taken))}: give the value another name")
        self._record.update(_plain(values))

    def _write(self) -> None:
        self._record["duration_seconds"] = round(self._before + time.monotonic() - self._clock, 3)
        text = json.dumps(self._record, indent=2, ensure_ascii=False, allow_nan=False)
        write_bytes(self.folder / RECORD, text.encode() + b"\n")

    def _refuse_to_overwrite(self, old: dict[str, Any], exist: str) -> None:
        """Raises MinicnnError where an earlier run is to stay."""
        command = old.get("command", "")
        again = isinstance(command, list) and command[:3] == self._record["command"][:3]
        if exist == "error" or (old.get("resumable") and not (again and old.get("status") == "finished")):
            words = " ".join(map(str, command[:3])) if isinstance(command, list) else command
            what, way = ("run that can be resumed", "resume it, or ") if old.get("resumable") else ("run", "")
            raise MinicnnError(f"{self.folder}: already holds a {what} ({words}): {way}choose another folder")

    def _take_up(self, old: dict[str, Any]) -> None:
        """Goes on with what an earlier part of this run left in its record."""
        now = {**self._record["settings"], "seed": self._record["seed"]}
        then = {**old.get("settings", {}), "seed": old.get("seed")}
        for key in {**now, **then}:
            if (key in now, now.get(key)) != (key in then, then.get(key)):
                here, there = (repr(x[key]) if key in x else "nothing" for x in (now, then))
                raise MinicnnError(f"{self.folder}: cannot resume with {key} = {here}, the run has {key} = {there}")
        self._before = float(old.get("duration_seconds", 0))
        self._record.update({key: old[key] for key in (*OBJECTS, "started") if key in old})


def read_run(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The run.json of `folder`. Raises MinicnnError if it is missing or damaged."""
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MinicnnError(f"{folder}: holds no run: there is no {RECORD}") from error
    except OSError as error:
        raise MinicnnError(f"{path}: cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise MinicnnError(f"{path}: damaged: {error}") from error
    parts = {key: record.get(key, {}) for key in OBJECTS} if isinstance(record, dict) else {RECORD: record}
    for key, part in parts.items():
        if not isinstance(part, dict):
            raise MinicnnError(f"{path}: damaged: {key}: expected an object, got {type(part).__name__}")
    return record


def versions() -> dict[str, str]:
    """What the results may depend on: minicnn, Python, NumPy, Pillow, and the machine."""
    from PIL import __version__ as pillow

    from . import __version__ as minicnn

    return {
        "minicnn": minicnn,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": pillow,
        "platform": platform.platform(),
    }


def _plain(value: Any) -> Any:
    """The same in what JSON has. A number that is not finite becomes a text that float() reads: "nan", "-inf"."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise MinicnnError(f"{RECORD} cannot hold a {type(value).__name__}: {value!r}")
