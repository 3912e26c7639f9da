"""Single layers as they occur in the networks, forward and backward, beside the machine's limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicnn.layers import BatchNorm2d, Conv2d, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU, Shape

from .limits import Cost, Limits, backward_cost, forward_cost

SECONDS = 0.3  # of each measurement


class Operation(NamedTuple):
    """A layer and what it gets."""

    network: str
    make: Callable[[], Layer]
    batch: int
    input_shape: Shape


OPERATIONS = (
    Operation("lenet5", lambda: Conv2d(1, 6, 5, padding=2), 64, (1, 28, 28)),
    Operation("lenet5", lambda: Conv2d(6, 16, 5), 64, (6, 14, 14)),
    Operation("resnet20", lambda: Conv2d(16, 16, 3, padding=1), 128, (16, 32, 32)),
    Operation("resnet20", lambda: Conv2d(16, 32, 3, 2, 1), 128, (16, 32, 32)),
    Operation("resnet20", lambda: Conv2d(64, 64, 3, padding=1), 128, (64, 8, 8)),
    Operation("vgg11_bn_cifar", lambda: Conv2d(128, 256, 3, padding=1), 64, (128, 8, 8)),
    Operation("vgg11_bn_cifar", lambda: Conv2d(512, 512, 3, padding=1), 64, (512, 2, 2)),
    Operation("alexnet", lambda: Conv2d(3, 64, 11, 4, 2), 32, (3, 224, 224)),
    Operation("alexnet", lambda: Conv2d(64, 192, 5, padding=2), 32, (64, 27, 27)),
    Operation("vgg19_trunk", lambda: Conv2d(64, 64, 3, padding=1), 1, (64, 512, 512)),
    Operation("a 1×1", lambda: Conv2d(256, 64, 1), 32, (256, 28, 28)),
    Operation("lenet5", lambda: Linear(400, 120), 64, (400,)),
    Operation("alexnet", lambda: Linear(9216, 4096), 1, (9216,)),
    Operation("alexnet", lambda: Linear(9216, 4096), 32, (9216,)),
    Operation("resnet20", lambda: BatchNorm2d(16), 128, (16, 32, 32)),
    Operation("vgg11_bn_cifar", lambda: BatchNorm2d(512), 64, (512, 2, 2)),
    Operation("vgg11_bn_cifar", lambda: ReLU(), 64, (64, 32, 32)),
    Operation("vgg11_bn_cifar", lambda: MaxPool2d(2), 64, (64, 32, 32)),
    Operation("alexnet", lambda: MaxPool2d(3, 2), 32, (64, 55, 55)),
    Operation("alexnet_cifar", lambda: LocalResponseNorm(5), 64, (64, 16, 16)),
)
QUICK = tuple(OPERATIONS[i] for i in (0, 2, 4, 11, 14, 16, 17))


def measure_operation(operation: Operation, limits: Limits) -> list[dict[str, Any]]:
    """Two lines of layers.json: forward and backward, with all gradients."""
    layer = operation.make().initialize(0)
    generator = np.random.default_rng(0)
    batch, shape = operation.batch, operation.input_shape
    x = generator.standard_normal((batch, *shape), np.float32)
    dy = generator.standard_normal((batch, *layer.output_shape(shape)), np.float32)
    x, dy = (between_layers(a) for a in (x, dy))
    runs = {
        "forward": (lambda: layer.forward(x), forward_cost([layer], shape, batch)),
        "backward": (lambda: layer.backward(dy), backward_cost([layer], shape, batch, need_dx=True, need_dparams=True)),
    }
    about = {
        "layer": f"{type(layer).__name__} {layer.describe().partition(', padding')[0]}".strip(),
        "input": [batch, *shape],
        "network": operation.network,
    }
    return [about | figures(name, median_ms(run), cost, limits) for name, (run, cost) in runs.items()]


def between_layers(a: np.ndarray) -> np.ndarray:
    """In memory as a layer gets it from the one before: channels last."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def figures(name: str, ms: float, cost: Cost, limits: Limits) -> dict[str, Any]:
    """A time beside what bounds it: the share is the least possible time by the time."""
    return {
        "pass": name,
        "ms": round(ms, 4),
        "gflops": round(1e-6 * cost.flops / ms, 1),
        "gbytes": round(1e-6 * cost.bytes / ms, 1),
        "bound_by": limits.bound_by(cost),
        "share": round(limits.bound_ms(cost) / ms, 3),
    }


def median_ms(run: Callable[[], object]) -> float:
    """The median of as many calls as fit into the time, three at least, after one to warm up."""
    run()
    times: list[float] = []
    while len(times) < 3 or sum(times) < 1e3 * SECONDS:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))
