"""What the commands about many pictures share: the pictures, and the activations of a network for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from minicnn import kernels
from minicnn.cli.progress import loading
from minicnn.data import Batches, Dataset, load
from minicnn.data.folder import PictureFiles
from minicnn.kernels.backend import Array
from minicnn.layers import Shape, evaluating
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.training import to_device

from .common import MEMORY, pictures_at_once

Progress = Callable[[int, int], object]  # (pictures done, of all)


def quiet(done: int, total: int) -> None:
    """No progress."""


def pictures_of(source: str, split: str = "test", *, shape: Shape | None = None, resize: int | None = None) -> Dataset:
    """A data set by its name, or any folder of pictures cut to `shape`; they need have no class.

    Raises MinicnnError for a folder without pictures, or a data set of another shape.
    """
    with loading() as progress:
        return load(source, split, shape=shape, resize=resize, any_name=True, progress=progress)  # type: ignore[arg-type]


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


def averaged(a: Array) -> np.ndarray:
    """Activations (N, D), or (N, C, H, W) averaged over their places, on the host."""
    return to_host(a if a.ndim == 2 else a.mean(axis=tuple(range(2, a.ndim))))
