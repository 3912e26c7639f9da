"""What a picture is to have in common with another one, or with the others of its batch.

The other picture is given by its activations at a layer, a (1, C, H, W) as `Network.activations` gives them, or by
their Gram matrix. A is the target, a the activation, F (C, M) its M places side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from ..kernels.threads import SLABS, share_out
from ..parameter import transfer
from .objectives import Activations, Gradients, Objective
from .registry import Example, register


def pattern(*shape: int) -> np.ndarray:
    """Some numbers, for the examples."""
    return np.cos(np.arange(np.prod(shape))).reshape(shape)


@dataclass(frozen=True, eq=False)
class OfLayer(Objective):
    """What the objectives share that compare a layer with something."""

    layer: str

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def mismatch(self, what: str, expected: object, got: object) -> MinicnnError:
        return MinicnnError(f"{type(self).__name__} of {self.layer}: {what} {got}: expected {expected}")


@register(
    Example(lambda: {"layer": "conv1", "target": pattern(1, 3, 4, 5)}, {"conv1": (2, 3, 4, 5)}),
    Example(lambda: {"layer": "fc1", "target": pattern(1, 5)}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True, eq=False)
class Features(OfLayer):
    """‖a − A‖²: the same activations at the same places (Mahendran & Vedaldi 2015; Gatys, Ecker, Bethge 2016, 2.1)."""

    target: Array = field(repr=False)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        if self.target.shape[1:] != a.shape[1:]:
            raise self.mismatch("target", f"(1, {', '.join(map(str, a.shape[1:]))})", self.target.shape)
        away = a - transfer(self.target, like=a)
        return (away * away).sum(), {self.layer: 2 * away}


PER = ("none", "places", "elements")


def gram(a: Array, *, per: str = "places", centred: bool = False, mask: Array | None = None) -> Array:
    """The Gram matrices G = F·Fᵀ/d (N, C, C) of activations (N, C, H, W): which channels are high together, wherever.

    Gatys, Ecker, Bethge 2015, "Texture synthesis using convolutional neural networks", section 3. per: "none", d = 1;
    "places", d = M; "elements", d = C·M. centred: of F minus its mean over the places, the covariance. mask (H, W):
    each place counts as often as it says, and M is their sum.
    """
    return sum_of_products(*_weighed(a, centred, mask)[:2]) / _divisor(a, per, mask)


def _divisor(a: Array, per: str, mask: Array | None) -> float | Array:
    places = a.shape[2] * a.shape[3] if mask is None else mask.sum()
    return 1 if per == "none" else places if per == "places" else places * a.shape[1]


def _weighed(a: Array, centred: bool, mask: Array | None) -> tuple[Array, Array]:
    """-> (Fᵀ (N, M, C), minus its mean where that is asked for; the same times the mask)."""
    xp = get_array_module(a)
    rows = xp.moveaxis(a, 1, 3).reshape(a.shape[0], -1, a.shape[1])  # no copy where the channels lie last
    weights = None if mask is None else transfer(mask, like=a).reshape(-1, 1)
    if centred:
        total = rows.shape[1] if weights is None else weights.sum()
        rows = rows - (rows if weights is None else weights * rows).sum(axis=1, keepdims=True) / total
    return rows, rows if weights is None else weights * rows


def sum_of_products(a: Array, b: Array) -> Array:
    """aᵀ·b (N, C, D) of (N, M, C) and (N, M, D), M the long side: in slabs, shared out to threads, always the same."""
    M = a.shape[1]
    width = -(-M // SLABS)
    parts = [slice(start, start + width) for start in range(0, M, width)]
    sums = share_out(lambda part: a[:, part].transpose(0, 2, 1) @ b[:, part], parts, a)
    return sum(sums[1:], sums[0])


MASKED = {"mask": pattern(4, 5) ** 2, "centred": True, "per": "elements"}


@register(
    *(
        Example(lambda options=options: {"layer": "conv1", "target": pattern(3, 3), **options}, {"conv1": (2, 3, 4, 5)})  # type: ignore[misc]
        for options in (
            {},
            {"per": "none"},
            {"per": "elements"},
            {"centred": True},
            {"mask": pattern(4, 5) ** 2},
            MASKED,
        )
    )
)
@dataclass(frozen=True, eq=False)
class Gram(OfLayer):
    """‖G − A‖² (Frobenius), G = F·Fᵀ/d and A (C, C) that of another picture, of any size: the same texture.

    `gram` explains the options and makes A; d stays out of A's gradient, so {layer: 4·(G − A)·F/d}.
    """

    target: Array = field(repr=False)
    per: str = "places"
    centred: bool = False
    mask: Array | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.per not in PER:
            raise MinicnnError(f"Gram: per {self.per!r}: expected {', '.join(PER)}")

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        C = a.shape[1]
        if a.ndim != 4 or self.target.shape[-2:] != (C, C):
            raise self.mismatch("Gram matrix", f"that of {C} channels at places (N, C, H, W)", self.target.shape)
        if self.mask is not None and self.mask.shape != a.shape[2:]:
            raise self.mismatch("mask", a.shape[2:], self.mask.shape)
        mask = None if self.mask is None else transfer(self.mask, like=a)
        rows, weighed = _weighed(a, self.centred, mask)
        divisor = _divisor(a, self.per, mask)
        away = sum_of_products(rows, weighed) / divisor - transfer(self.target, like=a).reshape(-1, C, C)
        both = away + away.transpose(0, 2, 1)  # A is symmetric as a rule, and need not be
        gradient = get_array_module(a).matmul(weighed, 2 / divisor * both)  # (N, M, C)
        N, _, H, W = a.shape
        return (away * away).sum(), {self.layer: gradient.reshape(N, H, W, C).transpose(0, 3, 1, 2)}


BLOCK = 1 << 22  # products of two places at once


@register(
    Example(lambda: {"layer": "conv1", "guide": pattern(1, 3, 3, 2)}, {"conv1": (2, 3, 4, 5)}),
    Example(lambda: {"layer": "fc1", "guide": pattern(1, 5)}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True, eq=False)
class Guide(OfLayer):
    """Σ over the places p of max_j ⟨a_p, y_j⟩: each place is to become more like that one of another picture's
    activations y (1, C, H′, W′) which it is most like already (Mordvintsev, Olah, Tyka 2015: {layer: y_argmax})."""

    guide: Array = field(repr=False)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        xp, C = get_array_module(a), a.shape[1]
        if self.guide.shape[1] != C:
            raise self.mismatch("guide", f"{C} channels", self.guide.shape)
        y = xp.moveaxis(transfer(self.guide, like=a), 1, -1).reshape(-1, C)  # (P, C)
        rows = xp.moveaxis(a, 1, -1).reshape(-1, C)
        height = max(1, BLOCK // len(y))
        best = [(rows[i : i + height] @ y.T).argmax(axis=1) for i in range(0, len(rows), height)]
        gradient = y[xp.concatenate(best)]
        value = (gradient * rows).sum()
        return value, {self.layer: xp.moveaxis(gradient.reshape(len(a), *a.shape[2:], C), -1, 1)}


@register(
    Example({"layer": "conv1"}, {"conv1": (3, 2, 4, 5)}),
    Example({"layer": "conv1"}, {"conv1": (2, 4, 3, 3)}),
)
@dataclass(frozen=True, eq=False)
class Diversity(OfLayer):
    """−Σ over the pairs of a batch of ⟨G_i, G_j⟩/(‖G_i‖·‖G_j‖): its pictures are to have different textures.

    Olah, Mordvintsev, Schubert 2017, "Feature visualization", section "Diversity". The one objective that compares the
    pictures of a batch.
    """

    together = True

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        if a.ndim != 4:
            raise self.mismatch("activation", "places (N, C, H, W)", tuple(a.shape))
        xp = get_array_module(a)
        N, C, H, W = a.shape
        rows, _ = _weighed(a, False, None)
        G = sum_of_products(rows, rows).reshape(N, -1)
        size = xp.sqrt((G * G).sum(axis=1, keepdims=True)) + 1e-12
        unit = G / size
        others = unit.sum(axis=0) - unit  # for each picture the sum of all the others
        like = (unit * others).sum(axis=1, keepdims=True)
        dG = (unit * like - others) / size
        gradient = xp.matmul(rows, 2 * dG.reshape(N, C, C))
        return -like.sum() / 2, {self.layer: gradient.reshape(N, H, W, C).transpose(0, 3, 1, 2)}
