"""Integrated gradients (Sundararajan, Taly, Yan 2017, section 3): the gradient, summed up on the way to the picture.

    A = (x − x′) · ∫₀¹ ∂F/∂x(x′ + α(x − x′)) dα

x′ is a baseline, a picture that shows nothing: black, say. By the fundamental theorem the attributions add up to what
there is to explain (completeness):

    Σ A = F(x) − F(x′)

but for the error of the quadrature, delta, which is always reported. The nodes are Gauss-Legendre's, which are exact
for polynomials of degree 2n − 1 (the integrand α² at 25 nodes: to 1e-15, where a right Riemann sum is 6 % off). But
along the way the gradient of a network of ReLUs jumps, most of all near a baseline of one colour, and jumps are met by
chance: 50 nodes leave a large network some per cent off. F at both ends of a stretch of the way says how far off the
sum over that stretch is, so the worst is cut in two, again and again, until delta is small enough.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import MinicnnError, whole_number
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import load_picture, to_picture

from .attribution import (
    COLOURS,
    Attribution,
    Baseline,
    Goal,
    Progress,
    UnitIndex,
    baseline_for,
    called,
    find_target,
    report,
    values_of,
    weighted_gradient,
)
from .attribution import Target as Explained
from .common import MEMORY, bar_over, photo_run, read_photo

NODES, MOST_NODES = 50, 1000  # of the first sum
PANEL = 10  # nodes of a stretch that was cut off another
LIMIT = 3200  # nodes in all
TOLERANCE = 0.005  # of F(x) − F(x′)


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegratedGradients(Attribution):
    """values (C, H, W) is A, map (H, W) its sum over the colours. baseline (C, H, W): x′; nodes: of the integral."""

    baseline: np.ndarray = field(repr=False)
    nodes: int
    delta: float
    change: float

    def panels(self, caption: str) -> list[tuple[str, Image.Image]]:
        before = [] if np.ptp(self.baseline, axis=(1, 2)).max() == 0 else [("x′", to_picture(self.baseline))]
        return [*before, *super().panels(caption)]


def integrated_gradients(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    baseline: Baseline = "black",
    nodes: int = NODES,
    tolerance: float | None = TOLERANCE,
    memory: int = MEMORY,
    progress: Progress = lambda done, total: None,
) -> IntegratedGradients:
    """The integrated gradients of a class score (default: of the one predicted) or a unit from `baseline` to `image`.

    `baseline`: black, white, grey or mean (the mean colour of the training pictures), a number that all pixels have, or
    a picture of the shape of `image`, (1, C, H, W) in [0, 1]. After a sum over `nodes`, stretches of the way are halved
    until |delta| ≤ tolerance·|F(x) − F(x′)|, and a warning says where LIMIT nodes do not reach that; with a tolerance
    of None the sum stays as it is. The pictures on the way run in batches whose activations take at most about `memory`
    bytes; after each, `progress(nodes done, of all so far)` is called. Raises MinicnnError for another baseline.

    Example: `integrated_gradients(net, net.prepare(load_picture("cat.jpg")), tolerance=1e-3).delta`
    """
    nodes = whole_number("nodes", nodes, 1, MOST_NODES)
    if tolerance is not None and not tolerance > 0:
        raise MinicnnError(f"tolerance {tolerance}: expected a share of F(x) − F(x′) above 0, such as 0.001")
    goal = find_target(net, image, target, layer=layer, unit=unit)
    way = Way(net, goal, baseline_for(net, image, baseline), image, memory, progress)
    before, after = way.values_at(0.0), way.values_at(1.0)
    parts = [way.stretch(0.0, 1.0, (before, after), nodes)]
    while tolerance is not None and abs(off(parts)) > tolerance * abs(after - before):
        if way.nodes + 2 * PANEL > LIMIT:
            warnings.warn(not_reached(off(parts), after - before, tolerance, way.nodes), stacklevel=2)
            break
        worst = parts.pop(max(range(len(parts)), key=lambda k: abs(parts[k].delta)))
        middle = (worst.a + worst.b) / 2
        half = way.values_at(middle)
        parts.append(way.stretch(worst.a, middle, (worst.ends[0], half), PANEL))
        parts.append(way.stretch(middle, worst.b, (half, worst.ends[1]), PANEL))
    values = np.sum([part.values for part in parts], axis=0)
    meaning = f"what the pixel adds to F, {goal.in_words}, from {called(baseline)} to the picture (x)"
    return IntegratedGradients(
        *("integrated gradients", goal, to_host(image)[0], values.sum(axis=0), True, values, meaning),
        delta=float(values.sum()) - (after - before),
        change=after - before,
        baseline=to_host(way.start)[0],
        nodes=way.nodes,
    )


class Stretch(NamedTuple):
    """The sum over the way from α = a to b, where F has the values `ends`: values (C, H, W), and how far it is off."""

    a: float
    b: float
    ends: tuple[float, float]
    values: np.ndarray
    delta: float


def off(parts: list[Stretch]) -> float:
    """How far all of them are off."""
    return sum(part.delta for part in parts)


@dataclass
class Way:
    """The straight way from `start` to `image`, both (1, C, H, W); nodes: how many gradients were taken on it."""

    net: Network
    goal: Explained
    start: Array
    image: Array
    memory: int
    progress: Progress
    nodes: int = 0

    def pictures(self, alphas: np.ndarray) -> Array:
        """x′ + α(x − x′) for each α of (N,): (N, C, H, W)."""
        shares = get_array_module(self.image).asarray(alphas.astype(self.image.dtype))
        return self.start + shares[:, None, None, None] * (self.image - self.start)

    def values_at(self, alpha: float) -> float:
        """F there."""
        return float(values_of(self.net, self.pictures(np.array([alpha])), self.goal)[0])

    def stretch(self, a: float, b: float, ends: tuple[float, float], nodes: int) -> Stretch:
        """(x − x′) · ∫ ∂F/∂x dα from a to b."""
        alphas, weights = gauss_legendre(nodes)
        gradient = weighted_gradient(
            *(self.net, self.image, self.goal, (b - a) * weights),
            lambda some: self.pictures(a + (b - a) * alphas[some]),
            memory=self.memory,
            progress=lambda done, total: self.progress(self.nodes + done, self.nodes + total),
        )
        self.nodes += nodes
        values = to_host(self.image - self.start)[0] * gradient
        return Stretch(a, b, ends, values, float(values.sum()) - (ends[1] - ends[0]))


def gauss_legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and their weights, which add up to 1: exact for polynomials up to degree 2·nodes − 1."""
    points, weights = np.polynomial.legendre.leggauss(nodes)  # on [−1, 1]
    return (points + 1) / 2, weights / 2


def not_reached(delta: float, change: float, tolerance: float, nodes: int) -> str:
    """What to say where the nodes did not suffice."""
    return (
        f"integrated gradients: with {nodes} nodes delta is {delta:.2g}, more than {tolerance:g} of "
        f"F(x) − F(x′) = {change:.4g}; more than {LIMIT} are not tried"
    )


def read_baseline(baseline: str, photo: Path, net: Network) -> str | Array:
    """The baseline that a command line names: a colour, or a picture file of the photo's size, cut out as the photo is.

    Raises MinicnnError for a picture of another size.
    """
    if baseline in COLOURS or not Path(baseline).exists():
        return baseline  # a name that is none of the colours has its own error
    size, wanted = load_picture(baseline).size, load_picture(photo).size
    if size != wanted:
        raise MinicnnError(
            f"{baseline}: a baseline of {size[0]}×{size[1]} pixels; expected {wanted[0]}×{wanted[1]}, as the photo has"
        )
    return read_photo(Path(baseline), net)


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("integrated-gradients"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    baseline: Annotated[
        str, typer.Option("--baseline", help="mean, grey, black, white, or a picture of the photo's size.")
    ] = "black",
    nodes: Annotated[int, typer.Option("--nodes", help="Pictures on the way, at first.")] = NODES,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", help="Add nodes until delta is at most such a share of the change (inf: none)."),
    ] = TOLERANCE,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """What each pixel adds to the score on the way from a picture that shows nothing."""
    settings = {"target": target, "layer": layer, "unit": unit, "baseline": baseline}
    more = {"nodes": nodes, "tolerance": tolerance}
    with photo_run(photo, model, weights, device, out, seed, **settings, **more) as (run, net, x):
        start = read_baseline(baseline, photo, net)
        if start is not baseline:
            run.hash_input(baseline)
        with bar_over("on the way", "nodes") as progress:
            result = integrated_gradients(
                *(net, x, target),
                layer=layer,
                unit=unit,
                baseline=start,
                nodes=nodes,
                tolerance=tolerance,
                progress=progress,
            )
        report(run, net, x, result, "integrated-gradients", used_nodes=result.nodes)
