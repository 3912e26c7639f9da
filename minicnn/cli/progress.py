"""Progress on the screen: a bar with the time left on a terminal, nothing but the printed lines elsewhere."""

from __future__ import annotations

from rich import progress as bars
from rich.console import Console


class Progress:
    """A bar over `total` steps. Use as a context manager; `update(done, text)`, `print(line)`."""

    def __init__(self, what: str, total: int) -> None:
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

    def update(self, done: int, text: str = "") -> None:
        """`done` of the steps are done."""
        self._bar.update(self._task, completed=done, text=text)

    def print(self, line: str) -> None:
        """A line that stays, above the bar."""
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.console.print(line, highlight=False)
