"""`minicnn weights list`: the trained weights that have a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from ... import models
from ...models import catalogue
from ..networks import shipped_accuracy

PIPED = 200  # columns of a table that no terminal shows


class Line(NamedTuple):
    """One set of weights, as people read it."""

    name: str
    state: str
    size: str
    accuracy: str
    licence: str
    where: str


def command() -> None:
    """List the trained weights that load by name: where each lies, or would be fetched from."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in Line._fields:
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for line in lines():
        table.add_row(*line)
    console.print(table, highlight=False)
    print(f"Accuracy: top-1/top-5 in percent, as published. Fetched files go into {catalogue.cache_folder()}.")


def lines() -> Iterator[Line]:
    """What comes with minicnn, then the catalogue. Nothing is read but names and sizes."""
    for name in models.ARCHITECTURES:
        if models.has_weights(name):
            path = models.weights_file(name)
            size = f"{path.stat().st_size / 1e6:.3g} MB"
            yield Line(name, "shipped", size, shipped_accuracy(name), "MIT", "comes with minicnn")
    for entry in catalogue.entries().values():
        accuracy = "/".join(f"{value:.1f}" for value in (entry.top1, entry.top5) if value is not None)
        state = catalogue.state(entry)
        yield Line(entry.name, state.word, catalogue.megabytes(entry), accuracy, entry.licence, state.where)
