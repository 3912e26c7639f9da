"""`minicnn bench`: how fast this machine is with minicnn, and with torch."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from minicnn.errors import MinicnnError, nearest
from minicnn.files import write_bytes
from minicnn.run import Run

from ..progress import Progress
from . import operations, show
from .limits import Limits, measured_limits
from .measure import compare, measure, need_torch, threads
from .profile import profile, profiled, step_cost
from .workloads import QUICK, WORKLOADS, workload

Lines = list[dict[str, Any]]

FILES = ("bench.json", "bench.png", "layers.json", "growth.json", "profile.json")
ROUNDS, QUICK_ROUNDS = 8, 3
BUSY = 0.7  # load: about this many processes are running already
GROWTH = (  # (from, to, how much larger)
    ("resnet20-32", "resnet20-512", 16),
    ("vgg11_bn_cifar-32", "vgg11_bn_cifar-512", 16),
    ("picture-256", "picture-1024", 16),
)


def command(
    quick: Annotated[bool, typer.Option("--quick", help="The smaller ones, fewer times: under a minute.")] = False,
    against: Annotated[
        str | None, typer.Option("--against", help="torch: the same steps there, and the ratio.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="This workload alone (lenet5-64, predict-alexnet-1, picture-512, …); repeatable."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--profile", help="A network or workload: where the time of a step goes.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the figures (JSON) and the chart.")
    ] = None,
) -> None:
    """Time and memory of layers and of whole steps, beside the machine's limits and torch. Keep the machine quiet."""
    if against is not None and against != "torch":
        raise MinicnnError(f"--against {against}{nearest(against, ['torch'])}")
    if model is not None and (quick or against or only):
        raise MinicnnError("--profile goes alone, or with --out: it looks into one step")
    if against:
        need_torch()
    names = only or (QUICK if quick else WORKLOADS)
    for name in names:
        workload(name)
    work = None if model is None else profiled(model)
    with ExitStack() as stack:
        results = Results()
        if out is not None:
            settings = {"quick": quick, "against": against, "only": only, "profile": model}
            words = ["minicnn", *sys.argv[1:]]
            results.run = stack.enter_context(Run(out, command=words, settings=settings, seed=0, exist="overwrite"))
            for name in FILES:  # of an earlier measurement
                results.run.path(name).unlink(missing_ok=True)
        limits = look_at_the_machine(results)
        if work is not None:
            results.show("profile.json", profile(work, limits), show.print_profile)
            return
        results.show("bench.json", steps(results, limits, names, bool(against), quick), show.print_workloads)
        if only:
            return
        results.show("layers.json", layers(limits, quick), show.print_operations)
        if quick:
            left_out = ", ".join(name for name in WORKLOADS if name not in QUICK)
            results.console.print(f"Left out by --quick: {left_out}; most layers; how it grows.", highlight=False)
        else:
            results.show("growth.json", growth(), show.print_growth)


class Results:
    """Where the figures go: the screen and, where one was asked for, the folder."""

    def __init__(self) -> None:
        self.console = Console()
        self.run: Run | None = None

    def save(self, name: str, lines: Lines) -> None:
        """JSON, a figure's line each, so that two results can be compared line by line."""
        if self.run is not None:
            text = "[\n" + ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n]\n"
            write_bytes(self.run.path(name), text.encode())
            self.run.record(name)

    def show(self, name: str, lines: Lines, table: Callable[[Console, Lines], None]) -> None:
        table(self.console, lines)
        self.save(name, lines)


def look_at_the_machine(results: Results) -> Limits:
    """What it can do, and whether it is busy with something else."""
    load = os.getloadavg()[0]
    limits = measured_limits()
    show.print_limits(results.console, limits, threads())
    if load > BUSY:
        results.console.print(f"Something else is running here (load {load:.1f}): the times are noisy.", style="yellow")
    if results.run is not None:
        machine = {"cpu": cpu(), "threads": threads(), "load": round(load, 2)}
        results.run.note(machine=machine | {"flops": limits.flops, "bytes": limits.bytes})
    return limits


def steps(results: Results, limits: Limits, names: Sequence[str], against_torch: bool, quick: bool) -> Lines:
    """The lines of bench.json, which is written anew after each, and the chart."""
    lines: Lines = []
    with Progress("measuring steps", len(names)) as bar:
        for done, name in enumerate(names):
            rounds = QUICK_ROUNDS if quick else ROUNDS
            line = compare(name, against_torch=against_torch, rounds=rounds, tick=partial(bar.update, done))
            cost, bound = step_cost(workload(name), limits)
            rate, share = 1e-6 * cost.flops / line["ours_ms"], bound / line["ours_ms"]
            lines.append(line | {"gflops": round(rate, 1), "share": round(share, 3)})
            results.save("bench.json", lines)
    if results.run is not None:
        results.run.save("bench.png", show.chart(lines))
    return lines


def layers(limits: Limits, quick: bool) -> Lines:
    """The lines of layers.json."""
    chosen = operations.QUICK if quick else operations.OPERATIONS
    lines: Lines = []
    with Progress("measuring layers", len(chosen)) as bar:
        for done, operation in enumerate(chosen):
            bar.update(done)
            lines += operations.measure_operation(operation, limits)
    return lines


def growth() -> Lines:
    """The lines of growth.json: the same step on more pictures, or on a larger one, taking turns."""
    lines: Lines = []
    with Progress("measuring growth", len(GROWTH)) as bar:
        for done, (small, large, factor) in enumerate(GROWTH):
            pairs = [(small, "ours"), (large, "ours")]
            a, b = measure(pairs, QUICK_ROUNDS, partial(bar.update, done), first=2)
            lines.append(
                {
                    "from": small,
                    "to": large,
                    "larger": factor,
                    "ms": [round(a.ms, 4), round(b.ms, 4)],
                    "per_picture": round(b.ms / a.ms / factor, 3),
                    "mib": [round(a.mib, 1), round(b.mib, 1)],
                }
            )
    return lines


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
