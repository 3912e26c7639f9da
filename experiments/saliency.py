"""Saliency maps (Simonyan, Vedaldi, Zisserman 2013, section 3): how much would each pixel change the class score?

    M(i, j) = max over the colours of |∂S_c/∂x(i, j)|

One backward pass: the gradient 1 at the score of class c, before the softmax, is all that is injected. The 1 may as
well stand at any unit of any layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.parameter import to_host

from .attribution import Attribution, Goal, UnitIndex, gradient_of, report
from .common import photo_run


def saliency(
    net: Network, image: Array, target: Goal = None, *, layer: str | None = None, unit: UnitIndex = None
) -> Attribution:
    """The saliency of `image` (1, C, H, W) in [0, 1] for a class (default: the one predicted) or a unit of a layer.

    map (H, W) ≥ 0 is M, values (C, H, W) the gradient.

    Example: `saliency(net, net.prepare(load_picture("cat.jpg"))).map`
    """
    goal, gradient = gradient_of(net, image, target, layer=layer, unit=unit)
    largest = np.abs(gradient).max(axis=0)
    meaning = f"|∂F/∂x|: how fast F, {goal.in_words}, changes with the pixel"
    return Attribution("saliency", goal, to_host(image)[0], largest, False, gradient, meaning)


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("saliency"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Which pixels would change the class score, or a unit's activation, most?"""
    settings = {"target": target, "layer": layer, "unit": unit}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        report(run, net, x, saliency(net, x, target, layer=layer, unit=unit), "saliency")
