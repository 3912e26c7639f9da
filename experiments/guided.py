"""Guided backpropagation (Springenberg, Dosovitskiy, Brox, Riedmiller 2014, section 3.4): the gradient of a class
score, but each ReLU lets only positive gradients pass back.

    gradient: 1[f > 0]·R        guided: 1[f > 0]·1[R > 0]·R

f is what came into the ReLU, R the gradient that comes back to it. What speaks against the class is dropped on the way,
so what remains are the strokes and edges that speak for it. It is no longer the gradient of anything. (The lecture
credits it to Zeiler & Fergus; theirs is the deconvnet, 1[R > 0]·R.)
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Target, Weights
from minicnn.errors import MinicnnError
from minicnn.figures import heatmap, labelled_row, top_value
from minicnn.kernels.backend import Array
from minicnn.layers import ReLU, backward_rule
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture

from .common import describe, photo_run, with_legend
from .saliency import saliency


class Guided(NamedTuple):
    """map (H, W), signed: the sum over the colours of gradient (C, H, W); target: the class."""

    map: np.ndarray
    gradient: np.ndarray
    target: int


def guided_backprop(net: Network, image: Array, target: int | str | None = None) -> Guided:
    """Guided backpropagation of a class score (default: the one predicted) to `image` (1, C, H, W) in [0, 1].

    Raises MinicnnError where the network has no ReLU: there is nothing to guide then.

    Example: `guided_backprop(net, net.prepare(load_picture("cat.jpg")), "tabby").map`
    """
    if not any(isinstance(layer, ReLU) for _, layer in net.layers()):
        raise MinicnnError(f"{net.name} has no ReLU: guided backpropagation would be the gradient (explain saliency)")
    with backward_rule(net, "guided"):
        result = saliency(net, image, target)
    return Guided(result.gradient.sum(axis=0), result.gradient, result.target)


def draw(net: Network, image: Array, result: Guided) -> Image.Image:
    """The picture, the plain gradient and the guided one, blue to red around 0; the latter also in its colours."""
    plain = saliency(net, image, result.target).gradient.sum(axis=0)
    tops = top_value(plain), top_value(result.map)
    row = [
        (f"seen as {describe(net, image)}", to_picture(to_host(image))),
        (f"gradient for {net.class_name(result.target)}", heatmap(plain, signed=True, top=tops[0])),
        ("guided backpropagation", heatmap(result.map, signed=True, top=tops[1])),
    ]
    if len(result.gradient) == 3:
        strength = np.clip(result.gradient / (top_value(result.gradient, 99.5) or 1), -1, 1)
        row.append(("guided, in its colours: grey is 0", to_picture(0.5 + strength / 2)))
    return with_legend(
        labelled_row(row),
        (tops[0], "gradient: how the score changes when the pixel gets brighter", True),
        (tops[1], "guided: what reaches the pixel by positive steps alone", True),
    )


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("guided"),
    target: Target = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """What speaks for a class: the gradient, letting positive gradients alone pass the ReLUs."""
    with photo_run(photo, model, weights, device, out, seed, target=target) as (run, net, x):
        result = guided_backprop(net, x, target)
        run.save("guided.png", draw(net, x, result))
        name = net.class_name(result.target)
        run.finish(target=name, seen_as=describe(net, x))
        print(f"seen as {describe(net, x)}; guided backpropagation for {name} is in {run.path('guided.png')}")
