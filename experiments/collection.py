"""What the commands about many pictures share: the pictures, and the activations of a network for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.cli.progress import counted, loading
from minicnn.data import Batches, Dataset, load
from minicnn.data.folder import PictureFiles
from minicnn.errors import MinicnnError, printable
from minicnn.kernels.backend import Array
from minicnn.layers import Shape, evaluating
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.training import to_device

from .common import MEMORY, pictures_at_once

NAMED = 3  # of the pictures that cannot be read, on the line that says so

Progress = Callable[[int, int], object]  # (pictures done, of all)


def quiet(done: int, total: int) -> None:
    """No progress."""


def pictures_of(
    source: str,
    split: str = "test",
    *,
    shape: Shape | None = None,
    resize: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Dataset:
    """A data set by its name, or any folder of pictures cut to `shape`; they need have no class.

    `count`: so many of them, as `chosen` draws them. Of a folder, pictures that cannot be read are left out, and named
    on one line. Raises MinicnnError for a folder without pictures, or a data set of another shape.
    """
    with loading() as progress:
        found = load(source, split, shape=shape, resize=resize, any_name=True, progress=progress)  # type: ignore[arg-type]
        if count is not None:
            found = chosen(found, count, seed)
        skipped = found.images.unreadable(progress) if isinstance(found.images, PictureFiles) else {}
    if len(skipped) == len(found):
        raise MinicnnError(next(iter(skipped.values())))
    if skipped:
        reasons = list(skipped.values())
        more = "; …" if len(reasons) > NAMED else ""
        said = f"left out {counted(len(skipped), 'picture')} that cannot be read: {'; '.join(reasons[:NAMED])}{more}"
        print(printable(said))
        found = found.subset(np.setdiff1d(np.arange(len(found)), list(skipped)))
    return found


def chosen(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`count` pictures drawn from the data set, in their order; all where there are no more."""
    if count >= len(dataset):
        return dataset
    return dataset.subset(np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False)))


def picture(dataset: Dataset, index: int) -> np.ndarray:
    """One picture, float32 (C, H, W) in [0, 1]."""
    return dataset.images[np.array([index])][0] / np.float32(255)


def picture_name(dataset: Dataset, index: int) -> str:
    """What a picture is called: its class, or where that has no name its file."""
    name = dataset.class_names[dataset.labels[index]]
    return name or Path(file_name(dataset, index)).stem


def file_name(dataset: Dataset, index: int) -> str:
    """The picture's file, or its number in the data set."""
    return str(dataset.images.paths[index]) if isinstance(dataset.images, PictureFiles) else str(index)


def activations_of(
    net: Network, dataset: Dataset, layers: Sequence[str], *, start: int = 0, memory: int = MEMORY
) -> Iterator[tuple[int, dict[str, Array]]]:
    """(how many pictures came before, {layer: activations}) for one batch of pictures after another, from `start` on.

    Batches are as large as `memory` bytes of activations allow; the pictures are decoded in the background.
    """
    if start == len(dataset):
        return
    batch_size = pictures_at_once(net, dataset.image_shape, memory)
    rest = dataset.subset(slice(start, None)) if start else dataset
    with evaluating(net), kernels.frozen_weights():
        for images, _ in Batches(rest, batch_size, shuffle=False).epoch(0):
            yield start, net.activations(to_device(images, net), layers)
            start += len(images)


def features_of(
    net: Network, dataset: Dataset, layer: str, *, memory: int = MEMORY, progress: Progress = quiet
) -> np.ndarray:
    """The activations (N, D) of a layer for all pictures, float32; where the layer has places, their mean over them."""
    found = []
    for start, a in activations_of(net, dataset, [layer], memory=memory):
        found.append(averaged(a[layer]))
        progress(start + len(found[-1]), len(dataset))
    return np.concatenate(found)


def check_vectors(*groups: np.ndarray, labels: np.ndarray | None = None, least: int = 1, name: str = "vectors") -> None:
    """Raise MinicnnError unless these are arrays of finite vectors (N, D), all of one shape, with N labels if any."""
    shapes: list[Any] = [getattr(group, "shape", type(group).__name__) for group in groups]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or not shapes[0][0] >= least or not shapes[0][1]:
        alike = ", all of one shape" if len(groups) > 1 else ""
        raise MinicnnError(f"{name} of {' and '.join(map(str, shapes))}: expected (N, D), N from {least} on{alike}")
    if not all(group.dtype.kind in "fiub" and np.isfinite(group).all() for group in groups):
        raise MinicnnError(f"{name}: expected finite numbers, got some that are not")
    if labels is not None and np.shape(labels) != shapes[0][:1]:
        raise MinicnnError(f"labels of {np.shape(labels)}: expected ({len(groups[0])},), one for each of the {name}")


def averaged(a: Array) -> np.ndarray:
    """Activations (N, D), or (N, C, H, W) averaged over their places, on the host."""
    return to_host(a if a.ndim == 2 else a.mean(axis=tuple(range(2, a.ndim))))
