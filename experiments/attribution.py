"""What the methods that explain a network share: what is explained, the gradient, and a result that can be drawn.

Every method asks how much each pixel x(i, j) has to do with one number F(x) that the network computes: the score of a
class before softmax, or the activation of any unit of any layer. `find_target` says which number; `explained` gives it
and its gradient by injecting 1 at that one unit,

    {layer: e_unit}  ->  ∂F/∂x

and an `Attribution` is a map with what is needed to read it.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minicnn.errors import MinicnnError, nearest
from minicnn.figures import heatmap, labelled_row, overlay, top_value
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import Normalize, Remember, evaluating
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import save_png, to_picture
from minicnn.run import Run

from .common import MEMORY, describe, pictures_at_once, with_legend

METHODS = (
    "saliency",
    "smoothgrad",
    "guided",
    "deconvnet",
    "gradcam",
    "integrated_gradients",
    "deeplift",
    "occlusion",
)
COLOURS = ("mean", "grey", "black", "white")

Progress = Callable[[int, int], object]  # (copies done, of all)


def methods() -> dict[str, Callable[..., Attribution]]:
    """Every method by its name: `method(net, image, target=None, *, layer=None, unit=None, …) -> Attribution`."""
    functions = import_module("minicnn.experiments")
    return {name: getattr(functions, name) for name in METHODS}


# What is explained ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """One number that a network computes: the activation at `index`, without the batch, of `layer`.

    index: (class,), (unit,) or (channel, row, column); name: "tabby", or "relu4_1: channel 12 at 3, 5".
    """

    layer: str
    index: tuple[int, ...]
    name: str

    @property
    def in_words(self) -> str:
        """What is explained: "the score of tabby", or the unit."""
        return self.name if self.name.startswith(f"{self.layer}: ") else f"the score of {self.name}"

    def of(self, activations: Array) -> Array:
        """The numbers (N,) in the activations (N, …) of the layer."""
        return activations[(slice(None), *self.index)]


Baseline = str | float | Array  # one of COLOURS or a number, everywhere; or a picture (1, C, H, W)
Goal = int | str | Target | None  # a class by number or name, or a target found before; None: the class predicted
UnitIndex = int | str | tuple[int, ...] | None


def find_target(
    net: Network, image: Array, target: Goal = None, *, layer: str | None = None, unit: UnitIndex = None
) -> Target:
    """A class of the network's scores (default: the one predicted for `image`), or a `unit` of `layer`.

    `unit` is a number, "12", "12,3,5" (channel, row, column) or such a tuple. Of a channel alone it is the place that
    this picture excites most, and of a layer alone its most excited unit. Raises MinicnnError for a class, layer or
    unit that there is not, with the nearest names or the valid range, and for an `image` that is not one picture
    (1, C, H, W) of finite numbers.

    Example: `find_target(net, image, layer="conv2", unit=5)`
    """
    with evaluating(net):
        return look(net, image, target, layer, unit, None)[0]


def look(
    net: Network, image: Array, target: Goal, layer: str | None, unit: UnitIndex, remember: Remember
) -> tuple[Target, Array]:
    """The target, and the activations (1, …) of its layer, by one forward pass."""
    net.check_picture(image)
    if layer is not None and target is not None:
        raise MinicnnError(f"either a class ({target}) or a unit of a layer ({layer}) can be explained, not both")
    if unit is not None and layer is None:
        raise MinicnnError(f"unit {unit}: of which layer?")
    if isinstance(target, Target):
        a = net.activations(image, [target.layer], remember=remember)[target.layer]
        return replace(target, index=unit_of(target.layer, target.index, to_host(a)[0]).index), a
    if layer is not None:
        a = net.activations(image, [layer], remember=remember)[layer]
        return unit_of(layer, unit, to_host(a)[0]), a
    end = net.prediction_layer  # an explanation may begin elsewhere, see Network.scores
    named = None if target is None else net.class_index(target)
    found = net.activations(image, [net.score_layer] + [end] * (named is None), remember=remember)
    c = int(to_host(found[end]).argmax()) if named is None else named
    scores = found[net.score_layer]
    if scores.size != scores.shape[1]:
        raise MinicnnError(f"{net.score_layer}: expected one score a class, got {tuple(scores.shape)}")
    return Target(net.score_layer, (c, *(0,) * (scores.ndim - 2)), net.class_name(c)), scores


def unit_of(layer: str, unit: UnitIndex, a: np.ndarray) -> Target:
    """The unit of a layer, whose activations for the picture are a (D,) or (C, H, W)."""
    index = unit_index(layer, unit)
    if len(index) not in (0, 1, a.ndim):
        expected = "one number" if a.ndim == 1 else f"1 or {a.ndim} numbers, the channel and its place"
        raise MinicnnError(f"{layer}: unit {unit}: expected {expected}")
    for i, size, what in zip(index, a.shape, ("unit", "row", "column"), strict=False):
        if not 0 <= i < size:
            raise MinicnnError(f"{layer}: {what} {i}: expected 0 to {size - 1}")
    rest = np.unravel_index(a[index].argmax(), a[index].shape) if len(index) < a.ndim else ()
    index = (*index, *map(int, rest))
    place = f" at {', '.join(map(str, index[1:]))}" if a.size > len(a) else ""
    return Target(layer, index, f"{layer}: {'channel' if a.ndim > 1 else 'unit'} {index[0]}{place}")


def unit_index(layer: str, unit: UnitIndex) -> tuple[int, ...]:
    """The numbers in what the user called a unit."""
    if unit is None:
        return ()
    numbers = unit if isinstance(unit, tuple) else str(unit).split(",")
    try:
        return tuple(int(str(number)) for number in numbers)
    except ValueError:
        raise MinicnnError(f"{layer}: unit {unit!r}: expected a number, or channel,row,column") from None


# The gradient ---------------------------------------------------------------------------------------------------------


def gradient_of(
    net: Network, image: Array, target: Goal = None, *, layer: str | None = None, unit: UnitIndex = None
) -> tuple[Target, np.ndarray]:
    """The target, as `find_target` has it, and ∂F/∂x (C, H, W) at `image` (1, C, H, W): one pass there and back."""
    with evaluating(net):
        goal, a = look(net, image, target, layer, unit, "input")
        return goal, to_host(net.input_gradient({goal.layer: one_at(goal, a)})[0])


def values_of(net: Network, images: Array, target: Target, *, memory: int = MEMORY) -> np.ndarray:
    """F (N,) in float64 of each of the pictures (N, C, H, W), in batches as `explained`."""
    values = np.empty(len(images))
    with evaluating(net):
        for some in batches(len(images), pictures_at_once(net, images.shape[1:], memory)):
            values[some] = to_host(target.of(net.activations(images[some], [target.layer])[target.layer]))
    return values


def explained(net: Network, images: Array, target: Target, *, memory: int = MEMORY) -> tuple[np.ndarray, Array]:
    """F (N,) in float64, and ∂F/∂x (N, C, H, W), of each of the pictures (N, C, H, W) by itself.

    They go through the network in batches whose activations take at most about `memory` bytes.
    """
    values, gradients = np.empty(len(images)), get_array_module(images).empty_like(images)
    with evaluating(net):
        for some in batches(len(images), pictures_at_once(net, images.shape[1:], memory, back=True)):
            a = net.activations(images[some], [target.layer], remember="input")[target.layer]
            values[some] = to_host(target.of(a))
            gradients[some] = net.input_gradient({target.layer: one_at(target, a)})
    return values, gradients


def one_at(target: Target, a: Array) -> Array:
    """The gradient of F at its layer, whose activations are a (N, …): 1 at the target and 0 elsewhere."""
    one = get_array_module(a).zeros_like(a)
    target.of(one)[...] = 1
    return one


def weighted_gradient(
    net: Network,
    image: Array,
    target: Target,
    weights: np.ndarray,
    copies: Callable[[slice], Array],
    *,
    memory: int = MEMORY,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """Σ wᵢ ∂F/∂x(xᵢ), (C, H, W) in float64, over pictures xᵢ like `image` (1, C, H, W).

    They are made in batches whose activations take at most about `memory` bytes: `copies(slice(0, 8))` gives the first.
    After each batch, `progress(pictures done, of all)` is called.
    """
    total = np.zeros(image.shape[1:])
    for some in batches(len(weights), pictures_at_once(net, image.shape[1:], memory, back=True)):
        gradients = to_host(explained(net, copies(some), target, memory=memory)[1])
        total += np.tensordot(weights[some], gradients.astype(np.float64), axes=1)
        progress(some.stop, len(weights))
    return total


def batches(count: int, size: int) -> list[slice]:
    """0 … count in slices of `size`."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


# What a picture is compared with --------------------------------------------------------------------------------------


def colour_named(net: Network, name: str, what: str = "colour") -> np.ndarray:
    """One of COLOURS as (C,) float32 in [0, 1]; "mean" is that of the training pictures, which the network subtracts:
    black, where it subtracts none.

    Raises MinicnnError, which says `what` was to have it, for another name.
    """
    if name not in COLOURS:
        raise MinicnnError(f"{what} {name!r}{nearest(name, COLOURS)}")
    layer = next((layer for _, layer in net.layers() if isinstance(layer, Normalize)), None)
    if name != "mean" or layer is None:
        level = {"grey": 0.5, "black": 0.0, "white": 1.0, "mean": 0.0}[name]
        return np.full(net.input_shape[0], level, np.float32)
    mean = to_host(layer.mean.value / layer.scale.value)
    return (mean[::-1] if layer.bgr else mean).astype(np.float32)


def baseline_for(net: Network, image: Array, baseline: Baseline) -> Array:
    """x′ for `image` (1, C, H, W), of its shape and on its device: one of COLOURS or a number everywhere, or a picture.

    Raises MinicnnError where it is none of these, has another shape, or values that are not finite.
    """
    if isinstance(baseline, str):
        baseline = colour_named(net, baseline, "baseline")[:, None, None]  # (C, 1, 1)
    elif isinstance(baseline, Real) and not isinstance(baseline, bool):
        baseline = np.full((1, 1, 1), float(baseline))
    elif getattr(baseline, "shape", None) != image.shape:
        got = f"of shape {tuple(baseline.shape)}" if hasattr(baseline, "shape") else reprlib.repr(baseline)
        known = f"{', '.join(COLOURS)}, a number"
        raise MinicnnError(f"baseline {got}: expected {known} or a picture {tuple(image.shape)}; the default is black")
    xp = get_array_module(baseline)
    start = transfer(xp.ascontiguousarray(xp.broadcast_to(baseline, image.shape)), like=image)
    net.check_picture(start, "baseline")
    return start


def called(baseline: Baseline) -> str:
    """A baseline in the words of a legend: "black (x′)", or "x′" where it is a picture."""
    return f"{baseline} (x′)" if isinstance(baseline, str | Real) else "x′"


# The result -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a method found about one picture and one target.

    method: its name as people write it; image (C, H, W) in [0, 1]; map (H, W), `signed` or at least 0 everywhere;
    values (C, H, W): what the map was made of, or (1, H, W), the map itself; meaning: of its numbers, for the legend.
    Where the method promises completeness, change is F(x) − F(x′) and delta = Σ values − change.
    """

    method: str
    target: Target
    image: np.ndarray = field(repr=False)
    map: np.ndarray = field(repr=False)
    signed: bool
    values: np.ndarray = field(repr=False)
    meaning: str
    delta: float | None = None
    change: float | None = None

    def panels(self, caption: str) -> list[tuple[str, Image.Image]]:
        """The pictures of the figure, each with what stands beneath it."""
        picture, top = to_picture(self.image), top_value(self.map)
        rows, columns = self.seen()
        panels = [
            (caption, picture),
            (f"{self.method} for {self.target.name}", heatmap(self.map, signed=self.signed, top=top)),
        ]
        if self.map.any():
            panels.append(("over the picture", overlay(picture, self.map, signed=self.signed, top=top)))
        if self.map[rows, columns].size < self.map.size:
            near = heatmap(self.map[rows, columns], signed=self.signed, top=top)
            panels += [("close up", to_picture(self.image[:, rows, columns])), ("its map", near)]
        return panels

    def seen(self) -> tuple[slice, slice]:
        """The rows and columns where the map is not 0, if they are at most half of it both ways; otherwise all."""
        sides = [np.flatnonzero(self.map.any(axis=axis)) for axis in (1, 0)]
        if not all(
            side.size and np.ptp(side) < length // 2 for side, length in zip(sides, self.map.shape, strict=True)
        ):
            return slice(None), slice(None)
        return slice(int(sides[0][0]), int(sides[0][-1]) + 1), slice(int(sides[1][0]), int(sides[1][-1]) + 1)

    def legends(self) -> list[tuple[float, str, bool]]:
        """The colour bars of the figure: (top value, meaning, signed)."""
        return [(top_value(self.map), self.meaning + self.remark(), self.signed)]

    def remark(self) -> str:
        """What is to be said of the whole map, in words that go on from others."""
        return self.completeness() if self.map.any() else "; the map is 0 at every pixel"

    def completeness(self) -> str:
        """How well the values add up, in words; "" where the method promises nothing."""
        if self.delta is None or self.change is None:
            return ""
        share = f" ({per_cent(self.delta / self.change)})" if self.change else ""
        return f"; the values add up to F(x) − F(x′) = {self.change:.4g} but for {self.delta:.2g}{share}"

    def figure(self, caption: str = "the picture") -> Image.Image:
        """The picture, the map, the map over the picture, and a legend. The top 1 % of the map share one colour."""
        return with_legend(labelled_row(self.panels(caption)), *self.legends())

    def save(self, path: str | os.PathLike[str], caption: str = "the picture") -> Path:
        """Write the figure as a PNG."""
        save_png(path, self.figure(caption))
        return Path(path)

    def show(self) -> None:
        """Open the figure in the system's picture viewer."""
        self.figure().show()


def per_cent(share: float) -> str:
    """How large a share is, without its sign: "0.364 %"."""
    return f"{100 * abs(share):.3g} %" if abs(share) >= 1e-4 else "< 0.01 %"


def report(run: Run, net: Network, image: Array, result: Attribution, name: str, **values: Any) -> None:
    """The end of a command: the figure as `name`.png, the record, and a line that says what was found."""
    seen = describe(net, image)
    run.save(f"{name}.png", result.figure(f"seen as {seen}"))
    if result.delta is not None:
        values = {"delta": result.delta, "change": result.change, **values}
    run.finish(target=result.target.name, seen_as=seen, **values)
    print(f"seen as {seen}; {result.method} for {result.target.name} is in {run.path(f'{name}.png')}", end="")
    print(result.remark())
