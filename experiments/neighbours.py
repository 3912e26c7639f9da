"""Nearest neighbours of a picture, in pixels and in features (Krizhevsky 2012, section 6.1).

Two pictures are as far apart as their vectors v, in L2:

    d(a, b) = ‖v(a) − v(b)‖

Where v is the pixels, neighbours have the same colours in the same places. Where v is the last hidden layer, they show
the same things. A layer of maps is averaged over its places first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Data, Device, LayerName, Model, Out, Photo, Seed, Split, Weights
from minicnn.cli.progress import counted
from minicnn.data import Dataset
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_grid
from minicnn.kernels.backend import Array
from minicnn.layers import evaluating
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture
from minicnn.receptive import activation_shape

from .collection import (
    Progress,
    activations_of,
    averaged,
    features_of,
    file_name,
    picture,
    picture_name,
    pictures_of,
    quiet,
)
from .common import MEMORY, bar_over, photo_run
from .metric import LOSSES, pictures_to_train_on, same_class, train_embedding

HEIGHT = 128  # of a picture in the figure, about
SHARE = 2000


class Near(NamedTuple):
    """The nearest pictures by one measure, nearest first: their numbers in the data set, and their distances."""

    pictures: np.ndarray
    distance: np.ndarray


class Neighbours(NamedTuple):
    """The nearest in pixels, and in the features of `layer`."""

    pixels: Near
    features: Near
    layer: str


def neighbours(
    net: Network,
    image: Array,
    dataset: Dataset,
    count: int = 8,
    *,
    layer: str | None = None,
    memory: int = MEMORY,
    progress: Progress = quiet,
) -> Neighbours:
    """The `count` pictures of `dataset` that are nearest to `image` (1, C, H, W), in pixels and in features.

    `layer`: by default the network's last hidden one. Raises MinicnnError for fewer pictures than neighbours, for an
    `image` that the network does not take or that is not as large as the pictures, or with the nearest names for
    another layer.

    Example: `neighbours(net, net.prepare(load_picture("cat.jpg")), load("pets", "test", shape=net.input_shape))`
    """
    net.check_picture(image)
    if tuple(image.shape[1:]) != dataset.image_shape:
        raise MinicnnError(f"the picture is {tuple(image.shape[1:])}, those of {dataset.name} {dataset.image_shape}")
    layer = layer or net.feature_layer
    activation_shape(net, layer)
    if not 1 <= count <= len(dataset):
        raise MinicnnError(f"{count} neighbours: expected 1 to {len(dataset)}, {dataset.name} has no more pictures")
    with evaluating(net):
        wanted = averaged(net.activations(image, [layer])[layer])
    pixels = to_host(image).reshape(1, -1)
    distances = np.empty((2, len(dataset)))
    for start, found in activations_of(net, dataset, [layer, "input"], memory=memory):
        theirs = (to_host(found["input"]).reshape(-1, pixels.size), averaged(found[layer]))
        end = start + len(theirs[0])
        for row, ours, others in zip(distances, (pixels, wanted), theirs, strict=True):
            row[start:end] = np.linalg.norm(others - ours, axis=1)
        progress(end, len(dataset))
    return Neighbours(nearest_of(distances[0], count), nearest_of(distances[1], count), layer)


def nearest_of(distances: np.ndarray, count: int) -> Near:
    """The smallest distances (N,) and where they are; of equals the first."""
    if np.ndim(distances) != 1:
        raise MinicnnError(f"distances {np.shape(distances)}: expected (N,)")
    order = np.argsort(distances, kind="stable")[:count]
    return Near(order, distances[order])


def draw(image: np.ndarray, dataset: Dataset, rows: Mapping[str, Near]) -> Image.Image:
    """The picture (C, H, W) at the head of each row: its neighbours by one measure."""
    drawn = []
    for label, near in rows.items():
        cells = [
            (f"{picture_name(dataset, i)}: {d:.2f}", to_picture(picture(dataset, i)))
            for i, d in zip(near.pictures, near.distance, strict=True)
        ]
        drawn.append((f"in {label}", [("the picture", to_picture(image)), *cells]))
    height = image.shape[1] * max(1, HEIGHT // image.shape[1]) if image.shape[1] <= HEIGHT else HEIGHT
    title = f"The nearest of {counted(len(dataset), 'picture')}, and their distances"
    return labelled_grid(drawn, title=title, height=height)


def trained_for_it(
    data: str, dataset: Dataset, loss: str, seed: int, resize: int | None
) -> tuple[Network, dict[str, float]]:
    """An embedding trained on a data set; and the share of its pictures, or of SHARE of them, whose nearest is of the
    same class, before and after."""
    source = pictures_to_train_on(data, dataset, resize=resize)
    with bar_over("training", "steps") as progress:
        net = train_embedding(source, loss, seed=seed, progress=progress)
    some = dataset.subset(np.arange(len(dataset))[:: -(-len(dataset) // SHARE)])
    before = some.in_memory().images.reshape(len(some), -1) / np.float32(255)
    after = features_of(net, some, net.feature_layer)
    print(f"{loss} embedding, trained on {counted(len(source), 'picture')}")
    return net, {name: same_class(v, some.labels) for name, v in (("pixels", before), ("embedding", after))}


def command(
    photo: Photo,
    data: Data,
    model: Model = "lenet5",
    layer: LayerName = None,
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="How many neighbours.")] = 8,
    embedding: Annotated[
        str | None,
        typer.Option("--train-embedding", help=f"Train one on the classes of the data: {', '.join(LOSSES)}."),
    ] = None,
    split: Split = "test",
    out: Out = Path("neighbours"),
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """The pictures of a data set that are nearest to a photo: in pixels, and in the last hidden layer (or another)."""
    settings = {"data": data, "split": split, "layer": layer, "count": count, "train_embedding": embedding}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        dataset = pictures_of(data, split, shape=net.input_shape, resize=net.resize)
        run.identify(pictures=dataset.fingerprint())
        with bar_over("comparing", "pictures") as progress:
            found = neighbours(net, x, dataset, count, layer=layer, progress=progress)
        rows = {"pixels": found.pixels, found.layer: found.features}
        if embedding is not None:
            trained, shares = trained_for_it(data, dataset, embedding, seed, net.resize)
            rows[f"the {embedding} embedding"] = neighbours(trained, to_host(x), dataset, count).features
            run.note(nearest_is_of_the_same_class=shares)
            said = ", ".join(f"{100 * share:.1f} % in {name}" for name, share in shares.items())
            print(f"of the same class is the nearest of {said}")
        run.save("neighbours.png", draw(to_host(x)[0], dataset, rows))
        for name, near in rows.items():
            print(f"nearest in {name}: {', '.join(picture_name(dataset, i) for i in near.pictures)}")
        run.finish(feature_layer=found.layer, neighbours={name: listed(dataset, near) for name, near in rows.items()})
        print(f"see {run.path('neighbours.png')}")


def listed(dataset: Dataset, near: Near) -> list[dict[str, str | float]]:
    """Neighbours as run.json has them."""
    return [
        {"picture": file_name(dataset, i), "class": picture_name(dataset, i), "distance": float(d)}
        for i, d in zip(near.pictures, near.distance, strict=True)
    ]
