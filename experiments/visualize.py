"""The picture that a class, a unit, a channel or a direction of a layer likes best (Simonyan, Vedaldi, Zisserman 2013,
section 2; Yosinski, Clune, Nguyen, Fuchs, Lipson 2015; Olah, Mordvintsev, Schubert 2017).

    argmax over I of  S_c(I) − λ‖I‖²        {scores: e_c}

The weights stay as they are, and the picture is what is learned. Without a regularizer it is noise, which the network
takes for the class all the same; visualize_recipes.py has the ways to something that people recognize too, each as the
engine's five choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from math import ceil
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from minicnn.cli.options import Device, LayerName, Model, Out, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_grid
from minicnn.image import (
    Callback,
    Channel,
    ClassScore,
    Direction,
    Diversity,
    Interrupted,
    NotFinite,
    Objective,
    Step,
    Unit,
    number,
    optimize,
    path_of,
)
from minicnn.kernels.backend import Array
from minicnn.layers import backward_rule
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture
from minicnn.receptive import activation_shape
from minicnn.run import Run

from .common import describe, load_network, open_run, weights_used
from .stages import stages
from .visualize_recipes import RECIPES, Choices, choices, default_recipe

WAKING = 16  # steps in which a gradient is let through where there is none at all (Olah et al. 2017)


def visualize(
    net: Network,
    target: int | str | Objective,
    *,
    recipe: str | None = None,
    steps: int | None = None,
    starts: int = 1,
    image_size: int | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """The pictures (starts, C, H, W) in [0, 1] that a class likes best, or any other objective: `Unit("conv2", 5)`.

    recipe: one of RECIPES (default: `default_recipe(net)`), which also says how many steps unless `steps` does. Several
    starts are several answers to the same question, made in one batch. image_size: H = W in pixels, where the network
    takes other sizes than its own. The same seed gives the same bytes.

    Example: `visualize(net, "goldfish")[0]`
    """
    chosen = choices(net, target, recipe, steps=steps, starts=starts, image_size=image_size, seed=seed)
    return climb(net, chosen, seed=seed, callbacks=callbacks)


def climb(net: Network, chosen: Choices, *, seed: int = 0, callbacks: Sequence[Callback] = ()) -> Array:
    """The pictures that a recipe's choices end in."""
    with ExitStack() as waking:
        waking.enter_context(backward_rule(net, "redirected"))

        def awake(now: Step) -> None:
            if now.step == WAKING:
                waking.close()

        return optimize(
            net,
            chosen.objective,
            chosen.parametrization,
            transforms=chosen.transforms,
            projections=chosen.projections,
            optimizer=chosen.optimizer,
            steps=chosen.steps,
            callbacks=[awake, *callbacks],
            seed=seed,
        ).image


# The command ----------------------------------------------------------------------------------------------------------


def wish(
    net: Network,
    target: str | None,
    layer: str | None,
    unit: int | None = None,
    channel: int | None = None,
    direction: str | None = None,
) -> tuple[Objective, str]:
    """What the command line asks for, and how to call it: a class, or one of three things in a layer."""
    inside = [choice for choice in (unit, channel, direction) if choice is not None]
    if target is not None and layer is None and not inside:
        c = net.class_index(target)
        return ClassScore(c), f"class {net.class_name(c)}"
    if target is not None or layer is None or len(inside) != 1:
        raise MinicnnError("visualize: expected a class, or else --layer and one of --unit, --channel, --direction")
    layer = path_of(net, layer)  # "scores" is no layer to the caption
    if unit is not None:
        return Unit(layer, unit), f"unit {unit} of {layer}"
    if channel is not None:
        return Channel(layer, channel), f"channel {channel} of {layer}"
    assert direction is not None
    return Direction(layer, parsed_direction(net, layer, direction)), f"direction {direction} of {layer}"


def parsed_direction(net: Network, layer: str, text: str) -> np.ndarray:
    """ "3:1,17:-0.5" as (C,) float32: 1 in channel 3 of the layer, −0.5 in channel 17, and 0 in all others."""
    direction = np.zeros(activation_shape(net, layer)[0], np.float32)
    try:
        amounts = {int(channel): float(amount) for channel, amount in (pair.split(":") for pair in text.split(","))}
    except ValueError:
        raise MinicnnError(
            f"direction {text!r}: expected CHANNEL:AMOUNT,CHANNEL:AMOUNT,…, such as 3:1,17:-0.5"
        ) from None
    for channel, amount in amounts.items():
        if not 0 <= channel < len(direction):
            raise MinicnnError(f"direction {text!r}: channel {channel} of {layer}: expected 0 to {len(direction) - 1}")
        direction[channel] = amount
    if not (np.isfinite(direction).all() and direction.any()):
        raise MinicnnError(f"direction {text!r}: expected numbers, not all of them 0")
    return direction


def diversity(net: Network, wanted: Objective) -> Diversity:
    """Where pictures are to differ: at the layer that is asked about, or the last one with places."""
    layers = [path_of(net, layer) for layer in wanted.layers]
    with_places = [layer for layer in layers if len(activation_shape(net, layer)) == 3]
    return Diversity(with_places[0] if with_places else stages(net)[-1])


def caption(net: Network, image: Array, wanted: Objective) -> str:
    """How a picture (1, C, H, W) answers: the class that the network sees, or the activation that was asked for."""
    if isinstance(wanted, ClassScore):
        return describe(net, image)
    return f"activation {number(wanted.evaluate(net.activations(image, wanted.layers))[0]):.4g}"


def save(run: Run, net: Network, made: Mapping[str, Array], wanted: Objective, title: str) -> list[str]:
    """Writes the figure visualize.png, and each picture as it is; returns the captions. made: {recipe: pictures}."""
    cells = []
    for recipe, images in made.items():
        for i, image in enumerate(to_host(images), 1):
            words = caption(net, images[i - 1 : i], wanted)
            cells.append((f"{recipe}: {words}" if len(made) > 1 else words, to_picture(image)))
            name = recipe if len(made) > 1 else "picture"
            run.save(f"{name}-{i}.png" if len(images) > 1 else f"{name}.png", cells[-1][1])
    starts = len(images)
    columns = min(starts, 5) if starts > 1 else 4  # of recipes side by side, or of one recipe's answers
    rows = [("", cells[i : i + columns]) for i in range(0, len(cells), columns)]
    side = cells[0][1].height
    height = side * ceil((320 if len(cells) == 1 else 160) / side)  # whole pixels
    run.save("visualize.png", labelled_grid(rows, title=title, height=height))
    return [words for words, _ in cells]


def command(
    target: Annotated[str | None, typer.Argument(metavar="[CLASS]", help="Class, name or number.")] = None,
    model: Model = "lenet5",
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of the ascent (default: the recipe's).")] = None,
    out: Out = Path("visualize"),
    layer: LayerName = None,
    unit: Annotated[int | None, typer.Option("--unit", "-u", help="A unit of the layer, in its middle.")] = None,
    channel: Annotated[int | None, typer.Option("--channel", "-c", help="A channel of the layer, everywhere.")] = None,
    direction: Annotated[
        str | None, typer.Option("--direction", help="Several channels of the layer at once: 3:1,17:-0.5.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help=f"{', '.join(RECIPES)} (default: modern for colours, else clear).")
    ] = None,
    no_regularizer: Annotated[bool, typer.Option("--no-regularizer", help="The same as --recipe plain.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="All recipes, side by side.")] = False,
    l2: Annotated[float, typer.Option("--l2", help="λ of the recipe simonyan.")] = 0.2,
    starts: Annotated[int, typer.Option("--starts", help="How many pictures, each from other noise.")] = 1,
    diverse: Annotated[
        float, typer.Option("--diversity", help="How much several pictures are to differ (Olah et al. 2017).")
    ] = 0.0,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Height and width in pixels (default: the network's).")
    ] = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Which picture does a class, a unit, a channel or a direction like best?"""
    net = load_network(model, weights, device)
    wanted, called = wish(net, target, layer, unit, channel, direction)
    if diverse and starts == 1:
        raise MinicnnError("--diversity: expected --starts of 2 or more: it is between pictures")
    objective = wanted + diverse * diversity(net, wanted) if diverse else wanted
    names = list(RECIPES) if compare else ["plain" if no_regularizer else recipe or default_recipe(net)]
    options = {"starts": starts, "image_size": image_size, "l2": l2, "seed": seed}
    plans = {name: choices(net, objective, name, steps=steps, **options) for name in names}  # type: ignore[arg-type]
    taken = {name: plan.steps for name, plan in plans.items()}
    shown = {"target": target, "layer": layer, "unit": unit, "channel": channel, "direction": direction}
    shown |= {"steps": taken, "starts": starts, "diversity": diverse, "l2": l2, "image_size": image_size}  # type: ignore[dict-item]
    title = f"{called} of {net.name}" + ("" if compare else f", recipe {names[0]}")
    files = [weights_used(model, weights)]
    with open_run(out, seed=seed, inputs=files, model=model, device=device, **shown) as run:
        made: dict[str, Array] = {}
        done = count(1)
        try:
            with Progress("climbing", sum(taken.values())) as bar:

                def show(now: Step) -> None:
                    bar.update(next(done), now.text())

                for name, plan in plans.items():
                    made[name] = climb(net, plan, seed=seed, callbacks=[show])
        except (Interrupted, NotFinite) as stopped:
            made[name] = stopped.result.image
            save(run, net, made, wanted, f"{title}, stopped after {stopped.result.steps} steps")
            raise
        captions = save(run, net, made, wanted, title)
        run.finish(target=called, answers=captions)
        print(f"{called}: {'; '.join(captions)}; see {run.path('visualize.png')}")
