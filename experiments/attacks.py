"""Adversarial pictures: changes so small that a person sees none, and the network sees another class.

With x the pictures, y the classes that they are to lose, and J(x, y) = −log p_y the cross-entropy, whose gradient at
the scores is p − e_y:

    FGSM      x + ε·sign ∇J(x, y)                            (Goodfellow, Shlens, Szegedy 2015, section 4)
    BIM       the same in several small steps, none of which leaves the ball of radius ε
                                                             (Kurakin, Goodfellow, Bengio 2017, section 2.2)
    PGD       the same from a random place in the ball       (Madry, Makelov, Schmidt, Tsipras, Vladu 2018, section 2.1)
    DeepFool  over the nearest of the borders between the classes, as they would run if the network were linear
                                                             (Moosavi-Dezfooli, Fawzi, Frossard 2016, algorithm 2)

The first three are choices of the engine: pixels, J, no transforms, ball and valid pixels as projections, steps along
the gradient's sign. `targeted`, they go downhill instead, towards the classes y. Everything is in pixels of [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from inspect import signature
from math import prod
from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.errors import MinicnnError, nearest, whole_number
from minicnn.image import (
    Ball,
    Callback,
    GradientAscent,
    Interrupted,
    Objective,
    Pixels,
    Result,
    Step,
    ValidPixels,
    optimize,
)
from minicnn.image.objectives import Activations, Gradients, class_scores
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import evaluating
from minicnn.network import Network
from minicnn.parameter import to_host, transfer

Classes = int | str | Sequence[int] | Array  # one of each picture (N,), or one for all

DIRECTIONS = {"linf": "sign", "l2": "l2"}  # the norm of a ball -> the direction of a step within it
BEYOND = 1e-4  # ‖·‖₂ that DeepFool goes past a border, where a share of the way there would be lost in rounding


@dataclass(frozen=True, eq=False)
class CrossEntropy(Objective):
    """J = Σ −log p_y over the pictures, each with its own class y: the gradient is p − e_y at `layer`, the scores."""

    labels: Array  # (N,) integers, on the device
    layer: str

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        mean, cache = kernels.softmax_cross_entropy_forward(class_scores(a, 0), self.labels)
        gradient = kernels.softmax_cross_entropy_backward(len(a), cache)
        return len(a) * mean, {self.layer: gradient.reshape(a.shape)}


def fgsm(
    net: Network,
    images: Array,
    labels: Classes,
    epsilon: float,
    *,
    norm: str = "linf",
    targeted: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """The fast gradient sign method: x + ε·sign ∇J(x, y), cut to [0, 1]; with the norm "l2" x + ε·∇J/‖∇J‖₂.

    images (N, C, H, W) in [0, 1]; labels: a class for each, number or name, or one for all. `targeted`: x − …, towards
    the labels in place of away from them. Returns pictures of the same shape, dtype and device. Raises MinicnnError for
    classes, pictures or an epsilon that make no sense.

    Example: `fgsm(net, images, labels, 0.25)`
    """
    ball = ball_around(images, epsilon, norm)
    return climb(net, images, labels, ball, steps=1, step=1, targeted=targeted, callbacks=callbacks)


def bim(
    net: Network,
    images: Array,
    labels: Classes,
    epsilon: float,
    *,
    norm: str = "linf",
    steps: int = 10,
    step: float = 0.2,
    targeted: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """The basic iterative method: `steps` steps of FGSM, each of the length step·ε and back into the ball of radius ε.

    The rest is as in `fgsm`. Ctrl-C raises `minicnn.image.Interrupted`, which holds the last whole pictures.

    Example: `bim(net, images, labels, 8 / 255)`
    """
    ball = ball_around(images, epsilon, norm)
    return climb(net, images, labels, ball, steps=steps, step=step, targeted=targeted, callbacks=callbacks)


def pgd(
    net: Network,
    images: Array,
    labels: Classes,
    epsilon: float,
    *,
    norm: str = "linf",
    steps: int = 50,
    step: float = 0.025,
    targeted: bool = False,
    seed: int | Sequence[int] = 0,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """Projected gradient descent: BIM from a place drawn uniformly in the ball. The rest is as in `bim`.

    Example: `pgd(net, images, labels, 0.5, norm="l2")`
    """
    ball = ball_around(images, epsilon, norm)
    start = images + transfer(random_in_ball(images.shape, ball, np.random.default_rng(seed)), like=images)
    start = get_array_module(start).clip(start, 0, 1)
    return climb(net, start, labels, ball, steps=steps, step=step, targeted=targeted, callbacks=callbacks)


WITHIN: dict[str, Callable[..., Array]] = {"fgsm": fgsm, "bim": bim, "pgd": pgd}  # a ball of radius epsilon


def settings_within(method: str) -> dict[str, Any]:
    """The settings of a method of WITHIN, as far as they are its own: norm, steps, step."""
    parameters = signature(WITHIN[method]).parameters
    return {name: parameters[name].default for name in ("norm", "steps", "step") if name in parameters}


def climb(
    net: Network,
    start: Array,
    labels: Classes,
    ball: Ball,
    *,
    steps: int,
    step: float,
    targeted: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """What FGSM, BIM and PGD share: steps along the gradient of J, each `step` times as long as the ball's radius."""
    return optimize(
        net,
        CrossEntropy(checked_labels(net, start, labels), net.prediction_layer),
        Pixels(start),
        projections=[ball, ValidPixels()],
        optimizer=GradientAscent(step * ball.radius, DIRECTIONS[ball.norm]),
        steps=steps,
        callbacks=callbacks,
        maximize=not targeted,
    ).image


def ball_around(images: Array, epsilon: float, norm: str) -> Ball:
    """The ball of radius ε around the pictures. Raises MinicnnError where there is none."""
    if not 0 < epsilon < np.inf:
        raise MinicnnError(f"epsilon {epsilon}: expected more than 0, in pixels of [0, 1]")
    return Ball(images, float(epsilon), norm)


def radius(epsilon: str | float | None, norm: str, shape: tuple[int, ...]) -> float:
    """ε for pictures (C, H, W), in pixels of [0, 1]: a number, or a text like "8/255".

    None: for grey pictures 1/4, for colour ones 8/255, or 2/255 beyond 64×64, where more pixels share in a change; of
    the norm "l2" the length of half of that everywhere. Raises MinicnnError for what is no such radius.
    """
    if norm not in DIRECTIONS:
        raise MinicnnError(f"norm {norm!r}{nearest(norm, DIRECTIONS)}")
    most = prod(shape) ** 0.5 if norm == "l2" else 1.0
    if epsilon is None:
        usual = 0.25 if shape[0] == 1 else 2 / 255 if prod(shape[1:]) > 64 * 64 else 8 / 255
        return usual if norm == "linf" else usual / 2 * most
    try:
        value = float(Fraction(str(epsilon)))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = 0.0
    if not 0 < value <= most:
        raise MinicnnError(f"epsilon {epsilon}: expected more than 0 to {most:.4g}, pixels in [0, 1]: 0.03, or 8/255")
    return value


def checked_labels(net: Network, images: Array, labels: Classes) -> Array:
    """The class of each picture (N,), on their device. Raises MinicnnError for others than the network has."""
    get_array_module(images)
    if isinstance(labels, int | str):
        labels = np.full(len(images), net.class_index(labels))
    on_host = to_host(labels) if hasattr(labels, "dtype") else np.asarray(labels)
    if on_host.shape != (len(images),) or on_host.dtype.kind not in "iu":
        raise MinicnnError(f"expected {len(images)} classes, whole numbers, got {on_host.shape} {on_host.dtype}")
    count = net.output_shape(net.input_shape)[0]
    for label in (on_host.min(), on_host.max()):
        if not 0 <= label < count:
            raise MinicnnError(f"class {label}: expected 0 to {count - 1}")
    return get_array_module(images).asarray(on_host)


def random_in_ball(shape: tuple[int, ...], ball: Ball, generator: np.random.Generator) -> np.ndarray:
    """Uniform in the ball of each picture (N, …), float64 on the host: a direction, and a radius by the volume."""
    if ball.norm == "linf":
        return generator.uniform(-ball.radius, ball.radius, shape)
    direction = generator.standard_normal(shape).reshape(shape[0], -1)
    radius = generator.uniform(0, 1, (shape[0], 1)) ** (1 / prod(shape[1:]))
    return (ball.radius * radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)).reshape(shape)


def deepfool(
    net: Network,
    images: Array,
    *,
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """The smallest change ‖r‖₂, nearly, after which the network does not see the class that it sees in each picture.

    With f the scores, k₀ the class seen at first, and w_k = ∇f_k − ∇f_k₀, as long as k₀ is seen:

        l = argmin over k of |f_k − f_k₀| / ‖w_k‖₂,    r += |f_l − f_k₀| / ‖w_l‖₂² · w_l,    x = x₀ + (1 + overshoot)·r

    over the `candidates` classes most probable at first: a forward pass and candidates − 1 passes back each of at most
    `steps` steps. images (N, C, H, W) in [0, 1], which x never leaves -> pictures of the same shape, dtype and device;
    one from which k₀ did not vanish is where it came to. Ctrl-C raises `minicnn.image.Interrupted`, which holds the
    last whole pictures.

    Example: `deepfool(net, images)`
    """
    steps = whole_number("deepfool: steps", steps, 1)
    candidates = whole_number("deepfool: candidates", candidates, 2)
    if not 0 <= overshoot < np.inf:
        raise MinicnnError(f"deepfool: overshoot {overshoot}: expected 0 or more")
    xp, x, r = get_array_module(images), images, get_array_module(images).zeros_like(images)
    classes = np.argsort(-to_host(net.scores(images)), axis=1, kind="stable")[:, :candidates]
    going, step = np.arange(len(images)), 0  # the pictures in which k₀ is still seen
    try:
        with evaluating(net), kernels.frozen_weights():
            for step in range(1, steps + 1):
                here = xp.asarray(going)
                more, kept = over_nearest_border(net, x[here], classes[going])
                going = going[to_host(kept)]
                if not len(going):
                    break
                r, x = r.copy(), x.copy()
                r[here] += more
                x[here] = xp.clip(images[here] + (1 + overshoot) * r[here], 0, 1)
                report = Step(step, steps, x, [])
                if True in [callback(report) for callback in callbacks]:
                    break
    except KeyboardInterrupt:
        raise Interrupted(Result(x, max(0, step - 1), None)) from None
    finally:
        net.forget()
    return x


def over_nearest_border(net: Network, x: Array, classes: np.ndarray) -> tuple[Array, Array]:
    """-> (the step of each picture (n, C, H, W) over the nearest border of its first class; whether that is seen).

    classes (n, K): the first, and those that it borders on. The step is 0 where the first is seen no more.
    """
    xp, rows, layer = get_array_module(x), np.arange(len(x)), net.prediction_layer
    a = net.activations(x, [layer], remember="input")[layer]
    f = to_host(a).reshape(len(a), -1)  # (n, classes of the network)
    seen = f.argmax(axis=1) == classes[:, 0]
    best, r = np.full(len(x), np.inf), xp.zeros_like(x)
    for k in range(1, classes.shape[1] if seen.any() else 1):
        dy = np.zeros_like(f)
        dy[rows, classes[:, k]], dy[rows, classes[:, 0]] = 1, -1
        w = net.input_gradient({layer: transfer(dy.reshape(a.shape), like=x)})
        length = np.sqrt(to_host((w * w).sum(axis=(1, 2, 3))))
        flat = length == 0  # no way leads there
        distance = abs(f[rows, classes[:, k]] - f[rows, classes[:, 0]]) / np.where(flat, 1, length)
        nearer = seen & ~flat & (distance < best)
        best = np.where(nearer, distance, best)
        factor = transfer((distance + BEYOND) / np.where(flat, 1, length), like=x)
        r = xp.where(xp.asarray(nearer)[:, None, None, None], factor[:, None, None, None] * w, r)
    return r, xp.asarray(seen)
