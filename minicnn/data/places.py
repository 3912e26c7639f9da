"""Where data and weights lie on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from ..errors import MinicnnError

VARIABLE = "MINICNN_DATA"

# Called as progress(what, done, total); total is None where it is not known.
Progress = Callable[[str, int, "int | None"], None]


def data_folders() -> list[Path]:
    """The folders named in MINICNN_DATA, separated by os.pathsep. They are never written to.

    Raises MinicnnError if one of them does not exist: to pass it over would download what the user has.
    """
    folders = [Path(text).expanduser() for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for folder in folders:
        if not folder.is_dir():
            raise MinicnnError(f"{VARIABLE} names {folder}, which is not a folder")
    return folders


def cache_folder() -> Path:
    """Where downloads and decoded data are kept. It need not exist yet."""
    return Path(platformdirs.user_cache_dir("minicnn"))


def searched_folders() -> list[Path]:
    """The folders that data are looked for in, in this order: those of MINICNN_DATA, then the cache."""
    return [*data_folders(), cache_folder()]


def advice(what: str) -> str:
    """Says, for the end of an error, where `what` was looked for and what to do."""
    named = os.pathsep.join(map(str, data_folders())) or "not set"
    return f"looked in {VARIABLE} ({named}) and {cache_folder()}; put {what} there or set {VARIABLE} to their folder"
