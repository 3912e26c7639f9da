"""Fooling images (Szegedy et al. 2014): change a picture a little, and the network sees another class.

Gradient ascent from the natural picture, on the target's score (`e_t` is injected) or its log likelihood (`e_t − p`),
until the target is what the network sees. Then as far back as it will go: straight towards the natural picture by
halving, and along the border between the classes by climbing again from a little nearer. The command has the methods
of attacks.py beside this one.

What counts is the picture that a PNG can hold: every candidate is rounded to 8 bits before the network is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

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
    Step,
    ValidPixels,
    optimize,
)
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import load_picture, to_array, to_picture
from minicnn.run import Run

from .attacks import WITHIN, deepfool, radius, settings_within
from .common import bar_over, describe, photo_run, probabilities
from .decision_slice import decision_slice, draw_slice

OBJECTIVES = {"score": ClassScore, "log-likelihood": LogProbability}
MAGNIFICATIONS = (1, 2, 5, 10, 20, 50, 100)
ROUNDS = 20  # of coming nearer, at most; each shortens the change by more than 1 %
FARTHER = (1, 2, 4, 8, 16)  # times DeepFool's change, most of which 8 bits may round away

# The methods of the command, each with its settings.
METHODS: dict[str, dict[str, Any]] = {
    "iterative": {"objective": "score", "confidence": 0.0, "steps": 500, "step": 0.05},
    **{method: {"epsilon": None, **settings_within(method)} for method in WITHIN},
    "deepfool": {"steps": 50},
}


class Fooled(NamedTuple):
    """What became of a picture.

    original, image (1, C, H, W): before and after; image holds multiples of 1/255, as a PNG does. fooled: whether the
    target is seen, as surely as it was asked for. target: where none was asked for, the class seen after. seen: the
    class seen before; before, after: the probability of `target`; steps: of the ascent.
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


@dataclass(frozen=True)
class Goal:
    """A class that the network is to see, at least so surely, in a picture near the original (1, C, H, W).

    Without a target it is any class but the one seen in the original.
    """

    net: Network
    original: Array
    target: int | None = None
    confidence: float = 0.0

    @cached_property
    def seen(self) -> int:
        """The class seen in the original."""
        return int(probabilities(self.net, self.original)[0].argmax())

    def reached(self, image: Array) -> bool:
        p = probabilities(self.net, image)[0]
        c = int(p.argmax())
        return (c != self.seen if self.target is None else c == self.target) and bool(p[c] >= self.confidence)

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
        target = int(after.argmax()) if self.target is None else self.target
        return Fooled(
            self.original,
            image,
            fooled=self.reached(image),
            target=target,
            seen=self.seen,
            before=float(before[target]),
            after=float(after[target]),
            steps=steps,
        )


def fool(
    net: Network,
    image: Array,
    target: int | str | None = None,
    *,
    objective: str = "score",
    confidence: float = 0.0,
    steps: int = 500,
    step: float = 0.05,
    callbacks: Sequence[Callback] = (),
) -> Fooled:
    """Change `image` (1, C, H, W) in [0, 1] until the network sees the class `target`, with at least `confidence`.

    Without a target: until it sees any other than it does now. objective: "score" or "log-likelihood" of the target,
    or minus that of the class seen. Each of at most `steps` steps has the length `step` (‖·‖₂, pixels in
    [0, 1]); at most ROUNDS climbs like the first then come nearer. Callbacks see the steps of all of them, each counted
    from 1. The result's `fooled` says whether it succeeded. Raises MinicnnError where the target is seen already.

    Example: `fool(net, net.prepare(load_picture("7.png")), 3).image`
    """
    goal = checked_goal(net, image, target, confidence)
    return approach(goal, objective=objective, steps=steps, step=step, callbacks=callbacks)


def approach(goal: Goal, *, objective: str, steps: int, step: float, callbacks: Sequence[Callback] = ()) -> Fooled:
    """What `fool` does, once its goal is known."""
    if objective not in OBJECTIVES:
        raise MinicnnError(f"objective {objective!r}{nearest(objective, OBJECTIVES)}")
    net, image, kind = goal.net, goal.original, OBJECTIVES[objective]
    aim = -kind(goal.seen) if goal.target is None else kind(goal.target)

    def climb(start: Array, length: float) -> Result:
        return optimize(
            net,
            aim,
            Pixels(start),
            projections=[ValidPixels()],
            optimizer=GradientAscent(length, "l2"),
            steps=steps,
            callbacks=[*callbacks, lambda now: goal.reached(rounded(now.image))],
        )

    first = climb(image, step)
    best = first.image
    try:
        best = goal.smallest(best)
        for _ in range(ROUNDS if goal.reached(best) else 0):
            candidate = goal.smallest(climb(image + 0.9 * (best - image), step / 4).image)
            if not (goal.reached(candidate) and goal.distance(candidate) < 0.99 * goal.distance(best)):
                break
            best = candidate
    except KeyboardInterrupt:
        raise Interrupted(Result(best, first.steps, None)) from None
    except NotFinite as stopped:
        stopped.result = Result(best, first.steps, None)
        raise
    return goal.result(best, first.steps)


def checked_goal(net: Network, image: Array, target: int | str | None, confidence: float = 0.0) -> Goal:
    """The goal, or MinicnnError where it is none."""
    net.check_picture(image)
    goal = Goal(net, image, None if target is None else net.class_index(target), confidence)
    if not 0 <= confidence < 1:
        raise MinicnnError(f"confidence {confidence}: expected 0 to below 1")
    if goal.seen == goal.target:
        raise MinicnnError(
            f"target {target}: the picture is seen as {describe(net, image)} already; take another class"
        )
    return goal


def attack(
    goal: Goal, method: str, *, seed: int = 0, callbacks: Sequence[Callback] = (), **settings: Any
) -> tuple[Array, int]:
    """-> (the rounded picture that a method of METHODS makes, after how many steps). `settings`: all but the goal's."""
    net, x, taken = goal.net, goal.original, [0]
    callbacks = [lambda now: taken.append(now.step), *callbacks]
    if method == "iterative":
        found = approach(goal, callbacks=callbacks, **settings)
        return found.image, found.steps
    if method == "deepfool":
        near = deepfool(net, x, callbacks=callbacks, **settings)
        try:
            return beyond(goal, near), taken[-1]
        except KeyboardInterrupt:
            raise Interrupted(Result(near, taken[-1], None)) from None
    random = {"seed": seed} if method == "pgd" else {}
    labels = [goal.seen if goal.target is None else goal.target]
    targeted = goal.target is not None
    image = WITHIN[method](net, x, labels, targeted=targeted, callbacks=callbacks, **random, **settings)
    return rounded(image), taken[-1]


def beyond(goal: Goal, near: Array) -> Array:
    """The nearest rounded picture that reaches the goal, on the way from the original to `near` and on from there."""
    found = goal.original
    for times in FARTHER:
        found = goal.smallest(goal.original + times * (near - goal.original))
        if goal.reached(found):
            break
    return found


def settings_of(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a method, those that are `given` (not None) in the places of its own."""
    if method not in METHODS:
        raise MinicnnError(f"method {method!r}{nearest(method, METHODS)}")
    for name, value in given.items():
        if value is not None and name not in METHODS[method]:
            users = ", ".join(other for other, settings in METHODS.items() if name in settings)
            raise MinicnnError(f"--{name}: no setting of --method {method}, but of {users}")
    return METHODS[method] | {name: value for name, value in given.items() if value is not None}


def whole_levels(epsilon: float) -> float:
    """ε in whole steps of 1/255, the largest that is not larger: what is within it stays so when it is rounded."""
    levels = floor(255 * epsilon + 1e-6)
    if not levels:
        raise MinicnnError(f"epsilon {epsilon:.3g}: expected at least 1/255, a picture file holds no smaller change")
    return levels / 255


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
        (f"difference ×{k}, grey where it is 0; {norms(result)}", 0.5 + k * result.change),
    ]
    return labelled_row([(caption, to_picture(picture)) for caption, picture in row])


def norms(result: Fooled) -> str:
    """How large the change is."""
    return f"‖δ‖₂ {result.l2:.3g}, ‖δ‖∞ {255 * result.linf:.0f}/255, RMS {255 * result.rms:.2g}/255"


def text(net: Network, result: Fooled) -> str:
    """The result in one line."""
    steps = f"{result.steps} step" if result.steps == 1 else f"{result.steps} steps"
    return (
        f"{describe(net, result.original)} → {describe(net, result.image)} after {steps}, "
        f"p({net.class_name(result.target)}) {100 * result.before:.2g} % → {100 * result.after:.3g} %; the change: "
        f"{norms(result)}"
    )


def save(run: Run, goal: Goal, image: Array, steps: int) -> Fooled:
    """Writes fooled.png, the figure fool.png and the numbers; the result is that of the file, read again."""
    path = run.save("fooled.png", to_host(image)[0])
    written = to_array(load_picture(path, mode="L" if goal.net.input_shape[0] == 1 else "RGB"))
    result = goal.result(transfer(goal.net.prepare(written), like=image), steps)  # of its size: neither scaled nor cut
    run.save("fool.png", draw(goal.net, result))
    run.note(
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
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The class to see, name or number (default: any other).")
    ] = None,
    model: Model = "lenet5",
    out: Out = Path("fool"),
    method: Annotated[str, typer.Option("--method", help=f"{', '.join(METHODS)}.")] = "iterative",
    epsilon: Annotated[
        str | None,
        typer.Option("--epsilon", help="fgsm, bim, pgd: the largest change, pixels in [0, 1]: 0.03, or 8/255."),
    ] = None,
    norm: Annotated[str | None, typer.Option("--norm", help="How that is measured: linf (the default) or l2.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="At most (default: the method's).")] = None,
    step: Annotated[
        float | None, typer.Option("--step", help="Length of a step: bim, pgd: of epsilon; iterative: ‖·‖₂.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option("--objective", help=f"iterative: {' (the default) or '.join(OBJECTIVES)}.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="iterative: how sure it must be, 0 to below 1.")
    ] = None,
    slice: Annotated[bool, typer.Option("--slice", help="Draw the decision regions around the picture too.")] = False,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Change a picture a little until the network sees another class."""
    given = {"epsilon": epsilon, "norm": norm, "steps": steps, "step": step}
    settings = settings_of(method, given | {"objective": objective, "confidence": confidence})
    shown = {"target": target, "method": method, "slice": slice, **settings}
    with photo_run(photo, model, weights, device, out, seed, **shown) as (run, net, x):
        x = rounded(x)  # as a PNG would hold it, so that no rounding counts as a change
        if method == "deepfool" and target is not None:
            raise MinicnnError("deepfool goes to the nearest class: no --target; the other methods take one")
        goal = checked_goal(net, x, target, settings.pop("confidence", 0.0))
        if "epsilon" in settings:
            value = radius(epsilon, settings["norm"], x.shape[1:])
            settings["epsilon"] = whole_levels(value) if settings["norm"] == "linf" else value
            run.note(epsilon=settings["epsilon"])
        try:
            with Progress("climbing", settings.get("steps", 1)) as bar:

                def show(now: Step) -> None:
                    bar.update(now.step, f"{now.text()}, ‖δ‖₂ {goal.distance(now.image):.3g}")

                image, taken = attack(goal, method, seed=seed, callbacks=[show], **settings)
        except (Interrupted, NotFinite) as stopped:
            save(run, goal, rounded(stopped.result.image), stopped.result.steps)
            raise
        result = save(run, goal, image, taken)
        if slice and result.l2:
            with bar_over("looking around", "pictures") as progress:
                regions = decision_slice(net, result.original, result.image, seed=seed, progress=progress)
            run.save("slice.png", draw_slice(net, regions))
    if not result.fooled:
        raise MinicnnError(f"not fooled: {text(net, result)}; what was reached is in {run.path('fool.png')}")
    print(f"{text(net, result)}; see {run.path('fool.png')}")
