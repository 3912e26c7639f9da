"""The filters of a convolution as pictures (techniques of Krizhevsky 2012, figure 3).

Among all patches x of one length the one that a filter w answers to most is the filter itself:

    argmax wᵀx  subject to  ‖x‖ = 1   is   w/‖w‖        (Cauchy-Schwarz)

so the first layer's filters, drawn as pictures, show what it looks for. A deeper filter looks at maps, not at colours:
each of its planes is drawn in grey.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.boxes import SMALL_SIZE, beside, centred, framed, stack, text_box
from minicnn.cli.options import LayerName, Out, Seed
from minicnn.errors import MinicnnError
from minicnn.figures import rescale, tiles
from minicnn.layers import Conv2d, Normalize
from minicnn.network import Network
from minicnn.parameter import to_host

from .common import first_convolution, load_network, open_run, weights_used

ROWS, PLANES = 24, 32  # of a deeper layer no more filters, and planes of each, are drawn
PANEL = 480  # the tiles of a network are enlarged to about this width, a tile to LARGEST at most
LARGEST = 96
BETWEEN = (203, 215, 230)  # tiles, so that white weights have an edge


class Filters(NamedTuple):
    """weights (F, C, KH, KW) of `layer`; colours: whether the C planes are those of the picture (red, green, blue)."""

    layer: str
    weights: np.ndarray
    colours: bool


def filters(net: Network, layer: str | None = None) -> Filters:
    """The filters of a convolution (default: the first). Raises MinicnnError with the nearest names for another layer.

    Example: `filters(net, "conv2").weights`
    """
    first = first_convolution(net)
    name = layer or first
    convolution = net.layer(name)
    if not isinstance(convolution, Conv2d):
        there = ", ".join(path for path, other in net.layers() if isinstance(other, Conv2d))
        kind = type(convolution).__name__
        raise MinicnnError(f"{name} of {net.name} is a {kind}: expected a convolution; there is: {there}")
    weights = to_host(convolution.effective_weight())
    if name == first and any(isinstance(other, Normalize) and other.bgr for _, other in net.layers()):
        weights = weights[:, ::-1]  # the network turns the colours round before its first convolution
    return Filters(name, weights, name == first and weights.shape[1] in (1, 3))


def draw(found: Filters) -> Image.Image:
    """The filters rescaled to [0, 255], each from its least weight (black) to its greatest (white).

    Those of the first layer are colour tiles (grey for a grey network). A deeper filter is a row of grey planes on one
    scale, behind its number; of many filters and planes the first ROWS and PLANES are drawn.
    """
    F, C, KH, KW = found.weights.shape
    if found.colours or C == 1:
        return tiles(rescale(found.weights), scale=enlargement(KW, round(F**0.5)), background=BETWEEN)
    stretched = rescale(found.weights.reshape(F, 1, C * KH, KW)).reshape(F, C, 1, KH, KW)[:ROWS, :PLANES]
    scale = enlargement(KW, max(stretched.shape[:2]))
    rows = []
    for number, planes in enumerate(stretched):
        row = tiles(planes, columns=len(planes), scale=scale, padding=2, background=BETWEEN)
        rows.append(beside([centred(text_box(str(number), 28, size=SMALL_SIZE), (28, row.height)), row], gap=0))
    return stack(rows, gap=0)


def enlargement(side: int, columns: int) -> int:
    """The factor by which `columns` tiles of `side` pixels come to fill a panel."""
    return max(1, min(PANEL // max(1, columns), LARGEST) // side)


def caption(found: Filters) -> str:
    """What the tiles are: "conv1: 96 filters of 3×11×11"."""
    F, C, KH, KW = found.weights.shape
    text = f"{found.layer}: {F} filter{'s' * (F > 1)} of {C}×{KH}×{KW}"
    if not found.colours and C > 1 and (F > ROWS or C > PLANES):
        text += f"; the first {min(F, ROWS)} filters are shown, {min(C, PLANES)} planes of each"
    return text


def side_by_side(panels: list[tuple[str, Filters]]) -> Image.Image:
    """The filters of several networks, each under its name."""
    boxes = []
    for name, found in panels:
        picture = draw(found)
        width = max(picture.width, 200)
        head, foot = text_box(name, width), text_box(caption(found), width, size=SMALL_SIZE)
        boxes.append(stack([head, picture, foot], gap=6))
    return framed(beside(boxes, gap=32))


def command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names of networks.")],
    layer: LayerName = None,
    out: Out = Path("filters"),
    weights: Annotated[
        list[Path] | None, typer.Option("--weights", "-w", help="A .safetensors file for each MODEL, in their order.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """The filters of a convolution (default: the first) as tiles, several networks side by side."""
    files: list[Path | None] = [*weights] if weights else [None] * len(models)
    if len(files) != len(models):
        raise MinicnnError(f"{len(files)} weights files for {len(models)} networks: expected one for each, or none")
    panels = []
    for model, file in zip(models, files, strict=True):
        panels.append((model, filters(load_network(model, file), layer)))
    used = [weights_used(model, file) for model, file in zip(models, files, strict=True)]
    with open_run(out, seed=seed, inputs=used, models=models, layer=layer) as run:
        run.save("filters.png", side_by_side(panels))
        run.finish(filters={f"{i} {name}": found.weights.shape for i, (name, found) in enumerate(panels)})
        found_text = "; ".join(f"{name} {caption(found)}" for name, found in panels)
        print(f"{found_text}; in {run.path('filters.png')}")
