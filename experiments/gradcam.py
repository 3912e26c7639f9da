"""Grad-CAM (Selvaraju et al. 2017, section 3): which maps of a layer speak for the class, and where are they active?

    α_k = mean over the places (i, j) of ∂S_c/∂A_k(i, j)        L = max(0, Σ_k α_k A_k)

A_k are the maps of a layer, the last that still has places unless another is given: coarse, but they know what is
there. Enlarged to the picture and multiplied by guided backpropagation, which is fine but does not tell classes apart
well, L gives guided Grad-CAM (section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import MinicnnError
from minicnn.kernels.backend import Array
from minicnn.layers import AdaptiveAvgPool2d, Aside, Dropout, Layer, Rectifier, Sequential, evaluating
from minicnn.layers.pool import Pool2d
from minicnn.network import Network
from minicnn.parameter import to_host

from .attribution import Attribution, Goal, UnitIndex, find_target, one_at, report
from .common import describe, photo_run
from .guided import InColours, guided


@dataclass(frozen=True, eq=False, kw_only=True)
class GradCAM(Attribution):
    """map (H, W) ≥ 0: L, enlarged; coarse (h, w): L itself; alphas (K,): the α_k; at: the layer of the maps A_k."""

    coarse: np.ndarray = field(repr=False)
    alphas: np.ndarray = field(repr=False)
    at: str


def gradcam(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    at: str | None = None,
) -> GradCAM:
    """Grad-CAM of `image` (1, C, H, W) for a class (default: the one predicted) or a `unit` of `layer`.

    `at`: the layer whose maps are weighed, by default `last_maps`. Raises MinicnnError where it has no places, or does
    not lie before what is explained.

    Example: `gradcam(net, net.prepare(load_picture("cat.jpg")), "tabby").map`
    """
    goal = find_target(net, image, target, layer=layer, unit=unit)
    at = last_maps(net, goal.layer) if at is None else at
    maps, gradient = maps_and_gradient(net, image, goal, at)
    alphas = gradient.mean(axis=(1, 2))  # (K,)
    coarse = np.maximum(np.tensordot(alphas, maps, axes=1), 0)  # (h, w)
    fine = enlarged(coarse, image.shape[2:])
    meaning = f"how strongly the maps of {at} that speak for it are active here"
    return GradCAM(
        *("Grad-CAM", goal, to_host(image)[0], fine, False, fine[None], meaning),
        coarse=coarse,
        alphas=alphas,
        at=at,
    )


def guided_gradcam(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    at: str | None = None,
) -> Attribution:
    """Guided backpropagation times Grad-CAM, as `gradcam`: values (C, H, W), and map (H, W) their sum over the colours.

    Example: `guided_gradcam(net, net.prepare(load_picture("cat.jpg")), "tabby").map`
    """
    cam = gradcam(net, image, target, layer=layer, unit=unit, at=at)
    values = guided(net, image, cam.target).values * cam.map
    meaning = f"guided backpropagation where Grad-CAM at {cam.at} sees it"
    return InColours("guided Grad-CAM", cam.target, cam.image, values.sum(axis=0), True, values, meaning)


def last_maps(net: Network, before: str) -> str:
    """The last of the network's layers that has maps with places, in front of its features and of the layer `before`.

    What only pools, drops or looks on is passed over, and a container counts as one. Raises MinicnnError where there is
    none.
    """
    ends = {path.split(".")[0] for path in (net.feature_layer, before)}
    found = None
    for (name, child), (_, shape) in zip(net.children().items(), net.inputs(net.input_shape), strict=True):
        if name in ends:
            break
        y = child.output_shape(shape)
        if len(y) == 3 and prod(y[1:]) > 1 and not isinstance(child, Pool2d | AdaptiveAvgPool2d | Dropout | Aside):
            found = name
    if found is None:
        raise MinicnnError(f"{net.name} has no layer with maps before {before}: nothing for Grad-CAM to weigh")
    return found


def maps_and_gradient(net: Network, image: Array, goal: Any, at: str) -> tuple[np.ndarray, np.ndarray]:
    """The maps A (K, h, w) of the layer `at`, and ∂F/∂A of the same shape."""
    too_late = MinicnnError(f"Grad-CAM at {at}: it does not lie before {goal.layer}, which is to be explained")
    if f"{goal.layer}.".startswith(f"{at}."):
        raise too_late
    with evaluating(net), tapped(net, at) as tap:
        found = net.activations(image, [at, goal.layer], remember="input")
        net.inject(None, {goal.layer: one_at(goal, found[goal.layer])}, True, False)
    maps = to_host(found[at])[0]
    if maps.ndim != 3 or prod(maps.shape[1:]) == 1:
        raise MinicnnError(f"Grad-CAM at {at}: expected maps (K, h, w) with places, got {maps.shape}")
    if tap.gradient is None:
        raise too_late
    return maps, to_host(tap.gradient)[0]


class Tap(Sequential):
    """A layer in a network, and the gradient that came back to its output; what lies before it gets none."""

    gradient: Array | None = None

    def inject(
        self, dy: Array | None, grads: Mapping[str, Array], need_dx: bool, need_dparams: bool, **fused: Any
    ) -> Array | None:
        self.gradient = dy
        return None


@contextmanager
def tapped(net: Network, path: str) -> Iterator[Tap]:
    """Within the block the gradient at the output of the layer `path` can be read."""
    *above, name = path.split(".")
    parent: Any = net.layer(".".join(above)) if above else net
    layer: Layer = net.layer(path)
    tap = Tap(tapped=layer)
    parent.replace(name, tap)
    try:
        yield tap
    finally:
        parent.replace(name, layer)


def enlarged(coarse: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A map (h, w) at the picture's size (H, W), bilinear, of the same dtype."""
    down, across = (interpolation(short, long) for short, long in zip(coarse.shape, size, strict=True))
    return (down @ coarse @ across.T).astype(coarse.dtype)


def interpolation(short: int, long: int) -> np.ndarray:
    """The matrix (long, short) that stretches a row of pixels linearly, their middles to the middles of more; what lies
    beyond the outer ones is as they are."""
    places = (np.arange(long) + 0.5) * short / long - 0.5
    return np.stack([np.interp(places, np.arange(short), pixel) for pixel in np.eye(short)], axis=1)


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("gradcam"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    at: Annotated[
        str | None, typer.Option("--at", help="The layer of the maps (default: the last with places).")
    ] = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Where are the maps active that speak for a class? And guided Grad-CAM, the same in detail."""
    settings = {"target": target, "layer": layer, "unit": unit, "at": at}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        result = gradcam(net, x, target, layer=layer, unit=unit, at=at)
        if any(isinstance(inner, Rectifier) for _, inner in net.layers()):
            fine = guided_gradcam(net, x, result.target, at=result.at)
            run.save("guided-gradcam.png", fine.figure(f"seen as {describe(net, x)}"))
        report(run, net, x, result, "gradcam", at=result.at)
