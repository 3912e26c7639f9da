"""Class models (Simonyan, Vedaldi, Zisserman 2013, section 2): the picture that a class, or a unit, likes best.

    argmax over I of  S_c(I) − λ‖I‖²

The weights stay as they are, and the picture is what is learned: gradient ascent from the zero picture, the colour that
the network subtracts. Three recipes:

    plain      S_c alone: noise, which the network takes for the class all the same
    simonyan   S_c − λ‖I‖²: as little as will do, still mostly noise
    clear      log p_c in place of S_c, so that what speaks for other classes too is taken away; the picture moved a
               little at each step, so that no pixel counts for itself (Mordvintsev et al. 2015); a slight blur every
               few steps, and the weakest pixels back to zero (Yosinski et al. 2015, section 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from minicnn.cli.options import Device, LayerName, Model, Out, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError, nearest
from minicnn.figures import labelled_grid
from minicnn.image import (
    L2,
    Callback,
    ClassScore,
    ClipSmall,
    GaussianBlur,
    GradientAscent,
    Interrupted,
    Jitter,
    LogProbability,
    NotFinite,
    Objective,
    Pixels,
    Projection,
    Transform,
    Unit,
    ValidPixels,
    number,
    optimize,
    path_of,
)
from minicnn.kernels.backend import Array
from minicnn.layers import backward_rule
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import to_picture
from minicnn.run import Run
from minicnn.schedules import Clock

from .attribution import colour_named
from .common import describe, load_network, open_run, weights_used

RECIPES = ("clear", "simonyan", "plain")


class Choices(NamedTuple):
    """Those of the engine's five choices in which the recipes differ."""

    objective: Objective
    transforms: Sequence[Transform]
    projections: Sequence[Projection]


def choices(net: Network, target: int | str | Objective, recipe: str = "clear") -> Choices:
    """A recipe for a class, by name or number, or for any other objective in the place of its score."""
    if recipe not in RECIPES:
        raise MinicnnError(f"recipe {recipe!r}{nearest(recipe, RECIPES)}")
    score = target if isinstance(target, Objective) else ClassScore(net.class_index(target))
    zero = zero_colour(net)
    if recipe == "plain":
        return Choices(score, [], [ValidPixels()])
    if recipe == "simonyan":
        return Choices(score - 0.2 * L2(center=zero), [], [ValidPixels()])
    if isinstance(score, ClassScore):
        score = LogProbability(score.target)
    moved = round(max(net.input_shape[1:]) / 10)  # 3 pixels of a digit
    return Choices(score, [Jitter(moved)], [GaussianBlur(0.5, every=4), ClipSmall(70, center=zero), ValidPixels()])


def visualize(
    net: Network,
    target: int | str | Objective,
    *,
    recipe: str = "clear",
    steps: int = 300,
    starts: int = 1,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """The picture (1, C, H, W) in [0, 1] that a class likes best, or any other objective, such as `Unit("conv2", 5)`.

    It starts from the zero picture. With more than one start, (starts, C, H, W) from as many pictures of noise: several
    answers to the same question, made in one batch. The same seed gives the same bytes.

    Example: `visualize(net, 3)[0]`
    """
    objective, transforms, projections = choices(net, target, recipe)
    with backward_rule(net, "redirected"):  # the gradient; but let through where a dead start has none at all
        return optimize(
            net,
            objective,
            Pixels(start_pictures(net, starts, seed)),
            transforms=transforms,
            projections=projections,
            optimizer=GradientAscent(0.1, "std", schedule=falling),
            steps=steps,
            callbacks=callbacks,
            seed=seed,
        ).image


def falling(clock: Clock) -> float:
    """From 1 along a line to nearly 0: the last steps only smooth."""
    return 1 - clock.progress


def zero_colour(net: Network) -> tuple[float, ...]:
    """The colour of an empty picture: the mean of the training pictures; for grey digits black, their paper."""
    return tuple(colour_named(net, "mean" if net.input_shape[0] == 3 else "black").tolist())


def start_pictures(net: Network, starts: int, seed: int) -> Array:
    """The zero picture (1, C, H, W), or uniform noise (starts, C, H, W), on the network's device."""
    if starts < 1:
        raise MinicnnError(f"{starts} starts: expected 1 or more")
    if starts == 1:
        colour = np.array(zero_colour(net))[:, None, None]
        pictures = np.broadcast_to(colour, (1, *net.input_shape))
    else:
        pictures = np.random.default_rng(seed).uniform(0, 1, (starts, *net.input_shape))
    return transfer(pictures, like=net.parameters()[0].value)


def wish(net: Network, target: str | None, layer: str | None, unit: int | None) -> tuple[int | Unit, str]:
    """What the command line asks for, and how to call it: a class, or a unit of a layer."""
    if layer is None and unit is None and target is not None:
        c = net.class_index(target)
        return c, f"class {net.class_name(c)}"
    if layer is not None and unit is not None and target is None:
        layer = path_of(net, layer)  # "scores" is no layer to the caption
        return Unit(layer, unit), f"unit {unit} of {layer}"
    raise MinicnnError("visualize: expected a class, or else --layer and --unit")


def caption(net: Network, image: Array, wanted: int | Unit) -> str:
    """How a picture (1, C, H, W) answers: the class that the network sees, or the unit's activation."""
    if isinstance(wanted, Unit):
        return f"activation {number(wanted.evaluate(net.activations(image, wanted.layers))[0]):.4g}"
    return describe(net, image)


def save(run: Run, net: Network, images: Array, wanted: int | Unit, title: str) -> list[str]:
    """Writes the figure visualize.png, and each picture as it is; returns the captions."""
    captions = [caption(net, image, wanted) for image in images[:, None]]
    pictures = [to_picture(image) for image in to_host(images)]
    cells = list(zip(captions, pictures, strict=True))
    rows = [("", cells[i : i + 5]) for i in range(0, len(cells), 5)]
    height = pictures[0].height * ceil((320 if len(cells) == 1 else 160) / pictures[0].height)  # whole pixels
    run.save("visualize.png", labelled_grid(rows, title=title, height=height))
    for i, picture in enumerate(pictures, 1):
        run.save(f"picture-{i}.png" if len(pictures) > 1 else "picture.png", picture)
    return captions


def command(
    target: Annotated[str | None, typer.Argument(metavar="[CLASS]", help="Class, name or number.")] = None,
    model: Model = "lenet5",
    steps: Annotated[int, typer.Option("--steps", help="Steps of the ascent.")] = 300,
    out: Out = Path("visualize"),
    layer: LayerName = None,
    unit: Annotated[int | None, typer.Option("--unit", "-u", help="A unit of the layer, in its middle.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help=f"{', '.join(RECIPES)}.")] = "clear",
    no_regularizer: Annotated[bool, typer.Option("--no-regularizer", help="The same as --recipe plain.")] = False,
    starts: Annotated[int, typer.Option("--starts", help="How many; several start from noise.")] = 1,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Which picture does a class, or a unit, like best?"""
    net = load_network(model, weights, device)
    wanted, name = wish(net, target, layer, unit)
    recipe = "plain" if no_regularizer else recipe
    options = {"recipe": recipe, "steps": steps, "starts": starts}
    title = f"{name} of {net.name}, recipe {recipe}"
    settings = {"target": target, "layer": layer, "unit": unit, "device": device, **options}
    with open_run(out, seed=seed, inputs=[weights_used(model, weights)], model=model, **settings) as run:
        try:
            with Progress("climbing", steps) as bar:
                images = visualize(
                    net,
                    wanted,
                    recipe=recipe,
                    steps=steps,
                    starts=starts,
                    seed=seed,
                    callbacks=[lambda step: bar.update(step.step, step.text())],
                )
        except (Interrupted, NotFinite) as stopped:
            save(run, net, stopped.result.image, wanted, f"{title}, stopped after {stopped.result.steps} steps")
            raise
        captions = save(run, net, images, wanted, title)
        run.finish(target=name, answers=captions)
        print(f"{name}: {'; '.join(captions)} after {steps} steps; see {run.path('visualize.png')}")
