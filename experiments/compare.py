"""All methods on one picture, side by side, and measured by what needs nobody's eyes (experiments/quality.py).

    deletion, insertion   the area under p(class) while the pixels go black, or come back into a blurred picture, the
                          map's highest first: small for deletion, large for insertion
    randomized            the rank correlation of |map| with that of the network with weights drawn anew: near 0 where
                          the map shows what was learned, near 1 where it shows the picture
    completeness          Σ values − (F(x) − F(x′)), where the method promises 0

A map can look convincing and be none of these: look at guided backpropagation, and then at its numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn import experiments
from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import MinicnnError, whole_number
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import save_png
from minicnn.report import Table

from .attribution import Attribution, Goal, Progress, UnitIndex, find_target, per_cent
from .attribution import Target as Explained
from .common import bar_over, describe, photo_run
from .compare_page import draw, draw_curves, sections, table
from .quality import Curve, deletion, drawn_anew, insertion, rank_correlation
from .saliency import saliency

STEPS = 50  # of the curves


# The methods ----------------------------------------------------------------------------------------------------------


class Contender(NamedTuple):
    """A function of minicnn.experiments with `options` always, and `quick` ones unless all is to be as its own command
    has it; passes: about how many pictures it then sends through the network, there and back; coarse: a map that needs
    the picture behind it."""

    function: str
    options: dict[str, Any]
    passes: int
    coarse: bool = False

    def quick(self, image: Array) -> dict[str, Any]:
        """Fewer copies, nodes and places."""
        side = min(image.shape[2:])
        few: dict[str, dict[str, Any]] = {
            "smoothgrad": {"copies": 20},
            "integrated_gradients": {"tolerance": None},
            "occlusion": {"stride": max(1, side // 10)},
        }
        return few.get(self.function, {})

    def __call__(self, net: Network, image: Array, target: Goal, **options: Any) -> Attribution:
        found: Attribution = getattr(experiments, self.function)(net, image, target, **self.options, **options)
        return found


CONTENDERS = (
    Contender("saliency", {}, 2),
    Contender("smoothgrad", {}, 40),
    Contender("gradient_times_input", {}, 2),
    Contender("integrated_gradients", {}, 100),
    Contender("deeplift", {}, 8),
    Contender("deeplift", {"rule": "reveal-cancel"}, 20),
    Contender("occlusion", {}, 100, coarse=True),
    Contender("guided", {}, 2),
    Contender("deconvnet", {}, 2),
    Contender("gradcam", {}, 2, coarse=True),
    Contender("guided_gradcam", {}, 4),
)


def gradient_times_input(net: Network, image: Array, target: Goal = None) -> Attribution:
    """∂F/∂x · x: what the pixels would add to F if the gradient were the same all the way from black (which nothing
    promises, except for a network without bias and of straight pieces)."""
    found = saliency(net, image, target)
    values = found.values * found.image
    meaning = f"what the pixel would add to F, {found.target.in_words}, if the gradient were the same from black on"
    return Attribution("gradient × input", found.target, found.image, values.sum(axis=0), True, values, meaning)


# Measuring ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Judged:
    """A map and what it is worth: the function that made it, the curves, the rank correlation, and the time it took."""

    function: str
    attribution: Attribution = field(repr=False)
    deletion: Curve = field(repr=False)
    insertion: Curve = field(repr=False)
    randomized: float
    seconds: float
    coarse: bool

    @property
    def name(self) -> str:
        return self.attribution.method

    @property
    def blank(self) -> bool:
        """Whether the map is 0 everywhere, and its curves those of no order at all."""
        return not self.attribution.map.any()

    def completeness(self) -> str:
        """How far the values are from adding up: in per cent of F(x) − F(x′), "" where nothing is promised."""
        delta, change = self.attribution.delta, self.attribution.change
        if delta is None or change is None:
            return ""
        return f"off by {per_cent(delta / change)}" if change else f"off by {abs(delta):.2g}"

    def figures(self) -> dict[str, float | None]:
        """All numbers, for run.json."""
        a = self.attribution
        return {
            **{"deletion": self.deletion.auc, "insertion": self.insertion.auc, "randomized": self.randomized},
            **{"delta": a.delta, "change": a.change, "seconds": round(self.seconds, 3)},
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each method says of one picture (C, H, W) and one target. left_out: why another could not, by its name."""

    target: Explained
    image: np.ndarray = field(repr=False)
    of_class: bool
    judged: tuple[Judged, ...]
    left_out: dict[str, str]

    @property
    def asked(self) -> str:
        """What the curves show: "p(tabby)", or the unit."""
        return f"p({self.target.name})" if self.of_class else self.target.name

    def best(self, measure: str) -> Judged:
        """The first by "deletion" (the least area), "insertion" (the greatest) or "randomized" (nearest to 0)."""
        orders: dict[str, Callable[[Judged], float]] = {
            "deletion": lambda one: one.deletion.auc,
            "insertion": lambda one: -one.insertion.auc,
            "randomized": lambda one: abs(one.randomized),
        }
        return min(self.judged, key=lambda one: (one.blank, orders[measure](one)))

    def figure(self, caption: str = "the picture") -> Image.Image:
        """The picture and each map, on its own scale, with its numbers beneath; the best of each in blue."""
        return draw(self, caption)

    def curves(self) -> Image.Image:
        """The curves of deletion and of insertion."""
        return draw_curves(self)

    def table(self) -> Table:
        """The numbers, and what each map took."""
        return table(self)

    def save(self, path: str | os.PathLike[str], caption: str = "the picture") -> Path:
        """Write the figure as a PNG."""
        save_png(path, self.figure(caption))
        return Path(path)

    def show(self) -> None:
        """Open the figure in the system's picture viewer."""
        self.figure().show()


def compare(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    steps: int = STEPS,
    full: bool = False,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Every method on `image` (1, C, H, W) in [0, 1] for a class (default: the one predicted) or a unit, and measured.

    steps: of the curves of deletion and insertion. Unless `full`, SmoothGrad takes 20 copies, integrated gradients 50
    nodes, and occlusion steps of a tenth of the side, which is several times quicker than their own defaults; the
    network with weights drawn anew is always explained so. After each part, `progress(passes through the network done,
    of all)` is called. A method that the network cannot do is left out, with the reason.

    Example: `compare(net, net.prepare(load_picture("cat.jpg"))).best("insertion").name`
    """
    goal = find_target(net, image, target, layer=layer, unit=unit)
    steps = whole_number("steps", steps, 1)
    fresh, judged, left_out, done = drawn_anew(net, seed), [], {}, 0
    total = sum(2 * one.passes + 2 * (steps + 1) for one in CONTENDERS)
    for contender in CONTENDERS:
        try:
            judged.append(judge(net, fresh, image, goal, contender, steps=steps, full=full))
        except MinicnnError as error:
            left_out[contender.function] = str(error)
        done += 2 * contender.passes + 2 * (steps + 1)
        progress(done, total)
    of_class = goal.layer == net.score_layer
    return Comparison(goal, to_host(image)[0], of_class, tuple(judged), left_out)


def judge(
    net: Network, fresh: Network, image: Array, goal: Explained, method: Contender, *, steps: int, full: bool
) -> Judged:
    """One method, measured; fresh: the network with weights drawn anew. Raises MinicnnError where it cannot do it."""
    quick = method.quick(image)
    clock = time.perf_counter()
    found = method(net, image, goal, **({} if full else quick))
    seconds = time.perf_counter() - clock

    without_learning = method(fresh, image, goal, **quick).map
    return Judged(
        method.function,
        found,
        deletion(net, image, found.map, goal, steps=steps),
        insertion(net, image, found.map, goal, steps=steps),
        rank_correlation(np.abs(found.map), np.abs(without_learning)),
        seconds,
        method.coarse,
    )


# The command ----------------------------------------------------------------------------------------------------------


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("compare"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Of the curves of deletion and insertion.")] = STEPS,
    full: Annotated[
        bool, typer.Option("--full", help="As many copies, nodes and places as the methods' own commands take.")
    ] = False,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Every method on one picture, in one figure, with figures of how good each map is."""
    settings = {"target": target, "layer": layer, "unit": unit, "steps": steps, "full": full}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        with bar_over("explaining", "passes") as progress:
            found = compare(
                net, x, target, layer=layer, unit=unit, steps=steps, full=full, seed=seed, progress=progress
            )
        seen = describe(net, x)
        files = run.save("compare.png", found.figure(f"seen as {seen}")), run.save("curves.png", found.curves())
        lead = f"{photo.name}, seen by {net.name} as {seen}; explained is {found.target.name}."
        page = run.write_index("What the methods say", sections(found, *files), lead=lead)
        run.finish(
            target=found.target.name,
            seen_as=seen,
            methods={one.name: one.figures() for one in found.judged},
            left_out=found.left_out,
        )
        for name, why in found.left_out.items():
            print(f"{name} is left out: {why}")
        first = ", ".join(f"{measure} {found.best(measure).name}" for measure in ("deletion", "insertion"))
        print(f"seen as {seen}; {len(found.judged)} methods for {found.target.name}; the best by {first}: open {page}")
