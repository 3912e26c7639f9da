"""What the tests of the techniques share: a small colour network, a digit, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minicnn.cli import main
from minicnn.layers import Conv2d, Flatten, Linear, MaxPool2d, Normalize, ReLU
from minicnn.network import Network
from minicnn.pictures import save_png, to_picture

from ..devices import DEVICES, Device, device

Outcome = tuple[int, str, str]


@pytest.fixture
def small() -> Network:
    """Two convolutions and a linear layer over 3×12×12 pictures, three classes."""
    net = Network(
        {
            "normalize": Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
            "conv1": Conv2d(3, 4, 3, padding=1),
            "relu1": ReLU(),
            "pool1": MaxPool2d(2),
            "conv2": Conv2d(4, 5, 3),
            "relu2": ReLU(),
            "flatten": Flatten(),
            "fc3": Linear(5 * 4 * 4, 3),
        },
        input_shape=(3, 12, 12),
        name="small",
        class_names=("cat", "dog", "eel"),
    )
    net.initialize(0)
    net.eval()
    return net


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).random((1, 3, 12, 12), np.float32)


@pytest.fixture(params=DEVICES)
def on(request: pytest.FixtureRequest) -> Device:
    return device(request.param)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A grey picture of 28×28 with a vertical stroke."""
    digit = np.zeros((1, 28, 28), np.float32)
    digit[:, 4:24, 13:16] = 1
    save_png(tmp_path / "one.png", to_picture(digit))
    return tmp_path / "one.png"


@pytest.fixture
def minicnn(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command line: (exit status, what it printed, what it complained of)."""

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def refused(minicnn: Callable[..., Outcome]) -> Callable[..., str]:
    """Runs a command line that must end with status 2 and one line, which is returned."""

    def run(*arguments: object) -> str:
        status, _, complaint = minicnn(*arguments)
        assert status == 2
        assert complaint.startswith("minicnn: ") and complaint.count("\n") == 1, complaint
        return complaint

    return run
