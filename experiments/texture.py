"""Texture synthesis (Gatys, Ecker, Bethge 2015, "Texture synthesis using convolutional neural networks"): a picture of
any size, made of noise, in which the channels of some layers are high together as often as in a sample.

    argmin over x of  Σ ‖G(x) − G(sample)‖²/‖G(sample)‖²        G = F·Fᵀ/M

G forgets where anything is, and that is what makes a texture of a picture. It is style transfer without a content
(style.py): the pixels, no transforms, valid pixels, L-BFGS. The noise has the sample's colours, and in the end so has
the picture: its histograms are matched (the paper's code does so too). Average pooling, as in section 2. One layer
after the other shows what each knows of the texture (figure 2).

Beside it stands what came before: neighbour_copying.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Device, Model, Out, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError, nearest
from minicnn.figures import labelled_grid
from minicnn.image import Callback, Interrupted, NotFinite, Result, Step
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import to_picture
from minicnn.run import Run

from .colours import matched_histograms
from .common import bar_over, load_network, open_run, read_whole, weights_used
from .neighbour_copying import ORDERS, neighbour_copying
from .stages import POOLING
from .style import memory, style_transfer
from .style_jobs import in_words, losses, name_of
from .style_objective import Settings

METHODS = ("gram", *ORDERS)
DEFAULTS = Settings(content_weight=0.0, tv_weight=0.0, iterations=200, scales=2.0)
WINDOW = 15


def texture(
    net: Network,
    sample: Array,
    size: tuple[int, int] | None = None,
    settings: Settings = DEFAULTS,
    *,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """More of a texture: the picture (1, C, *size) in [0, 1] with the statistics of `sample` (1, C, H, W).

    size: (height, width), the sample's unless given. settings: of a style transfer, without a content; `style_layers`
    says which Gram matrices are compared. Callbacks see the steps of all sizes counted through. Ctrl-C raises
    Interrupted, with the last whole picture. The same seed gives the same bytes.

    Example: `texture(net, pebbles, (256, 384)).image`
    """
    net.check_picture(sample, "sample")
    size = size or (sample.shape[2], sample.shape[3])
    if min(size) < 1:
        raise MinicnnError(f"a texture of {size[1]}×{size[0]} pixels: expected 1 or more")
    noise = shuffled(sample, size, seed)
    settings = replace(settings, content_weight=0.0)
    found = style_transfer(net, noise, sample, settings, start=noise, seed=seed, callbacks=callbacks)
    return found._replace(image=matched_histograms(found.image, like=sample))


def shuffled(sample: Array, size: tuple[int, int], seed: int) -> Array:
    """Noise (1, C, *size) in the colours of a sample: each pixel one of its pixels."""
    pixels = to_host(sample)[0].reshape(sample.shape[1], -1)
    drawn = np.random.default_rng(seed).integers(pixels.shape[1], size=size)
    return transfer(pixels[None, :, drawn], like=sample)


# The command ----------------------------------------------------------------------------------------------------------

Cell = tuple[str, Image.Image]


def wanted_size(text: str | None, sample: Array) -> tuple[int, int]:
    """ "384x256" as (256, 384); "384": the long side of the sample's proportions; None: the sample's size."""
    height, width = sample.shape[2:]
    if text is None:
        return height, width
    sides = text.replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.strip().isdigit() and int(side) for side in sides):
        raise MinicnnError(f"image size {text!r}: expected pixels of the long side, or WIDTHxHEIGHT")
    if len(sides) == 2:
        return int(sides[1]), int(sides[0])
    scale = int(text) / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def by_gram(
    run: Run, net: Network, sample: Array, size: tuple[int, int], settings: Settings, seed: int, name: str, what: str
) -> Cell:
    """One synthesis with a bar, written as `name`, also where it is interrupted."""

    def saved(image: Array) -> Image.Image:
        picture = to_picture(to_host(image))
        run.save(name, picture)
        return picture

    try:
        with Progress(what) as bar:

            def show(step: Step) -> None:
                bar.update(step.step, in_words(losses(step)), step.steps)

            return what, saved(texture(net, sample, size, settings, seed=seed, callbacks=[show]).image)
    except (Interrupted, NotFinite) as stopped:
        saved(stopped.result.image)
        raise


def by_copying(run: Run, sample: Array, size: tuple[int, int], order: str, window: int, seed: int, name: str) -> Cell:
    """One picture by neighbour copying with a bar, written as `name`, also where it is interrupted."""
    what = f"copying, {order}"
    try:
        with bar_over(what, "pixels") as progress:
            image = neighbour_copying(
                to_host(sample)[0], size, window=window, order=order, seed=seed, progress=progress
            )
    except Interrupted as stopped:
        run.save(name, to_picture(stopped.result.image[0]))
        raise
    run.save(name, image)
    return what, to_picture(image)


def cells(
    run: Run,
    net: Network,
    sample: Array,
    size: tuple[int, int],
    settings: Settings,
    seed: int,
    *,
    method: str,
    window: int,
    compare: bool,
    each: bool,
) -> Iterator[Cell]:
    """The pictures that the options ask for, the first as texture.png."""
    if method == "gram":
        yield by_gram(run, net, sample, size, settings, seed, "texture.png", f"Gram matrices of {net.name}")
    else:
        yield by_copying(run, sample, size, method, window, seed, "texture.png")
    if each:
        for layer in settings.layers(net)[1]:
            alone = replace(settings, style_layers=layer)
            yield by_gram(run, net, sample, size, alone, seed, f"{layer}.png", f"{layer} alone")
    if compare:
        others = [other for other in METHODS if other != method]
        for other in others:
            if other == "gram":
                yield by_gram(run, net, sample, size, settings, seed, "gram.png", f"Gram matrices of {net.name}")
            else:
                yield by_copying(run, sample, size, other, window, seed, f"{other}.png")


def command(
    photo: Annotated[Path, typer.Argument(help="The sample of the texture.")],
    model: Model = "squeezenet1_0",
    image_size: Annotated[str | None, typer.Option(help="Pixels of the long side, or WIDTHxHEIGHT.")] = None,
    iterations: Annotated[int, typer.Option(help="Steps of the optimizer, at each size.")] = DEFAULTS.iterations,
    out: Out = Path("texture"),
    layers: Annotated[str, typer.Option(help="LAYER,LAYER=WEIGHT,… (default: one at each resolution).")] = "all",
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}: the last two copy neighbours.")] = "gram",
    compare: Annotated[bool, typer.Option("--compare", help="All methods side by side.")] = False,
    each: Annotated[bool, typer.Option("--each", help="Also by each of the layers alone.")] = False,
    scales: Annotated[float, typer.Option(help="Begin small, in steps of this factor; 1: at once.")] = DEFAULTS.scales,
    optimizer: Annotated[str, typer.Option(help="lbfgs or adam.")] = DEFAULTS.optimizer,
    tv_weight: Annotated[float, typer.Option(help="Of the total variation.")] = 0.0,
    pooling: Annotated[str, typer.Option(help=" or ".join(POOLING) + ".")] = DEFAULTS.pooling,
    covariance: Annotated[bool, typer.Option("--covariance", help="Covariances in place of Gram matrices.")] = False,
    window: Annotated[int, typer.Option(help="Of the neighbours that are compared, pixels; odd.")] = WINDOW,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """More of a texture, of any size: by Gram matrices, or by copying neighbours."""
    if method not in METHODS:
        raise MinicnnError(f"method {method!r}{nearest(method, METHODS)}")
    settings = replace(
        DEFAULTS,
        style_layers=layers,
        iterations=iterations,
        scales=scales,
        optimizer=optimizer,
        tv_weight=tv_weight,
        pooling=pooling,
        centred=covariance,
    )
    net = load_network(model, weights, device)
    settings.layers(net)
    sample = read_whole(photo, net)
    size = wanted_size(image_size, sample)
    if method == "gram" or compare:
        print(memory(net, shuffled(sample, size, seed), settings))
    options = {**vars(settings), "method": method, "window": window, "compare": compare, "each": each, "device": device}
    with open_run(
        out, seed=seed, inputs=[photo, weights_used(model, weights)], model=model, size=list(size), **options
    ) as run:
        made: list[Cell] = [(f"sample: {name_of(photo)}", to_picture(to_host(sample)))]
        try:
            made += cells(
                run, net, sample, size, settings, seed, method=method, window=window, compare=compare, each=each
            )
        finally:
            run.save("beside.png", labelled_grid([("", made)], height=min(320, size[0])))
    print(f"{name_of(photo)}, {size[1]}×{size[0]} pixels: {run.path('texture.png')}; see {run.path('beside.png')}")
