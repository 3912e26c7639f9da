"""The patches that excite a unit most (Zeiler & Fergus 2014, section 4; Girshick, Donahue, Darrell, Malik 2014, 3.1).

All pictures of a data set go through the network once. A unit of a convolution is a map: of its places in each picture
the one with the greatest activation counts,

    a(picture) = max over places of f_unit(place),

and the k pictures with the greatest a are kept, for all units of the layers at once. What the unit saw there is the box
of its receptive field (minicnn/receptive.py); beside it stands guided backpropagation, {layer: e_(unit, place)}, which
shows what in the patch it answered to.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from minicnn import kernels
from minicnn.boxes import centred, text_box
from minicnn.cli.options import Device, Model, Out, Seed, Split, Weights
from minicnn.cli.progress import Progress, counted
from minicnn.data import Dataset
from minicnn.errors import MinicnnError
from minicnn.figures import Picture, labelled_grid
from minicnn.files import write_bytes
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import Rectifier
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.receptive import Field, activation_shape, receptive_field
from minicnn.run import Run
from minicnn.training import deferred_interrupt, to_device

from .attribution import Target
from .collection import activations_of, file_name, picture, picture_name, pictures_of
from .common import MEMORY, load_network, weights_used
from .guided import guided, in_colours
from .saliency import saliency

TOP = 9
SCAN, TABLE = "scan.safetensors", "patches.csv"
SAVE_EVERY = 20.0  # seconds
UNITS, SHOWN = 9, 16  # in a figure; and patches of each
HEIGHT = 96  # of a patch in it
GREY = 0.5  # what lies outside the picture; 0 in a gradient


@dataclass
class Best:
    """The k pictures that each unit of a layer liked best, best first: value (U, k), their number in the data set
    picture (U, k), and the place (U, k) in the map, row·W + column. A value of −∞ says that there were no more."""

    value: np.ndarray
    picture: np.ndarray
    place: np.ndarray

    @classmethod
    def none(cls, units: int, top: int) -> Best:
        return cls(np.full((units, top), -np.inf, np.float32), *np.full((2, units, top), -1, np.int64))

    def add(self, a: Array, start: int) -> None:
        """Take in the activations (N, U) or (N, U, H, W) of the pictures `start` … `start` + N − 1."""
        xp = get_array_module(a)
        maps = xp.moveaxis(a.reshape(*a.shape[:2], -1), 1, 2)  # (N, places, U)
        most = to_host(maps.max(axis=1)).T  # (U, N)
        top, count = self.value.shape[1], most.shape[1]
        values = np.concatenate([self.value, most], axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :top]  # of equals the earlier picture
        numbers = np.broadcast_to(np.arange(start, start + count), most.shape)
        places = np.full(most.shape, -1)
        for n in range(count):  # where the maximum lies is looked for in those alone that stay
            units = np.flatnonzero((order == top + n).any(axis=1))
            places[units, n] = to_host(maps[n][:, xp.asarray(units)].argmax(axis=0))
        self.value = np.take_along_axis(values, order, 1)
        self.picture = np.take_along_axis(np.concatenate([self.picture, numbers], axis=1), order, 1)
        self.place = np.take_along_axis(np.concatenate([self.place, places], axis=1), order, 1)


@dataclass
class Scan:
    """How far a scan of a data set is, in pictures, and what it found: {layer: Best}."""

    done: int = 0
    best: dict[str, Best] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes it to a file, whole or not at all."""
        from safetensors.numpy import save

        tensors = {f"{layer}.{name}": a for layer, best in self.best.items() for name, a in vars(best).items()}
        write_bytes(path, save(tensors, metadata={"scan": json.dumps({"done": self.done, "layers": [*self.best]})}))

    @classmethod
    def load(cls, path: Path) -> Scan:
        """Reads it back. Raises MinicnnError for a damaged file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                told = json.loads((file.metadata() or {})["scan"])
                best = {
                    layer: Best(*(file.get_tensor(f"{layer}.{name}") for name in ("value", "picture", "place")))
                    for layer in told["layers"]
                }
                return cls(int(told["done"]), best)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise MinicnnError(f"{path}: not a readable scan ({error})") from None


def patches(
    net: Network,
    dataset: Dataset,
    layers: str | Sequence[str],
    *,
    top: int = TOP,
    scan: Scan | None = None,
    memory: int = MEMORY,
    after_batch: Callable[[Scan], object] = lambda scan: None,
) -> dict[str, Best]:
    """The `top` pictures of `dataset` that each unit of the `layers` likes best, and where in them: {layer: Best}.

    One pass, in batches whose activations take at most `memory` bytes. `scan`: one that goes on (it is changed);
    `after_batch(scan)` may save it. Raises MinicnnError with the nearest names for another layer.

    Example: `patches(net, load("digits", "test"), "relu2")["relu2"].picture[5]`
    """
    names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    shapes = {name: activation_shape(net, name) for name in names}
    if top < 1:
        raise MinicnnError(f"top {top}: expected 1 or more")
    scan, top = scan or Scan(), min(top, len(dataset))
    fresh = {name: Best.none(shape[0], top) for name, shape in shapes.items()}
    scan.best = scan.best or fresh
    if {name: best.value.shape for name, best in scan.best.items()} != {n: b.value.shape for n, b in fresh.items()}:
        raise MinicnnError(f"a scan of {', '.join(scan.best)} cannot go on with {', '.join(names)}, top {top}")
    for start, found in activations_of(net, dataset, names, start=scan.done, memory=memory):
        for name, a in found.items():
            scan.best[name].add(a, start)
            scan.done = start + len(a)
        after_batch(scan)
    return scan.best


# What a unit saw


@dataclass(frozen=True)
class Patch:
    """One picture that a unit liked: its number, the activation, the unit's `index` there, and the pixels it saw."""

    picture: int
    value: float
    index: tuple[int, ...]
    seen: Field


def patches_of(net: Network, layer: str, unit: int, best: Best) -> list[Patch]:
    """The patches of one unit, best first."""
    shape = activation_shape(net, layer)
    found = []
    for value, number, place in zip(best.value[unit], best.picture[unit], best.place[unit], strict=True):
        if number >= 0:
            index = (unit, *map(int, np.unravel_index(place, shape[1:]))) if shape[1:] else (unit,)
            found.append(Patch(int(number), float(value), index, receptive_field(net, layer, index)))
    return found


def cut_out(pixels: np.ndarray, net: Network, layer: str, patch: Patch, *, outside: float = GREY) -> np.ndarray:
    """The part that the unit saw of (C, H, W), in its place where its field reaches beyond the picture's border."""
    whole = receptive_field(net, layer, patch.index, inside=False)
    sides = []
    for size, start, length in zip(pixels.shape[1:], whole[:2], (whole.height, whole.width), strict=True):
        sides.append((start, length) if length <= size else (0, size))
    (top, height), (left, width) = sides
    cut = np.full((len(pixels), height, width), outside, np.float32)
    seen = patch.seen
    rows, columns = slice(seen.top - top, seen.bottom - top), slice(seen.left - left, seen.right - left)
    cut[:, rows, columns] = pixels[:, seen.top : seen.bottom, seen.left : seen.right]
    return cut


def short(value: float) -> str:
    """A number for a caption: 4726, 31.2, 0.0153."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def draw(net: Network, dataset: Dataset, layer: str, units: Sequence[int], best: Best) -> Image.Image:
    """For each unit a row of its patches, and one of what guided backpropagation shows in them; grey is 0 there.

    Of a network without ReLUs it is the gradient. At most SHOWN patches stand there, and none that does not excite the
    unit: whose activation is not above 0.
    """
    rectified = any(isinstance(inner, Rectifier) for _, inner in net.layers())
    how, answer = ("guided", guided) if rectified else ("gradient", saliency)
    rows: list[tuple[str, list[tuple[str, Picture]]]] = []
    for unit in units:
        saw: list[tuple[str, Picture]] = []
        answered: list[tuple[str, Picture]] = []
        for patch in [patch for patch in patches_of(net, layer, unit, best) if patch.value > 0][:SHOWN]:
            image = picture(dataset, patch.picture)
            name = f"{picture_name(dataset, patch.picture)}: {short(patch.value)}"
            saw.append((name, cut_out(image, net, layer, patch)))
            values = answer(net, to_device(image[None], net), Target(layer, patch.index, name)).values
            answered.append(("", in_colours(cut_out(values, net, layer, patch, outside=0))))
        nothing = centred(text_box("no picture excites it", HEIGHT), (HEIGHT, HEIGHT))
        rows += [(f"unit {unit}", saw), (how, answered)] if saw else [(f"unit {unit}", [("", nothing)])]
    first = f"; the first {SHOWN} of each" if best.value.shape[1] > SHOWN else ""
    title = f"{layer} of {net.name}: the patches that excite its units most"
    return labelled_grid(rows, title=f"{title}, of {counted(len(dataset), 'picture')}{first}", height=HEIGHT)


def table(net: Network, dataset: Dataset, best: dict[str, Best]) -> str:
    """All patches of all units as CSV: one line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("layer", "unit", "rank", "picture", "class", "value", "row", "column", *Field._fields)
    writer.writerow(head)
    for layer, found in best.items():
        for unit in range(len(found.value)):
            for rank, patch in enumerate(patches_of(net, layer, unit, found), 1):
                place = patch.index[1:] or ("", "")
                name = dataset.class_names[dataset.labels[patch.picture]]
                file = file_name(dataset, patch.picture)
                writer.writerow((layer, unit, rank, file, name, f"{patch.value:.6g}", *place, *patch.seen))
    return text.getvalue()


# The command


def unit_numbers(text: str | None, count: int) -> list[int]:
    """ "0-8", "3,7,12-20" or "all" of `count` units; None: the first of them. Raises MinicnnError."""
    if text is None or text.strip() == "all":
        return list(range(count if text else min(count, UNITS)))
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        if not match:
            raise MinicnnError(f"units {text!r}: expected numbers such as 0-8 or 3,7,12-20, or all")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < count:
            raise MinicnnError(f"units {text!r}: expected numbers from 0 to {count - 1}, the smaller first")
        numbers += range(first, last + 1)
    return list(dict.fromkeys(numbers))


def scanned(run: Run, net: Network, dataset: Dataset, layers: Sequence[str], top: int) -> dict[str, Best]:
    """`patches` with a bar, saved every SAVE_EVERY seconds, at the end and where it is interrupted."""
    file = run.path(SCAN)
    scan = Scan.load(file) if run.resumed and file.exists() else Scan()
    saved, total = time.monotonic(), len(dataset)
    run.note(went_on_at=scan.done)
    with deferred_interrupt() as interrupted, Progress("scanning", total) as bar:

        def after_batch(scan: Scan) -> None:
            nonlocal saved
            stop = interrupted()
            if stop or scan.done == total or time.monotonic() - saved > SAVE_EVERY:
                scan.save(file)
                run.record(SCAN)
                saved = time.monotonic()
            bar.update(scan.done, f"{scan.done:,} of {counted(total, 'picture')}")
            if stop:
                bar.print(f"{scan.done:,} of {counted(total, 'picture')} are scanned: go on with --resume")
                raise KeyboardInterrupt

        return patches(net, dataset, layers, top=top, scan=scan, after_batch=after_batch)


def figures(
    run: Run, net: Network, dataset: Dataset, best: dict[str, Best], units: dict[str, list[int]]
) -> Iterable[str]:
    """Writes the figures, UNITS units each, and gives their names."""
    jobs = [(layer, some[i : i + UNITS]) for layer, some in units.items() for i in range(0, len(some), UNITS)]
    with Progress("drawing", len(jobs)) as bar:
        for done, (layer, some) in enumerate(jobs, 1):
            name = f"{layer}-{some[0]}-{some[-1]}.png"
            run.save(name, draw(net, dataset, layer, some, best[layer]))
            bar.update(done, name)
            yield name


def command(
    data: Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of pictures, or mnist, cifar10, digits.")],
    layer: Annotated[list[str], typer.Option("--layer", "-l", help="A layer; may be given several times.")],
    model: Model = "lenet5",
    out: Out = Path("patches"),
    units: Annotated[
        str | None, typer.Option("--units", "-u", help="Which to draw: 3,7,12-20, or all (default: 0-8).")
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Patches of each unit.")] = TOP,
    split: Split = "test",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the scan in --out, or draw other units.")
    ] = False,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Which patches of a data set excite the units of a layer most?"""
    layers = list(dict.fromkeys(layer))
    settings = {"model": model, "layers": layers, "data": data, "split": split, "top": top, "device": device}
    line, exist = ["minicnn", *sys.argv[1:]], "resume" if resume else "overwrite"
    with Run(out, command=line, settings=settings, seed=seed, exist=exist, resumable=True) as run:
        net = load_network(model, weights, device)
        counts = {name: activation_shape(net, name)[0] for name in layers}
        wanted = {name: unit_numbers(units, count) for name, count in counts.items()}
        run.identify(weights=run.hash_input(weights_used(model, weights)))
        dataset = pictures_of(data, split, shape=net.input_shape, resize=net.resize)
        run.identify(pictures=dataset.fingerprint())
        with kernels.frozen_weights():
            clock = time.monotonic()
            best = scanned(run, net, dataset, layers, top)
            run.note(scan_seconds=round(time.monotonic() - clock, 3))
            write_bytes(run.path(TABLE), table(net, dataset, best).encode())
            run.record(TABLE)
            names = list(figures(run, net, dataset, best, wanted))
        run.finish(drawn=wanted)
    number = counted(sum(counts.values()), "unit")
    print(
        f"{', '.join(counts)}: the patches of {number} from {counted(len(dataset), 'picture')} are in {out / TABLE}; "
        f"drawn: {', '.join(str(run.path(name)) for name in names)}"
    )
