"""Class models (Simonyan, Vedaldi, Zisserman 2013, section 2): the picture that a class, or a unit, likes best.

    argmax over I of  S_c(I) − λ‖I‖²

The weights stay as they are, the picture is what is learned: gradient ascent from the zero picture, the colour that the
network subtracts. The score alone gives noise (`--no-regularizer`). What makes a picture that people recognize:

    log p_c in place of S_c, so that what speaks for other classes is taken away, too
    the picture moved a little at each step, so that no pixel matters for itself (Mordvintsev et al. 2015)
    a slight blur every few steps, and the weakest pixels set to zero (Yosinski et al. 2015, section 3)
    steps of one size whatever the gradient, which become smaller along half a cosine
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Device, LayerName, Model, Out, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_row
from minicnn.image import (
    L2,
    Callback,
    ClassScore,
    ClipSmall,
    GaussianBlur,
    GradientAscent,
    Interrupted,
    Jitter,
    LogProbability,
    NotFinite,
    Objective,
    Pixels,
    Unit,
    ValidPixels,
    optimize,
)
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import backward_rule
from minicnn.network import Network
from minicnn.schedules import cosine

from .common import load_network, open_run, probabilities, to_numpy
from .occlusion import fill_colour

STEPS = 300


def visualize(
    net: Network,
    target: int | str | Objective,
    *,
    steps: int = STEPS,
    regularize: bool = True,
    starts: int = 1,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """The pictures (starts, C, H, W) in [0, 1] that a class, or any other objective, likes best.

    target: a class by name or number, or an objective such as `Unit("conv2", 5)`. The first start is the zero picture,
    further ones are noise of their own. `regularize=False`: the plain ascent of the score. All starts are one batch.

    Example: `visualize(net, 3)[0]`
    """
    if starts < 1:
        raise MinicnnError(f"{starts} starts: expected 1 or more")
    zero = zero_colour(net)
    if isinstance(target, Objective):
        objective = target
    else:
        c = net.class_index(target)
        objective = LogProbability(c) if regularize else ClassScore(c)
    regularizers = {
        "transforms": [Jitter(round(max(net.input_shape[1:]) / 10))],
        "projections": [GaussianBlur(0.5, every=4), ClipSmall(70, center=zero), ValidPixels()],
    }
    with backward_rule(net, "redirected"):  # the zero picture may leave a unit without any gradient
        return optimize(
            net,
            objective - 1e-4 * L2(center=zero) if regularize else objective,
            Pixels(start_pictures(net, zero, starts, seed)),
            optimizer=GradientAscent(0.07, "std", schedule=cosine()),
            steps=steps,
            callbacks=callbacks,
            seed=seed,
            **(regularizers if regularize else {"projections": [ValidPixels()]}),
        ).image


def zero_colour(net: Network) -> tuple[float, ...]:
    """The colour of "no picture": the mean of the training pictures; black, the paper of digits, where all is grey."""
    return tuple(fill_colour(net, "mean" if net.input_shape[0] == 3 else "black").tolist())
