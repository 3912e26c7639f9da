"""DeepDream (Mordvintsev, Olah, Tyka 2015, "Inceptionism"): whatever a layer sees in a photo, more of it.

    argmax over x of  ½‖a(x)‖²        {layer: a}

What a layer answers to is made stronger, and then it answers more. The five choices are those of the published code:
the pixels; `Amplify`, or towards another photo `Guide`; the picture moved at random before each step; pixels clipped;
and steps of 1.5·g/mean|g| of 255 levels, ten at each of four sizes, every size 1.4 times the one before. From size to
size only what was drawn is enlarged, the photo never (octaves.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, product
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_row
from minicnn.image import (
    Affine,
    Amplify,
    Callback,
    GradientAscent,
    Guide,
    Interrupted,
    Jitter,
    NotFinite,
    Objective,
    Pixels,
    Step,
    Sum,
    ValidPixels,
    evaluate,
    number,
    optimize,
    path_of,
    resize,
)
from minicnn.image.objectives import Activations, Gradients
from minicnn.image.octaves import octave_sizes, over_octaves
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import Concat, LeakyReLU, ReLU, Sigmoid, Tanh, evaluating
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import to_picture
from minicnn.receptive import activation_shape, windows
from minicnn.run import Run

from .chain import main_layers
from .common import load_network, open_run, read_whole, weights_used
from .film import opencv, save_mp4

SEEN = 0.45  # the share of the network's picture that a unit of the default layer sees at least: eyes, faces, animals
NEARER = 0.05  # of each side is cropped between two frames of a zoom
FPS = 12


class Settings(NamedTuple):
    """The published code's. step: the mean change of a value by one step, of 255 levels; jitter: pixels, at most a
    quarter of the picture's shorter side; passes: how often all octaves are gone through, each time on the result."""

    octaves: int = 4
    octave_scale: float = 1.4
    steps: int = 10
    step: float = 1.5
    jitter: int = 32
    passes: int = 1


PUBLISHED = Settings()


def deep_dream(
    net: Network,
    image: Array,
    *objectives: Objective,
    settings: Settings = PUBLISHED,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """A photo (1, C, H, W) in [0, 1] -> what a network dreams of it, of that size.

    objectives: `Amplify` of `dream_layer(net)` unless others are given; several take turns, an octave each. Callbacks
    see the steps of each octave, counted from 1, and its pictures. The same seed gives the same bytes. Raises
    MinicnnError for a photo that is too small for the octaves. Ctrl-C raises Interrupted, with a picture of full size.

    Example: `deep_dream(net, photo, Amplify("fire8"))`
    """
    net.check_picture(image)
    if settings.passes < 1:
        raise MinicnnError(f"{settings.passes} passes: expected 1 or more")
    wanted = objectives or (Amplify(dream_layer(net)),)
    size = tuple(image.shape[2:])
    least = least_side(net, [path_of(net, layer) for objective in wanted for layer in objective.layers])
    sizes = octave_sizes(size, settings.octaves, settings.octave_scale, least=(least, least))
    turns, seeds = cycle(wanted), np.random.default_rng(seed)

    def draw(start: Array, base: Array) -> Array:
        try:
            return optimize(
                net,
                next(turns),
                Pixels(start),
                transforms=[Jitter(min(settings.jitter, min(base.shape[2:]) // 4))],
                projections=[ValidPixels()],
                optimizer=GradientAscent(settings.step / 255, "mean"),
                steps=settings.steps,
                callbacks=callbacks,
                seed=int(seeds.integers(1 << 32)),
            ).image
        except (Interrupted, NotFinite) as stopped:
            drawn = image + resize(stopped.result.image - base, size)
            stopped.result = stopped.result._replace(image=get_array_module(drawn).clip(drawn, 0, 1))
            raise

    for _ in range(settings.passes):
        image = over_octaves(image, sizes, draw)
    return image


def zoom(
    net: Network,
    image: Array,
    *objectives: Objective,
    frames: int,
    settings: Settings = PUBLISHED,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Iterator[Array]:
    """One dream (1, C, H, W) after another, each of the last one, cropped and enlarged; otherwise as `deep_dream`."""
    nearer = Affine(((1 - NEARER, 0.0), (0.0, 1 - NEARER)))
    for frame in range(frames):
        image = deep_dream(
            net,
            nearer.apply(image) if frame else image,
            *objectives,
            settings=settings,
            seed=seed + frame,
            callbacks=callbacks,
        )
        yield image


def dream_layer(net: Network) -> str:
    """The first layer, behind a ReLU or alike, of whose picture a unit sees about half; the last, where none does."""
    answers = [path for path in main_layers(net) if isinstance(net.layer(path), KINDS)]
    answers = [path for path in answers if len(activation_shape(net, path)) == 3]
    if not answers:
        raise MinicnnError(f"{net.name}: no convolution with a ReLU to dream of; name a layer")
    enough = SEEN * max(net.input_shape[1:])
    return next((path for path in answers if max(windows(net, path).size) >= enough), answers[-1])


KINDS = (ReLU, LeakyReLU, Tanh, Sigmoid, Concat)


def least_side(net: Network, layers: Sequence[str]) -> int:
    """The side of the smallest square picture of which the layers make anything."""
    like = net.parameters()[0].value
    for layer in layers:
        activation_shape(net, layer)  # such a layer there is

    def large_enough(side: int) -> bool:
        picture = np.zeros((1, net.input_shape[0], side, side))
        try:
            with evaluating(net):
                net.activations(transfer(picture, like=like), layers)
        except MinicnnError:
            return False
        return True

    sides = range(1, max(net.input_shape[1:]))
    return 1 + bisect_left(sides, True, key=large_enough)


@dataclass(frozen=True)
class Neuron(Objective):
    """½a² of one unit of a layer: that of a channel, or of all of them, at a place of the picture.

    place: from (0, 0), top left, to (1, 1), so that it is the same at every size.
    """

    layer: str
    channel: int | None
    place: tuple[float, float]

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        sides = activations[self.layer].shape[2:]
        nearest = tuple(min(int(share * side), side - 1) for share, side in zip(self.place, sides, strict=False))
        return Amplify(self.layer, self.channel, nearest).evaluate(activations)


def wishes(
    net: Network,
    layers: Sequence[str],
    channels: Sequence[int] = (),
    place: tuple[float, float] | None = None,
    guide: Array | None = None,
) -> list[Objective]:
    """An objective for each of the layers, or for each of the channels in each of them. guide: a photo (1, C, H, W)."""
    if guide is not None and (channels or place):
        raise MinicnnError("a guide chooses the channels and the places itself: leave out --channel and --position")
    if guide is not None:
        with evaluating(net):
            seen = net.activations(guide, layers)
        return [Guide(layer, seen[layer]) for layer in layers]
    pairs = list(product(layers, channels or [None]))  # type: ignore[list-item]
    if place is not None:
        return [Neuron(layer, channel, place) for layer, channel in pairs]
    return [Amplify(layer, channel) for layer, channel in pairs]


def together(net: Network, image: Array, objectives: Sequence[Objective]) -> Objective:
    """The sum of the objectives, so weighted that at `image` (1, C, H, W) each pulls as hard as another."""
    if len(objectives) == 1:
        return objectives[0]
    with evaluating(net):
        pulls = [number(abs(evaluate(net, one.terms(), image)[1]).mean()) for one in objectives]
    return Sum(tuple((1 / (pull or 1.0), one) for one, pull in zip(objectives, pulls, strict=True)))


def brightness(image: Array) -> float:
    """The mean of all values."""
    return number(image.mean())


def save(run: Run, photo: Array, frames: Sequence[Array], guide: Array | None, mp4: bool) -> str:
    """Writes dream.png, the figure beside.png and the film of a zoom; returns the name of what is to be looked at."""
    pictures = [to_picture(to_host(frame)) for frame in frames]
    run.save("dream.png", pictures[-1])
    row = [("photo", to_host(photo)), *([] if guide is None else [("guide", to_host(guide))])]
    run.save("beside.png", labelled_row([*((name, to_picture(x)) for name, x in row), ("dream", pictures[-1])]))
    run.note(brightness_before=brightness(photo), brightness=brightness(frames[-1]), frames=len(frames))
    if len(frames) == 1:
        return "dream.png"
    if mp4:
        save_mp4(run, "zoom.mp4", pictures, FPS)
        return "zoom.mp4"
    run.save_animation("zoom.gif", pictures, FPS)
    return "zoom.gif"


def parsed_place(text: str | None) -> tuple[float, float] | None:
    """ "0.5,0.25" as (0.5, 0.25)."""
    if text is None:
        return None
    try:
        down, right = (float(part) for part in text.split(","))
    except ValueError:
        down, right = -1.0, -1.0
    if not (0 <= down <= 1 and 0 <= right <= 1):
        raise MinicnnError(f"position {text!r}: expected two numbers from 0 to 1, down and to the right: 0.5,0.25")
    return down, right


def command(
    photo: Photo,
    model: Model = "squeezenet1_0",
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="A layer; several times for several (default: one).")
    ] = None,
    channel: Annotated[list[int] | None, typer.Option("--channel", "-c", help="A channel of it, or several.")] = None,
    position: Annotated[
        str | None, typer.Option("--position", help="One unit: where in the picture, down,right from 0 to 1.")
    ] = None,
    guide: Annotated[Path | None, typer.Option("--guide", "-g", help="A photo of what to dream of.")] = None,
    alternate: Annotated[bool, typer.Option("--alternate", help="Layers and channels take turns, an octave each.")] = (
        False
    ),
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Longer side in pixels (default: the photo's, at most 512).")
    ] = None,
    octaves: Annotated[int, typer.Option("--octaves", help="How many sizes.")] = 4,
    octave_scale: Annotated[float, typer.Option("--octave-scale", help="From one to the next.")] = 1.4,
    steps: Annotated[int, typer.Option("--steps", help="Steps an octave.")] = 10,
    step: Annotated[float, typer.Option("--step", help="Mean change of a step, of 255 levels.")] = 1.5,
    jitter: Annotated[int, typer.Option("--jitter", help="Moved by up to so many pixels before each step.")] = 32,
    passes: Annotated[int, typer.Option("--passes", help="How often, each time on the result.")] = 1,
    frames: Annotated[int, typer.Option("--zoom", help="So many frames, each nearer than the last: a film.")] = 1,
    mp4: Annotated[bool, typer.Option("--mp4", help="The film as MP4 in the place of GIF (needs OpenCV).")] = False,
    out: Out = Path("dream"),
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """What a network dreams of a photo: whatever it sees, more of it."""
    settings = Settings(octaves, octave_scale, steps, step, jitter, passes)
    place = parsed_place(position)
    if frames < 1:
        raise MinicnnError(f"--zoom {frames}: expected 1 frame or more")
    if mp4:
        opencv()
    net = load_network(model, weights, device)
    layers = [path_of(net, name) for name in layer or [dream_layer(net)]]
    x = read_whole(photo, net, image_size)
    towards = None if guide is None else read_whole(guide, net, image_size)
    wanted = wishes(net, layers, channel or (), place, towards)
    if not alternate:
        wanted = [together(net, x, wanted)]
    files = [photo, *([] if guide is None else [guide]), weights_used(model, weights)]
    shown = {"layers": layers, "channels": channel, "position": place, "guide": guide, "alternate": alternate}
    shown |= {"image_size": image_size, "zoom": frames, **settings._asdict()}  # type: ignore[dict-item]
    with open_run(out, seed=seed, inputs=files, model=model, device=device, **shown) as run:
        made: list[Array] = []
        total, done = frames * passes * octaves * steps, count(1)
        try:
            with Progress("dreaming", total) as bar:

                def show(now: Step) -> None:
                    bar.update(next(done), now.text())

                for frame in zoom(net, x, *wanted, frames=frames, settings=settings, seed=seed, callbacks=[show]):
                    made.append(frame)
        except (Interrupted, NotFinite) as stopped:
            save(run, x, [*made, stopped.result.image], towards, mp4)
            raise
        name = save(run, x, made, towards, mp4)
        run.finish(size=x.shape[2:])
        print(
            f"{' and '.join(layers)} of {net.name}, {x.shape[3]}×{x.shape[2]}, mean brightness "
            f"{brightness(x):.3f} → {brightness(made[-1]):.3f}; see {run.path(name)}"
        )
