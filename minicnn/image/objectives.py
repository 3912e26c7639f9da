"""What a picture is to become: an objective reads some activations and gives a number and {layer: gradient}.

Objectives add up and scale: `LogProbability(3) - 1e-4 * L2() - 0.01 * TotalVariation()`. Two names are no layers:
"input" is the picture itself, so a regularizer is an objective too, and "scores" stands for the network's class scores
before softmax, whatever it calls them. A batch holds pictures that know nothing of each other: the number is the sum
over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from .. import kernels
from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from ..layers.layer import add_gradients
from ..parameter import transfer
from .registry import Example, register

SCORES = "scores"

Activations = Mapping[str, Array]
Gradients = dict[str, Array]
Terms = tuple[tuple[float, "Objective"], ...]  # (weight, objective)


class Objective:
    """Base of all objectives. A new one writes `layers` and `evaluate`."""

    together = False  # whether it compares the pictures of a batch with each other

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that it reads."""
        raise TypeError(f"{type(self).__name__} does not say which layers it reads")

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        """-> (the number, 0-dimensional and on the device of the activations; its gradient at each layer)."""
        raise TypeError(f"{type(self).__name__} does not say what it is")

    def terms(self) -> Terms:
        """(weight, objective) of everything that is added up here."""
        return ((1.0, self),)

    def __add__(self, other: Any) -> Objective:
        return Sum(self.terms() + other.terms()) if isinstance(other, Objective) else NotImplemented

    def __radd__(self, other: Any) -> Objective:
        return self if other == 0 else NotImplemented  # sum([…]) begins with 0

    def __mul__(self, factor: Any) -> Objective:
        if not isinstance(factor, Real):
            return NotImplemented
        return Sum(tuple((float(factor) * weight, term) for weight, term in self.terms()))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1

    def __sub__(self, other: Any) -> Objective:
        return self + -other if isinstance(other, Objective) else NotImplemented


@register(
    Example(
        lambda: {"weighted": ((2.0, Channel("conv1", 1)), (-0.5, Unit("relu1", 0)))},
        {"conv1": (2, 3, 4, 5), "relu1": (2, 4, 3, 2)},
    ),
    Example(lambda: {"weighted": (2 * Amplify("fc1") - Unit("fc1", 3)).terms()}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True)
class Sum(Objective):
    """Σ weight · objective, what `+`, `-` and `*` make."""

    weighted: Terms

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for _, term in self.weighted for layer in term.layers))

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        values, gradients = evaluate_terms(self.weighted, activations)
        return sum(values[1:], values[0]), gradients

    def terms(self) -> Terms:
        return self.weighted


def evaluate_terms(terms: Terms, activations: Activations) -> tuple[list[Array], Gradients]:
    """-> (weight · value of each term, the gradient of their sum at each layer)."""
    values, gradients = [], Gradients()
    for weight, term in terms:
        value, found = term.evaluate(activations)
        values.append(weight * value)
        for layer, gradient in found.items():
            gradients[layer] = add_gradients(gradients.get(layer), weight * gradient)
    return values, gradients


@dataclass(frozen=True)
class OfOneClass(Objective):
    """What the objectives share that read the scores for the sake of one class."""

    target: int

    @property
    def layers(self) -> tuple[str, ...]:
        return (SCORES,)


@register(Example({"target": 2}, {SCORES: (2, 4)}), Example({"target": 0}, {SCORES: (2, 3, 1, 1)}))
@dataclass(frozen=True)
class ClassScore(OfOneClass):
    """The score S_t of a class before softmax (Simonyan et al. 2013, section 2): the gradient is e_t."""

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[SCORES]
        scores = class_scores(a, self.target)  # (N, K)
        gradient = get_array_module(a).zeros_like(scores)
        gradient[:, self.target] = 1
        return scores[:, self.target].sum(), {SCORES: gradient.reshape(a.shape)}


@register(Example({"target": 2}, {SCORES: (2, 4)}), Example({"target": 0}, {SCORES: (2, 3, 1, 1)}))
@dataclass(frozen=True)
class LogProbability(OfOneClass):
    """log p_t, the log of a class's probability after softmax: the gradient is e_t − p."""

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[SCORES]
        scores = class_scores(a, self.target)  # (N, K)
        targets = get_array_module(a).full(len(scores), self.target)
        loss, cache = kernels.softmax_cross_entropy_forward(scores, targets)  # minus the mean over the batch
        gradient = kernels.softmax_cross_entropy_backward(-len(scores), cache)
        return -len(scores) * loss, {SCORES: gradient.reshape(a.shape)}


def class_scores(a: Array, target: int) -> Array:
    """Scores (N, K) or (N, K, 1, 1) as (N, K). Raises MinicnnError when they have places, or no class `target`."""
    if a.size != a.shape[0] * a.shape[1]:
        raise MinicnnError(f"expected one score a class (N, K), got {tuple(a.shape)}: the picture is too large")
    if not 0 <= target < a.shape[1]:
        raise MinicnnError(f"class {target}: expected 0 to {a.shape[1] - 1}")
    return a.reshape(a.shape[:2])


@register(
    Example({"layer": "conv1", "channel": 1}, {"conv1": (2, 3, 4, 5)}),
    Example({"layer": "conv1", "channel": 2, "position": (3, 0)}, {"conv1": (2, 3, 4, 5)}),
    Example({"layer": "fc1", "channel": 4}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True)
class Unit(Objective):
    """One unit: channel `channel` of a layer at `position` (row, column), the middle unless given."""

    layer: str
    channel: int
    position: tuple[int, int] | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        middle = tuple(side // 2 for side in a.shape[2:])
        place = middle if self.position is None else checked_position(self.layer, self.position, a)
        where = (slice(None), checked_channel(self.layer, self.channel, a), *place)
        gradient = get_array_module(a).zeros_like(a)
        gradient[where] = 1
        return a[where].sum(), {self.layer: gradient}


@register(
    Example({"layer": "conv1", "channel": 1}, {"conv1": (2, 3, 4, 5)}),
    Example({"layer": "fc1", "channel": 4}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True)
class Channel(Objective):
    """The mean of channel `channel` of a layer over all its places."""

    layer: str
    channel: int

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        channel = checked_channel(self.layer, self.channel, a)
        places = a.size // (a.shape[0] * a.shape[1])
        gradient = get_array_module(a).zeros_like(a)
        gradient[:, channel] = 1 / places
        return a[:, channel].sum() / places, {self.layer: gradient}


@register(
    Example(lambda: {"layer": "conv1", "direction": np.array([0.5, -1.0, 2.0])}, {"conv1": (2, 3, 4, 5)}),
    Example(lambda: {"layer": "fc1", "direction": np.arange(5.0)}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True, eq=False)
class Direction(Objective):
    """The mean over the places of a layer of ⟨a, v⟩/‖v‖: how far its channels go in the direction v (C,)."""

    layer: str
    direction: Array = field(repr=False)

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        if self.direction.shape != a.shape[1:2]:
            raise MinicnnError(f"{self.layer}: direction {self.direction.shape}: expected ({a.shape[1]},)")
        xp, v = get_array_module(a), transfer(self.direction, like=a)
        each = v / xp.sqrt((v * v).sum()) / (a.size // (a.shape[0] * a.shape[1]))
        gradient = xp.zeros_like(a) + each.reshape((-1,) + (1,) * (a.ndim - 2))
        return (a * gradient).sum(), {self.layer: gradient}


@register(
    Example({"layer": "conv1"}, {"conv1": (2, 3, 4, 5)}),
    Example({"layer": "conv1", "channel": 1}, {"conv1": (2, 3, 4, 5)}),
    Example({"layer": "conv1", "channel": 2, "position": (3, 0)}, {"conv1": (2, 3, 4, 5)}),
    Example({"layer": "fc1", "channel": 4}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True)
class Amplify(Objective):
    """½‖a‖² of a layer, of one channel of it or of one unit: more of what is there already, since the gradient is a.

    Mordvintsev, Olah, Tyka 2015 (DeepDream). position: (row, column).
    """

    layer: str
    channel: int | None = None
    position: tuple[int, int] | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        where: tuple[Any, ...] = (slice(None),)
        if self.channel is not None:
            where += (checked_channel(self.layer, self.channel, a),)
        elif self.position is not None:
            where += (slice(None),)
        if self.position is not None:
            where += checked_position(self.layer, self.position, a)
        gradient = get_array_module(a).zeros_like(a)
        gradient[where] = a[where]
        return (a[where] * a[where]).sum() / 2, {self.layer: gradient}


def checked_channel(layer: str, channel: int, a: Array) -> int:
    """The channel, or MinicnnError when the activation (N, C, …) has none of this number."""
    if not 0 <= channel < a.shape[1]:
        raise MinicnnError(f"{layer}: unit {channel}: expected 0 to {a.shape[1] - 1}")
    return channel


def checked_position(layer: str, position: tuple[int, int], a: Array) -> tuple[int, ...]:
    """The position, or MinicnnError when the activation (N, C, …) has no such place."""
    sides = a.shape[2:]
    if len(position) != len(sides) or not all(0 <= i < n for i, n in zip(position, sides, strict=True)):
        places = f"rows and columns within {tuple(sides)}" if sides else "none, the layer has no places"
        raise MinicnnError(f"{layer}: position {position}: expected {places}")
    return position


def per_channel(values: float | tuple[float, ...], like: Array) -> Array | float:
    """A number as it is; one number a channel as an array (C, 1, …) that broadcasts against `like` (N, C, …)."""
    if not isinstance(values, tuple):
        return float(values)
    if len(values) != like.shape[1]:
        raise MinicnnError(f"{len(values)} values for {like.shape[1]} channels: {values}")
    xp = get_array_module(like)
    return xp.asarray(values, dtype=like.dtype).reshape((-1,) + (1,) * (like.ndim - 2))
