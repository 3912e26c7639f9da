"""The commands as a person types them: what they print, what they write, and one line for bad input."""

import json
import re

import numpy as np
import pytest

from minicnn import models
from minicnn.cli import COMMANDS, GROUPS, main
from minicnn.weights import save_weights


@pytest.fixture(scope="module")
def lenet5(tmp_path_factory):
    """A weights file of a LeNet-5 that has learned nothing."""
    path = tmp_path_factory.mktemp("weights") / "lenet5.safetensors"
    save_weights(models.build("lenet5"), path)
    return path


def refused(outcome, *words):
    status, _, complaint = outcome
    assert status == 2
    assert complaint.startswith("minicnn: ") and complaint.count("\n") == 1, complaint
    for word in words:
        assert word in complaint


def test_help_lists_every_command_and_group(minicnn):
    status, printed, _ = minicnn("--help")
    assert status == 0
    for name in [*COMMANDS, *GROUPS]:
        assert name in printed


@pytest.mark.parametrize("words", [[name] for name in COMMANDS] + [[g, c] for g, (_, cs) in GROUPS.items() for c in cs])
def test_every_command_has_help_of_its_own(minicnn, words):
    status, printed, _ = minicnn(*words, "--help")
    assert status == 0
    assert "Usage" in printed and "--help" in printed


def test_version(minicnn):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", minicnn("--version")[1])


def test_a_wrong_option_ends_with_status_2(minicnn):
    assert minicnn("summary", "lenet5", "--nonsense")[0] == 2


def test_doctor_finds_no_fault_in_a_missing_gpu(minicnn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, printed, _ = minicnn("doctor")
    assert status == 0
    for word in ("numpy", "GPU", "data: mnist", "cache", "kernels", "weights shipped"):
        assert word in printed


@pytest.mark.parametrize("model", list(models.ARCHITECTURES))
def test_summary_prints_the_layers_and_the_sum(minicnn, monkeypatch, model):
    monkeypatch.setenv("COLUMNS", "160")
    status, printed, _ = minicnn("summary", model)
    assert status == 0
    assert "conv1" in printed and f"{models.architecture(model).num_parameters():,}" in printed


def test_summary_with_the_lectures_counts(minicnn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    printed = minicnn("summary", "alexnet_lecture", "--lecture")[1]
    assert "1.372 M" in printed and "1,327,104" in printed and "28,813,344" in printed


def test_summary_of_an_unknown_model_gives_the_nearest(minicnn):
    refused(minicnn("summary", "alexnett"), "no model 'alexnett'", "'alexnet'")


def test_no_counts_of_the_lecture_for_this_model(minicnn):
    refused(minicnn("summary", "alexnet_cifar", "--lecture"), "prints no counts for alexnet_cifar")


def train(minicnn, out, *more):
    return minicnn("train", "lenet5-mnist", "--data", "digits", "--epochs", 1, "--out", out, *more)


def test_a_run_leaves_weights_curves_log_and_its_accuracy(minicnn, tmp_path):
    status, printed, _ = train(minicnn, tmp_path / "run")
    assert status == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert f"test accuracy {100 * record['test_accuracy']:.2f} %" in printed
    assert 0.3 < record["test_accuracy"] <= 1  # one epoch on 1437 digits: far above chance
    for name in ("lenet5.safetensors", "curves.png", "log.txt", "checkpoint.safetensors"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    # The weights that it saved are the ones it measured:
    status, printed, _ = minicnn(
        "evaluate",
        "lenet5",
        "--weights",
        tmp_path / "run" / "lenet5.safetensors",
        "--data",
        "digits",
        "--out",
        tmp_path,
    )
    assert status == 0
    assert json.loads((tmp_path / "run.json").read_text())["top1"] == record["test_accuracy"]
    # A second run in the folder is refused, and so is going on with other settings:
    refused(train(minicnn, tmp_path / "run"), "already holds a run that can be resumed")
    refused(train(minicnn, tmp_path / "run", "--resume", "--seed", 1), "cannot resume with seed")
    # Going on with a finished run changes nothing:
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.suffix in (".png", ".safetensors")}
    assert train(minicnn, tmp_path / "run", "--resume")[0] == 0
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.name in before}


def test_training_on_pictures_of_another_size_says_both(minicnn, tmp_path):
    outcome = minicnn("train", "alexnet-cifar10", "--data", "digits", "--epochs", 1, "--out", tmp_path / "run")
    refused(outcome, "digits: its pictures are (1, 28, 28), the network takes (3, 32, 32)")


@pytest.mark.parametrize(
    ("setting", "message"),
    [("epochs=0", "epochs = 0"), ("optimizer.lrr=1", "no option 'lrr'"), ("schedule.name=cosin", "schedule 'cosin'")],
)
def test_a_wrong_setting_is_refused_before_anything_is_trained(minicnn, tmp_path, setting, message):
    refused(minicnn("train", "lenet5-mnist", "--data", "digits", "--out", tmp_path / "r", "--set", setting), message)


def test_a_file_where_the_folder_should_be(minicnn, tmp_path):
    (tmp_path / "file").write_text("")
    refused(train(minicnn, tmp_path / "file" / "run"), "file is a file")
    assert (tmp_path / "file").read_text() == ""


def test_a_full_disk_leaves_the_old_checkpoint(minicnn, tmp_path, monkeypatch):
    from minicnn import files

    assert train(minicnn, tmp_path / "run")[0] == 0
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_flush_to_disk", full)
    refused(train(minicnn, tmp_path / "run", "--resume"), "No space left on device".lower())
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))


def test_evaluate_without_weights_says_which_there_are(minicnn):
    refused(minicnn("evaluate", "alexnet_lecture", "--data", "digits"), "no weights come with minicnn", "--weights")


def test_evaluate_on_a_folder_of_pictures(minicnn, lenet5, tmp_path):
    from PIL import Image

    for digit in "27":
        (tmp_path / "set" / digit).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / digit / f"{i}.png")
    status, printed, complaint = minicnn("evaluate", "lenet5", "--weights", lenet5, "--data", tmp_path / "set")
    assert status == 0, complaint
    assert "6 pictures: top-1" in printed


def test_evaluate_with_the_weights_of_another_network_names_the_tensor(minicnn, lenet5):
    refused(minicnn("evaluate", "lenet5_1998", "--weights", lenet5, "--data", "digits"), "is missing")


def test_a_weights_file_that_is_none(minicnn, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\x80\x04nonsense")
    refused(minicnn("evaluate", "lenet5", "--weights", path, "--data", "digits"), "not a safetensors file", str(path))
    refused(minicnn("evaluate", "lenet5", "--weights", tmp_path / "no", "--data", "digits"), "no such weights file")


def test_debug_shows_the_traceback():
    from minicnn.errors import MinicnnError

    with pytest.raises(MinicnnError):
        main(["--debug", "summary", "alexnett"])
