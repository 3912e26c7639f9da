"""The training loop, and what can be hung into it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn, Protocol

import numpy as np

from .checkpoint import Checkpointer, RunState
from .errors import MinicnnError
from .kernels.backend import Array, get_array_module
from .layers import Layer
from .losses import SoftmaxCrossEntropy
from .optimizers import Optimizer
from .parameter import stretches, to_host, transfer
from .schedules import Clock, Schedule, constant

READ_EVERY = 20  # steps between two looks at the loss: reading it makes a GPU wait


class Data(Protocol):
    """Batches of pictures in [0, 1] (N, C, H, W) and labels (N,), the same ones whenever an epoch is asked for."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Array, Array]]: ...


class Callback:
    """What a run can be watched with: override what you need."""

    def after_step(self, net: Layer, state: RunState) -> None:
        """After every step; `state.loss_sum / state.batch` is the epoch's mean loss up to the last reading."""

    def after_epoch(self, net: Layer, state: RunState) -> None:
        """After every epoch; may add figures to `state.history[-1]`."""


def train_step(net: Layer, loss: SoftmaxCrossEntropy, optimizer: Optimizer, x: Array, y: Array) -> Array:
    """One step on one batch: forward, loss, backward, update. Returns the loss, still on its device."""
    optimizer.zero_grad()
    scores, inside = net.trace(x, {"", *net.auxiliary}, "once")
    value = learn(net, loss, scores, inside, y)
    optimizer.step()
    return value


def learn(net: Layer, loss: SoftmaxCrossEntropy, scores: Array, inside: Mapping[str, Array], y: Array) -> Array:
    """The loss, and the backward pass. Auxiliary scores inside the network add their share to both."""
    value, dscores, grads = loss.forward(scores, y), loss.backward(), {}
    for path, share in net.auxiliary.items():
        value = value + share * loss.forward(inside[path], y)
        grads[path] = share * loss.backward()
    net.inject(dscores, grads, need_dx=False, need_dparams=True)
    return value


def train(
    net: Layer,
    loss: SoftmaxCrossEntropy,
    optimizer: Optimizer,
    data: Data,
    *,
    epochs: int,
    schedule: Schedule | None = None,
    callbacks: Sequence[Callback] = (),
    checkpointer: Checkpointer | None = None,
) -> RunState:
    """Train for `epochs` epochs and return the state with its history (epoch, train_loss, and what callbacks add).

    With a checkpointer the run is saved as it goes, and goes on from the file where there is one; it then ends with the
    same bits as a run that was never interrupted. Ctrl-C (or SIGTERM) saves and raises KeyboardInterrupt. A loss
    that is not finite raises MinicnnError that names the layer, and leaves the last checkpoint before it.
    """
    net.train()
    course = Course(net, loss, optimizer, data, epochs, schedule or constant())
    state = (checkpointer.restore(net, optimizer) if checkpointer else None) or RunState()
    if checkpointer and state.step == 0:
        checkpointer.save(net, optimizer, state)
    unread: list[Array] = []
    with deferred_interrupt() as interrupted, course.under_way():
        while state.epoch < epochs:
            for x, y in data.epoch(state.epoch, start=state.batch):
                optimizer.lr = course.learning_rate(state)
                unread.append(train_step(net, loss, optimizer, to_device(x, net), y))
                state.step, state.batch = state.step + 1, state.batch + 1
                stop = interrupted()  # asked once: what is pressed from here on waits for the next step
                save = checkpointer is not None and (checkpointer.due() or stop)
                whole = save or state.batch == len(data)  # a checkpoint may follow: of finite weights alone
                if whole or len(unread) >= READ_EVERY:
                    healthy = read(unread, state) and (not whole or weights_finite(net))
                    if not healthy:
                        course.diagnose(state, checkpointer)
                if save and checkpointer:
                    checkpointer.save(net, optimizer, state)
                for callback in callbacks:
                    callback.after_step(net, state)
                if stop:
                    raise KeyboardInterrupt
            state.history.append({"epoch": state.epoch + 1, "train_loss": state.loss_sum / max(1, state.batch)})
            state.epoch, state.batch, state.loss_sum = state.epoch + 1, 0, 0.0
            for callback in callbacks:
                callback.after_epoch(net, state)
                net.train()
            if checkpointer and (checkpointer.due(epoch_ended=True) or state.epoch == epochs):
                checkpointer.save(net, optimizer, state)
    net.eval()
    return state


def read(unread: list[Array], state: RunState) -> bool:
    """Add the losses since the last reading to the epoch's sum; False when one is not finite."""
    for value in unread:
        state.loss_sum += float(to_host(value))
    unread.clear()
    return bool(np.isfinite(state.loss_sum))


class Course:
    """What a run is made of, to go through its steps once more with every array looked at."""

    def __init__(
        self, net: Layer, loss: SoftmaxCrossEntropy, optimizer: Optimizer, data: Data, epochs: int, schedule: Schedule
    ) -> None:
        self.net, self.loss, self.optimizer, self.data = net, loss, optimizer, data
        self.steps, self.schedule, self.base_lr = epochs * len(data), schedule, optimizer.lr

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """The learning rate is put back at the end; NumPy does not warn of what is not finite: `diagnose` names it."""
        try:
            with np.errstate(all="ignore"):
                yield
        finally:
            self.optimizer.lr = self.base_lr

    def learning_rate(self, state: RunState) -> float:
        return self.base_lr * self.schedule(Clock(state.step, self.steps, len(self.data), state.history))

    def diagnose(self, failed: RunState, checkpointer: Checkpointer | None) -> NoReturn:
        """Raise the error of a loss that is not finite: replay from the last checkpoint and name the first culprit."""
        state = checkpointer.restore(self.net, self.optimizer) if checkpointer else None
        if state is None:
            raise MinicnnError(
                f"training stopped by step {failed.step}: the loss or a weight is not finite; lower the learning rate "
                "(with a checkpointer the run is replayed to name the layer)"
            )
        start, culprit = state.step, ""
        while not culprit and state.step < failed.step:
            state.history = failed.history[: state.epoch]
            for x, y in self.data.epoch(state.epoch, start=state.batch):
                self.optimizer.lr = self.learning_rate(state)
                state.step += 1
                culprit = self.checked_step(to_device(x, self.net), y)
                if culprit or state.step >= failed.step:
                    break
            state.epoch, state.batch = state.epoch + 1, 0
        raise MinicnnError(
            f"training stopped at step {state.step}: {culprit or 'the loss'} is not finite; lower the learning rate. "
            f"The checkpoint of step {start} is kept"
        )

    def checked_step(self, x: Array, y: Array) -> str:
        """`train_step` that says which array was the first with a value that is not finite ("" when none was)."""
        paths = [path for path, layer in self.net.layers() if not layer.children()]
        self.optimizer.zero_grad()
        scores, found = self.net.trace(x, {"", *paths}, "all")
        for path in paths:
            if path in found and not finite(found[path]):
                return f"the output of {path}"
        if not finite(learn(self.net, self.loss, scores, found, y)):
            return "the loss"
        for parameter in reversed(self.net.parameters()):  # in the order in which the gradients were made
            if not finite(parameter.grad):
                return f"the gradient of {parameter.name}"
        self.optimizer.step()
        bad = [parameter.name for parameter in self.net.parameters() if not finite(parameter.value)]
        return f"{bad[0]} after the update" if bad else ""


def finite(a: Array) -> bool:
    """Whether every value is."""
    return bool(to_host(get_array_module(a).isfinite(a).all()))


def weights_finite(net: Layer) -> bool:
    """Whether every parameter is."""
    return all(finite(stretch.value) for stretch in stretches(net.parameters()))


def to_device(x: Array, net: Layer) -> Array:
    """A batch where the network's parameters are."""
    parameters = net.parameters()
    return transfer(x, like=parameters[0].value) if parameters else x


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block Ctrl-C and SIGTERM wait: the function that this gives says whether one came."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a signal's handler
        yield pressed.is_set
        return
    before = {which: signal.signal(which, lambda *_: pressed.set()) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pressed.is_set
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


class Evaluate(Callback):
    """Measures loss and accuracy on a data set after every epoch: `{prefix}_accuracy`, `_error`, `_loss`."""

    def __init__(self, data: Data, prefix: str = "test") -> None:
        self.data, self.prefix = data, prefix

    def after_epoch(self, net: Layer, state: RunState) -> None:
        accuracy, loss = evaluate(net, self.data)
        figures = {"accuracy": accuracy, "error": 1 - accuracy, "loss": loss}
        state.history[-1].update({f"{self.prefix}_{name}": value for name, value in figures.items()})


def evaluate(net: Layer, data: Data) -> tuple[float, float]:
    """(the share of pictures whose highest score is their label's, the mean loss), in evaluation mode."""
    net.eval()
    loss, right, total, seen = SoftmaxCrossEntropy(), 0, 0.0, 0
    for x, y in data.epoch(0):
        scores = net.forward(to_device(x, net), remember=None)
        xp = get_array_module(scores)
        right += int(to_host((scores.argmax(axis=1) == xp.asarray(y)).sum()))
        total += float(to_host(loss.forward(scores, y))) * len(y)
        seen += len(y)
    if not seen:
        raise MinicnnError("evaluate: the data set is empty")
    return right / seen, total / seen
