"""Occlusion (Zeiler & Fergus 2014, section 4.2): hide a part of the picture and see what the network then makes of it.

A patch slides over the picture; at each place p(class) is recorded. Where it falls, the network used what lies there.
No gradient is needed, but a forward pass for each place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Target, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError, nearest
from minicnn.figures import heatmap, labelled_row, overlay, top_value
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import Normalize
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture

from .common import MEMORY, check_one, describe, photo_run, pictures_at_once, probabilities, with_legend

FILLS = ("mean", "grey", "black", "white")


class Occlusion(NamedTuple):
    """probability (rows, columns): p(target) with the patch at rows × columns, its upper left corners.

    drop (rows, columns): p(target) of the whole picture, `whole`, minus probability. map (H, W): the mean drop of the
    patches that cover a pixel (0 where none does). window: the side of the patch; fill (C,): its colour.
    """

    map: np.ndarray
    drop: np.ndarray
    probability: np.ndarray
    whole: float
    rows: np.ndarray
    columns: np.ndarray
    window: int
    fill: np.ndarray
    target: int


def occlusion(
    net: Network,
    image: Array,
    target: int | str | None = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: str = "mean",
    memory: int = MEMORY,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Occlusion:
    """p(target) of `image` (1, C, H, W) in [0, 1] with a square patch at every place; default: the class predicted.

    `window` (default: a fifth of the shorter side) and `stride` (a twentieth) are in pixels; the last patches of a row
    and a column touch the border. `fill`: "mean" is the mean colour of the training pictures, which the network
    subtracts; or "grey" (0.5), "black", "white". The copies go through the network in batches whose activations take
    at most `memory` bytes; after each, `progress(places done, of all)` is called. Raises MinicnnError for a window
    that is larger than the picture.

    Example: `occlusion(net, net.prepare(load_picture("cat.jpg")), window=50).map`
    """
    check_one(image)
    height, width = image.shape[2:]
    window = max(1, min(height, width) // 5) if window is None else window
    stride = max(1, min(height, width) // 20) if stride is None else stride
    if not 1 <= window <= min(height, width):
        limit = min(height, width)
        raise MinicnnError(f"window {window}: expected 1 to {limit} pixels, the picture has {width}×{height}")
    if stride < 1:
        raise MinicnnError(f"stride {stride}: expected 1 pixel or more")
    colour = fill_colour(net, fill)
    before = probabilities(net, image)[0]
    c = int(before.argmax()) if target is None else net.class_index(target)
    rows, columns = corners(height, window, stride), corners(width, window, stride)
    places = [(row, column) for row in rows for column in columns]
    found, batch = np.empty(len(places)), pictures_at_once(net, image.shape[1:], memory)
    for start in range(0, len(places), batch):
        some = places[start : start + batch]
        found[start : start + len(some)] = probabilities(net, hidden(image, some, window, colour))[:, c]
        progress(start + len(some), len(places))
    probability = found.reshape(len(rows), len(columns))
    drop = before[c] - probability
    spread = spread_over_pixels(drop, places, window, (height, width))
    return Occlusion(spread, drop, probability, float(before[c]), rows, columns, window, colour, c)


def corners(side: int, window: int, stride: int) -> np.ndarray:
    """Where patches begin along one side: every `stride` pixels, and the last one at the border."""
    return np.unique(np.append(np.arange(0, side - window + 1, stride), side - window))


def hidden(image: Array, places: list[tuple[int, int]], window: int, colour: np.ndarray) -> Array:
    """Copies of `image` (1, C, H, W), each with the patch at another place: (places, C, H, W)."""
    xp = get_array_module(image)
    copies = xp.repeat(image, len(places), axis=0)
    patch = xp.asarray(colour[:, None, None])  # (C, 1, 1)
    for i, (row, column) in enumerate(places):
        copies[i, :, row : row + window, column : column + window] = patch
    return copies


def fill_colour(net: Network, fill: str) -> np.ndarray:
    """The colour (C,) of the patch, float32 in [0, 1]."""
    if fill not in FILLS:
        raise MinicnnError(f"fill {fill!r}{nearest(fill, FILLS)}")
    if fill != "mean":
        return np.full(net.input_shape[0], {"grey": 0.5, "black": 0.0, "white": 1.0}[fill], np.float32)
    layer = next((layer for _, layer in net.layers() if isinstance(layer, Normalize)), None)
    if layer is None:
        raise MinicnnError(f"fill 'mean': {net.name} has no Normalize layer that knows it; take grey, black or white")
    mean = to_host(layer.mean.value / layer.scale.value)
    return (mean[::-1] if layer.bgr else mean).astype(np.float32)


def spread_over_pixels(
    drop: np.ndarray, places: list[tuple[int, int]], window: int, size: tuple[int, int]
) -> np.ndarray:
    """The mean drop of the patches that cover each pixel, (H, W)."""
    total, count = np.zeros(size), np.zeros(size)
    for value, (row, column) in zip(drop.ravel(), places, strict=True):
        total[row : row + window, column : column + window] += value
        count[row : row + window, column : column + window] += 1
    return total / np.maximum(count, 1)


def worst_place(result: Occlusion) -> tuple[int, int]:
    """The corner (row, column) of the patch at which the probability falls most."""
    i, j = np.unravel_index(result.drop.argmax(), result.drop.shape)
    return int(result.rows[i]), int(result.columns[j])


def draw(net: Network, image: Array, result: Occlusion) -> Image.Image:
    """The picture, the patch where it hurts most, the drop over the picture, and the probability at each place."""
    name, picture, top = net.class_name(result.target), to_picture(to_host(image)), top_value(result.map)
    highest = max(result.whole, float(result.probability.max()))
    worst = hidden(image, [worst_place(result)], result.window, result.fill)
    row = [
        (f"seen as {describe(net, image)}", picture),
        (f"hidden here {name} falls to {100 * result.probability.min():.1f} %", to_picture(to_host(worst))),
        ("where it falls", overlay(picture, result.map, signed=True, top=top)),
        (f"p({name}) by the place of the patch", heatmap(result.probability, top=highest)),
    ]
    return with_legend(
        labelled_row(row),
        (top, f"red: p({name}) falls when this is hidden; blue: it rises", True),
        (highest, f"p({name}) with the patch there: dark is where the network needs the picture", False),
    )


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("occlusion"),
    target: Target = None,
    window: Annotated[
        int | None, typer.Option("--window", help="Side of the patch, pixels (default: a fifth).")
    ] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", help="Pixels between places (default: a twentieth).")
    ] = None,
    fill: Annotated[str, typer.Option("--fill", help="Colour of the patch: mean, grey, black, white.")] = "mean",
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """How does the probability of a class fall where a patch hides the picture?"""
    settings = {"target": target, "window": window, "stride": stride, "fill": fill}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        with Progress("hiding") as bar:
            result = occlusion(
                net,
                x,
                target,
                window=window,
                stride=stride,
                fill=fill,
                progress=lambda done, total: bar.update(done, f"{done} of {total} places", total),
            )
        run.save("occlusion.png", draw(net, x, result))
        name, lowest = net.class_name(result.target), float(result.probability.min())
        row, column = worst_place(result)
        run.finish(target=name, probability=result.whole, lowest=lowest, row=row, column=column)
        print(
            f"p({name}) is {100 * result.whole:.1f} %, and {100 * lowest:.1f} % with a patch of {result.window} pixels "
            f"at row {row}, column {column}; {result.drop.size} places are in {run.path('occlusion.png')}"
        )
