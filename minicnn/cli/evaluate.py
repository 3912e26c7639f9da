"""`minicnn evaluate`: a network's accuracy on a data set or a folder of pictures."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import kernels
from ..data import Batches, Dataset
from ..data import load as load_data
from ..errors import MinicnnError
from ..experiments.common import load_network, open_run, pictures_at_once, weights_used
from ..models.imagenet import NAMES
from ..network import Network
from ..run import Run
from ..training import to_device
from .options import Device, Weights
from .progress import Progress, counted, loading


def command(
    model: Annotated[str, typer.Argument(help="Name of a network, or of weights.")],
    data: Annotated[str, typer.Option("--data", "-d", help="mnist, cifar10, digits, or a folder of pictures.")],
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for run.json.")] = None,
    split: Annotated[str, typer.Option("--split", help="train or test, of a data set.")] = "test",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Pictures at a time (default: what suits the network).")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Measure a network's accuracy: the share of pictures whose class is the first guess, and among the first five.

    In a folder a picture's class is its sub-folder, called by the class's name or its WordNet id, or, where there are
    none, the WordNet id that the file's name begins with.
    """
    net = load_network(model, weights, device)
    pictures = pictures_for(net, data, split)
    batch_size = batch_size or min(100, pictures_at_once(net, net.input_shape))
    folder: AbstractContextManager[Run | None] = nullcontext()
    if out is not None:
        settings = {"model": model, "data": data, "split": split, "batch_size": batch_size, "device": device}
        settings["test_set"] = pictures.fingerprint()
        folder = open_run(out, seed=0, inputs=[weights_used(model, weights)], **settings)
    with folder as run, kernels.frozen_weights():
        top1, top5 = accuracies(net, Batches(pictures, batch_size, shuffle=False))
        if run is not None:
            run.finish(top1=top1, top5=top5, pictures=len(pictures))
    count = counted(len(pictures), "picture")
    print(f"{model} on {pictures.name}, {count}: top-1 {100 * top1:.1f} %, top-5 {100 * top5:.1f} %")


def pictures_for(net: Network, data: str, split: str) -> Dataset:
    """A data set as a network takes it, its classes in the order of the network's.

    Raises MinicnnError for a network without classes, or with another number of them.
    """
    outputs = net.output_shape(net.input_shape)
    if len(outputs) != 1:
        raise MinicnnError(f"{net.name} has no classes: it ends in maps {outputs}")
    names = net.class_names or None
    with loading() as progress:
        found = load_data(
            data, split, shape=net.input_shape, resize=net.resize, classes=names, wordnet=NAMES, progress=progress
        )
    if len(found.class_names) != outputs[0]:
        raise MinicnnError(f"{found.name}: has {len(found.class_names)} classes, {net.name} has {outputs[0]}")
    return found


def accuracies(net: Network, batches: Batches) -> tuple[float, float]:
    """(top-1, top-5) as shares; a tie counts for the class with the smaller number."""
    right1 = right5 = seen = 0
    with Progress("evaluating", len(batches)) as progress:
        for done, (images, labels) in enumerate(batches.epoch(0)):
            scores = net.scores(to_device(images, net))
            scores = scores if isinstance(scores, np.ndarray) else scores.get()
            best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
            right1 += int((best[:, 0] == labels).sum())
            right5 += int((best == labels[:, None]).any(axis=1).sum())
            seen += len(labels)
            progress.update(done + 1, f"top-1 {100 * right1 / seen:.1f} %")
    if not seen:
        raise MinicnnError("evaluate: no pictures")
    return right1 / seen, right5 / seen
