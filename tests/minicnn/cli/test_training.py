"""`minicnn train` and `evaluate`: what a wrong start leaves behind, folders of pictures, and weights with classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minicnn import data, models
from minicnn.cli import main
from minicnn.weights import read_classes, save_weights

Outcome = tuple[int, str, str]


@pytest.fixture
def minicnn(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command line: (exit status, what it printed, what it complained of)."""

    def run(*arguments: Any) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder of grey pictures of three shapes, of several sizes, with the two splits."""
    folder = tmp_path / "shapes"
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for number, name in enumerate(("bar", "cross", "dot")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (30 + i, 34), np.uint8)
                pixels[10 * number : 10 * number + 8] += 180
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def refused(outcome: Outcome, *words: str) -> None:
    status, _, complaint = outcome
    assert status == 2, complaint
    assert complaint.startswith("minicnn: ") and complaint.count("\n") == 1, complaint
    for word in words:
        assert word in complaint


WRONG = [
    ("label_smoothing=abc", "label_smoothing = 'abc': expected a number from 0 to below 1"),
    ("label_smoothing=1", "label_smoothing = 1"),
    ("optimizer.name=3", "optimizer 3"),
    ("optimizer.lr=nan", "lr = nan: expected a number"),
    ("optimizer.lr=-1", "lr -1"),
    ("optimizer.nesterov=3", "nesterov = 3: expected true or false"),
    ("optimizer={name='sgd'}", "optimizer 'sgd': lr is missing"),
    ("schedule.name=3", "schedule 3"),
    ("schedule.name=[1]", "schedule [1]"),
    ("schedule.peak=x", "peak = 'x': expected a number from 0 to 1"),
    ("schedule={name='step',milestones=3}", "milestones = 3: expected a list"),
    ("schedule={name='plateau',patience=0.5}", "patience = 0.5"),
    ("augment=[1]", "augmentation 1: expected a table"),
    ("augment=flip", "augment = 'flip': expected a sequence"),
    ("augment=[{name=['flip']}]", "augmentation ['flip'] is unknown"),
    ("options.num_classes=10", "options.num_classes: the number of classes is the data set's"),
    ("options=3", "options = 3: expected a mapping"),
    ("adversarial=3", "adversarial = 3: expected a mapping"),
    ("adversarial.method=fgms", "adversarial: method 'fgms'; did you mean 'fgsm'"),
    ("adversarial.epsilon=8", "epsilon 8: expected more than 0 to 1"),
    ("adversarial.data=mnist", "adversarial: no setting 'data' of fgsm"),
    ("options.dropout=0.5", "model lenet5: no option 'dropout'"),
    ("model=3", "model = 3: expected a str"),
    ("seed=-1", "seed = -1: expected a whole number of 0 or more"),
    ("batch_size=5000", "no whole batch of 5,000"),
    ("data=nowhere", "nowhere: no data set of this name"),
]


@pytest.mark.parametrize(("setting", "message"), WRONG)
def test_a_wrong_setting_is_one_line_and_leaves_no_folder(
    minicnn: Callable[..., Outcome], tmp_path: Path, setting: str, message: str
) -> None:
    out = tmp_path / "run"
    refused(minicnn("train", "lenet5-mnist", "--set", "data=digits", "--out", out, "--set", setting), message)
    assert not out.exists()


def test_the_models_options_are_checked(minicnn: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = minicnn("train", "alexnet-cifar10", "--out", tmp_path / "run", "--set", "options.dropout=x")
    refused(outcome, "model alexnet_cifar: dropout = 'x': expected a value such as 0.5")


def test_a_negative_seed_is_refused(minicnn: Callable[..., Outcome], tmp_path: Path) -> None:
    refused(minicnn("train", "lenet5-mnist", "--seed", -1, "--out", tmp_path / "run"), "seed = -1")


def test_the_corrected_command_works_in_the_folder_of_a_wrong_one(
    minicnn: Callable[..., Outcome], tmp_path: Path, three: Path
) -> None:
    def train(*more: Any) -> Outcome:
        return minicnn(
            "train", "lenet5-mnist", "--epochs", 1, "--out", tmp_path / "run", "--set", "batch_size=8", *more
        )

    refused(train("--data", tmp_path / "nothing"), "no data set of this name")
    refused(train("--data", three / "train"), "it needs sub-folders train and test")
    refused(train("--data", three, "--set", "optimizer.name=sdg"), "did you mean 'sgd'")
    damaged = three / "train" / "bar" / "damaged.png"
    damaged.write_bytes((three / "train" / "bar" / "0.png").read_bytes()[:100])
    refused(train("--data", three), "damaged.png")
    damaged.unlink()
    assert not (tmp_path / "run").exists()
    status, _, complaint = train("--data", three)
    assert status == 0, complaint


@pytest.mark.usefixtures("asked_again")
def test_kernels_that_do_not_exist_are_refused_before_the_command(
    minicnn: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINICNN_KERNELS", "bogus")
    refused(minicnn("summary", "lenet5"), "MINICNN_KERNELS", "'bogus'", "reference", "array")


def test_a_network_learns_a_folder_and_its_weights_know_the_classes(
    minicnn: Callable[..., Outcome], tmp_path: Path, three: Path
) -> None:
    out = tmp_path / "run"
    settings = ("--set", "batch_size=8", "--set", "optimizer.lr=0.02")
    status, _, complaint = minicnn("train", "lenet5-mnist", "--data", three, "--epochs", 8, "--out", out, *settings)
    assert status == 0, complaint
    record = json.loads((out / "run.json").read_text())
    assert record["test_accuracy"] == 1
    assert record["device"] == "cpu"
    assert record["settings"]["train_set"] == data.load(three, "train", shape=(1, 28, 28)).in_memory().fingerprint()
    assert record["settings"]["test_set"] == data.load(three, "test", shape=(1, 28, 28)).in_memory().fingerprint()
    assert {"lenet5.safetensors", "checkpoint.safetensors", "log.txt", "curves.png"} <= set(record["files"])
    weights = out / "lenet5.safetensors"
    assert models.load("lenet5", weights=weights).class_names == ("bar", "cross", "dot")
    # The names of the network say which class a folder is, here without splits and with one class missing:
    (three / "test" / "bar").rename(tmp_path / "bar")
    arguments = ("--weights", weights, "--data", three / "test", "--out", tmp_path / "measured")
    status, printed, complaint = minicnn("evaluate", "lenet5", *arguments)
    assert status == 0, complaint
    assert "4 pictures: top-1 100.0 %" in printed


def test_a_run_is_not_resumed_on_changed_pictures(minicnn: Callable[..., Outcome], tmp_path: Path, three: Path) -> None:
    out = tmp_path / "run"
    command = ("train", "lenet5-mnist", "--data", three, "--epochs", 1, "--out", out, "--set", "batch_size=8")
    assert minicnn(*command)[0] == 0
    Image.new("L", (30, 30), 7).save(three / "train" / "bar" / "0.png")
    refused(minicnn(*command, "--resume"), "cannot resume with train_set")


def test_evaluate_takes_the_number_of_classes_from_the_file(minicnn: Callable[..., Outcome], tmp_path: Path) -> None:
    net = models.build("lenet5", num_classes=3)
    save_weights(net, tmp_path / "w3.safetensors")
    assert read_classes(tmp_path / "w3.safetensors").number == 3  # type: ignore[union-attr]
    outcome = minicnn("evaluate", "lenet5", "--weights", tmp_path / "w3.safetensors", "--data", "digits")
    refused(outcome, "digits: has 10 classes, lenet5 has 3")


def test_progress_of_loading_is_handed_to_the_data(
    minicnn: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minicnn.cli import evaluate, train

    heard = []
    load = data.load

    def spied(*arguments: Any, progress: Any, **options: Any) -> data.Dataset:
        progress("digits.gz", 1, None)
        progress("digits.gz", 2, 2)
        heard.append(arguments)
        return load(*arguments, progress=progress, **options)

    monkeypatch.setattr(train, "load_data", spied)
    monkeypatch.setattr(evaluate, "load_data", spied)
    assert minicnn("train", "lenet5-mnist", "--data", "digits", "--epochs", 1, "--out", tmp_path / "run")[0] == 0
    assert minicnn("evaluate", "lenet5", "--data", "digits")[0] == 0
    assert heard == [("digits", "train"), ("digits", "test"), ("digits", "test")]


def test_adversarial_training_measures_what_it_is_for(
    minicnn: Callable[..., Outcome], tmp_path: Path, three: Path
) -> None:
    out = tmp_path / "run"

    def train(*more: Any) -> Outcome:
        how = ("--data", three, "--epochs", 2, "--set", "batch_size=8", "--set", "adversarial.epsilon=20/255")
        return minicnn("train", "lenet5-mnist", *how, "--out", out, *more)

    status, printed, complaint = train("--adversarial")
    assert status == 0, complaint
    assert "adversarial training: 50 % of the pictures fooled by fgsm, epsilon 0.07843" in printed
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["adversarial"] == {"epsilon": "20/255"}
    assert f"fooled {100 * record['fooled_accuracy']:.2f} %" in (out / "log.txt").read_text().splitlines()[-1]
    assert f"fooled {100 * record['fooled_accuracy']:.2f} %" in printed.splitlines()[-1]
    refused(train("--resume", "--set", "adversarial.epsilon=0.1"), "cannot resume with adversarial = {'epsilon': 0.1}")
    weights = (out / "lenet5.safetensors").read_bytes()
    assert train("--resume")[0] == 0
    assert (out / "lenet5.safetensors").read_bytes() == weights


def test_a_recipe_of_two_models_makes_two_runs_and_one_figure_and_goes_on_where_it_was(
    minicnn: Callable[..., Outcome], tmp_path: Path, three: Path
) -> None:
    recipe, folder = tmp_path / "two.toml", tmp_path / "run"
    recipe.write_text(f'models = ["lenet5", "alexnet_cifar"]\ndata = "{three}"\nepochs = 1\nbatch_size = 8\n')
    status, printed, complaint = minicnn("train", recipe, "--out", folder)
    assert status == 0, complaint
    assert "test errors: lenet5" in printed
    weights = [folder / name / f"{name}.safetensors" for name in ("lenet5", "alexnet_cifar")]
    before = [path.read_bytes() for path in weights]
    curves = (folder / "curves.png").read_bytes()
    refused(minicnn("train", recipe, "--out", folder), "run")
    shutil.rmtree(weights[1].parent)
    status, _, complaint = minicnn("train", recipe, "--out", folder, "--resume")
    assert status == 0, complaint
    assert [path.read_bytes() for path in weights] == before
    assert (folder / "curves.png").read_bytes() == curves
    refused(minicnn("train", recipe, "--out", folder, "--resume", "--epochs", 2), "epochs")
    Image.new("L", (30, 30), 7).save(three / "train" / "bar" / "0.png")
    refused(minicnn("train", recipe, "--out", folder, "--resume"), "cannot resume with train_set")
