"""The demo: a short run on scikit-learn's digits, and what a newcomer finds in its folder."""

import importlib
import json
import re
import shutil
from functools import partial
from itertools import product

import numpy as np
import pytest

from minicnn import models
from minicnn.data import Batches, load
from minicnn.errors import MinicnnError
from minicnn.experiments import demo_page
from minicnn.experiments.demo import demo
from minicnn.experiments.fool import fool
from minicnn.experiments.occlusion import occlusion
from minicnn.experiments.visualize import visualize
from minicnn.gradcheck import Check, Report
from minicnn.pictures import load_picture
from minicnn.training import evaluate

demo_file = importlib.import_module("minicnn.experiments.demo")

PICTURES = [
    *("curves", "confusion", "hardest", "filters", "activations-relu2", "activations-fc5"),
    *("saliency", "guided", "occlusion", "visualize", "fool"),
]


def short_demo(out):
    """The demo as a newcomer gets it, but of one epoch, and with few steps where it takes many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_page, "visualize", partial(visualize, steps=5))
        patch.setattr(demo_page, "occlusion", partial(occlusion, stride=6))
        patch.setattr(demo_page, "fool", partial(fool, steps=20))
        demo(out, data="digits", epochs=1)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return short_demo(tmp_path_factory.mktemp("demo") / "out")


def test_the_folder_holds_every_picture_and_the_page(folder):
    assert (folder / "index.html").is_file()
    for name in [*PICTURES, *(f"digits/{k}" for k in range(10))]:
        assert load_picture(folder / f"{name}.png").width >= 28
    assert not list(folder.glob(".*"))  # nothing half-written


def test_the_page_is_whole_by_itself_and_names_no_folder_and_no_time(folder):
    text = re.sub(r"base64,[\w+/=]*", "", (folder / "index.html").read_text(encoding="utf-8"))
    assert not re.search(r"https?:|<script|@import", text)
    assert str(folder.parent) not in text and not re.search(r"20[2-9]\d-\d\d", text)
    assert text.count("<section") == len(demo_page.CHAPTERS) == text.count("<pre>")


def test_every_chapter_names_a_command_that_works_in_the_folder(folder, minicnn, monkeypatch, tmp_path):
    text = (folder / "index.html").read_text(encoding="utf-8")
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "copy"))
    for line in re.findall(r"<pre><code>minicnn (.*?)</code>", text):
        if not line.startswith(("train", "gradcheck", "make")):  # long ones, tested elsewhere
            assert minicnn(*line.split())[0] == 0, line


def test_the_weights_have_the_accuracy_that_run_json_says(folder):
    record = json.loads((folder / "run.json").read_text())
    net = models.load("lenet5", weights=folder / "lenet5.safetensors")
    accuracy, _ = evaluate(net, Batches(load("digits", "test"), 500, shuffle=False))
    assert record["test_accuracy"] == accuracy and record["status"] == "finished"
    assert record["files"].keys() >= {"index.html", "lenet5.safetensors", "fool.png"}
    assert record["test_set"] == load("digits", "test").fingerprint() != record["train_set"]


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    short_demo(tmp_path)
    for path in [p for p in folder.rglob("*") if p.is_file() and p.name != "run.json"]:
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path.name


def test_a_wrong_gradient_stops_the_demo(capsys):
    with pytest.raises(MinicnnError, match=r"a gradient of LeNet-5 is wrong: conv1 x: worst element"):
        demo_file.print_report(Report([Check("conv1", "x", 1.0, 1.001, 1.0, note="worst element x(0, 0)")]))
    assert "conv1" in capsys.readouterr().out


def test_the_confusion_matrix_shows_right_and_wrong_apart():
    counts = np.diag([5, 5, 5])
    counts[0, 2] = 1
    pixels = np.asarray(demo_page.confusion(counts)).astype(int)
    for i, j in product(range(3), range(3)):
        r, _, b = pixels[8 + 34 * (i + 1) + 4, 8 + 34 * (j + 1) + 4]
        assert np.sign(b - r) == (1 if i == j else -1 if (i, j) == (0, 2) else 0)


def test_mnist_is_taken_where_it_is(monkeypatch, tmp_path):
    seen = []

    def stop(name, split, progress):
        seen.append(name)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_file, "load_data", stop)
    for here in (tmp_path, None):
        monkeypatch.setattr(demo_file, "available", lambda name, here=here: here)
        with pytest.raises(KeyboardInterrupt):
            demo(tmp_path / "out")
    assert seen == ["mnist", "digits"]


def test_an_interrupted_demo_says_so(monkeypatch, minicnn, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_file, "teach", stop)
    status, _, complaint = minicnn("demo", "--data", "digits", "--out", tmp_path)
    assert status == 130 and complaint == "minicnn: interrupted; what was finished is kept\n"
    assert not tmp_path.exists()  # nothing was made yet, so nothing is left


def test_bad_input_is_one_line_each(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "did you mean 'digits'" in refused("demo", "--data", "digit", "--out", tmp_path)
    assert "epochs 0: expected 1 or more" in refused("demo", "--epochs", 0, "--data", "digits", "--out", tmp_path)
    assert "is a file" in refused("demo", "--out", tmp_path / "file")
