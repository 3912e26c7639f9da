"""Time and memory of whole training steps on this machine: `python benchmarks/training_step.py alexnet --batch 32`.

A step is forward, loss, backward and update, float32, the data ready in memory. Prints one line of JSON: the median and
the spread of the steps' times, and the peak resident memory of the process beyond what it held after the imports.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time

import numpy as np

import minicnn


def main() -> None:
    """Measure the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.model, chosen.batch, chosen.steps)))


def measure(model: str, batch: int, steps: int) -> dict[str, object]:
    """The figures of one model, after one step to warm up."""
    before = peak_mib()
    net = minicnn.models.build(model)
    loss = minicnn.SoftmaxCrossEntropy()
    optimizer = minicnn.SGD(net.parameters(), lr=0.001, momentum=0.9)
    generator = np.random.default_rng(0)
    x = generator.random((batch, *net.input_shape), np.float32)
    y = generator.integers(0, net.output_shape(net.input_shape)[0], batch)
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        minicnn.train_step(net, loss, optimizer, x, y)
        times.append(1000 * (time.perf_counter() - start))
    median = statistics.median(times[1:])
    return {
        "model": model,
        "batch": batch,
        "step_ms": round(median, 2),
        "fastest_ms": round(min(times[1:]), 2),
        "slowest_ms": round(max(times[1:]), 2),
        "pictures_per_second": round(1000 * batch / median, 1),
        "peak_mib": round(peak_mib() - before),
    }


def peak_mib() -> float:
    """The largest resident size so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # macOS counts bytes, Linux KiB


if __name__ == "__main__":
    main()
