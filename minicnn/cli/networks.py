"""`minicnn summary --all`: one line for each name that a network is loaded by. The README's table is made by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from .. import models
from ..models.catalogue import Entry, entries, megabytes
from .summary import shape_text

SOURCES = {"torchvision": "torchvision", "onnx": "ONNX model zoo", "places365": "Places365", "data": "`MINICNN_DATA`"}
CLASSES = {"places365": 365}  # where a published network has not as many as its architecture
HEADS = ("network", "input", "parameters", "multiply-adds", "top-1 / top-5 %", "trained weights")


class Line(NamedTuple):
    """What is said of one network, as text."""

    name: str
    input: str
    parameters: str
    macs: str
    accuracy: str
    weights: str


def lines() -> Iterator[Line]:
    """Every architecture, and behind it the other trained networks that have it."""
    for network in models.ARCHITECTURES:
        published = {entry.name: entry for entry in entries().values() if entry.network == network}
        for name in dict.fromkeys([network, *published]):
            yield line(name, network, published.get(name))


def line(name: str, network: str, entry: Entry | None) -> Line:
    """What is said of an architecture with the weights of its entry, or with those that come with minicnn."""
    options = {"num_classes": CLASSES[entry.classes]} if entry and entry.classes in CLASSES else {}
    net = models.architecture(network, **options)
    shape = (3, entry.input, entry.input) if entry else net.input_shape
    accuracy, weights = "", ""
    if name == network and models.has_weights(network):
        accuracy, weights = shipped_accuracy(network), "shipped"
    elif entry:
        accuracy = " / ".join(f"{value:.1f}" for value in (entry.top1, entry.top5) if value is not None)
        size = f", {megabytes(entry)}" if entry.bytes or entry.about else ""
        weights = SOURCES[entry.source] + size
    return Line(name, shape_text(shape), f"{net.num_parameters():,}", short(net.macs(shape)), accuracy, weights)


def shipped_accuracy(network: str) -> str:
    """The accuracy in the last line of the log that lies beside the shipped weights."""
    log = models.weights_file(network).with_suffix(".log").read_text(encoding="utf-8")
    return re.findall(r"test accuracy (\d+\.\d+) %", log)[-1]


def short(n: int) -> str:
    """To three digits: 714,188,480 -> "714 M"."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= 0.9995 * size:
            return f"{n / size:#.3g}".rstrip(".") + f" {unit}"
    return str(n)


def markdown() -> str:
    """The table as the README has it."""
    rows = ["| " + " | ".join(HEADS) + " |", "|---|---|--:|--:|--:|---|"]
    rows += ["| " + " | ".join((f"`{found.name}`", *found[1:])) + " |" for found in lines()]
    return "\n".join(rows)


def print_networks(console: Console, as_markdown: bool) -> None:
    """The table on the screen, or its Markdown."""
    if as_markdown:
        print(markdown())
        return
    table = Table(title="The networks, by the names that they are loaded by", title_justify="left")
    for head in HEADS:
        right = head in HEADS[2:5]
        table.add_column(head, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for found in lines():
        table.add_row(*(cell.replace("`", "") for cell in found))
    console.print(table)
