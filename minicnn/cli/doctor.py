"""`minicnn doctor`: what this machine has, in lines that can be pasted into a bug report."""

from __future__ import annotations

import os
import sys

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import data, kernels, models
from ..data.places import cache_folder
from ..device import why_no_gpu
from ..errors import MinicnnError
from ..models import catalogue
from ..run import versions


def command() -> None:
    """What this machine has, what is cached, and what would be downloaded. Status 0: a missing GPU is no fault."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in findings():
        table.add_row(name, Text(text))  # as it is: [gpu12] is no markup
    Console().print(table, highlight=False)


def findings() -> list[tuple[str, str]]:
    """(what, how it is here)."""
    found = list(versions().items())
    found += [
        ("executable", sys.executable),
        ("cores", str(os.cpu_count())),
        ("matrix product", blas()),
        ("kernels", kernels_in_use()),
        ("GPU", why_no_gpu() or "CuPy can use it"),
        ("MINICNN_DATA", setting("MINICNN_DATA")),
        ("cache", str(cache_folder())),
    ]
    found += [(f"data: {name}", where(name)) for name in data.NAMES]
    shipped = [name for name in models.ARCHITECTURES if models.has_weights(name)]
    found.append(("weights shipped", ", ".join(shipped) or "none"))
    return found + published_weights()


def published_weights() -> list[tuple[str, str]]:
    """Which weights of the catalogue are here, which would be fetched, how much that is and to where."""
    try:
        states = {entry: catalogue.state(entry) for entry in catalogue.entries().values()}
    except MinicnnError as error:
        return [("weights found", str(error))]
    of = {word: [entry for entry in states if states[entry].word == word] for word in ("found", "cached", "to fetch")}
    said = [(f"weights {word}", ", ".join(entry.name for entry in of[word]) or "none") for word in ("found", "cached")]
    sizes = ", ".join(f"{entry.name} ({catalogue.megabytes(entry)})" for entry in of["to fetch"])
    said.append(("weights to fetch", f"{sizes}; into {catalogue.cache_folder()}" if sizes else "none"))
    return said


def kernels_in_use() -> str:
    """The family that computes float32 here, and why it is that one."""
    from ..kernels.native import library

    family = kernels.choose("conv2d_forward").__name__.rpartition(".")[2]
    asked = os.environ.get("MINICNN_KERNELS")
    if family == "native":
        threads = library.threads()
        return f"native: {library.library().level}, {threads} thread{'s' * (threads > 1)}; float64 by array"
    if asked == family:
        return f"{family}: MINICNN_KERNELS={asked}"
    try:
        library.library()
    except library.Unavailable as reason:
        return f"{family}: native kernels: {reason}"
    return family  # inside `kernels.using`


def where(name: str) -> str:
    """Where a data set is, or what is wrong with the places that it is looked for in."""
    try:
        return data.where(name)
    except MinicnnError as error:
        return str(error)


def setting(name: str) -> str:
    """An environment variable, or that it is not set."""
    return os.environ.get(name) or "not set"


def blas() -> str:
    """The library that NumPy multiplies matrices with."""
    config = np.show_config(mode="dicts")
    library = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    return f"{library.get('name', 'unknown')} {library.get('version', '')}".strip()
