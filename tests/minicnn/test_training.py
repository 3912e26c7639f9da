"""The training loop: what it measures, how it stops, and that a resumed run ends as one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import data
from minicnn.checkpoint import Checkpointer, RunState, load_checkpoint
from minicnn.data import Batches, Dataset
from minicnn.errors import MinicnnError
from minicnn.layers import Layer
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.network import Network
from minicnn.optimizers import SGD
from minicnn.schedules import cosine
from minicnn.training import READ_EVERY, Callback, Evaluate, evaluate, train

from ..devices import device
from ..strict import counters
from .killed_run import BATCH, EPOCHS, network

ROOT = Path(__file__).resolve().parents[2]


# Killed and resumed ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 real digits to train on and 200 to test on."""
    training, test = data.load("digits", "train"), data.load("digits", "test")
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x=training.images[:500], y=training.labels[:500], test_x=test.images[:200], test_y=test.labels[:200])
    return path


def start(folder: Path, digits: Path, when: str = "never") -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.minicnn.killed_run", str(folder), str(digits), when]
    return subprocess.Popen(command, cwd=ROOT)


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> tuple[dict[str, bytes], float]:
    """What a run that nobody disturbed leaves behind, by file name; and how long it took, in seconds."""
    folder = tmp_path_factory.mktemp("alone")
    began = time.monotonic()
    assert start(folder, digits).wait() == 0
    return contents(folder), time.monotonic() - began


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_undisturbed_run_learns_and_measures(left_alone: tuple[dict[str, bytes], float]) -> None:
    history = json.loads(left_alone[0]["history"])
    assert [epoch["epoch"] for epoch in history] == list(range(1, EPOCHS + 1))
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["test_accuracy"] > 0.5
    assert set(left_alone[0]) == {"checkpoint", "weights", "history"}


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(
    left_alone: tuple[dict[str, bytes], float], digits: Path, tmp_path: Path
) -> None:
    expected, seconds = left_alone
    steps = EPOCHS * -(-500 // BATCH)
    draw = random.Random()  # another moment each time; the message says which
    moments = [f"step:{draw.randrange(1, steps // 2)}", f"write:{draw.randrange(1, 4)}", "rename:1", "renamed:1"]
    for moment in moments:
        assert start(tmp_path / "run", digits, moment).wait() == -signal.SIGKILL, moment
    process = start(tmp_path / "run", digits)
    pause = draw.uniform(0, seconds)
    time.sleep(pause)
    process.kill()
    process.wait()
    assert start(tmp_path / "run", digits).wait() == 0
    assert contents(tmp_path / "run") == expected, (moments, pause)


# Interrupted ----------------------------------------------------------------------------------------------------


def dataset(n: int = 40) -> Dataset:
    """Random pictures in which the class is written: as many rows are bright."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, n)
    images = generator.integers(0, 60, (n, 1, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, : 2 * label + 2] += 180
    return Dataset(images, labels, tuple("0123456789"), "rows")


def run(net: Network, path: Path | None = None, *, epochs: int = 3, callbacks: Any = (), **options: Any) -> RunState:
    optimizer = SGD(net.parameters(), options.pop("lr", 0.05), momentum=0.9)
    batches = options.pop("batches", None) or Batches(dataset(), 8, seed=1)
    checkpointer = (
        Checkpointer(path, seconds=options.pop("seconds", 3600), settings=options.pop("settings", None))
        if path
        else None
    )
    return train(
        net,
        SoftmaxCrossEntropy(),
        optimizer,
        batches,
        epochs=epochs,
        callbacks=callbacks,
        checkpointer=checkpointer,
        **options,
    )


class At(Callback):
    """Do something after some step."""

    def __init__(self, step: int, action: Any) -> None:
        self.step, self.action = step, action

    def after_step(self, net: Layer, state: RunState) -> None:
        if state.step == self.step:
            self.action()


def interrupt(by: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), by)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_ends_the_same(tmp_path: Path, by: signal.Signals) -> None:
    whole, resumed = network(), network()
    expected = run(whole)
    before = signal.getsignal(by)
    with pytest.raises(KeyboardInterrupt):
        run(resumed, tmp_path / "c", callbacks=[At(7, lambda: interrupt(by))])
    assert signal.getsignal(by) is before
    kept = load_checkpoint(tmp_path / "c", network(), SGD(network().parameters(), 0.05, momentum=0.9))
    assert (kept.epoch, kept.batch, kept.step) == (1, 3, 8)  # the step under way is finished
    resumed = network()
    assert run(resumed, tmp_path / "c") == expected
    assert all(resumed.state_dict()[name].tobytes() == a.tobytes() for name, a in whole.state_dict().items())


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    net = network()
    state = run(net, tmp_path / "c")
    again = network()
    assert run(again, tmp_path / "c") == state
    assert not again.training
    assert all(again.state_dict()[name].tobytes() == a.tobytes() for name, a in net.state_dict().items())


def test_other_settings_are_refused_when_a_run_goes_on(tmp_path: Path) -> None:
    run(network(), tmp_path / "c", epochs=1, settings={"lr": 0.05})
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(MinicnnError, match=r"started with other settings: lr was 0\.05, now 0\.1"):
        run(network(), tmp_path / "c", epochs=1, settings={"lr": 0.1})
    assert (tmp_path / "c").read_bytes() == before


def test_a_damaged_checkpoint_stops_the_run_and_is_not_overwritten(tmp_path: Path) -> None:
    run(network(), tmp_path / "c", epochs=1)
    damaged = (tmp_path / "c").read_bytes()[:-100]
    (tmp_path / "c").write_bytes(damaged)
    with pytest.raises(MinicnnError, match="c: not a readable checkpoint"):
        run(network(), tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == damaged


def test_a_run_in_another_thread_leaves_ctrl_c_alone() -> None:
    states: list[RunState] = []
    thread = threading.Thread(target=lambda: states.append(run(network(), epochs=1)))
    thread.start()
    thread.join()
    assert states[0].step == 5


# Not finite -----------------------------------------------------------------------------------------------------


class Poisoned(Batches):
    """One value of one batch is infinite."""

    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__(dataset(), 8, seed=1)
        self.where = (epoch, batch)

    def epoch(self, epoch: int, start: int = 0) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        for number, (x, y) in enumerate(super().epoch(epoch, start), start):
            if (epoch, number) == self.where:
                x[3, 0, 5, 5] = np.inf
            yield x, y


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 3), (2, 4)])
def test_a_value_that_is_not_finite_stops_the_run_and_is_named(tmp_path: Path, epoch: int, batch: int) -> None:
    step = 5 * epoch + batch + 1
    with pytest.raises(MinicnnError) as error:
        run(network(), tmp_path / "c", batches=Poisoned(epoch, batch))
    kept = load_checkpoint(tmp_path / "c", network(), SGD(network().parameters(), 0.05, momentum=0.9)).step
    assert kept in range(0, step, 5)  # that of the start, or of an epoch's end, if saving was quick enough
    assert str(error.value) == (
        f"training stopped at step {step}: the output of normalize is not finite; lower the learning rate. "
        f"The checkpoint of step {kept} is kept"
    )


def test_the_checkpoint_just_before_is_kept(tmp_path: Path) -> None:
    net = network()
    with pytest.raises(MinicnnError, match=r"step 8: the output of normalize .* The checkpoint of step 7 is kept"):
        run(net, tmp_path / "c", batches=Poisoned(1, 2), seconds=0)
    kept = network()
    state = load_checkpoint(tmp_path / "c", kept, SGD(kept.parameters(), 0.05, momentum=0.9))
    assert (state.epoch, state.batch, state.step) == (1, 2, 7)
    assert all(np.isfinite(a).all() for a in kept.state_dict().values())


@pytest.mark.parametrize("lr", [1e37, 1e300])
def test_a_learning_rate_that_is_too_high_is_stopped_with_the_layers_name(tmp_path: Path, lr: float) -> None:
    names = "|".join([path for path, _ in network().layers()] + list(network().named_parameters()))
    with pytest.raises(
        MinicnnError, match=rf"step \d+: (the (output|gradient) of )?({names})( after the update)? is not"
    ):
        run(network(), tmp_path / "c", lr=lr)


def test_without_a_checkpointer_it_stops_as_well() -> None:
    with pytest.raises(MinicnnError, match="training stopped by step 5: the loss or a weight is not finite"):
        run(network(), batches=Poisoned(0, 1))


# What a run measures --------------------------------------------------------------------------------------------


class Losses(Callback):
    """What the run says about itself."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.steps: list[tuple[int, int, int]] = []
        self.epochs: list[dict[str, float]] = []
        self.training: list[bool] = []

    def after_step(self, net: Layer, state: RunState) -> None:
        self.steps.append((state.epoch, state.batch, state.step))
        self.training.append(net.training)

    def after_epoch(self, net: Layer, state: RunState) -> None:
        self.epochs.append(state.history[-1])


def test_callbacks_see_every_step_and_epoch() -> None:
    net, seen = network(), Losses()
    state = run(net, epochs=2, callbacks=[seen, Evaluate(Batches(dataset(), 16, shuffle=False))])
    assert seen.steps == [(e, b + 1, 5 * e + b + 1) for e in range(2) for b in range(5)]
    assert seen.epochs == state.history
    assert all(seen.training)  # although Evaluate was there in between
    assert not net.training
    assert set(state.history[0]) == {"epoch", "train_loss", "test_accuracy", "test_error", "test_loss"}


def test_the_training_loss_is_the_mean_over_the_steps() -> None:
    net, loss, batches = network(), SoftmaxCrossEntropy(), Batches(dataset(), 8, seed=1)
    optimizer = SGD(net.parameters(), 0.05, momentum=0.9)
    values = []
    for x, y in batches.epoch(0):
        optimizer.zero_grad()
        values.append(float(loss.forward(net.forward(x), y)))
        net.backward(loss.backward())
        optimizer.step()
    assert run(network(), epochs=1).history[0]["train_loss"] == sum(values) / 5


def test_the_schedule_sets_the_rate_of_every_step() -> None:
    net, rates = network(), []
    optimizer = SGD(net.parameters(), 0.5)

    class Rates(Callback):
        def after_step(self, net: Layer, state: RunState) -> None:
            rates.append(optimizer.lr)

    train(
        net, SoftmaxCrossEntropy(), optimizer, Batches(dataset(), 8), epochs=2, schedule=cosine(), callbacks=[Rates()]
    )
    np.testing.assert_allclose(rates, 0.25 * (1 + np.cos(np.pi * np.arange(10) / 10)), rtol=1e-12)
    assert optimizer.lr == 0.5


def test_evaluation_weighs_every_picture_alike() -> None:
    """Also in a last batch that is smaller."""
    net = network().eval()
    right, loss = evaluate(net, Batches(dataset(), 16, shuffle=False))
    all_at_once = evaluate(net, Batches(dataset(), 40, shuffle=False))
    assert right == all_at_once[0]
    assert loss == pytest.approx(all_at_once[1], rel=1e-6)
    (x, y), *_ = Batches(dataset(), 40, shuffle=False).epoch(0)
    assert right == (net.forward(x).argmax(axis=1) == y).mean()


def test_nothing_to_evaluate_on_is_refused() -> None:
    class Nothing:
        def __len__(self) -> int:
            return 0

        def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
            return iter(())

    with pytest.raises(MinicnnError, match="evaluate: the data set is empty"):
        evaluate(network(), Nothing())


def test_a_run_on_a_device_ends_as_on_the_host_and_reads_the_losses_rarely() -> None:
    there, here = device("strict").place(network()), network()
    waits = []

    class Waits(Callback):
        def after_step(self, net: Layer, state: RunState) -> None:
            waits.append(counters.synchronizations)

    batches = Batches(dataset(100), 4, seed=1)
    counters.reset()
    state = run(there, epochs=1, batches=batches, callbacks=[Waits()])
    assert state.history[0]["train_loss"] == pytest.approx(
        run(here, epochs=1, batches=batches).history[0]["train_loss"]
    )
    assert waits[: READ_EVERY - 1] == [0] * (READ_EVERY - 1)
    assert len(set(waits)) == 3  # nothing, at step 20, at the end of the epoch
    for name, value in here.state_dict().items():
        np.testing.assert_allclose(there.state_dict()[name].get(), value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert evaluate(there, batches)[0] == evaluate(here, batches)[0]


def test_an_update_to_infinity_at_the_very_end_is_found() -> None:
    with pytest.raises(MinicnnError, match="step 1: the loss or a weight is not finite"):
        one = Batches(dataset(), len(dataset()), seed=1)
        net = network()
        train(net, SoftmaxCrossEntropy(), SGD(net.parameters(), 1e300), one, epochs=1)
