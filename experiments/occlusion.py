"""Occlusion (Zeiler & Fergus 2014, section 4.2): hide a part of the picture and see what the network then makes of it.

A patch slides over the picture; at each place p(class), or the activation of a unit, is recorded. Where it falls, the
network used what lies there. No gradient is needed, but a forward pass for each place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import whole_number
from minicnn.figures import heatmap, overlay, top_value
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture

from .attribution import Attribution, Goal, Progress, UnitIndex, batches, colour_named, find_target, report, values_of
from .common import MEMORY, bar_over, photo_run, pictures_at_once, probabilities


@dataclass(frozen=True, eq=False, kw_only=True)
class Occlusion(Attribution):
    """answers (rows, columns): p(class) with the patch at rows × columns, its upper left corners; of a unit, F.

    whole: the same of the whole picture; drop (rows, columns): whole − answers. map (H, W): the mean drop of the
    patches that cover a pixel (0 where none does). window: the side of the patch; fill (C,): its colour.
    """

    answers: np.ndarray = field(repr=False)
    whole: float
    rows: np.ndarray = field(repr=False)
    columns: np.ndarray = field(repr=False)
    window: int
    fill: np.ndarray = field(repr=False)
    of_class: bool

    @property
    def drop(self) -> np.ndarray:
        return self.whole - self.answers

    @property
    def asked(self) -> str:
        """What is recorded: "p(tabby)", or the unit."""
        return f"p({self.target.name})" if self.of_class else self.target.name

    def written(self, answer: float) -> str:
        """An answer as people read it."""
        return f"{100 * answer:.1f} %" if self.of_class else f"{answer:.3g}"

    def worst_place(self) -> tuple[int, int]:
        """The corner (row, column) of the patch at which the answer falls most."""
        i, j = np.unravel_index(self.drop.argmax(), self.drop.shape)
        return int(self.rows[i]), int(self.columns[j])

    def panels(self, caption: str) -> list[tuple[str, Image.Image]]:
        """The picture, the patch where it hurts most, the drop over the picture, and the answer at each place."""
        picture, worst = to_picture(self.image), self.image.copy()
        row, column = self.worst_place()
        worst[:, row : row + self.window, column : column + self.window] = self.fill[:, None, None]
        lowest = self.written(float(self.answers.min()))
        top, highest = top_value(self.map), self.highest()
        return [
            (caption, picture),
            (f"hidden here, {self.asked} is {lowest}", to_picture(worst)),
            (f"how much {self.asked} falls", overlay(picture, self.map, signed=True, top=top)),
            (f"{self.asked} by the place of the patch", heatmap(self.answers, signed=self.both_signs(), top=highest)),
        ]

    def legends(self) -> list[tuple[float, str, bool]]:
        there = f"{self.asked} with the patch there"
        return [
            (top_value(self.map), f"red: {self.asked} falls when this is hidden; blue: it rises" + self.remark(), True),
            (self.highest(), there if self.both_signs() else f"{there}: dark is where it is needed", self.both_signs()),
        ]

    def highest(self) -> float:
        return max(abs(self.whole), float(np.abs(self.answers).max()))

    def both_signs(self) -> bool:
        return bool(self.answers.min() < 0)


def occlusion(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    window: int | None = None,
    stride: int | None = None,
    fill: str = "mean",
    memory: int = MEMORY,
    progress: Progress = lambda done, total: None,
) -> Occlusion:
    """p(class) of `image` (1, C, H, W) in [0, 1], or a unit's activation, with a square patch at every place.

    Without a target it is the class predicted. `window` (default: a fifth of the shorter side) and `stride` (a
    twentieth) are in pixels; the last patches of a row and a column touch the border. `fill`: "mean" is the mean colour
    of the training pictures, which the network subtracts; or "grey" (0.5), "black", "white". The copies go through the
    network in batches whose activations take at most `memory` bytes; after each, `progress(places done, of all)` is
    called. Raises MinicnnError for a window that is larger than the picture.

    Example: `occlusion(net, net.prepare(load_picture("cat.jpg")), window=50).map`
    """
    goal = find_target(net, image, target, layer=layer, unit=unit)
    height, width = image.shape[2:]
    window, stride = checked_sizes(window, stride, height, width)
    colour = colour_named(net, fill, "fill")
    of_class = layer is None and goal.layer == net.score_layer

    def answer(images: Array) -> np.ndarray:
        return probabilities(net, images)[:, goal.index[0]] if of_class else values_of(net, images, goal, memory=memory)

    whole = float(answer(image)[0])
    rows, columns = corners(height, window, stride), corners(width, window, stride)
    places = [(row, column) for row in rows for column in columns]
    answers = np.empty(len(places))
    for some in batches(len(places), pictures_at_once(net, image.shape[1:], memory)):
        answers[some] = answer(hidden(image, places[some], window, colour))
        progress(some.stop, len(places))
    spread = spread_over_pixels(whole - answers, places, window, (height, width))
    return Occlusion(
        *("occlusion", goal, to_host(image)[0]),
        *(spread, True, spread[None]),
        "how much the answer falls when this is hidden",
        answers=answers.reshape(len(rows), len(columns)),
        whole=whole,
        rows=rows,
        columns=columns,
        window=window,
        fill=colour,
        of_class=of_class,
    )


def checked_sizes(window: int | None, stride: int | None, height: int, width: int) -> tuple[int, int]:
    """The side of the patch and its step, in pixels, their defaults put in."""
    side = min(height, width)
    window = max(1, side // 5) if window is None else window
    stride = max(1, side // 20) if stride is None else stride
    return whole_number("window", window, 1, side), whole_number("stride", stride, 1)


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


def spread_over_pixels(
    drop: np.ndarray, places: list[tuple[int, int]], window: int, size: tuple[int, int]
) -> np.ndarray:
    """The mean drop of the patches that cover each pixel, (H, W)."""
    total, count = np.zeros(size), np.zeros(size)
    for value, (row, column) in zip(drop.ravel(), places, strict=True):
        total[row : row + window, column : column + window] += value
        count[row : row + window, column : column + window] += 1
    return total / np.maximum(count, 1)


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("occlusion"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
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
    """How does the probability of a class, or a unit's activation, fall where a patch hides the picture?"""
    settings = {"target": target, "layer": layer, "unit": unit, "window": window, "stride": stride, "fill": fill}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        with bar_over("hiding", "places") as progress:
            result = occlusion(
                *(net, x, target),
                layer=layer,
                unit=unit,
                window=window,
                stride=stride,
                fill=fill,
                progress=progress,
            )
        lowest, (row, column) = float(result.answers.min()), result.worst_place()
        report(run, net, x, result, "occlusion", whole=result.whole, lowest=lowest, row=row, column=column)
        print(
            f"{result.asked} is {result.written(result.whole)}, and {result.written(lowest)} with a patch of "
            f"{result.window} pixels at row {row}, column {column}; {result.drop.size} places were tried"
        )
