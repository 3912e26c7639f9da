"""`minicnn summary`: the table of one network, of two side by side, or of all; the lecture's counts beside the true."""

from __future__ import annotations

import os
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from .. import models
from ..errors import MinicnnError
from ..layers import Conv2d, Layer, Linear, Shape
from ..layers.containers import Container
from ..models.lecture import Count, counts
from ..network import Network

PIPED = 180  # columns of a table that no terminal shows


def command(
    model: Annotated[str | None, typer.Argument(help="Name of a network.")] = None,
    compare: Annotated[str | None, typer.Option("--compare", help="Another network beside it, layer by layer.")] = None,
    lecture: Annotated[bool, typer.Option("--lecture", help="The lecture's counts beside the true ones.")] = False,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Number of classes.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="One line for each network, with its accuracy.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="With --all: as the README has it.")] = False,
) -> None:
    """Output shape, parameters, multiply-adds and memory of every layer, for one picture."""
    if (
        (model is None) != everything
        or (everything and (compare or lecture or classes))
        or (markdown and not everything)
    ):
        raise MinicnnError("summary: expected a network (with --compare, --lecture, --classes), or --all (--markdown)")
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED
    if model is None:
        from .networks import print_networks

        print_networks(console, markdown)
        return
    options = {} if classes is None else {"num_classes": classes}
    printed = counts(model) if lecture else []
    net = models.architecture(model, **options)
    if compare is None:
        print_summary(console, net)
    else:
        from .compare import print_comparison

        print_comparison(console, net, models.architecture(compare, **options))
    if printed:
        print_lecture(console, printed)


class Row(NamedTuple):
    """A layer without layers inside, as it meets one picture: what it makes and learns, and the bytes that it keeps."""

    layer: Layer
    output: Shape
    parameters: int
    macs: int
    memory: int

    def cells(self) -> tuple[str, str, str, str, str]:
        """Kind, output, parameters, multiply-adds and memory, as people read them."""
        kind = f"{type(self.layer).__name__} {self.layer.describe()}".strip()
        return kind, shape_text(self.output), number(self.parameters), number(self.macs), size_text(self.memory)


def rows(net: Container, input_shape: Shape) -> list[Row]:
    """Every layer without layers inside, in order."""
    found = []
    for layer, shape in net.inputs(input_shape):
        if isinstance(layer, Container):
            found += rows(layer, shape)
        else:
            sizes = layer.num_parameters(), layer.macs(shape), layer.memory(shape)
            found.append(Row(layer, layer.output_shape(shape), *sizes))
    return found


PARTS: dict[str, type[Layer]] = {"convolutions": Conv2d, "fully connected": Linear, "other layers": Layer}


class Sums(NamedTuple):
    """What rows come to together."""

    parameters: int
    macs: int
    memory: int


def sums(found: list[Row]) -> dict[str, Sums]:
    """Of the convolutions, the fully connected layers, the other layers and "all"; without parts that are not there."""
    of: dict[str, list[Row]] = {part: [] for part in PARTS}
    for row in found:
        of[next(part for part, kind in PARTS.items() if isinstance(row.layer, kind))].append(row)
    return {part: _sum(some) for part, some in {**of, "all": found}.items() if some}


def _sum(found: list[Row]) -> Sums:
    return Sums(sum(row.parameters for row in found), sum(row.macs for row in found), sum(row.memory for row in found))


def print_summary(console: Console, net: Network) -> None:
    """The table of one network."""
    table = Table(title=f"{net.name}, input {shape_text(net.input_shape)}", title_justify="left")
    table.caption = "MACs: multiply-adds. Memory: what is kept for the backward pass, float32."
    for name in ("layer", "kind"):
        table.add_column(name, overflow="fold")
    for name in ("output", "parameters", "MACs", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    found = rows(net, net.input_shape)
    for row in found:
        table.add_row(row.layer.path, *row.cells())
    table.add_section()
    for part, (parameters, macs, memory) in sums(found).items():
        table.add_row(part, "", "", number(parameters), number(macs), size_text(memory))
    console.print(table)
    weight_bytes = 4 * net.num_parameters()
    console.print(
        f"Training holds {size_text(3 * weight_bytes)} of weights, gradients and momentum, "
        f"and {size_text(net.memory(net.input_shape))} for each picture of a batch (float32).",
        highlight=False,
    )


def print_lecture(console: Console, printed: list[Count]) -> None:
    """The counts that the lecture prints, the true ones, and why they differ."""
    table = Table(title="The lecture's counts", title_justify="left")
    for name in ("count", "printed", "computed"):
        table.add_column(name, justify="left" if name == "count" else "right", overflow="fold")
    table.add_column("why they differ", overflow="fold")
    for count in printed:
        computed = f"{count.computed:,}" if isinstance(count.computed, int) else f"{count.computed:.2f}×"
        table.add_row(count.layer, count.printed, computed, count.why)
    console.print(table)


def shape_text(shape: Shape) -> str:
    """(3, 32, 32) -> "3×32×32"."""
    return "×".join(map(str, shape))


def number(n: int) -> str:
    """With thousands apart; nothing for 0."""
    return f"{n:,}" if n else ""


def size_text(n: int) -> str:
    """Bytes as people read them."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B" if n else ""
