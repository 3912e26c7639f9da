"""A training run for test_training.py, in a process of its own that can be killed: `killed_run FOLDER DIGITS WHEN`.

It has everything that a resumed run could get wrong: dropout, batch norm, momentum, a schedule, shuffling, augmentation
and figures measured on a test set. WHEN is `never`, `step:N`, `write:N` (in the middle of the N-th checkpoint's bytes),
`rename:N` (they are written, but not in their place) or `renamed:N` (directly afterwards).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files
from minicnn.checkpoint import Checkpointer, RunState
from minicnn.data.augment import Compose, RandomAffine, RandomShift
from minicnn.data.batches import Batches
from minicnn.data.dataset import Dataset
from minicnn.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Normalize, ReLU
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.network import Network
from minicnn.optimizers import SGD
from minicnn.schedules import one_cycle
from minicnn.training import Callback, Evaluate, train
from minicnn.weights import save_weights

CLASSES = tuple("0123456789")
EPOCHS, BATCH = 4, 20


def network() -> Network:
    net = Network(
        {
            "normalize": Normalize((0.13,), (0.31,)),
            "conv1": Conv2d(1, 6, 5, stride=2),  # (6, 12, 12)
            "bn1": BatchNorm2d(6),
            "relu1": ReLU(),
            "pool1": MaxPool2d(3, 2),  # (6, 5, 5)
            "flatten": Flatten(),
            "drop2": Dropout(0.3),
            "fc2": Linear(150, 10),
        },
        input_shape=(1, 28, 28),
    )
    net.initialize(0)
    return net


class EveryFifth(Checkpointer):
    """Due at every fifth question, so that a killed run has steps to do again."""

    asked = 0

    def due(self, *, epoch_ended: bool = False) -> bool:
        self.asked += 1
        return self.asked % 5 == 0


class Killer(Callback):
    """Kills this process when the time has come."""

    def __init__(self, when: str) -> None:
        self.what, _, number = when.partition(":")
        self.number = int(number or 0)
        self.writes = 0
        if self.what in ("write", "rename", "renamed"):
            self.watch_writing()

    def watch_writing(self) -> None:
        write_bytes, replace = Path.write_bytes, os.replace

        def write(path: Path, data: bytes) -> int:
            self.writes += 1
            if self.what == "write" and self.writes == self.number:
                write_bytes(path, data[: len(data) // 2])
                die()
            return write_bytes(path, data)

        def put_in_place(source: Any, target: Any) -> None:
            if self.what == "rename" and self.writes == self.number:
                die()
            replace(source, target)
            if self.what == "renamed" and self.writes == self.number:
                die()

        vars(files)["os"] = types.SimpleNamespace(**vars(os) | {"replace": put_in_place})
        setattr(Path, "write_bytes", write)  # noqa: B010

    def after_step(self, net: Layer, state: RunState) -> None:
        if self.what == "step" and state.step == self.number:
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, digits: Path, when: str) -> None:
    with np.load(digits) as arrays:
        training = Dataset(arrays["x"], arrays["y"], CLASSES, "digits")
        test = Dataset(arrays["test_x"], arrays["test_y"], CLASSES, "digits")
    net = network()
    augment = Compose((RandomAffine(degrees=5, translate=1), RandomShift(1)))
    state = train(
        net,
        SoftmaxCrossEntropy(label_smoothing=0.1),
        SGD(net.parameters(), 0.1, momentum=0.8, nesterov=True, weight_decay=1e-3),
        Batches(training, BATCH, seed=5, augment=augment),
        epochs=EPOCHS,
        schedule=one_cycle(start=0.5),
        callbacks=[Killer(when), Evaluate(Batches(test, 100, shuffle=False))],
        checkpointer=EveryFifth(folder / "checkpoint"),
    )
    save_weights(net, folder / "weights")
    (folder / "history").write_text(json.dumps(state.history))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
