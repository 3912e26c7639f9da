"""The compiled kernels: which library this processor gets, how its functions are called, and why there may be none.

Each library is plain C without Python in it, loaded with ctypes, which gives up Python's lock during a call. A function
returns 0, or −1 where the memory does not suffice.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import build

FOLDER = Path(__file__).parent
LEVELS = tuple(build.LEVELS)  # best first
MOST_THREADS = 256  # of pool.c
TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "n": ctypes.c_long,
    "i": ctypes.c_int,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}


class Unavailable(ImportError):
    """There are no compiled kernels here; the text says why."""


class Broken(Unavailable):
    """There are, but they cannot be used."""


@lru_cache(maxsize=1)
def library() -> Any:
    """The best library that this processor can run, or that of MINICNN_NATIVE_LEVEL. Raises Unavailable, or Broken.

    A ValueError says that a variable in the environment makes no sense.
    """
    threads = default_threads()
    wanted = os.environ.get("MINICNN_NATIVE_LEVEL")
    if wanted and wanted not in LEVELS:
        raise ValueError(f"MINICNN_NATIVE_LEVEL={wanted!r}: there is {', '.join(LEVELS)}")
    built = checked_record()
    try:
        level = wanted or next(level for level in LEVELS if level in built and supports(level))
        if wanted and not (wanted in built and supports(wanted)):
            raise Broken(f"{wanted} is not {'for this processor' if wanted in built else 'built'}")
        loaded: Any = ctypes.CDLL(str(file(level)))
        loaded.level = level
        loaded.keep_memory()
        loaded.set_threads(min(threads, MOST_THREADS))
        return loaded
    except (OSError, AttributeError) as error:
        raise Broken(f"a library cannot be loaded: {error}") from None


def checked_record() -> list[str]:
    """The levels that were built here: of these sources, for this kind of processor, and whole."""
    try:
        record = build.read_record(FOLDER)
    except ValueError as error:
        raise Broken(f"{error}: make native, or install minicnn again") from None
    if record is None:
        raise Unavailable("not built")
    if not record["libraries"]:
        raise Unavailable(f"not built when minicnn was installed: {record['failed']['baseline']}")
    if record["machine"] != platform.machine():
        raise Broken(f"built for {record['machine']}, and this is {platform.machine()}")
    if record["sources"] != build.fingerprint(FOLDER):
        raise Broken("the C files have changed since they were compiled: make native")
    for level, checksum in record["libraries"].items():
        if not file(level).is_file() or build.checksum(file(level)) != checksum:
            raise Broken(f"{file(level).name} is not the file that was built: make native, or install minicnn again")
    return list(record["libraries"])


def file(level: str) -> Path:
    """Where the library for a kind of processor lies."""
    return FOLDER / f"{level}.so"


def supports(level: str) -> bool:
    """Whether this processor has a level's instructions: the library that runs on every one asks it."""
    return level == "baseline" or bool(ctypes.CDLL(str(file("baseline")))[f"has_{level}"]())


# Threads ----------------------------------------------------------------------------------------------------------


def threads() -> int:
    """How many threads work on a kernel, the caller included."""
    count: int = library().thread_count()
    return count


def set_threads(count: int) -> int:
    """Let `count` threads work from now on. Gives the number taken, 1 to 256. No result depends on it."""
    taken: int = library().set_threads(min(max(int(count), 1), MOST_THREADS))
    return taken


def default_threads() -> int:
    """MINICNN_THREADS, or what OpenMP and BLAS were told, or one a core that this process may use.

    Raises ValueError where MINICNN_THREADS is no number above 0. The other two are not ours to judge: what is no
    number in them is passed over (OMP_NUM_THREADS may be a list, whose first one counts).
    """
    wanted = os.environ.get("MINICNN_THREADS")
    if wanted and not (wanted.isdecimal() and int(wanted)):
        raise ValueError(f"MINICNN_THREADS={wanted!r}: expected a whole number above 0")
    for name in ("MINICNN_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        first = os.environ.get(name, "").partition(",")[0].strip()
        if first.isdecimal() and int(first):
            return int(first)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Functions --------------------------------------------------------------------------------------------------------


def function(name: str, arguments: str, result: str = "i") -> Callable[..., int]:
    """A function of the library, looked up when it is first called. `arguments`: a letter each, see TYPES.

    What it gives is a number that is not negative; −1 becomes MemoryError.
    """
    found: list[Any] = []

    def call(*values: Any) -> int:
        if not found:
            pointer = library()[name]
            pointer.argtypes, pointer.restype = [TYPES[letter] for letter in arguments], TYPES[result]
            found.append(pointer)
        status = found[0](*values)
        if status < 0:
            raise MemoryError(f"native kernel {name}: out of memory")
        return status

    return call


@lru_cache(maxsize=1)
def lanes() -> int:
    """Floats in a vector of this processor."""
    return library().lanes()
