"""The process in which one side of one workload runs: `python -m minicnn.cli.bench.worker lenet5-64 ours 2 10`.

The words are the workload, the side, its threads, and how many steps come first. It prepares the step, runs those, and
writes a line of JSON: the kernels that run, the memory that the steps took, their times (ms). Then it waits: for each
line with a number it runs one step untimed and that many timed, and writes their times.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import workloads

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main(name: str, side: str, threads: int, steps: int) -> None:
    """Serve one side: "ours", or "torch" with one of its memory formats ("torch:channels_last")."""
    work = workloads.workload(name)
    if side == "ours":
        ready = workloads.prepare(work)
    else:
        from . import peer

        ready = peer.prepare(work, side.partition(":")[2], threads)
    mib, times = memory_of(ready, steps)
    say({"kernels": ready.kernels, "mib": mib, "steps": times})
    for line in sys.stdin:
        ready.step()
        say([timed(ready) for _ in range(int(line))])


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


def timed(ready: workloads.Prepared) -> float:
    """Milliseconds of one step."""
    start = time.perf_counter()
    ready.step()
    return 1000 * (time.perf_counter() - start)


def memory_of(ready: workloads.Prepared, steps: int) -> tuple[float, list[float]]:
    """MiB: the largest resident size during some steps beyond the present one, without gradients and momentum.

    Those are not there yet: both sides make them, or write to them first, in their first step. And the steps' times.
    """
    gc.collect()
    reset_peak()
    before = resident()
    times = [timed(ready) for _ in range(steps)]
    return max(0.0, peak() - before - ready.optimizer_bytes) / (1 << 20), times


def resident() -> int:
    """The resident size now, bytes."""
    if STATUS.exists():
        return status("VmRSS")
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return 1024 * int(shown.stdout)


def peak() -> int:
    """The largest resident size since `reset_peak`, bytes; of the whole process where that does nothing."""
    if STATUS.exists():
        return status("VmHWM")
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest  # macOS counts bytes, others KiB


def reset_peak() -> None:
    """Forget what building the network took for a moment, where the system can (Linux)."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return


def status(key: str) -> int:
    """A size of /proc/self/status, bytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
