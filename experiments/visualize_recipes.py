"""Recipes for the picture that something in a network likes best: the engine's five choices, a row each.

               objective     picture     seen                   after each step                           optimizer
    plain      S             pixels      as it is               –                                         0.1·g/std g
    simonyan   S − λ‖I‖²     pixels      as it is               –                                         0.1·g/std g
    clear      log p         pixels      moved                  blur; the weakest pixels to zero          0.1·g/std g
    yosinski-1 S             pixels      as it is               blur; the weakest half to zero            progress
    yosinski-2 S             pixels      as it is               decay; the weakest fifth to zero          constant
    yosinski-3 S             pixels      as it is               a little decay; a strong blur             constant
    yosinski-4 S             pixels      as it is               blur; nine tenths to zero, by benefit     progress
    modern     S             a spectrum  moved, scaled, turned  –                                         Adam

S is the score of a class before softmax, or any other objective in its place. After each step of all that move pixels
these are also made valid again. Simonyan, Vedaldi, Zisserman 2013, section 2; Yosinski, Clune, Nguyen, Fuchs, Lipson
2015, section 3; Olah, Mordvintsev, Schubert 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import NamedTuple

import numpy as np

from minicnn.errors import MinicnnError, nearest
from minicnn.image import (
    L2,
    Adam,
    ClassScore,
    ClipSmall,
    Decay,
    FirstOrder,
    Fourier,
    GaussianBlur,
    GradientAscent,
    Jitter,
    LogProbability,
    Objective,
    Optimizer,
    Parametrization,
    Pixels,
    Projection,
    Sum,
    Transform,
    ValidPixels,
    evaluate,
    robustness,
)
from minicnn.image.transforms import GREY
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import evaluating
from minicnn.network import Network
from minicnn.parameter import transfer
from minicnn.schedules import Clock

from .attribution import colour_named

L2_WEIGHT = 0.2


class Choices(NamedTuple):
    """The engine's five choices, and how many steps they are made for."""

    objective: Objective
    parametrization: Parametrization
    transforms: Sequence[Transform]
    projections: Sequence[Projection]
    optimizer: Optimizer
    steps: int


class Wish(NamedTuple):
    """What is to be drawn: pictures of a shape (N, C, H, W) that `score` is high for. l2: λ of the recipe simonyan."""

    net: Network
    score: Objective
    shape: tuple[int, ...]
    l2: float
    seed: int

    @property
    def zero(self) -> tuple[float, ...]:
        """The colour of an empty picture."""
        return zero_colour(self.net)

    def canvas(self, colour: float | tuple[float, ...], sd: float = 0.0) -> Array:
        """Pictures of one colour, on the network's device, with noise of this deviation, clipped to [0, 1]."""
        plain = np.broadcast_to(np.reshape(colour, (-1, 1, 1)), self.shape)
        noise = sd * np.random.default_rng(self.seed).standard_normal(self.shape) if sd else 0
        return transfer(np.clip(plain + noise, 0, 1), like=self.net.parameters()[0].value)

    def start(self) -> Array:
        """The zero picture; where there are several, each from uniform noise of its own."""
        if self.shape[0] == 1:
            return self.canvas(self.zero)
        noise = np.random.default_rng(self.seed).uniform(0, 1, self.shape)
        return transfer(noise, like=self.net.parameters()[0].value)

    def takes(self, margin: int) -> bool:
        """Whether the network takes pictures with so wide a border, too."""
        _, channels, height, width = self.shape
        larger = np.zeros((1, channels, height + 2 * margin, width + 2 * margin))
        try:
            with evaluating(self.net):
                evaluate(self.net, self.score.terms(), transfer(larger, like=self.net.parameters()[0].value))
        except MinicnnError:
            return False
        return True


def zero_colour(net: Network) -> tuple[float, ...]:
    """The colour of an empty picture: the mean of the training pictures, grey where the network does not subtract it.

    For digits, which are grey, it is black, their paper.
    """
    if net.input_shape[0] != 3:
        return tuple(colour_named(net, "black").tolist())
    mean = colour_named(net, "mean")
    return tuple((mean if mean.any() else colour_named(net, "grey")).tolist())


def falling(clock: Clock) -> float:
    """From 1 along a line to nearly 0: the last steps only smooth."""
    return 1 - clock.progress


def plain(wish: Wish) -> Choices:
    """The score alone, from the zero picture: noise, which the network takes for the class all the same."""
    ascent = GradientAscent(0.1, "std", schedule=falling)
    return Choices(wish.score, Pixels(wish.start()), [], [ValidPixels()], ascent, 300)


def simonyan(wish: Wish) -> Choices:
    """As little as will do: still mostly noise."""
    return plain(wish)._replace(objective=wish.score - wish.l2 * L2(center=wish.zero))


def clear(wish: Wish) -> Choices:
    """What is clearest of a digit.

    log p in place of S, so that what speaks for other classes too is taken away; the picture moved a little at each
    step, so that no pixel counts for itself (Mordvintsev et al. 2015); a slight blur, and weak pixels back to zero.
    """
    moved = round(max(wish.shape[2:]) / 10)  # 3 pixels of a digit
    return plain(wish)._replace(
        objective=likelihood(wish.score),
        transforms=[Jitter(moved)],
        projections=[GaussianBlur(0.5, every=4), ClipSmall(70, center=wish.zero), ValidPixels()],
    )


def likelihood(score: Objective) -> Objective:
    """The same with log p_c in the place of every S_c."""
    terms = [(w, LogProbability(s.target) if isinstance(s, ClassScore) else s) for w, s in score.terms()]
    return terms[0][1] if terms[0][0] == 1 and len(terms) == 1 else Sum(tuple(terms))


@dataclass(frozen=True)
class DesiredProgress(FirstOrder):
    """value += lr·g by such a step that the number would grow by `desired` if it were linear, and `lr` at most.

    lr = desired/‖g‖² is measured in each picture for itself (Yosinski et al. 2015, lr policy "progress" of their code).
    """

    desired: float = 2.0

    def move(self, value: Array, gradient: Array, state: None, lr: float) -> tuple[Array, None]:
        xp = get_array_module(gradient)
        square = (gradient * gradient).sum(axis=tuple(range(1, gradient.ndim)), keepdims=True)
        return value + xp.minimum(lr, self.desired / xp.maximum(square, 1e-30)) * gradient, None


# Their pixels are 255·(I − mean). Seen from ours a gradient is 255 times theirs, and a step 1/255 of theirs: a step
# size of theirs is 255² times ours, while the progress of the score is the same number on both sides.
LEVELS = 255
CONSTANT = GradientAscent(100 / LEVELS**2)
PROGRESS = DesiredProgress(100 / LEVELS**2, desired=2.0)


def yosinski(
    wish: Wish,
    *,
    steps: int,
    optimizer: Optimizer,
    decay: float = 0.0,
    blur: float = 0.0,
    zeroed: float = 0.0,
    measure: str = "norm",
) -> Choices:
    """A combination of their regularizers, in the order of their code; from the mean colour and noise of 10 levels.

    decay: the share that every pixel loses of its distance to the mean. blur: σ in pixels, every fourth step. zeroed:
    the percentage of the pixels that are set to the mean, those that are smallest by `measure`.
    """
    regularizers: list[tuple[float, Projection]] = [
        (decay, Decay(decay, center=wish.zero)),
        (blur, GaussianBlur(blur, every=4)),
        (zeroed, ClipSmall(zeroed, measure, center=wish.zero)),
    ]
    projections = [projection for used, projection in regularizers if used]
    start = Pixels(wish.canvas(wish.zero, sd=10 / LEVELS))
    return Choices(wish.score, start, [], [*projections, ValidPixels()], optimizer, steps)


def modern(wish: Wish) -> Choices:
    """The spectrum of a picture in decorrelated colours, seen moved, scaled and turned, as large as 128 pixels or so.

    Where the network takes larger pictures it sees a border, and else what is left without it.
    """
    part = min(1.0, min(wish.shape[2:]) / 128)  # smaller pictures are moved by less
    seen = robustness(pad=ceil(12 * part), jitter=(ceil(4 * part), ceil(2 * part)))
    picture = Fourier(wish.canvas(GREY), sd=0.01, seed=wish.seed)
    return Choices(wish.score, picture, seen[:-1] if wish.takes(ceil(12 * part)) else seen, [], Adam(0.05), 512)


# The four combinations of Yosinski et al. 2015, as published: figure 4 has them in this order.
RECIPES: dict[str, Callable[[Wish], Choices]] = {
    "plain": plain,
    "simonyan": simonyan,
    "clear": clear,
    "yosinski-1": partial(yosinski, blur=0.5, zeroed=50, optimizer=PROGRESS, steps=500),
    "yosinski-2": partial(yosinski, decay=0.3, zeroed=20, optimizer=CONSTANT, steps=750),
    "yosinski-3": partial(yosinski, decay=1e-4, blur=1.0, optimizer=CONSTANT, steps=1000),
    "yosinski-4": partial(yosinski, blur=0.5, zeroed=90, measure="abs_benefit", optimizer=PROGRESS, steps=1000),
    "modern": modern,
}


def default_recipe(net: Network) -> str:
    """For networks of colours, which are those of natural pictures, modern; for the grey ones of digits clear."""
    return "modern" if net.input_shape[0] == 3 else "clear"


def choices(
    net: Network,
    target: int | str | Objective,
    recipe: str | None = None,
    *,
    steps: int | None = None,
    starts: int = 1,
    image_size: int | None = None,
    l2: float = L2_WEIGHT,
    seed: int = 0,
) -> Choices:
    """A recipe (`default_recipe` unless named) for a class, by name or number, or for any other objective.

    starts: how many pictures, each from a start of its own. image_size: H = W in pixels (default: the network's).
    l2: λ of the recipe simonyan. Raises MinicnnError for settings that are none.
    """
    recipe = default_recipe(net) if recipe is None else recipe
    if recipe not in RECIPES:
        raise MinicnnError(f"recipe {recipe!r}{nearest(recipe, RECIPES)}")
    for what, number in (("steps", steps), ("starts", starts), ("pixels", image_size)):
        if number is not None and number < 1:
            raise MinicnnError(f"{number} {what}: expected 1 or more")
    channels, *sides = net.input_shape
    if image_size is not None:
        sides = [image_size, image_size]
    score = target if isinstance(target, Objective) else ClassScore(net.class_index(target))
    chosen = RECIPES[recipe](Wish(net, score, (starts, channels, *sides), l2, seed))
    return chosen if steps is None else chosen._replace(steps=steps)
