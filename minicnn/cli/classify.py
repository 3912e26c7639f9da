"""`minicnn classify`: what a network sees in photos, as names with bars, and the same as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .. import kernels, models
from ..boxes import beside, framed
from ..errors import MinicnnError
from ..experiments.common import load_network, open_run, read_photo, weights_used
from ..figures import labelled_row, probability_bars
from ..kernels.backend import Array
from ..network import Network, Prediction
from ..parameter import to_host
from ..pictures import to_picture
from .options import Device, Model, Weights
from .progress import counted

DEFAULT = "squeezenet1_0"

Seen = tuple[Path, Array, list[Prediction]]  # a photo, what the network got of it (1, C, H, W), its best classes


def command(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Picture files.")],
    model: Model = DEFAULT,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show.")] = 5,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for pictures and run.json.")] = None,
    device: Device = "cpu",
) -> None:
    """Name what is in photos: the likeliest classes with their probabilities."""
    try:
        net = load_network(model, weights, device)
    except MinicnnError as error:
        if model != DEFAULT or weights is not None:
            raise
        shipped = ", ".join(name for name in models.ARCHITECTURES if models.has_weights(name))
        raise MinicnnError(f"{error}; or choose another with --model: {shipped} come with minicnn") from error
    if len(net.output_shape(net.input_shape)) != 1:
        raise MinicnnError(f"{model} has no classes: it ends in maps {net.output_shape(net.input_shape)}")
    with kernels.frozen_weights():
        if out is None:
            for seen in classified(net, photos, top):
                show(seen)
            return
        files = [*dict.fromkeys(photos), weights_used(model, weights)]
        with open_run(out, seed=0, inputs=files, model=model, top=top, device=device) as run:
            found = []
            for seen, name in zip(classified(net, photos, top), file_names(photos), strict=True):
                show(seen)
                run.save(name, draw(seen))
                found.append({"photo": seen[0], "picture": name, "classes": [p._asdict() for p in seen[2]]})
            run.finish(photos=found)
    print(f"{counted(len(found), 'picture')} and run.json are in {out}")


def classified(net: Network, photos: list[Path], top: int) -> Iterator[Seen]:
    """Each photo with what the network got of it and the `top` classes that it sees there, best first."""
    for photo in photos:
        x = read_photo(photo, net)
        yield photo, x, net.predict(x, top=top)[0]


def show(seen: Seen) -> None:
    """A photo's classes in the terminal."""
    photo, _, best = seen
    console = Console()
    console.print(str(photo), style="bold", markup=False, highlight=False, soft_wrap=True)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(width=24)
    table.add_column(overflow="fold")
    for guess in best:
        bar = ProgressBar(total=1, completed=guess.probability, width=24)
        table.add_row(f"{100 * guess.probability:.1f} %", bar, Text(guess.name))  # as it is: [cat] is no markup
    console.print(table, highlight=False)


def draw(seen: Seen) -> Image.Image:
    """What the network got of the photo, beside the bars of its classes."""
    photo, x, best = seen
    picture = labelled_row([(photo.name, to_picture(to_host(x)))])
    bars = probability_bars([(guess.name, guess.probability) for guess in best])
    return framed(beside([picture, bars], gap=16, align=0.5), 4)


def file_names(photos: list[Path]) -> list[str]:
    """A file name for each photo: its own, and a number where two are called the same."""
    names: list[str] = []
    for photo in photos:
        name, number = f"{photo.stem}.png", 1
        while name in names:
            number += 1
            name = f"{photo.stem}-{number}.png"
        names.append(name)
    return names
