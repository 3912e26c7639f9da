"""Checkpoints: whole or not there, the same bytes for the same run, and refused when they do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.checkpoint import Checkpointer, RunState, load_checkpoint, save_checkpoint
from minicnn.errors import MinicnnError
from minicnn.layers import Dropout, Linear, Sequential
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.network import Network
from minicnn.optimizers import SGD, Adam, Optimizer
from minicnn.training import train_step

from .nets import nested, pictures

SETTINGS = {"lr": 0.1, "epochs": 3, "augment": [{"name": "flip"}], "shape": (3, 8, 8)}
STATE = RunState(2, 7, 47, 1.0 / 3, [{"epoch": 1, "train_loss": 0.1 + 0.2}, {"epoch": 2, "train_loss": 1e-17}])


def trained(seed: int = 0) -> tuple[Network, Optimizer]:
    net = nested(seed)
    optimizer = Adam(net.parameters(), 0.01)
    train_step(net, SoftmaxCrossEntropy(), optimizer, pictures(net, dtype=np.float32), np.array([0, 1]))
    return net, optimizer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, *trained(), STATE, settings=SETTINGS)
    return path


def test_everything_comes_back(file: Path) -> None:
    net, optimizer = trained(seed=1)
    assert load_checkpoint(file, net, optimizer, settings=SETTINGS) == STATE
    expected_net, expected_optimizer = trained()
    for mine, theirs in ((net, expected_net), (optimizer, expected_optimizer)):
        for name, value in theirs.state_dict().items():
            assert np.asarray(mine.state_dict()[name]).tobytes() == np.asarray(value).tobytes(), name
    assert optimizer.steps == 1


def test_dropout_goes_on_where_it_was(tmp_path: Path) -> None:
    def network() -> Sequential:
        net = Sequential(fc1=Linear(4, 50), drop1=Dropout(0.5), drop2=Dropout(0.5))
        net.initialize(3)
        return net

    x = np.ones((2, 4), np.float32)
    net, other = network(), network()
    for _ in range(3):
        net.forward(x)
    save_checkpoint(tmp_path / "c", net, SGD(net.parameters(), 0.1), RunState())
    load_checkpoint(tmp_path / "c", other, SGD(other.parameters(), 0.1))
    np.testing.assert_array_equal(other.forward(x), net.forward(x))
    assert other.random_states() == net.random_states()


def test_the_same_run_writes_the_same_bytes_in_every_process(file: Path) -> None:
    """safetensors writes the metadata's keys in an order of its own: there may be one only."""
    script = (
        "from pathlib import Path; import sys, hashlib; from tests.minicnn.test_checkpoint import *;"
        "save_checkpoint(Path(sys.argv[1]), *trained(), STATE, settings=SETTINGS)"
    )
    for _ in range(2):
        other = file.with_name("other")
        subprocess.run([sys.executable, "-c", script, str(other)], check=True, cwd=Path(__file__).parents[2])
        assert other.read_bytes() == file.read_bytes()


def test_other_settings_are_refused_and_named(file: Path) -> None:
    net, optimizer = trained()
    before = net.state_dict()
    with pytest.raises(MinicnnError, match=r"other settings: epochs was 3, now 4, momentum was None, now 0\.9$"):
        load_checkpoint(file, net, optimizer, settings=SETTINGS | {"epochs": 4, "momentum": 0.9})
    with pytest.raises(MinicnnError, match=r"checkpoint\.safetensors: .*epochs was 3, now None"):
        load_checkpoint(file, net, optimizer, settings={k: v for k, v in SETTINGS.items() if k != "epochs"})
    assert all(net.state_dict()[name].tobytes() == value.tobytes() for name, value in before.items())
    assert load_checkpoint(file, net, optimizer, settings=json.loads(json.dumps(SETTINGS))) == STATE
    assert load_checkpoint(file, net, optimizer) == STATE


def test_another_network_or_optimizer_is_refused_and_named(file: Path) -> None:
    small = Sequential(fc=Linear(2, 2))
    small.initialize(0)
    with pytest.raises(MinicnnError, match=r"checkpoint\.safetensors: .*fc\.weight has shape \(5, 6\)"):
        load_checkpoint(file, small, SGD(small.parameters(), 0.1))
    net = nested()
    with pytest.raises(MinicnnError, match=r"checkpoint\.safetensors: .*velocity\.stem\.conv1\.weight"):
        load_checkpoint(file, net, SGD(net.parameters(), 0.1, momentum=0.9))


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.1, 0.5, 0.9999])
def test_a_truncated_checkpoint_is_refused_by_name(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MinicnnError, match=r"checkpoint\.safetensors: not a readable checkpoint"):
        load_checkpoint(file, *trained())


def test_a_damaged_header_is_refused_by_name(file: Path) -> None:
    """Every byte of the header in turn. (What changed within the numbers nobody can tell.)"""
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    net, optimizer = trained()
    refused = 0
    for at in range(0, 8 + length, 37):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :])
        try:
            load_checkpoint(file, net, optimizer)
        except MinicnnError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused > 0.8 * (8 + length) / 37


def test_other_files_are_refused_by_name(file: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, tmp_path / "weights")
    with pytest.raises(MinicnnError, match="weights: expected a minicnn checkpoint"):
        load_checkpoint(tmp_path / "weights", *trained())
    with pytest.raises(MinicnnError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path, *trained())


def test_a_failed_write_keeps_the_checkpoint_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full_disk(self: Path, data: bytes) -> int:
        with open(self, "wb") as part:
            part.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(MinicnnError, match=r"checkpoint\.safetensors: cannot be written: no space left on device"):
        save_checkpoint(file, *trained(seed=1), RunState())
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_checkpointer_writes_when_it_is_due(tmp_path: Path) -> None:
    path = tmp_path / "c"
    net, optimizer = trained()
    assert Checkpointer(path, seconds=0).due()
    patient = Checkpointer(path, seconds=3600)
    assert not patient.due()
    assert patient.restore(net, optimizer) is None
    patient.save(net, optimizer, STATE)
    assert patient.restore(net, optimizer) == STATE
