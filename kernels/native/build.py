"""Compiles the C files of this folder: one library for each kind of processor, and a record of what was built.

Needs Python and a C compiler (CC, or the first of cc, gcc and clang; CFLAGS and LDFLAGS are heeded). setup.py calls it,
and library.py reads the record: a library that an older build left behind, or that was cut short, is never loaded.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

LEVELS: dict[str, tuple[str, ...]] = {  # kinds of processors, the best first; the last runs on every one
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "avx2": ("-march=x86-64-v3",),
    "baseline": (),
}
# No -ffast-math: nothing is gained, and loading the library would set flush-to-zero for the whole process.
FLAGS = ("-O3", "-fno-math-errno", "-std=gnu11", "-fPIC", "-shared")
LIBRARIES = ("-lpthread", "-lm")
RECORD = "built.json"


def build(source: Path, target: Path) -> list[Path]:
    """Compile source/*.c for every level into target. Gives the files that are there now; warns of what failed.

    Nothing that was there before stays: after a failure there are no libraries, and the record says why.
    """
    target.mkdir(parents=True, exist_ok=True)
    sources = fingerprint(source)  # before they are read: what changes meanwhile is compiled again
    with TemporaryDirectory(dir=target, prefix=".") as fresh:
        compiled = compile_levels(sorted(source.glob("*.c")), Path(fresh))
        failed = {level: result for level, result in compiled.items() if isinstance(result, str)}
        libraries = {level: checksum(file) for level, file in compiled.items() if isinstance(file, Path)}
        record = {"machine": platform.machine(), "sources": sources, "libraries": libraries, "failed": failed}
        (target / RECORD).unlink(missing_ok=True)
        for level in LEVELS:
            (target / f"{level}.so").unlink(missing_ok=True)
            if level in libraries:
                os.replace(Path(fresh, f"{level}.so"), target / f"{level}.so")
        (target / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if failed:
        what = "the native kernels are not built, and NumPy does their work"
        if libraries:
            what = f"there are no native kernels for {', '.join(failed)}"
        print(f"minicnn: WARNING: {what}: {next(iter(failed.values()))}", file=sys.stderr)
    return [target / RECORD, *(target / f"{level}.so" for level in libraries)]


def compile_levels(sources: list[Path], target: Path) -> dict[str, Path | str]:
    """level -> its library, or why there is none. All levels at once, a process each."""
    from subprocess import PIPE, Popen

    try:
        compiler, flags, link = (shlex.split(os.environ.get(name, "")) for name in ("CC", "CFLAGS", "LDFLAGS"))
    except ValueError as error:  # a quotation that nobody closes
        return {"baseline": f"CC, CFLAGS or LDFLAGS: {error}"}
    if not compiler:
        compiler = [next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "cc")]
    found: dict[str, Any] = {}
    for level, march in LEVELS.items():
        if march and platform.machine() not in ("x86_64", "AMD64"):
            continue
        library = str(target / f"{level}.so")
        command = [*compiler, *FLAGS, *flags, *march, *map(str, sources), "-o", library, *link, *LIBRARIES]
        try:
            found[level] = Popen(command, stdout=PIPE, stderr=PIPE, text=True, errors="replace")
        except OSError as error:
            found[level] = f"{compiler[0]}: {error.strerror}"
    for level, process in found.items():
        if not isinstance(process, str):
            _, errors = process.communicate()
            made = target / f"{level}.so"
            works = process.returncode == 0 and made.is_file()
            lines = [line for line in errors.splitlines() if "error" in line]
            found[level] = made if works else f"{compiler[0]}: {[*lines, f'exit status {process.returncode}'][0]}"
    return found


def fingerprint(folder: Path) -> int:
    """A number for the C files of a folder: another one where any of them is another."""
    total = 0
    for file in sorted(folder.glob("*.[ch]")):
        total = crc32(file.read_bytes(), crc32(file.name.encode(), total))
    return total


def checksum(file: Path) -> int:
    """A number for what is in a file."""
    return crc32(file.read_bytes())


def read_record(folder: Path) -> dict[str, Any] | None:
    """What `build` has noted in a folder; None where nothing was built. Raises ValueError for a damaged record."""
    kinds = {"machine": str, "sources": int, "libraries": dict, "failed": dict}
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
        whole = all(isinstance(record[key], kind) for key, kind in kinds.items())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole or not (record["libraries"] or "baseline" in record["failed"]):
        raise ValueError(f"{RECORD} is damaged")
    return record
