"""`minicnn gradcheck`: the table of a network's gradients, or of the layers in a file, against differences."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import models
from ..errors import MinicnnError
from ..gradcheck import BOUND, Check, Report, check_gradients
from ..layers import Example, Layer, registered
from ..weights import load_weights
from .options import Device, Seed, Weights
from .own_code import load_file, what_went_wrong
from .progress import Progress

WRONG = 1  # exit status


def command(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL | FILE.py]",
            help="A network, or a file of your own: it is run, and every layer that it registers is checked. "
            "Without either, every layer of minicnn.",
        ),
    ] = None,
    weights: Weights = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures in the batch.")] = 3,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Compare each hand-written gradient with differences of the forward pass, in float64. Status 1: one is wrong."""
    start = time.monotonic()
    if what is None or what.endswith(".py"):
        own = None if what is None else Path(what)
        report = check_registered(registered() if own is None else layers_of(own), own, batch, seed, device)
    else:
        report = check_model(what, weights, batch, seed, device)
    show(report, title=what or "every layer")
    right = len(report.checks) - len(report.failures)
    print(f"{right} of {len(report.checks)} gradients are right; {time.monotonic() - start:.1f} s")
    if not report:
        raise typer.Exit(WRONG)


def check_model(name: str, weights: Path | None, batch: int, seed: int, device: str) -> Report:
    """Every layer of a network, and the network as a whole."""
    net = models.build(name, seed=seed)
    if weights is not None:
        load_weights(net, weights)
    with Progress(name) as bar:
        return check_gradients(
            net,
            net.input_shape,
            batch=batch,
            seed=seed,
            device=device,
            progress=lambda done, total, last: bar.update(done, last, total),
        )


def layers_of(path: Path) -> dict[type[Layer], tuple[Example, ...]]:
    """The layers that a file of the user's own registers, with their examples. The file is run."""
    module = load_file(path)
    found = {layer: examples for layer, examples in registered().items() if layer.__module__ == module.__name__}
    if not found:
        raise MinicnnError(f"{path}: registers no layer; write @register(Example(…)) above its class")
    return found


def check_registered(
    layers: Mapping[type[Layer], tuple[Example, ...]], own: Path | None, batch: int, seed: int, device: str
) -> Report:
    """Layers on their registered examples; `own` is the file that they are from."""
    report = Report()
    for layer, examples in layers.items():
        for number, example in enumerate(examples, 1):
            name = layer.__name__ + (f" {number}" if len(examples) > 1 else "")
            try:
                built = example.build(layer)
                one = check_gradients(built, example.input_shape, batch=batch, seed=seed, device=device)
            except Exception as error:
                if own is None or isinstance(error, MinicnnError):
                    raise
                raise MinicnnError(what_went_wrong(error, own)) from error
            report.checks += [replace(c, layer=f"{name}.{c.layer}" if built.children() else name) for c in one.checks]
    return report


def show(report: Report, title: str, console: Console | None = None) -> None:
    """Print the table of a report, a row a layer and a column a tensor, and a line for each gradient that is wrong."""
    table = rows(report)
    found = dict.fromkeys(column for row in table.values() for column in row)
    columns = sorted(found, key=lambda c: (c.startswith("whole"), c.split()[-1] != "dx", c.endswith("bias")))
    shown = Table()
    shown.add_column("layer", no_wrap=True)
    for column in columns:
        shown.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    for name, row in table.items():
        shown.add_row(name, *(cell(row.get(column)) for column in columns))
    console = console or Console()
    lead = f"{title}: relative errors of the gradients against differences, in float64. Up to {BOUND:g} is right."
    console.print(lead, highlight=False, markup=False)
    console.print(shown)
    for check in report.failures:
        kind = "on a kink" if check.kink else "wrong"
        line = f"{kind}: {check.layer} d{check.tensor}: {check.note}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def rows(report: Report) -> dict[str, dict[str, Check]]:
    """{layer: {column: check}}. What is checked through the whole network stands in the row of its layer."""
    found: dict[str, dict[str, Check]] = {}
    for check in report.checks:
        net, whole, _ = check.layer.rpartition("whole")
        path, _, tensor = check.tensor.rpartition(".")
        if whole and path:
            found.setdefault(net + path, {})[f"whole d{tensor}"] = check
        else:
            found.setdefault(check.layer, {})[f"d{tensor}"] = check
    return found


def cell(check: Check | None) -> Text:
    """A relative error; what is too large stands out without colours too."""
    if check is None:
        return Text()
    if check.ok:
        return Text(f"{check.error:.0e}", "green")
    return Text(f"{check.error:.0e} {'kink' if check.kink else 'WRONG'}", "bold yellow" if check.kink else "bold red")
