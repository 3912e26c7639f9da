"""The sides of a workload, each in its own process, taking turns: what disturbs the machine then disturbs all alike."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import MinicnnError
from minicnn.kernels.threads import one_blas_thread

TORCH_FORMATS = ("contiguous", "channels_last")
FIRST = 10  # steps before the peak of memory is read, and time is counted
TURN = 0.4  # seconds of steps in a turn, or one step where that takes longer
REST = 0.05  # seconds between two turns: threads that wait for work spin for a while before they sleep


class Times(NamedTuple):
    """One side of a workload, measured."""

    kernels: str
    mib: float  # the peak beyond network, optimizer and pictures
    steps: list[float]  # milliseconds

    @property
    def ms(self) -> float:
        """The median."""
        return float(np.median(self.steps))

    @property
    def spread(self) -> list[float]:
        """The quartiles."""
        return [round(float(q), 4) for q in np.percentile(self.steps, (25, 75))]


class Side:
    """A worker process. Use as a context manager; leaving the block ends it."""

    def __init__(self, workload: str, side: str, first: int) -> None:
        self.what = f"{workload} on {side}"
        words = [workload, side, str(threads()), str(first)]
        command = [sys.executable, "-m", "minicnn.cli.bench.worker", *words]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        ready = self.read()
        self.kernels, self.mib = ready["kernels"], ready["mib"]
        self.count = max(1, min(300, round(TURN / (1e-3 * min(ready["steps"])))))  # steps in a turn
        self.steps: list[float] = []

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def turn(self) -> None:
        """Some steps more."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.count}\n")
        self.process.stdin.flush()
        self.steps += self.read()
        time.sleep(REST)

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            complaint = self.process.communicate()[1].strip().rpartition("\n")[2]
            status = f"its process ended with status {self.process.returncode}"
            raise MinicnnError(f"bench: {self.what}: {complaint or status}")
        return json.loads(line)

    def times(self) -> Times:
        return Times(self.kernels, self.mib, self.steps)


def measure(
    pairs: Sequence[tuple[str, str]], rounds: int, tick: Callable[[str], None], first: int = FIRST
) -> list[Times]:
    """The times of each (workload, side), all taking turns. `tick` is told what comes next.

    A side is "ours", or "torch:" and one of its memory formats. `first`: steps before, which are not counted.
    """
    with ExitStack() as stack:
        sides = []
        for workload, side in pairs:
            tick(f"{workload}, {side}")
            sides.append(stack.enter_context(Side(workload, side, first)))
        for _ in range(rounds):
            for (workload, side), process in zip(pairs, sides, strict=True):
                tick(f"{workload}, {side}")
                process.turn()
    return [side.times() for side in sides]


def compare(workload: str, *, against_torch: bool, rounds: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """One line of bench.json: minicnn's figures and, where asked for, those of torch in the better of its formats."""
    sides = ["ours", *(f"torch:{name}" for name in TORCH_FORMATS if against_torch)]
    ours, *theirs = measure([(workload, side) for side in sides], rounds, tick)
    line: dict[str, Any] = {
        "workload": workload,
        "kernels": ours.kernels,
        "ours_ms": round(ours.ms, 4),
        "torch_ms": None,
        "ratio": None,
        "ours_mib": round(ours.mib, 1),
        "torch_mib": None,
        "ours_quartiles": ours.spread,
        "ours_least_ms": round(min(ours.steps), 4),
    }
    if theirs:
        best, name = min(zip(theirs, TORCH_FORMATS, strict=True), key=lambda pair: pair[0].ms)
        line |= {
            "torch_ms": round(best.ms, 4),
            "ratio": round(best.ms / ours.ms, 3),
            "torch_mib": round(best.mib, 1),
            "torch_quartiles": best.spread,
            "torch_least_ms": round(min(best.steps), 4),
            "torch_format": name,
        }
    return line


def need_torch() -> None:
    """Raise MinicnnError where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise MinicnnError("--against torch: torch is not installed: pip install 'minicnn[oracles]'")


def threads() -> int:
    """How many threads minicnn's kernels use here; torch gets as many."""
    with one_blas_thread() as number:
        return number
