"""`minicnn evaluate`: a network's accuracy on a data set or a folder of pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import models
from ..data import NAMES, Batches, Dataset
from ..data import load as load_data
from ..errors import MinicnnError
from ..network import Network
from ..run import Run
from ..training import to_device
from .options import Device, Weights
from .progress import Progress


def command(
    model: Annotated[str, typer.Argument(help="Name of a network.")],
    data: Annotated[str, typer.Option("--data", "-d", help="mnist, cifar10, digits, or a folder of pictures.")],
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for run.json.")] = None,
    split: Annotated[str, typer.Option("--split", help="train or test, of a data set.")] = "test",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures at a time.")] = 100,
    device: Device = "cpu",
) -> None:
    """Measure a network's accuracy: the share of pictures whose class is the first guess, and among the first five."""
    net = models.load(model, weights=weights)
    net.to(device)
    pictures = load_for(net, data, split)
    top1, top5 = accuracies(net, Batches(pictures, batch_size, shuffle=False))
    if out is not None:
        settings = {"model": model, "data": data, "split": split, "batch_size": batch_size}
        with Run(out, command=["minicnn", *sys.argv[1:]], settings=settings, seed=0, exist="overwrite") as run:
            if weights is not None:
                run.hash_input(weights)
            run.finish(top1=top1, top5=top5, pictures=len(pictures))
    print(f"{model} on {pictures.name}, {len(pictures):,} pictures: top-1 {100 * top1:.1f} %, top-5 {100 * top5:.1f} %")


def load_for(net: Network, data: str, split: str) -> Dataset:
    """A data set, or a folder's pictures cut to the network's input. Raises MinicnnError when they do not fit."""
    channels, height, width = net.input_shape
    folder = Path(data).is_dir() and data not in NAMES
    if folder and height != width:
        raise MinicnnError(f"{net.name}: folders are cut to squares, its input is {height}×{width}")
    if folder and not (is_data_set(Path(data))):
        short = 256 if 200 <= height <= 256 else height
        mode = "L" if channels == 1 else "RGB"
        return load_data(data, None, size=height, short_side=short, mode=mode, classes=net.class_names or None)
    pictures = load_data(data, split)
    if pictures.image_shape != net.input_shape:
        raise MinicnnError(f"{net.name} takes pictures {net.input_shape}, those of {data} are {pictures.image_shape}")
    return pictures


def is_data_set(folder: Path) -> bool:
    """Whether a folder holds MNIST's or CIFAR-10's official files, which have splits of their own."""
    from ..data import cifar10, mnist

    return mnist.is_here(folder) or cifar10.is_source(folder)


def accuracies(net: Network, batches: Batches) -> tuple[float, float]:
    """(top-1, top-5) as shares; a tie counts for the class with the smaller number."""
    right1 = right5 = seen = 0
    with Progress("evaluating", len(batches)) as progress:
        for done, (images, labels) in enumerate(batches.epoch(0)):
            scores = net.scores(to_device(images, net))
            scores = scores if isinstance(scores, np.ndarray) else scores.get()
            if labels.max(initial=0) >= scores.shape[1]:
                raise MinicnnError(f"{net.name} has {scores.shape[1]} classes, a label is {labels.max()}")
            best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
            right1 += int((best[:, 0] == labels).sum())
            right5 += int((best == labels[:, None]).any(axis=1).sum())
            seen += len(labels)
            progress.update(done + 1, f"top-1 {100 * right1 / seen:.1f} %")
    if not seen:
        raise MinicnnError("evaluate: no pictures")
    return right1 / seen, right5 / seen
