"""Which kernel computes what: two tables, read from above; the first rule that holds decides.

The first table chooses the family for an operation on an array, the second the way in which the native family computes
a convolution. `minicnn doctor` prints the first one's decision for this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .geometry import Pair

MOST_ELEMENTS = 1 << 31


class FamilyRule(NamedTuple):
    """The family that computes, where `holds(array)`; and why."""

    family: str
    holds: Callable[[Any], bool]
    why: str


FAMILY_RULES = (
    FamilyRule("array", lambda a: type(a) is not np.ndarray, "native kernels are for processors: not for devices"),
    FamilyRule("array", lambda a: a.dtype != np.float32, "native kernels compute in float32"),
    FamilyRule("array", lambda a: a.size >= MOST_ELEMENTS, "what nobody has tested stays with NumPy"),
    FamilyRule("native", lambda a: True, "compiled for this processor"),
)


class Window(NamedTuple):
    """A convolution as the native kernels see it: one group's channels and filters."""

    images: int
    channels: int
    filters: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    output: Pair
    lanes: int  # floats in a vector of this processor


class ConvRule(NamedTuple):
    """The kernel of a convolution, where `holds(window)`; and why."""

    kernel: str
    holds: Callable[[Window], bool]
    why: str


def whole_blocks(window: Window) -> bool:
    """Whether channels and filters are whole blocks: of two vectors, or of one where they are few (conv.h)."""
    return all(
        number % (2 * window.lanes) == 0 or (number % window.lanes == 0 and number <= 4 * window.lanes)
        for number in (window.channels, window.filters)
    )


POINTS = ConvRule(
    "points",
    lambda c: prod(c.output) <= 4 and c.images >= 8,
    "most taps of most windows read the border: one matrix product of the whole batch an output pixel",
)
WIDE = (  # filters in whole vectors
    ConvRule(
        "winograd",
        lambda c: (
            c.kernel in ((3, 3), (5, 5)) and c.stride == c.dilation == (1, 1) and whole_blocks(c) and min(c.output) > 2
        ),
        "a quarter of the multiplications, or 36 % with 5×5 taps; on smaller maps most of a tile would be wasted",
    ),
    ConvRule("direct", lambda c: True, "any window, no columns in memory"),
)
CONV_RULES = (
    POINTS,
    ConvRule(
        "pictures",
        lambda c: 2 * c.filters <= c.lanes and max(c.output) <= 2 * c.lanes and c.images >= 2 * c.lanes,
        "vectors of filters would be mostly empty, and vectors of pixels partly: vectors of pictures",
    ),
    ConvRule(
        "narrow",
        lambda c: 2 * c.filters <= c.lanes and c.stride[1] == 1 and c.output[1] > 4,
        "vectors of filters would be mostly empty: vectors of pixels instead",
    ),
    *WIDE,
)
GRADIENT_RULES = (
    POINTS,
    ConvRule(
        "narrow",
        lambda c: 2 * c.filters <= c.lanes and c.dilation[1] == 1,
        "vectors of filters would be mostly empty: vectors of taps instead",
    ),
    *WIDE,
)


def choose_family(array: Any) -> str:
    """The family for operations on an array, where nobody asked for another one."""
    for rule in FAMILY_RULES:
        if rule.holds(array):
            return rule.family
    raise AssertionError("the last rule holds always")


def choose_conv(window: Window, rules: tuple[ConvRule, ...] = CONV_RULES) -> str:
    """How the native family computes a convolution or, by the other table, the gradient of its filters."""
    return next(rule.kernel for rule in rules if rule.holds(window))
