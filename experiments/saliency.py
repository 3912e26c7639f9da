"""Saliency maps (Simonyan, Vedaldi, Zisserman 2013, section 3): how much would each pixel change the class score?

    M(i, j) = max over the colours of |∂S_c/∂x(i, j)|

One backward pass: the gradient 1 at the score of class c, before the softmax, is all that is injected.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Target, Weights
from minicnn.figures import heatmap, labelled_row, overlay, top_value
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import evaluating
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture

from .common import check_one, describe, photo_run, with_legend


class Saliency(NamedTuple):
    """map (H, W) ≥ 0: the saliency; gradient (C, H, W): ∂S_c/∂x; target: the class c."""

    map: np.ndarray
    gradient: np.ndarray
    target: int


def saliency(net: Network, image: Array, target: int | str | None = None) -> Saliency:
    """The saliency of `image` (1, C, H, W) in [0, 1] for a class (default: the one predicted).

    Example: `saliency(net, net.prepare(load_picture("cat.jpg"))).map`
    """
    check_one(image)
    with evaluating(net):
        scores = net.activations(image, [net.score_layer], remember="input")[net.score_layer]  # (1, classes)
        c = int(to_host(scores)[0].argmax()) if target is None else net.class_index(target)
        one = get_array_module(scores).zeros_like(scores)
        one[0, c] = 1
        gradient = to_host(net.input_gradient({net.score_layer: one})[0])  # (C, H, W)
    return Saliency(np.abs(gradient).max(axis=0), gradient, c)


def draw(net: Network, image: Array, result: Saliency) -> Image.Image:
    """The picture, its saliency, and the one over the other."""
    picture, top = to_picture(to_host(image)), top_value(result.map)
    row = [
        (f"seen as {describe(net, image)}", picture),
        (f"saliency for {net.class_name(result.target)}", heatmap(result.map, top=top)),
        ("over the picture", overlay(picture, result.map, top=top)),
    ]
    return with_legend(labelled_row(row), (top, "change of the score for a change of the pixel, |∂S/∂x|", False))


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("saliency"),
    target: Target = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Which pixels would change the class score most?"""
    with photo_run(photo, model, weights, device, out, seed, target=target) as (run, net, x):
        result = saliency(net, x, target)
        run.save("saliency.png", draw(net, x, result))
        name = net.class_name(result.target)
        run.finish(target=name, seen_as=describe(net, x))
        print(f"seen as {describe(net, x)}; the saliency for {name} is in {run.path('saliency.png')}")
