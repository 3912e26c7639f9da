"""`minicnn summary`: the table of a network, and the lecture's counts beside the computed ones."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .. import models
from ..layers import Shape
from ..layers.containers import Container
from ..models.lecture import Count, counts


def command(
    model: Annotated[str, typer.Argument(help="Name of a network.")],
    lecture: Annotated[bool, typer.Option("--lecture", help="The lecture's counts beside the true ones.")] = False,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Number of classes.")] = None,
) -> None:
    """Output shape, parameters, multiply-adds and memory of every layer, for one picture."""
    net = models.architecture(model, **({} if classes is None else {"num_classes": classes}))
    printed = counts(model) if lecture else []
    console = Console()
    table = Table(title=f"{model}, input {shape_text(net.input_shape)}", title_justify="left")
    table.caption = "MACs: multiply-adds. Memory: what is kept for the backward pass, float32."
    table.add_column("layer", no_wrap=True)
    table.add_column("kind")
    for name in ("output", "parameters", "MACs", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for path, kind, shape, parameters, macs, memory in rows(net, net.input_shape):
        table.add_row(path, kind, shape_text(shape), number(parameters), number(macs), size_text(memory))
    table.add_section()
    macs, memory = net.macs(net.input_shape), net.memory(net.input_shape)
    table.add_row("all", "", "", number(net.num_parameters()), number(macs), size_text(memory))
    console.print(table)
    weight_bytes = 4 * net.num_parameters()
    console.print(
        f"Training holds {size_text(3 * weight_bytes)} of weights, gradients and momentum, "
        f"and {size_text(memory)} for each picture of a batch (float32).",
        highlight=False,
    )
    if printed:
        print_lecture(console, printed)


def rows(net: Container, input_shape: Shape) -> list[tuple[str, str, Shape, int, int, int]]:
    """(path, kind, output shape, parameters, multiply-adds, bytes kept) of every layer without layers inside."""
    found = []
    for layer, shape in net.inputs(input_shape):
        if isinstance(layer, Container):
            found += rows(layer, shape)
        else:
            kind = f"{type(layer).__name__} {layer.describe()}".strip()
            output = layer.output_shape(shape)
            found.append((layer.path, kind, output, layer.num_parameters(), layer.macs(shape), layer.memory(shape)))
    return found


def print_lecture(console: Console, printed: list[Count]) -> None:
    """The counts that the lecture prints, the true ones, and why they differ."""
    table = Table(title="The lecture's counts", title_justify="left")
    for name in ("layer", "printed", "computed"):
        table.add_column(name, justify="left" if name == "layer" else "right")
    table.add_column("why they differ", overflow="fold")
    for count in printed:
        table.add_row(count.layer, count.printed, number(count.computed), count.why)
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
