"""The activations of a layer (Yosinski, Clune, Nguyen, Fuchs, Lipson 2015, section 2): its maps' answers to a picture.

The forward pass runs no deeper than the layer that is asked for. Maps are drawn as grey tiles, vectors as bars.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from minicnn.boxes import INK, SMALL_SIZE, WHITE, beside, framed, stack, text_box
from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Weights
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_row, tiles
from minicnn.kernels.backend import Array
from minicnn.layers import LeakyReLU, ReLU, Sigmoid, Tanh, evaluating
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture

from .common import describe, first_convolution, photo_run

LARGEST = 112  # a map is drawn at most so large
PANEL = 900  # and all of them about so wide
ROW, BAR_HEIGHT = 450, 80  # bars in a row, and pixels of the longest
RED, BLUE = (178, 24, 43), (33, 102, 172)  # the ends of the diverging colours


class Activations(NamedTuple):
    """values (C, H, W), or (D,) where the layer has no places; `layer` is its name."""

    layer: str
    values: np.ndarray

    @property
    def signed(self) -> bool:
        """Whether there are negative values, as before a ReLU."""
        return bool((self.values < 0).any())

    def silent(self) -> int:
        """How many maps (or units) are 0 everywhere."""
        return int((~self.values.reshape(len(self.values), -1).any(axis=1)).sum())


def activations(net: Network, image: Array, layer: str | None = None) -> Activations:
    """The activations of a layer for `image` (1, C, H, W) in [0, 1]; default: those after the first convolution's ReLU.

    Raises MinicnnError with the nearest names where there is no such layer.

    Example: `activations(net, net.prepare(load_picture("cat.jpg")), "relu2").values`
    """
    net.check_picture(image)
    name = layer or first_activation(net)
    with evaluating(net):
        values = to_host(net.activations(image, [name])[name])[0]
    return Activations(name, values.reshape(-1) if values.size == len(values) else values)


def first_activation(net: Network) -> str:
    """The first ReLU (or other activation function) behind the first convolution, or else that convolution."""
    names = [path for path, _ in net.layers()]
    first = first_convolution(net)
    behind = names[names.index(first) :]
    return next((n for n in behind if isinstance(net.layer(n), ReLU | LeakyReLU | Tanh | Sigmoid)), first)


def draw_values(found: Activations, names: tuple[str, ...] = ()) -> Image.Image:
    """The tiles of a layer's maps, each with its number, or the bars of a vector, with `names` where there are some."""
    if found.values.ndim == 1:
        return bars(found.values, names)
    shown = shades(found)
    count, side = len(shown), max(shown.shape[2:])
    tile = min(PANEL // (count if count <= 8 else ceil(count**0.5)), LARGEST)
    if side > tile:
        shown = np.stack([shrunk(m, tile / side) for m in shown])
    return tiles(shown, scale=max(1, tile // side), labels=[str(i) for i in range(count)], padding=6)


def shades(found: Activations) -> np.ndarray:
    """Maps as grey pictures (C, 1, H, W) in [0, 1], each on its own scale: 0 is black, or mid grey in a signed layer.

    Raises MinicnnError for a layer without places.
    """
    if found.values.ndim != 3:
        raise MinicnnError(f"{found.layer}: expected maps (C, H, W), got {found.values.shape}")
    maps = found.values[:, None]
    top = np.abs(maps).max(axis=(2, 3), keepdims=True)
    strength = maps / np.where(top > 0, top, 1)
    return 0.5 + strength / 2 if found.signed else strength


def shrunk(one: np.ndarray, factor: float) -> np.ndarray:
    """A map (1, H, W) made smaller, each pixel the mean of those that it covers."""
    size = max(1, round(one.shape[2] * factor)), max(1, round(one.shape[1] * factor))
    return np.asarray(Image.fromarray(one[0].astype(np.float32)).resize(size, Image.Resampling.BOX))[None]


def bars(values: np.ndarray, names: tuple[str, ...] = ()) -> Image.Image:
    """A vector as bars, red up and blue down from 0, ROW of them in a row; the names beneath where they are few."""
    top = float(np.abs(values).max()) or 1.0
    step = min(44, PANEL // min(len(values), ROW))
    gap = 1 if step > 4 else 0
    rows = []
    for start in range(0, len(values), ROW):
        some = values[start : start + ROW]
        up = BAR_HEIGHT if (values > 0).any() else 0
        height = up + (BAR_HEIGHT if (values < 0).any() else 0) + 1
        chart = Image.new("RGB", (step * len(some), height), WHITE)
        pen = ImageDraw.Draw(chart)
        for i, value in enumerate(some):
            length = round(BAR_HEIGHT * float(value) / top)
            if length:
                ends = sorted((up, up - length))
                sides = i * step + gap, (i + 1) * step - 1 - gap
                pen.rectangle((sides[0], ends[0], sides[1], ends[1]), fill=RED if length > 0 else BLUE)
        pen.line((0, up, chart.width, up), fill=INK)
        if step >= 24:
            labels = names[start : start + ROW] or [str(start + i) for i in range(len(some))]
            text = [text_box(label, step, size=SMALL_SIZE) for label in labels]
        else:
            last = start + len(some) - 1
            text = [text_box(f"{start} to {last}", chart.width, size=SMALL_SIZE)]
        rows.append(stack([chart, beside(text, gap=0)], gap=4, align=0))
    return framed(stack(rows, gap=14, align=0), 6)


def draw(net: Network, image: Array, found: Activations) -> Image.Image:
    """The picture beside what the layer answers to it."""
    picture = labelled_row([(f"seen as {describe(net, image)}", to_picture(to_host(image)))])
    names = net.class_names if found.layer == net.score_layer else ()
    answer = draw_values(found, names)
    if found.values.ndim == 1:
        how = f"bars up from 0 are red, down blue; the longest is {np.abs(found.values).max():.3g}"
    elif found.signed:
        how = "in each map grey is 0, white its greatest magnitude, black the same with a minus"
    else:
        how = "in each map black is 0, white its own greatest value; a silent map stays black"
    text = text_box(f"{found.layer}: {shape_text(found.values)}; {how}", max(answer.width, 240), size=SMALL_SIZE)
    return beside([picture, framed(stack([answer, text], gap=4), 6)], gap=0)


def shape_text(values: np.ndarray) -> str:
    """What they are: "6 maps of 28×28", or "84 values"."""
    if values.ndim == 1:
        return f"{len(values)} values"
    return f"{len(values)} map{'s' * (len(values) > 1)} of {values.shape[1]}×{values.shape[2]}"


def command(
    photo: Photo,
    model: Model = "lenet5",
    layer: LayerName = None,
    out: Out = Path("activations"),
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """What every map of a layer (default: the first convolution's ReLU) answers to a picture."""
    with photo_run(photo, model, weights, device, out, seed, layer=layer) as (run, net, x):
        found = activations(net, x, layer)
        run.save("activations.png", draw(net, x, found))
        strongest = int(found.values.reshape(len(found.values), -1).max(axis=1).argmax())
        silent, what = found.silent(), "unit" if found.values.ndim == 1 else "map"
        run.finish(layer=found.layer, shape=found.values.shape, strongest=strongest, silent=silent)
        print(
            f"{found.layer}, {shape_text(found.values)}: the strongest {what} is {strongest} "
            f"({found.values.max():.3g}), silent are {silent}; all are in {run.path('activations.png')}"
        )
