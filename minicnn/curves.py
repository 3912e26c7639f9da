"""Curves of training runs, and other diagrams, drawn with matplotlib: the same numbers give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from .errors import MinicnnError

History = Sequence[Mapping[str, Any]]
Points = list[tuple[float, float]]

MEASURES = {"loss": "Loss", "accuracy": "Accuracy in percent"}
PARTS = {"train": "#9aa0a6", "test": "#1a6fb5", "fooled": "#b4530a"}
# Of several runs, in their order: pairs of the same colour, light and dark, for a net and a deeper one.
COLOURS = ("#e8a05c", "#b4530a", "#7db4e0", "#0f5a9c", "#8fc79a", "#1f7a3d")


def training_curves(history: History) -> Image.Image:
    """Loss and accuracy (in percent, where there is any) against the epoch, of training and test side by side.

    `history` has one record an epoch, with any of "epoch" (else they count from 1), "train_loss", "test_loss",
    "fooled_loss", and "…_accuracy" (fractions) of the same three. The loss is drawn on a log scale where it spans a
    factor over 20.
    """
    panels = []
    for what, title in MEASURES.items():
        scale = 100 if what == "accuracy" else 1
        lines = {part: _points(history, f"{part}_{what}", scale) for part in PARTS}
        unit = "{:.2f} %" if what == "accuracy" else "{:.4g}"
        panels.append(Panel(title, {part: points for part, points in lines.items() if points}, PARTS, unit))
    return _drawn([panel for panel in panels if panel.lines])


def compared_curves(histories: Mapping[str, History]) -> Image.Image:
    """The training loss and the test error (in percent) of several runs, by name, against the epoch."""
    colours = dict(zip(histories, COLOURS * len(histories), strict=False))
    loss = {name: _points(history, "train_loss") for name, history in histories.items()}
    error = {name: _points(history, "test_accuracy", -100, 100) for name, history in histories.items()}
    panels = [
        Panel("Training loss", {name: points for name, points in loss.items() if points}, colours, "{:.3f}"),
        Panel("Test error in percent", {name: points for name, points in error.items() if points}, colours, "{:.1f} %"),
    ]
    return _drawn([panel for panel in panels if panel.lines])


class Panel:
    """One diagram: its title, its lines by name, their colours, and how the last value of each is written."""

    def __init__(self, title: str, lines: Mapping[str, Points], colours: Mapping[str, str], unit: str) -> None:
        self.title, self.lines, self.colours, self.unit = title, lines, colours, unit

    def draw(self, axes: Any) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

        for name, points in self.lines.items():
            x, y = zip(*points, strict=True)
            label = f"{name}: {self.unit.format(y[-1])}"
            marker = 4 if len(x) <= 40 else 0
            axes.plot(x, y, color=self.colours[name], linewidth=2, marker="o", markersize=marker, label=label)
        values = [value for points in self.lines.values() for _, value in points]
        if "oss" in self.title and min(values) > 0 and max(values) / min(values) > 20:
            axes.set_yscale("log")
            plain = FuncFormatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_minor_formatter(plain if max(values) / min(values) < 200 else NullFormatter())
        axes.set_title(self.title, fontsize=12, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True, which="major", color="#e4e4e4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="best")


def _points(history: History, key: str, scale: float = 1, offset: float = 0) -> Points:
    """The (epoch, offset + scale·value) of the records that have a finite value under `key`."""
    points = [(record.get("epoch", i), record.get(key)) for i, record in enumerate(history, 1)]
    return [(float(x), offset + scale * float(y)) for x, y in points if y is not None and math.isfinite(y)]


def _drawn(panels: Sequence[Panel]) -> Image.Image:
    """The diagrams side by side."""
    if not panels:
        raise MinicnnError("expected a history with losses or accuracies to draw, got none")
    return diagrams([panel.draw for panel in panels])


def diagrams(draw: Sequence[Callable[[Any], None]], size: tuple[float, float] = (5.2, 3.9)) -> Image.Image:
    """Diagrams side by side, each drawn by a function into its own axes of matplotlib; `size` of one is in inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's: the same numbers give the same bytes
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.05)
        figure = Figure(figsize=(size[0] * len(draw), size[1]), dpi=120, layout=layout)
        canvas: Any = FigureCanvasAgg(figure)
        for i, draw_one in enumerate(draw, 1):
            draw_one(figure.add_subplot(1, len(draw), i))
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
