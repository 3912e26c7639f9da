"""Guided backpropagation (Springenberg, Dosovitskiy, Brox, Riedmiller 2014, section 3.4): the gradient of a class
score, but each ReLU lets only positive gradients pass back.

    gradient: 1[f > 0]·R        guided: 1[f > 0]·1[R > 0]·R

f is what came into the ReLU, R the gradient that comes back to it. What speaks against the class is dropped on the way,
so what remains are the strokes and edges that speak for it. It is no longer the gradient of anything. (The lecture
credits it to Zeiler & Fergus; theirs is the deconvnet, 1[R > 0]·R.) At a leaky ReLU 1[f > 0] is the derivative there: 1
or the slope.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import MinicnnError
from minicnn.figures import top_value
from minicnn.kernels.backend import Array
from minicnn.layers import Rectifier, backward_rule
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture

from .attribution import Attribution, Goal, UnitIndex, gradient_of, report
from .common import photo_run


@dataclass(frozen=True, eq=False)
class InColours(Attribution):
    """An attribution whose values are also worth a look as a picture: the patterns of the input that speak for F."""

    def panels(self, caption: str) -> list[tuple[str, Image.Image]]:
        panels, values = super().panels(caption), self.values[(slice(None), *self.seen())]
        if len(values) == 3 and values.any():  # of a grey picture the map says it all
            panels.append(("in its colours: grey is 0", to_picture(in_colours(values))))
        return panels


def in_colours(values: np.ndarray) -> np.ndarray:
    """Values (C, H, W) as a picture in [0, 1] around grey, which is 0."""
    return 0.5 + np.clip(values / (top_value(values, 99.5) or 1), -1, 1) / 2


def guided(
    net: Network, image: Array, target: Goal = None, *, layer: str | None = None, unit: UnitIndex = None
) -> Attribution:
    """Guided backpropagation to `image` (1, C, H, W) in [0, 1] from a class (default: the one predicted) or a unit.

    values (C, H, W) is what arrives at the picture, map (H, W), signed, its sum over the colours. Raises MinicnnError
    where the network has no ReLU: there is nothing to guide then.

    Example: `guided(net, net.prepare(load_picture("cat.jpg")), "tabby").map`
    """
    meaning = "what comes back to the pixel when only positive gradients pass the ReLUs"
    return by_rule(net, image, "guided", target, layer, unit, method="guided backpropagation", meaning=meaning)


def by_rule(
    net: Network,
    image: Array,
    rule: str,
    target: Goal,
    layer: str | None,
    unit: UnitIndex,
    *,
    method: str,
    meaning: str,
) -> InColours:
    """What arrives at `image` where every ReLU goes back by `rule`."""
    if not any(isinstance(inner, Rectifier) for _, inner in net.layers()):
        raise MinicnnError(f"{net.name} has no ReLU: by any rule there is only the gradient (explain saliency)")
    with backward_rule(net, rule):
        goal, values = gradient_of(net, image, target, layer=layer, unit=unit)
    return InColours(method, goal, to_host(image)[0], values.sum(axis=0), True, values, meaning)


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("guided"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """What speaks for a class: the gradient, letting positive gradients alone pass the ReLUs."""
    settings = {"target": target, "layer": layer, "unit": unit}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        report(run, net, x, guided(net, x, target, layer=layer, unit=unit), "guided")
