"""`minicnn evaluate`: a network's accuracy on a data set or a folder of pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import models
from ..data import Batches
from ..data import load as load_data
from ..errors import MinicnnError
from ..network import Network
from ..run import Run
from ..training import to_device
from .options import Device, Weights
from .progress import Progress, loading


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
    with loading() as progress:
        classes = net.class_names or None
        pictures = load_data(data, split, shape=net.input_shape, classes=classes, progress=progress)
    top1, top5 = accuracies(net, Batches(pictures, batch_size, shuffle=False))
    if out is not None:
        settings = {"model": model, "data": data, "split": split, "batch_size": batch_size}
        with Run(out, command=["minicnn", *sys.argv[1:]], settings=settings, seed=0, exist="overwrite") as run:
            if weights is not None:
                run.hash_input(weights)
            run.finish(top1=top1, top5=top5, pictures=len(pictures))
    print(f"{model} on {pictures.name}, {len(pictures):,} pictures: top-1 {100 * top1:.1f} %, top-5 {100 * top5:.1f} %")


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
