"""Fooling images (Szegedy et al. 2014): change a picture a little, and the network sees another class.

Gradient ascent from the natural picture, on the target's score (`e_t` is injected) or its log likelihood (`e_t − p`),
until the target is what the network sees. Then as far back as it will go: straight towards the natural picture by
halving, and along the border between the classes by climbing again from a little nearer.

What counts is the picture that a PNG can hold: every candidate is rounded to 8 bits before the network is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError, nearest
from minicnn.figures import labelled_row
from minicnn.image import (
    Callback,
    ClassScore,
    GradientAscent,
    Interrupted,
    LogProbability,
    NotFinite,
    Pixels,
    Result,
    ValidPixels,
    optimize,
)
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import load_picture, to_array, to_picture
from minicnn.run import Run

from .common import check_one, describe, photo_run, probabilities

OBJECTIVES = {"score": ClassScore, "log-likelihood": LogProbability}
MAGNIFICATIONS = (1, 2, 5, 10, 20, 50, 100)
ROUNDS = 20  # of coming nearer, at most; each shortens the change by more than 1 %


class Fooled(NamedTuple):
    """What became of a picture.

    original, image (1, C, H, W): before and after; image holds multiples of 1/255, as a PNG does. fooled: whether the
    target is seen, as surely as it was asked for. seen: the class seen before; before, after: the probability of
    `target`; steps: of the ascent.
    """

    original: Array
    image: Array
    fooled: bool
    target: int
    seen: int
    before: float
    after: float
    steps: int

    @property
    def change(self) -> np.ndarray:
        """image − original (C, H, W), on the host."""
        return to_host(self.image - self.original)[0]

    @property
    def l2(self) -> float:
        """‖image − original‖₂, pixels in [0, 1]."""
        return float(np.linalg.norm(self.change))

    @property
    def linf(self) -> float:
        """The largest change of a pixel in one colour."""
        return float(abs(self.change).max())

    @property
    def rms(self) -> float:
        """The root of the mean squared change."""
        return self.l2 / self.change.size**0.5


class Goal(NamedTuple):
    """A class that the network is to see, at least so surely, in a picture near the original (1, C, H, W)."""

    net: Network
    original: Array
    target: int
    confidence: float = 0.0

    def reached(self, image: Array) -> bool:
        p = probabilities(self.net, image)[0]
        return bool(p.argmax() == self.target and p[self.target] >= self.confidence)

    def distance(self, image: Array) -> float:
        """‖image − original‖₂."""
        return float(np.linalg.norm(to_host(image - self.original)))

    def smallest(self, far: Array) -> Array:
        """The rounded picture nearest to the original, on the line from there to `far`, that reaches the goal.

        `far`, rounded, where that does not reach it.
        """
        low, high, best = 0.0, 1.0, rounded(far)
        for _ in range(12 if self.reached(best) else 0):
            middle = (low + high) / 2
            candidate = rounded(self.original + middle * (far - self.original))
            if self.reached(candidate):
                high, best = middle, candidate
            else:
                low = middle
        return best

    def result(self, image: Array, steps: int) -> Fooled:
        """What is known about `image`."""
        before, after = (probabilities(self.net, picture)[0] for picture in (self.original, image))
        return Fooled(
            self.original,
            image,
            fooled=self.reached(image),
            target=self.target,
            seen=int(before.argmax()),
            before=float(before[self.target]),
            after=float(after[self.target]),
            steps=steps,
        )


def fool(
    net: Network,
    image: Array,
    target: int | str,
    *,
    objective: str = "score",
    confidence: float = 0.0,
    steps: int = 500,
    step: float = 0.05,
    callbacks: Sequence[Callback] = (),
) -> Fooled:
    """Change `image` (1, C, H, W) in [0, 1] until the network sees the class `target`, with at least `confidence`.

    objective: "score" or "log-likelihood". Each of at most `steps` steps has the length `step` (‖·‖₂, pixels in
    [0, 1]); at most ROUNDS climbs like the first then come nearer. Callbacks see the steps of all of them, each counted
    from 1. The result's `fooled` says whether it succeeded. Raises MinicnnError where the target is seen already.

    Example: `fool(net, net.prepare(load_picture("7.png")), 3).image`
    """
    goal = checked_goal(net, image, target, objective, confidence)

    def climb(start: Array, length: float) -> Result:
        return optimize(
            net,
            OBJECTIVES[objective](goal.target),
            Pixels(start),
            projections=[ValidPixels()],
            optimizer=GradientAscent(length, "l2"),
            steps=steps,
            callbacks=[*callbacks, lambda now: goal.reached(rounded(now.image))],
        )

    first = climb(image, step)
    best = goal.smallest(first.image)
    for _ in range(ROUNDS if goal.reached(best) else 0):
        try:
            candidate = goal.smallest(climb(image + 0.9 * (best - image), step / 4).image)
        except (Interrupted, NotFinite) as stopped:
            stopped.result = Result(best, first.steps, None)
            raise
        if not (goal.reached(candidate) and goal.distance(candidate) < 0.99 * goal.distance(best)):
            break
        best = candidate
    return goal.result(best, first.steps)


def checked_goal(net: Network, image: Array, target: int | str, objective: str, confidence: float) -> Goal:
    """The goal, or MinicnnError where it is none."""
    check_one(image)
    goal = Goal(net, image, net.class_index(target), confidence)
    if objective not in OBJECTIVES:
        raise MinicnnError(f"objective {objective!r}{nearest(objective, OBJECTIVES)}")
    if not 0 <= confidence < 1:
        raise MinicnnError(f"confidence {confidence}: expected 0 to below 1")
    if goal._replace(confidence=0.0).reached(image):
        raise MinicnnError(
            f"target {target}: the picture is seen as {describe(net, image)} already; take another class"
        )
    return goal


def rounded(x: Array) -> Array:
    """x, clipped and rounded to what 8 bits hold."""
    xp = get_array_module(x)
    return xp.rint(xp.clip(x, 0, 1) * 255) / 255


def magnification(change: np.ndarray) -> int:
    """How many times a change is drawn: the most of MAGNIFICATIONS that leaves 95 % of it between black and white."""
    usual = max(float(np.percentile(abs(change), 95)), 1 / 255)
    return max((k for k in MAGNIFICATIONS if k * usual <= 0.5), default=1)


def draw(net: Network, result: Fooled) -> Image.Image:
    """The original, the changed picture, and their difference, magnified around grey."""
    k = magnification(result.change)
    row = [
        (f"original: {describe(net, result.original)}", to_host(result.original)),
        (f"changed: {describe(net, result.image)}", to_host(result.image)),
        (f"difference ×{k}, grey where there is none", 0.5 + k * result.change),
    ]
    return labelled_row([(caption, to_picture(picture)) for caption, picture in row])


def text(net: Network, result: Fooled) -> str:
    """The result in one line."""
    return (
        f"{describe(net, result.original)} → {describe(net, result.image)} after {result.steps} steps, "
        f"p({net.class_name(result.target)}) {100 * result.before:.2g} % → {100 * result.after:.3g} %; the change: "
        f"‖δ‖₂ {result.l2:.3g}, ‖δ‖∞ {255 * result.linf:.0f}/255, RMS {255 * result.rms:.2g}/255"
    )


def save(run: Run, goal: Goal, image: Array, steps: int) -> Fooled:
    """Writes fooled.png, the figure fool.png and the numbers; the result is that of the file, read again."""
    path = run.save("fooled.png", to_host(image)[0])
    written = to_array(load_picture(path, mode="L" if goal.net.input_shape[0] == 1 else "RGB"))
    result = goal.result(transfer(goal.net.prepare(written), like=image), steps)  # of its size: neither scaled nor cut
    run.save("fool.png", draw(goal.net, result))
    run.finish(
        fooled=result.fooled,
        seen=goal.net.class_name(result.seen),
        target=goal.net.class_name(result.target),
        probability_before=result.before,
        probability=result.after,
        l2=result.l2,
        linf=result.linf,
        rms=result.rms,
        steps=steps,
        magnification=magnification(result.change),
    )
    return result


def command(
    photo: Photo,
    target: Annotated[str, typer.Option("--target", "-t", help="The class to see, name or number.")],
    model: Model = "lenet5",
    out: Out = Path("fool"),
    objective: Annotated[str, typer.Option("--objective", help=f"{' or '.join(OBJECTIVES)}.")] = "score",
    confidence: Annotated[float, typer.Option("--confidence", help="How sure it must be, 0 to below 1.")] = 0.0,
    steps: Annotated[int, typer.Option("--steps", help="At most.")] = 500,
    step: Annotated[float, typer.Option("--step", help="Length of a step, ‖·‖₂ of pixels in [0, 1].")] = 0.05,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Change a picture a little until the network sees another class."""
    settings = {"target": target, "objective": objective, "confidence": confidence, "steps": steps, "step": step}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        x = rounded(x)  # as a PNG would hold it, so that no rounding counts as a change
        goal = Goal(net, x, net.class_index(target), confidence)
        try:
            with Progress("climbing", steps) as bar:
                found = fool(
                    net,
                    x,
                    target,
                    objective=objective,
                    confidence=confidence,
                    steps=steps,
                    step=step,
                    callbacks=[lambda now: bar.update(now.step, f"{now.text()}, ‖δ‖₂ {goal.distance(now.image):.3g}")],
                )
        except (Interrupted, NotFinite) as stopped:
            save(run, goal, rounded(stopped.result.image), stopped.result.steps)
            raise
        result = save(run, goal, found.image, found.steps)
    if not result.fooled:
        raise MinicnnError(f"not fooled: {text(net, result)}; what was reached is in {run.path('fool.png')}")
    print(f"{text(net, result)}; see {run.path('fool.png')}")
