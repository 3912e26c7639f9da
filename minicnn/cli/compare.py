"""`minicnn summary A --compare B`: two networks side by side, layer by layer."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from ..network import Network
from .summary import Row, number, rows, shape_text, size_text, sums

MISSING = ("–", "", "", "", "")
# What is shown of each network's layers in a terminal of so many columns: the cells of a `Row`.
SHOWN = {140: (0, 1, 2, 3, 4), 110: (0, 2, 3), 0: (0, 2)}
HEADS = ("kind", "output", "parameters", "MACs", "memory")


def print_comparison(console: Console, a: Network, b: Network) -> None:
    """Their layers, those of the same place in one row, and what they come to."""
    found_a, found_b = rows(a, a.input_shape), rows(b, b.input_shape)
    shown = next(shown for width, shown in SHOWN.items() if console.width >= width)
    title = f"{a.name}, input {shape_text(a.input_shape)}, and {b.name}, input {shape_text(b.input_shape)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.caption = "–: has no such layer. MACs: multiply-adds. Memory: what is kept for the backward pass, float32."
    if len(shown) < len(HEADS):
        table.caption = "–: has no such layer. A wider terminal shows more columns."
    table.add_column("layer", overflow="fold")
    for name in (a.name, b.name):
        for i in shown:
            numeric = HEADS[i] != "kind"
            head = ("" if numeric else name) + f"\n{HEADS[i]}"
            table.add_column(head, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for label, *pair in match(found_a, found_b):
        cells = ((MISSING if row is None else row.cells())[i] for row in pair for i in shown)
        table.add_row(label, *cells)
    console.print(table)
    print_sums(console, a.name, b.name, found_a, found_b)


def match(found_a: list[Row], found_b: list[Row]) -> list[tuple[str, Row | None, Row | None]]:
    """(Name, row of A, row of B), in an order that keeps that of A; layers of one name are in one row.

    So are layers of one role: the last that learn, which give the classes, and VGG's conv1_1 and another's conv1.
    """
    a, b = ({row.layer.path: row for row in found} for found in (found_a, found_b))
    last_a, last_b = (next((name for name in reversed(side) if side[name].parameters), "") for side in (a, b))
    other = {}  # B's name of a layer that has the same role in A under another name -> A's
    for name in b:
        for candidate in (last_a if name == last_b else "", name.removesuffix("_1"), f"{name}_1"):
            if name not in a and candidate in a and candidate not in b:
                other[name] = candidate
    order = list(a)
    place = 0  # behind the layer of B that was placed last
    for name in b:
        if other.get(name, name) not in a:
            order.insert(place, name)
        place = order.index(other.get(name, name)) + 1
    here = {mine: theirs for theirs, mine in other.items()}  # A's -> B's
    return [
        (f"{name}, {here[name]}" if name in here else name, a.get(name), b.get(here.get(name, name))) for name in order
    ]


def print_sums(console: Console, name_a: str, name_b: str, found_a: list[Row], found_b: list[Row]) -> None:
    """Parameters, multiply-adds and memory of both, by kinds of layers, and how many times as much B has."""
    table = Table(title="Together", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in (name_a, name_b, "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    all_a, all_b = sums(found_a), sums(found_b)
    for field, what, text in (
        ("parameters", "parameters", number),
        ("macs", "multiply-adds", number),
        ("memory", "memory for the backward pass", size_text),
    ):
        for part in ("all", "convolutions", "fully connected", "other layers"):
            x, y = (getattr(of[part], field) if part in of else 0 for of in (all_a, all_b))
            if x or y:
                label = what if part == "all" else f"  {part}"
                table.add_row(label, text(x), text(y), ratio(x, y))
    console.print(table)


def ratio(a: float, b: float) -> str:
    """How many times a is in b: "×1.50", or "÷8.71" where b is the smaller; nothing where one is 0."""
    if not a or not b:
        return ""
    times = max(a, b) / min(a, b)
    return ("×" if b >= a else "÷") + (f"{times:.2f}" if times < 100 else f"{times:,.0f}")
