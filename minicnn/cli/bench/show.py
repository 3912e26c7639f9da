"""The tables on the screen, and the chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from minicnn.curves import PARTS

from .limits import Limits

Line = dict[str, Any]


def print_limits(console: Console, limits: Limits, threads: int) -> None:
    console.print(
        f"This machine with {threads} thread{'s' if threads > 1 else ''}: matrix product"
        f" {1e-9 * limits.flops:.0f} GFLOP/s, copy {1e-9 * limits.bytes:.1f} GB/s. "
        "Share: the least time that these allow, by the time taken; above 100 % where Winograd's convolutions do fewer "
        "multiplications than are counted, or the cache holds what is read.",
        highlight=False,
    )


def print_workloads(console: Console, lines: Sequence[Line]) -> None:
    """Times, rates and memory; and a second table against torch where it was measured."""
    table = Table(title=f"Steps on the {lines[0]['kernels']} kernels", title_justify="left")
    head(table, "workload", ["ms", "quartiles", "GFLOP/s", "share", "MiB"])
    for line in lines:
        low, high = line["ours_quartiles"]
        cells = [short(line["ours_ms"]), f"{short(low)}–{short(high)}", f"{line['gflops']:.0f}"]
        table.add_row(line["workload"], *cells, percent(line["share"]), f"{line['ours_mib']:.0f}")
    console.print(table)
    if any(line["torch_ms"] is None for line in lines):
        return
    table = Table(title="Against torch, in the better of its memory formats", title_justify="left")
    head(table, "workload", ["ms", "torch's", "ratio", "MiB", "torch's", "ratio"])
    for line in lines:
        ours, theirs = line["ours_mib"], line["torch_mib"]
        cells = [short(line["ours_ms"]), short(line["torch_ms"]), f"{line['ratio']:.2f}"]
        cells += [f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}" if theirs >= 1 else ""]
        table.add_row(line["workload"], *cells)
    table.caption = "Times: torch's by ours, more is faster. Memory: ours by torch's, less is smaller."
    console.print(table)


def print_operations(console: Console, lines: Sequence[Line]) -> None:
    """Two rows a layer, and its input below its name."""
    table = Table(title="Layers", title_justify="left")
    head(table, "layer", ["pass", "ms", "GFLOP/s", "GB/s", "share"])
    for line in lines:
        first = line["layer"] if line["pass"] == "forward" else "  " + "×".join(map(str, line["input"]))
        cells = [short(line["ms"]), f"{line['gflops']:.0f}", f"{line['gbytes']:.1f}", percent(line["share"])]
        table.add_row(first, line["pass"], *cells, end_section=line["pass"] == "backward")
    console.print(table)


def print_growth(console: Console, lines: Sequence[Line]) -> None:
    """How time and memory grow with the batch or the picture."""
    table = Table(title="As it grows", title_justify="left")
    head(table, "workload", ["size", "ms", "MiB", "time for a picture"])
    for line in lines:
        (small, large), (less, more) = line["ms"], line["mib"]
        table.add_row(line["from"], "1", short(small), f"{less:.0f}", "1")
        factor = f"{line['per_picture']:.2f}"
        table.add_row(line["to"], str(line["larger"]), short(large), f"{more:.0f}", factor, end_section=True)
    console.print(table)


def print_profile(console: Console, lines: Sequence[Line]) -> None:
    """A row a layer, what is left, and the sum."""
    *layers, between, whole = lines
    table = Table(title=f"A step of {whole['kind']}, ms", title_justify="left")
    head(table, "layer", ["forward", "bound", "backward", "bound", "step"])
    for line in layers:
        cells = [short(line[f"{way}{bound}_ms"]) for way in ("forward", "backward") for bound in ("", "_bound")]
        table.add_row(line["layer"], *cells, percent((line["forward_ms"] + line["backward_ms"]) / whole["ms"]))
    table.add_row(between["layer"], "", "", "", "", percent(between["ms"] / whole["ms"]))
    console.print(table)
    share = percent(whole["bound_ms"] / whole["ms"])
    console.print(
        f"The step: {short(whole['ms'])} ms, its bound {short(whole['bound_ms'])} ms: {share}.", highlight=False
    )


def head(table: Table, first: str, names: Sequence[str]) -> None:
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)


def short(ms: float) -> str:
    """Three digits."""
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def chart(lines: Sequence[Line]) -> Image.Image:
    """Speed and memory of each workload as bars: beside torch's, or beside what the machine allows."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    against = all(line["torch_ms"] is not None for line in lines)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's
        figure = Figure(figsize=(10.4, 1.2 + 0.5 * len(lines)), dpi=120, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        speed, memory = (figure.add_subplot(1, 2, place) for place in (1, 2))
        draw_speed(speed, lines, "ratio" if against else "share")
        draw_memory(memory, lines, ("ours", "torch") if against else ("ours",))
        for axes in (speed, memory):
            axes.set_yticks(range(len(lines)), [line["workload"] for line in lines])
            axes.invert_yaxis()
            axes.margins(x=0.2)
            axes.spines[["top", "right"]].set_visible(False)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def draw_speed(axes: Any, lines: Sequence[Line], key: str) -> None:
    """`key`: "ratio" or "share"."""
    title = {"ratio": "Times as fast as torch", "share": "Speed, as a share of what the machine allows"}[key]
    bars = axes.barh(range(len(lines)), [line[key] for line in lines], 0.6, color=PARTS["test"])
    axes.axvline(1, color=PARTS["train"], linewidth=1)
    labels = [f"{line[key]:.2f}: {short(line['ours_ms'])} ms" for line in lines]
    axes.bar_label(bars, labels, padding=3, fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set_title(title, fontsize=12, loc="left")


def draw_memory(axes: Any, lines: Sequence[Line], sides: Sequence[str]) -> None:
    height = 0.8 / len(sides)
    for number, side in enumerate(sides):
        values = [line[f"{side}_mib"] for line in lines]
        places = np.arange(len(lines)) + (number - (len(sides) - 1) / 2) * height
        colour, label = (PARTS["test"], "minicnn") if side == "ours" else (PARTS["train"], side)
        bars = axes.barh(places, values, height, color=colour, label=label)
        axes.bar_label(bars, [f"{value:.0f}" for value in values], padding=3, fontsize=8)
    axes.set_xlim(left=0, right=None if any(line[f"{side}_mib"] for line in lines for side in sides) else 1)
    axes.set_title("Memory of a step, MiB", fontsize=12, loc="left")
    axes.legend(frameon=False, loc="best")
