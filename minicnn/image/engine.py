"""The engine: weights fixed, the picture is what is learned.

    repeat:  y = transforms(picture)  →  activations  →  objective  →  {layer: gradient}  →  gradient at the picture
             →  gradient at the variables  →  the optimizer moves them uphill  →  projections

Everything that is made by optimization is five choices of it: parametrization, objective, transforms, projections,
optimizer. Parameter gradients are never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import MinicnnError
from ..kernels import frozen_weights
from ..kernels.backend import Array, get_array_module
from ..layers import evaluating
from ..layers.layer import add_gradients
from ..network import INPUT, Network
from ..schedules import Clock
from .objectives import SCORES, Objective, Terms, evaluate_terms
from .optimizers import Optimizer, number
from .parametrizations import Parametrization
from .projections import Projection
from .transforms import Transform


class Step(NamedTuple):
    """What a callback sees after a step.

    step: 1 … steps. image (N, C, H, W): the picture now. terms: (name, weight · value) of each term of the objective,
    before the step, 0-dimensional arrays on the device; `text()` reads them, which makes a GPU wait.
    """

    step: int
    steps: int
    image: Array
    terms: list[tuple[str, Array]]

    def text(self) -> str:
        """The terms as people read them: "LogProbability −0.012, L2 −0.0034"."""
        return ", ".join(f"{name} {number(value):.4g}" for name, value in self.terms)


class Result(NamedTuple):
    """Where a run ended: the picture (N, C, H, W), after how many steps, and the optimizer's state."""

    image: Array
    steps: int
    state: Any


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `result` is the last whole state."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


class NotFinite(MinicnnError):
    """The gradient was not finite; `result` is the last good state."""

    def __init__(self, text: str, result: Result) -> None:
        super().__init__(text)
        self.result = result


Callback = Callable[[Step], bool | None]


@np.errstate(over="ignore", invalid="ignore")  # a gradient that is not finite is found, and its source named
def optimize(
    net: Network,
    objective: Objective,
    parametrization: Parametrization,
    *,
    optimizer: Optimizer,
    steps: int,
    transforms: Sequence[Transform] = (),
    projections: Sequence[Projection] = (),
    callbacks: Sequence[Callback] = (),
    seed: int = 0,
    maximize: bool = True,
    state: Any = None,
) -> Result:
    """Move the picture uphill for `steps` steps, or until a callback returns True.

    The network is in evaluation mode meanwhile, and its weights must not change. `seed` draws the transforms; `state`
    is what an earlier run's optimizer left. `maximize=False` goes downhill. Ctrl-C raises Interrupted, which is a
    KeyboardInterrupt; a gradient that is not finite raises NotFinite, a MinicnnError that names the step, the term and
    the layer. Both carry the last whole result, and `parametrization` holds it.
    """
    if steps < 1:
        raise MinicnnError(f"{steps} steps: expected 1 or more")
    generator = np.random.default_rng(seed)
    climb = Climb(net, (objective if maximize else -objective).terms(), parametrization)
    result = Result(parametrization.image(), 0, state)
    try:
        with evaluating(net), frozen_weights():
            for step in range(1, steps + 1):
                climb.begin(result, [transform.sample(generator) for transform in transforms])
                value, state = optimizer.step(parametrization.value, climb, state, Clock(step - 1, steps, steps))
                for projection in projections:
                    if projection.due(step, steps):
                        value = projection.project(value, climb.start.gradient)
                parametrization.value = value
                result = Result(parametrization.image(), step, state)
                report = Step(step, steps, result.image, [(n, v if maximize else -v) for n, v in climb.start.terms])
                if True in [callback(report) for callback in callbacks]:
                    break
    except KeyboardInterrupt:
        raise Interrupted(result) from None
    finally:
        net.forget()
    return result


class Place(NamedTuple):
    """The objective at some variables: the variables, its terms (name, weight · value), the gradient at them."""

    value: Array
    terms: list[tuple[str, Array]]
    gradient: Array


class Climb:
    """The objective as a function of the variables, which is what an optimizer is given.

    What is known of the place where a step starts is not computed again: a line search ends where the next one begins.
    """

    def __init__(self, net: Network, terms: Terms, parametrization: Parametrization) -> None:
        self.net, self.terms, self.parametrization = net, terms, parametrization
        self.transforms: list[Transform] = []
        self.places: list[Place] = []  # of this step, its start the first

    @property
    def start(self) -> Place:
        return self.places[0]

    def begin(self, result: Result, transforms: list[Transform]) -> None:
        """The next step, which goes on from `result` and sees pictures through these transforms."""
        here, same = self.parametrization.value, transforms == self.transforms
        self.result, self.transforms = result, transforms
        self.places = [place for place in self.places if same and place.value is here]

    def __call__(self, value: Array) -> tuple[Array, Array]:
        """-> (the objective at these variables, its gradient at them).

        Raises NotFinite at the start of a step; of what lies further off an optimizer can keep away.
        """
        place = next((place for place in self.places if place.value is value), None)
        if place is None:
            place = self._evaluated(value)
            self.places.append(place)
        (_, first), *rest = place.terms
        return sum((number for _, number in rest), first), place.gradient

    def _evaluated(self, value: Array) -> Place:
        before, self.parametrization.value = self.parametrization.value, value
        try:
            image = self.parametrization.image()
            terms, d_image = evaluate(self.net, self.terms, image, self.transforms)
            if not self.places and not is_finite(d_image):
                why = diagnosis(self.net, self.terms, image, self.transforms)
                raise NotFinite(f"step {self.result.steps + 1}: {why}", self.result)
            return Place(value, terms, self.parametrization.pullback(d_image))
        finally:
            self.parametrization.value = before


def evaluate(
    net: Network, terms: Terms, x: Array, transforms: Sequence[Transform] = ()
) -> tuple[list[tuple[str, Array]], Array]:
    """-> ((name, weight · value) of each term, the gradient of their sum at the picture x (N, C, H, W)).

    The network sees x through the transforms; the layer "input" is x itself.
    """
    found, shapes = activations(net, terms, x, transforms)
    values, gradients = evaluate_terms(terms, found)
    named = [(type(term).__name__, value) for (_, term), value in zip(terms, values, strict=True)]
    return named, gradient_at_picture(net, gradients, x, transforms, shapes)


def activations(
    net: Network, terms: Terms, x: Array, transforms: Sequence[Transform]
) -> tuple[dict[str, Array], list[tuple[int, ...]]]:
    """-> ({layer: activation} of all that the terms read, the shape of what each transform got)."""
    paths = {layer: path_of(net, layer) for _, term in terms for layer in term.layers if layer != INPUT}
    shapes, y = [], x
    for transform in transforms if paths else ():
        shapes.append(tuple(y.shape))
        y = transform.apply(y)
    found = net.activations(y, paths.values(), remember="input") if paths else {}
    return {layer: found[path] for layer, path in paths.items()} | {INPUT: x}, shapes


def gradient_at_picture(
    net: Network,
    gradients: dict[str, Array],
    x: Array,
    transforms: Sequence[Transform],
    shapes: list[tuple[int, ...]],
) -> Array:
    """The gradients at the layers, sent back through the network and the transforms, plus that at the picture."""
    inside: dict[str, Array] = {}
    for layer, gradient in gradients.items():
        if layer != INPUT:
            path = path_of(net, layer)
            inside[path] = add_gradients(inside.get(path), gradient)
    dx = gradients.get(INPUT)
    if inside:
        dy = net.input_gradient(inside)  # the one line where gradients enter the network
        for transform, shape in zip(reversed(transforms), reversed(shapes), strict=True):
            dy = transform.adjoint(dy, shape)
        dx = add_gradients(dx, dy)
    return get_array_module(x).zeros_like(x) if dx is None else dx


def diagnosis(net: Network, terms: Terms, x: Array, transforms: Sequence[Transform]) -> str:
    """Where the first value that is not finite comes from."""
    found, shapes = activations(net, terms, x, transforms)
    for layer in sorted(found, key=lambda layer: layer != INPUT):
        if not is_finite(found[layer]):
            what = "the picture holds" if layer == INPUT else f"the activation of {path_of(net, layer)} holds"
            return f"{what} values that are not finite"
    for weight, term in terms:
        for layer, gradient in evaluate_terms(((weight, term),), found)[1].items():
            if not is_finite(gradient):
                return f"the gradient of {term} at {path_of(net, layer)} is not finite"
            if not is_finite(gradient_at_picture(net, {layer: gradient}, x, transforms, shapes)):
                return f"the gradient of {term}, finite at {path_of(net, layer)}, is not finite at the picture"
    return f"the sum of the gradients of {', '.join(str(term) for _, term in terms)} is not finite"


def path_of(net: Network, layer: str) -> str:
    """A layer's path; that of the score layer for "scores"."""
    return net.score_layer if layer == SCORES else layer


def is_finite(a: Array) -> bool:
    """Whether every value is; makes a GPU wait."""
    return bool(number(get_array_module(a).isfinite(a).all()))
