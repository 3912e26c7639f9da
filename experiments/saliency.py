"""Saliency maps (Simonyan, Vedaldi, Zisserman 2013, section 3): how much would each pixel change the class score?

    M(i, j) = max over the colours of |∂S_c/∂x(i, j)|

One backward pass: the gradient 1 at the score of class c, before the softmax, is all that is injected.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Target, Weights
from minicnn.figures import heatmap, labelled_row, overlay
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network

from .common import describe, load_network, open_run, read_photo, to_numpy


class Saliency(NamedTuple):
    """map (H, W) ≥ 0: the saliency; gradient (C, H, W): ∂S_c/∂x; target: the class."""

    map: np.ndarray
    gradient: np.ndarray
    target: int


def saliency(net: Network, image: Array, target: int | str | None = None) -> Saliency:
    """The saliency of `image` (1, C, H, W) in [0, 1] for a class (default: the one predicted).

    Example: `saliency(net, net.prepare(load_picture("cat.jpg"))).map`
    """
    net.eval()
    scores = net.activations(image, [net.score_layer], remember="input")[net.score_layer]  # (1, classes)
    c = int(scores[0].argmax()) if target is None else net.class_index(target)
    one = get_array_module(scores).zeros_like(scores)
    one[0, c] = 1
    gradient = to_numpy(net.input_gradient({net.score_layer: one})[0])  # (C, H, W)
    return Saliency(np.abs(gradient).max(axis=0), gradient, c)


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
    net = load_network(model, weights, device)
    with open_run(out, seed=seed, inputs=[photo, weights], model=model, target=target, device=device) as run:
        x, picture = read_photo(photo, net)
        result = saliency(net, x, target)
        name = net.class_name(result.target)
        row = [(describe(net, x), picture), (f"saliency for {name}", heatmap(result.map))]
        run.save("saliency.png", labelled_row([*row, ("overlay", overlay(picture, result.map))]))
        run.finish(target=name)
        print(f"seen as {describe(net, x)}; the saliency for {name} is in {run.path('saliency.png')}")
