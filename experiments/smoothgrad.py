"""SmoothGrad (Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, section 3): the mean gradient over noisy copies.

    M(i, j) = max over the colours of |1/n · Σ_k ∂S_c/∂x(x + ε_k)(i, j)|,  ε_k drawn from N(0, σ²)

The gradient of a network of ReLUs jumps from one pixel to the next; the mean over a neighbourhood of the picture does
not. The paper gives σ as a share of the range of the picture's values, 10 to 20 %, and takes n = 50.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import MinicnnError, whole_number
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.parameter import to_host, transfer

from .attribution import Attribution, Goal, Progress, UnitIndex, find_target, report, weighted_gradient
from .common import MEMORY, bar_over, photo_run


def smoothgrad(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    copies: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    memory: int = MEMORY,
    progress: Progress = lambda done, total: None,
) -> Attribution:
    """The saliency of `image` (1, C, H, W) in [0, 1], its gradient (values) the mean over so many noisy `copies`.

    σ = noise · (max x − min x); copies are not clipped to [0, 1]. The same seed gives the same copies. They run in
    batches whose activations take at most about `memory` bytes; after each, `progress(copies done, of all)` is called.

    Example: `smoothgrad(net, net.prepare(load_picture("cat.jpg")), noise=0.1).map`
    """
    copies, seed = whole_number("copies", copies, 1), whole_number("seed", seed, 0)
    if not 0 <= noise < float("inf"):
        raise MinicnnError(f"noise {noise}: expected 0 or more, a share of the range of the picture's values")
    goal = find_target(net, image, target, layer=layer, unit=unit)
    picture = to_host(image)
    sigma = noise * float(picture.max() - picture.min())

    def noisy(some: slice) -> Array:
        drawn = [np.random.default_rng((seed, k)).standard_normal(picture.shape[1:]) for k in range(copies)[some]]
        return transfer((picture + sigma * np.stack(drawn)).astype(picture.dtype), like=image)

    weights = np.full(copies, 1 / copies)
    gradient = weighted_gradient(net, image, goal, weights, noisy, memory=memory, progress=progress)
    meaning = f"|mean ∂F/∂x| over {copies} copies, with noise of {100 * noise:g} % of the picture's range; "
    meaning += f"F: {goal.in_words}"
    return Attribution("SmoothGrad", goal, picture[0], np.abs(gradient).max(axis=0), False, gradient, meaning)


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("smoothgrad"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    copies: Annotated[int, typer.Option("--copies", "-n", help="Noisy copies.")] = 50,
    noise: Annotated[float, typer.Option("--noise", help="Their σ, a share of the picture's range.")] = 0.15,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Saliency without its speckles: the mean gradient over noisy copies of the picture."""
    settings = {"target": target, "layer": layer, "unit": unit, "copies": copies, "noise": noise}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        with bar_over("adding noise", "copies") as progress:
            result = smoothgrad(
                net, x, target, layer=layer, unit=unit, copies=copies, noise=noise, seed=seed, progress=progress
            )
        report(run, net, x, result, "smoothgrad")
