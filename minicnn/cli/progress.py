"""Progress on the screen: a bar with the time left on a terminal, nothing but the printed lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console

from ..checkpoint import RunState
from ..layers import Layer
from ..training import Callback


def counted(number: int, what: str) -> str:
    """How many there are, in words: "1 picture", "1,000 pictures"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


class Progress:
    """A bar over `total` steps. Use as a context manager; `update(done, text)`, `print(line)`.

    The total may be unknown at first, and come with an update.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        console = Console()
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("left"),
            bars.TextColumn("{task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total, text="")

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self, done: int, text: str = "", total: int | None = None) -> None:
        """`done` of the steps are done; `total`, where given, is how many there are from now on."""
        self._bar.update(self._task, completed=done, text=text, total=total)

    def print(self, line: str) -> None:
        """A line that stays, above the bar."""
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.console.print(line, highlight=False)


@contextmanager
def loading(what: str = "loading") -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for `data.load(…, progress=)`: which file is being downloaded or decoded, and how far."""
    with Progress(what) as bar:
        yield lambda name, done, total: bar.update(done, name, total)


class ShowTraining(Callback):
    """Moves a bar over the steps of a training: the epoch, its mean loss, and the accuracy after the one before."""

    def __init__(self, bar: Progress, epochs: int) -> None:
        self.bar, self.epochs = bar, epochs

    def after_step(self, net: Layer, state: RunState) -> None:
        tested = state.history[-1].get("test_accuracy") if state.history else None
        text = f"epoch {state.epoch + 1}/{self.epochs}, loss {state.loss_sum / max(1, state.batch):.3f}"
        self.bar.update(state.step, text + ("" if tested is None else f", test accuracy {100 * tested:.2f} %"))
