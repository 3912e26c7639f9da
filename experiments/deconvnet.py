"""The deconvnet (Zeiler & Fergus 2014, section 2.1): which pattern of the picture excites a unit?

A network that runs a convolutional one in reverse, from one unit down to the pixels: each convolution by its transposed
filters, each max pool unpooled through its switches (the places that its maxima came from), each ReLU by a ReLU,

    deconvnet: 1[R > 0]·R       gradient: 1[f > 0]·R

where f is what came into the ReLU on the way up, R what comes back to it on the way down. The first two are what the
backward passes of these layers do anyway, so the deconvnet is a backward pass with another rule at the ReLUs. Unlike
the gradient it takes nothing of f along: without pools the picture would play no part in it. A leaky ReLU goes back by
the same rule. It is meant for units of convolutions; from the class scores of SqueezeNet nothing at all arrives at most
pictures, which is then said.
"""

from __future__ import annotations

from pathlib import Path

from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.kernels.backend import Array
from minicnn.network import Network

from .attribution import Attribution, Goal, UnitIndex, report
from .common import photo_run
from .guided import by_rule


def deconvnet(
    net: Network, image: Array, target: Goal = None, *, layer: str | None = None, unit: UnitIndex = None
) -> Attribution:
    """The deconvnet's projection of a class (default: the one predicted) or a unit down to `image` (1, C, H, W).

    values (C, H, W) is what arrives at the picture, map (H, W), signed, its sum over the colours. Raises MinicnnError
    where the network has no ReLU.

    Example: `deconvnet(net, net.prepare(load_picture("cat.jpg")), layer="relu4", unit=12).map`
    """
    meaning = "the pattern that excites it, projected down to the pixels"
    return by_rule(net, image, "deconvnet", target, layer, unit, method="deconvnet", meaning=meaning)


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("deconvnet"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Which pattern of the picture excites a unit: the network run in reverse, its pools by their switches."""
    settings = {"target": target, "layer": layer, "unit": unit}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        report(run, net, x, deconvnet(net, x, target, layer=layer, unit=unit), "deconvnet")
