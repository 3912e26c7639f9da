"""Progress on the screen: that what is said is true, and that a total may come late."""

from __future__ import annotations

import pytest

from minicnn.checkpoint import RunState
from minicnn.cli.progress import Progress, ShowTraining, loading
from minicnn.layers import ReLU


class Heard(Progress):
    """A bar that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("heard")
        self.said: list[tuple[int, str]] = []

    def update(self, done: int, text: str = "", total: int | None = None) -> None:
        self.said.append((done, text))


def test_a_training_says_its_epoch_its_loss_and_the_last_accuracy() -> None:
    bar = Heard()
    show, state = ShowTraining(bar, 3), RunState()
    state.step, state.batch, state.loss_sum = 4, 4, 2.0
    show.after_step(ReLU(), state)
    state.history.append({"epoch": 1, "train_loss": 0.5, "test_accuracy": 0.875})
    state.step, state.epoch, state.batch = 5, 1, 1
    show.after_step(ReLU(), state)
    assert bar.said == [(4, "epoch 1/3, loss 0.500"), (5, "epoch 2/3, loss 2.000, test accuracy 87.50 %")]


def test_a_training_without_a_test_set_says_no_accuracy() -> None:
    bar, state = Heard(), RunState()
    state.epoch, state.history = 1, [{"epoch": 1, "train_loss": 0.5}]
    ShowTraining(bar, 2).after_step(ReLU(), state)
    assert bar.said == [(0, "epoch 2/2, loss 0.000")]


def test_a_total_may_come_late_and_stays() -> None:
    with Progress("hiding") as bar:
        totals = [bar._bar.tasks[0].total]
        for done, total in ((1, 4), (2, None)):
            bar.update(done, f"{done} of 4", total)
            totals.append(bar._bar.tasks[0].total)
        assert totals == [None, 4, 4]
        assert bar._bar.tasks[0].completed == 2


def test_loading_takes_what_a_download_says_and_prints_nothing_off_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with loading() as progress:
        progress("train-images.gz", 0, None)
        progress("train-images.gz", 3, 9)
    assert capsys.readouterr().out.strip() == ""
