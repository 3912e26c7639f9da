"""How good is a map? Four measures, none of which needs anybody to look at it.

    deletion, insertion   p(class) as the pixels go black, or come back into a blurred picture, the map's highest first;
                          the area under the curve: small for deletion, large for insertion (Petsiuk, Das, Saenko 2018)
    randomization         the map of the same network with weights drawn anew must be another one: Spearman's rank
                          correlation of |map| before and after, about 0 where a map depends on what was learned
                          (Adebayo et al. 2018)
    infidelity            hide some squares: does the map's sum over them tell how F(x) falls? (Yeh et al. 2019)
    max-sensitivity       the greatest change of the map, in parts of its size, for pictures that differ by less than
                          anybody sees (Yeh et al. 2019)

The first and the third take a map (H, W), so they compare methods of all kinds; the others call the method again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import MinicnnError, whole_number
from minicnn.image.blur import gaussian_blur
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import Layer
from minicnn.network import Network

from .attribution import Attribution, Goal, Progress, Target, batches, find_target, values_of
from .common import MEMORY, pictures_at_once, probabilities

Method = Callable[..., Attribution]  # method(net, image, target) -> Attribution


# Deletion and insertion -----------------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """share (S + 1,) of the pixels that are changed, from 0 to 1; value (S + 1,): p(class) then, or F of another unit;
    auc: the area under it, by the trapezoid rule."""

    share: np.ndarray
    value: np.ndarray
    auc: float


def deletion(
    net: Network,
    image: Array,
    map: np.ndarray,
    target: Goal = None,
    *,
    steps: int = 50,
    memory: int = MEMORY,
    progress: Progress = lambda done, total: None,
) -> Curve:
    """p(target) while the pixels of `image` (1, C, H, W) turn black, those with the highest `map` (H, W) first.

    Equal pixels go in their order in the picture. The pictures on the way run in batches whose activations take at
    most about `memory` bytes. Raises MinicnnError for a map of another size.

    Example: `deletion(net, image, saliency(net, image).map).auc`
    """
    goal = find_target(net, image, target)
    return exchanged(net, image, 0 * image, map, goal, steps, memory, progress)


def insertion(
    net: Network,
    image: Array,
    map: np.ndarray,
    target: Goal = None,
    *,
    steps: int = 50,
    sigma: float | None = None,
    memory: int = MEMORY,
    progress: Progress = lambda done, total: None,
) -> Curve:
    """p(target) while the pixels of `image` come back into a blurred copy of it, those with the highest `map` first.

    sigma: of the Gaussian blur, in pixels (default: a twentieth of the shorter side). Otherwise as `deletion`.
    """
    goal = find_target(net, image, target)
    blurred = gaussian_blur(image, min(image.shape[2:]) / 20 if sigma is None else sigma)
    return exchanged(net, blurred, image, map, goal, steps, memory, progress)


def exchanged(
    net: Network, start: Array, end: Array, map: np.ndarray, target: Target, steps: int, memory: int, progress: Progress
) -> Curve:
    """The curve while the pixels of `start` are exchanged for those of `end`, in equal steps."""
    if map.shape != tuple(start.shape[2:]):
        raise MinicnnError(f"expected a map of the picture's size {tuple(start.shape[2:])}, got {map.shape}")
    steps = whole_number("steps", steps, 1)
    xp = get_array_module(start)
    place = np.empty(map.size, np.int64)
    place[np.argsort(-map.ravel(), kind="stable")] = np.arange(map.size)
    places = xp.asarray(place.reshape(map.shape))  # of each pixel in the order
    counts = np.linspace(0, map.size, steps + 1).round().astype(np.int64)
    value = np.empty(len(counts))
    for some in batches(len(counts), pictures_at_once(net, start.shape[1:], memory)):
        gone = places < xp.asarray(counts[some])[:, None, None, None]  # (copies, 1, H, W)
        value[some] = answers(net, xp.where(gone, end, start), target, memory)
        progress(some.stop, len(counts))
    share = counts / map.size
    return Curve(share, value, float(((value[1:] + value[:-1]) / 2 * np.diff(share)).sum()))


def answers(net: Network, images: Array, target: Target, memory: int) -> np.ndarray:
    """p(class) (N,) of pictures (N, C, H, W), where the target is a class; F for a unit of another layer."""
    if target.layer == net.score_layer:
        return probabilities(net, images)[:, target.index[0]]
    return values_of(net, images, target, memory=memory)


# Randomization --------------------------------------------------------------------------------------------------------


UNUSUAL = 1_000_003  # added to the seed: networks are often built with the seeds 0, 1, …, whose weights come again


class Randomization(NamedTuple):
    """layers: those with weights, the last first; correlation (L,): of the map when the weights of the first 1, 2, … of
    them are drawn anew, with the map as it was. all: with every layer's weights anew."""

    layers: tuple[str, ...]
    correlation: np.ndarray
    all: float


def randomization(
    net: Network,
    method: Method,
    image: Array,
    target: Goal = None,
    *,
    cascade: bool = False,
    seed: int = 0,
    **options: Any,
) -> Randomization:
    """Adebayo's check: the rank correlation of |map| with that of the network when its weights are drawn anew.

    From the last layer to the first, one layer more each time (`cascade`), or all at once, which is one more call of
    `method(net, image, target, **options)`. The class or unit stays the same. The network itself is not changed.
    """
    goal = find_target(net, image, target)
    before = method(net, image, goal, **options).map
    layers = [path for path, layer in net.layers() if layer.own_parameters()][::-1]
    if not layers:
        raise MinicnnError(f"{net.name} has no weights that could be drawn anew")
    fresh, found = drawn_anew(net, seed), []
    for count in range(1, len(layers) + 1) if cascade else [len(layers)]:
        other = copy.deepcopy(net)  # with arrays of its own: kernels may keep what they made of the others
        for path in layers[:count]:
            take_over(other.layer(path), fresh.layer(path))
        found.append(rank_correlation(np.abs(before), np.abs(method(other, image, goal, **options).map)))
    return Randomization(tuple(layers) if cascade else ("all",), np.array(found), found[-1])


def drawn_anew(net: Network, seed: int = 0) -> Network:
    """A copy of a network that has learned nothing: all weights drawn, running averages as at the beginning."""
    fresh = copy.deepcopy(net).initialize(whole_number("seed", seed, 0) + UNUSUAL)
    for _, layer in fresh.layers():
        for name, buffer in layer.own_buffers().items():
            if name in ("running_mean", "running_var"):
                buffer.value[...] = float(name == "running_var")
    return fresh


def take_over(layer: Layer, fresh: Layer) -> None:
    """The weights of another layer, and its running averages."""
    for name, parameter in layer.own_parameters().items():
        parameter.value[...] = fresh.own_parameters()[name].value
    for name, buffer in layer.own_buffers().items():
        buffer.value[...] = fresh.own_buffers()[name].value


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of the ranks, equal values having their mean rank; 0 where either is constant."""
    a, b = (ranks(values.ravel()) - (values.size - 1) / 2 for values in (a, b))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value in their order, from 0; equal values share the mean of theirs."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count) - 1
    return (last - (count - 1) / 2)[group]


# Infidelity and sensitivity -------------------------------------------------------------------------------------------


class Infidelity(NamedTuple):
    """share: the part of the mean square of F(x) − F(x with squares hidden) that the map does not tell: 0 for a perfect
    map, 1 for one that tells nothing. value: the mean square of what it does not tell. scale: β."""

    share: float
    value: float
    scale: float


def infidelity(
    net: Network,
    image: Array,
    map: np.ndarray,
    target: Goal = None,
    *,
    count: int = 200,
    window: int | None = None,
    seed: int = 0,
    memory: int = MEMORY,
) -> Infidelity:
    """E[(β Σ map over the hidden pixels − (F(x) − F(x, hidden)))²], with squares hidden behind black (section 2.2).

    β is the best factor, so that maps of any unit compare. `count` pictures, each with a square of `window` pixels
    (default: a quarter of the shorter side) at a random place.
    """
    goal = find_target(net, image, target)
    height, width = image.shape[2:]
    window = max(1, min(height, width) // 4) if window is None else window
    window, count = whole_number("window", window, 1, min(height, width)), whole_number("count", count, 1)
    rng = np.random.default_rng(whole_number("seed", seed, 0))
    corners = zip(*(rng.integers(0, side - window + 1, count) for side in (height, width)), strict=True)
    kept = np.ones((count, 1, height, width), image.dtype)
    for square, (row, column) in zip(kept, corners, strict=True):
        square[:, row : row + window, column : column + window] = 0
    told = ((1 - kept[:, 0]) * map).sum(axis=(1, 2), dtype=np.float64)
    fall = np.full(count, values_of(net, image, goal)[0])
    for some in batches(count, pictures_at_once(net, image.shape[1:], memory)):
        fall[some] -= values_of(net, image * get_array_module(image).asarray(kept[some]), goal, memory=memory)
    size = float(told @ told)
    scale = float(told @ fall) / size if size else 0.0
    value, mean_square = float(((scale * told - fall) ** 2).mean()), float((fall**2).mean())
    return Infidelity(value / mean_square if mean_square else 0.0, value, scale)


def max_sensitivity(
    net: Network,
    method: Method,
    image: Array,
    target: Goal = None,
    *,
    radius: float = 0.02,
    count: int = 10,
    seed: int = 0,
    **options: Any,
) -> float:
    """max ‖map(x + r) − map(x)‖/‖map(x)‖ over `count` random r, each pixel of them up to `radius` (definition 3.1).

    Pixels are in [0, 1] and are not clipped. 0 where both are 0. The class or unit stays the same.
    """
    goal = find_target(net, image, target)
    count = whole_number("count", count, 1)
    rng, before = np.random.default_rng(whole_number("seed", seed, 0)), method(net, image, goal, **options).map
    changes = []
    for _ in range(count):
        noise = rng.uniform(-radius, radius, image.shape).astype(image.dtype)
        after = method(net, image + get_array_module(image).asarray(noise), goal, **options).map
        changes.append(float(np.linalg.norm(after - before)))
    size = float(np.linalg.norm(before))
    return max(changes) / size if size else (0.0 if not max(changes) else np.inf)
