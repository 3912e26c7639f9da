"""What the machine can do at best, and the least that a layer must do: their quotient is a bound on its time.

A layer takes its multiply-adds at the rate of a large matrix product, or as long as its input, output and weights take
to pass through memory once at the rate of a large copy. A kernel that needs fewer multiplications (Winograd's) or finds
its input in the cache can be quicker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import NamedTuple

import numpy as np

from minicnn.layers import Layer, Shape

from .measure import threads

SECONDS = 1.0  # of each measurement


class Cost(NamedTuple):
    """What must be done at least."""

    flops: float
    bytes: float


class Limits(NamedTuple):
    """What the machine does at best."""

    flops: float  # a second, float32
    bytes: float  # a second, read or written

    def bound_ms(self, cost: Cost) -> float:
        """The least time, by whichever limit is the nearer."""
        return 1e3 * max(cost.flops / self.flops, cost.bytes / self.bytes)

    def bound_by(self, cost: Cost) -> str:
        return "product" if cost.flops / self.flops > cost.bytes / self.bytes else "memory"


def measured_limits() -> Limits:
    """By a product of 1024×1024 matrices and by copying 128 MiB, both on all threads: the quickest of many."""
    generator = np.random.default_rng(0)
    a, b = (generator.random((1024, 1024), np.float32) for _ in range(2))
    product = np.empty_like(a)
    source = np.ones((threads(), (32 << 20) // threads()), np.float32)
    target = np.ones_like(source)
    multiplying = least_seconds(lambda: np.matmul(a, b, out=product))
    with ThreadPoolExecutor(len(source)) as pool:
        copying = least_seconds(lambda: list(pool.map(np.copyto, target, source)))
    return Limits(flops=2 * 1024**3 / multiplying, bytes=2 * source.nbytes / copying)


def least_seconds(run: Callable[[], object]) -> float:
    """The quickest of as many runs as fit into the time."""
    found: list[float] = []
    while not found or sum(found) < SECONDS:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def forward_cost(group: Sequence[Layer], input_shape: Shape, batch: int) -> Cost:
    """Of a forward pass of layers that run as one over `batch` pictures (C, H, W), float32."""
    macs, output_shape = through(group, input_shape)
    moved = batch * (prod(input_shape) + prod(output_shape)) + group[0].num_parameters()
    return Cost(2 * batch * macs, 4 * moved)


def backward_cost(group: Sequence[Layer], input_shape: Shape, batch: int, *, need_dx: bool, need_dparams: bool) -> Cost:
    """Of their backward pass: dy and what was kept are read, dx and the parameters' gradients written."""
    macs, output_shape = through(group, input_shape)
    parameters = group[0].num_parameters()
    results = need_dx + (need_dparams and parameters > 0)  # each is as many multiply-adds as the forward pass
    if not results:
        return Cost(0, 0)
    kept = batch * group[0].memory(input_shape) if need_dparams or not parameters else 0
    pictures = batch * (prod(output_shape) + need_dx * prod(input_shape))
    return Cost(2 * batch * macs * results, 4 * (pictures + results * parameters) + kept)


def through(group: Sequence[Layer], shape: Shape) -> tuple[int, Shape]:
    """The multiply-adds for a picture, and the shape that it has behind these layers."""
    macs = 0
    for layer in group:
        macs, shape = macs + layer.macs(shape), layer.output_shape(shape)
    return macs, shape
