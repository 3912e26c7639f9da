"""`minicnn evaluate`: a network's accuracy on a data set or a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
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
from ..kernels.backend import Array, get_array_module
from ..models.imagenet import NAMES
from ..network import Network
from ..parameter import to_host
from ..run import Run
from ..training import to_device
from .options import Data, Device, Split, Weights
from .progress import Progress, counted, loading

VIEWS = (1, 2, 10)  # how many a picture may be seen in: as it is; and in the mirror; and both at five places
PADDING = 16  # of pictures that have nothing around them, a part in so many of their side, in zeros


def command(
    model: Annotated[str, typer.Argument(help="Name of a network, or of weights.")],
    data: Data,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for run.json.")] = None,
    split: Split = "test",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Pictures at a time (default: what suits the network).")
    ] = None,
    views: Annotated[
        int, typer.Option("--views", help="Ask about each picture so often and average: 1, 2 (and mirrored), 10.")
    ] = 1,
    device: Device = "cpu",
) -> None:
    """Measure a network's accuracy: the share of pictures whose class is the first guess, and among the first five.

    In a folder a picture's class is its sub-folder, called by the class's name or its WordNet id, or, where there are
    none, the WordNet id that the file's name begins with. Ten views are the picture's middle and its four corners, each
    also mirrored; the probabilities are averaged (Krizhevsky, Sutskever, Hinton 2012, section 4.1).
    """
    if views not in VIEWS:
        raise MinicnnError(f"--views {views}: expected {', '.join(map(str, VIEWS))}")
    net = load_network(model, weights, device)
    pictures = pictures_for(net, data, split, border=border_of(net) if views == 10 else 0)
    batch_size = batch_size or min(100, pictures_at_once(net, net.input_shape))
    folder: AbstractContextManager[Run | None] = nullcontext()
    if out is not None:
        settings = {"model": model, "data": data, "split": split, "batch_size": batch_size, "device": device}
        settings |= {"views": views, "test_set": pictures.fingerprint()}
        folder = open_run(out, seed=0, inputs=[weights_used(model, weights)], **settings)
    with folder as run, kernels.frozen_weights():
        top1, top5 = accuracies(net, Batches(pictures, batch_size, shuffle=False), views)
        if run is not None:
            run.finish(top1=top1, top5=top5, pictures=len(pictures))
    count = counted(len(pictures), "picture")
    seen = f" in {views} views" if views > 1 else ""
    print(f"{model} on {pictures.name}, {count}{seen}: top-1 {100 * top1:.1f} %, top-5 {100 * top5:.1f} %")


def border_of(net: Network) -> int:
    """Pixels that are cut off all around when a picture is fitted to the network: of 256, its middle 224."""
    _, height, width = net.input_shape
    return max(0, (net.resize or 0) - min(height, width)) // 2


def pictures_for(net: Network, data: str, split: str, *, border: int = 0) -> Dataset:
    """A data set as a network takes it, with `border` more pixels all around, its classes in the network's order.

    Raises MinicnnError for a network without classes, or with another number of them.
    """
    outputs = net.output_shape(net.input_shape)
    if len(outputs) != 1:
        raise MinicnnError(f"{net.name} has no classes: it ends in maps {outputs}")
    names, (channels, height, width) = net.class_names or None, net.input_shape
    shape = channels, height + 2 * border, width + 2 * border
    with loading() as progress:
        found = load_data(data, split, shape=shape, resize=net.resize, classes=names, wordnet=NAMES, progress=progress)
    if len(found.class_names) != outputs[0]:
        raise MinicnnError(f"{found.name}: has {len(found.class_names)} classes, {net.name} has {outputs[0]}")
    return found


def accuracies(net: Network, batches: Batches, views: int = 1) -> tuple[float, float]:
    """(top-1, top-5) as shares, the probabilities averaged over `views`; a tie counts for the smaller number."""
    right1 = right5 = seen = 0
    with Progress("evaluating", len(batches)) as progress:
        for done, (images, labels) in enumerate(batches.epoch(0)):
            seen_as = [net.scores(view) for view in views_of(to_device(images, net), net.input_shape, views)]
            if views > 1:
                seen_as = [kernels.softmax_forward(scores, remember=None)[0] for scores in seen_as]
            best = np.argsort(-to_host(sum(seen_as[1:], seen_as[0])), axis=1, kind="stable")[:, :5]
            right1 += int((best[:, 0] == labels).sum())
            right5 += int((best == labels[:, None]).any(axis=1).sum())
            seen += len(labels)
            progress.update(done + 1, f"top-1 {100 * right1 / seen:.1f} %")
    if not seen:
        raise MinicnnError("evaluate: no pictures")
    return right1 / seen, right5 / seen


def views_of(images: Array, shape: tuple[int, int, int], count: int) -> Iterator[Array]:
    """`count` views (N, *shape) of pictures (N, C, H, W) that are as large as they, or larger by a border.

    Where there is no border for the five places of ten views, it is of zeros.
    """
    xp, (_, height, width) = get_array_module(images), shape
    if count == 10 and images.shape[2:] == shape[1:]:
        high, wide = max(1, height // PADDING), max(1, width // PADDING)
        images = xp.pad(images, ((0, 0), (0, 0), (high, high), (wide, wide)))
    down, right = images.shape[2] - height, images.shape[3] - width
    places = [(down // 2, right // 2)]
    if count == 10:
        places += [(top, left) for top in (0, down) for left in (0, right)]
    for top, left in places:
        view = images[:, :, top : top + height, left : left + width]
        yield view
        if count > 1:
            yield view[:, :, :, ::-1]
