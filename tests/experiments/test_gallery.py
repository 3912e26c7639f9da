"""The gallery: a page for any network, with a line where a technique cannot be shown."""

from __future__ import annotations

import json
import re
import shlex
import sys
from functools import partial
from html import unescape

import numpy as np
import pytest

from minicnn.experiments import gallery_page
from minicnn.experiments.compare import compare
from minicnn.experiments.embedding import embedding
from minicnn.experiments.gallery import gallery
from minicnn.layers import Conv2d, Flatten, Linear, ReLU, Tanh
from minicnn.models import build
from minicnn.network import Network
from minicnn.pictures import load_picture, save_png, to_picture
from minicnn.weights import save_weights


@pytest.fixture
def quick(monkeypatch):
    """Curves of few steps, and a short t-SNE."""
    monkeypatch.setattr(gallery_page, "compare", partial(compare, steps=2))
    monkeypatch.setattr(gallery_page, "embedding", partial(embedding, steps=500, perplexity=3))


@pytest.fixture
def folder(tmp_path):
    """Five grey pictures of each of two classes."""
    rng = np.random.default_rng(0)
    for name in ("bars", "noise"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(5):
            picture = rng.random((1, 28, 28), np.float32)
            if name == "bars":
                picture[:, :, 4 * i : 4 * i + 5] = 1
            save_png(tmp_path / "pictures" / name / f"{i}.png", to_picture(picture))
    return tmp_path / "pictures"


def text_of(page) -> str:
    """The page without its pictures."""
    return re.sub(r"base64,[\w+/=]*", "", page.read_text(encoding="utf-8"))


def test_the_page_has_every_chapter_and_a_line_that_makes_it_alone(quick, photo, folder, minicnn, tmp_path):
    pytest.importorskip("cv2")
    status, said, _ = minicnn("look", "gallery", photo, "--data", folder, "--out", tmp_path / "out")
    assert status == 0 and "14 chapters" in said
    page = text_of(tmp_path / "out/index.html")
    for heading in (*gallery_page.CHAPTERS, *gallery_page.OF_DATA):
        assert f"<h2>{heading}</h2>" in page
    assert "Left out" not in page and "<script" not in page and page.count("<pre>") == 14
    record = json.loads((tmp_path / "out/run.json").read_text(encoding="utf-8"))
    assert record["left_out"] == {} and len(record["files"]) > 20
    for name in record["files"]:
        assert name == "index.html" or load_picture(tmp_path / "out" / name).height > 10


def test_the_lines_are_commands_that_run(quick, photo, minicnn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = gallery(photo, tmp_path / "out", target="3")
    lines = re.findall(r"<pre><code>minicnn (.*?)</code>", text_of(page))
    assert any(line.endswith("--model lenet5 --target 3 --out saliency") for line in lines)
    for line in lines:
        words = shlex.split(unescape(line))
        if words[1] in ("filters", "activations", "saliency", "handmade", "gradcam"):
            assert minicnn(*words)[0] == 0, line


def test_the_same_seed_gives_the_same_pictures(quick, photo, tmp_path):
    for name in ("a", "b"):
        gallery(photo, tmp_path / name)
    pictures = sorted(path.name for path in (tmp_path / "a").glob("*.png"))
    assert len(pictures) > 15
    for name in pictures:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_without_opencv_the_object_is_left_out_with_the_line_that_installs_it(quick, photo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    page = text_of(gallery(photo, tmp_path / "out"))
    assert "Left out: segment needs OpenCV: pip install &#x27;minicnn[vision]&#x27;." in page
    assert "--data FOLDER" in page  # and what a data set would add


NETWORKS = {
    "no convolution": ({"flatten": Flatten(), "fc1": Linear(784, 6), "relu1": ReLU(), "fc2": Linear(6, 3)}, 2),
    "no ReLU": ({"conv1": Conv2d(1, 2, 5), "tanh1": Tanh(), "flatten": Flatten(), "fc2": Linear(2 * 576, 3)}, 1),
    "nothing but a sum": ({"flatten": Flatten(), "fc": Linear(784, 3)}, 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_network_cannot_do_is_left_out_and_the_rest_is_there(name, quick, photo, tmp_path, monkeypatch, folder):
    pytest.importorskip("cv2")
    layers, least = NETWORKS[name]
    net = Network(layers, input_shape=(1, 28, 28), name="odd", feature_layer="flatten").initialize(0).eval()
    weights = tmp_path / "odd.safetensors"
    save_weights(build("lenet5"), weights)  # only its hash is recorded
    module = sys.modules["minicnn.experiments.gallery"]
    monkeypatch.setattr(module, "load_network", lambda *_: net)
    page = gallery(photo, tmp_path / "out", weights=weights, data=str(folder))
    record = json.loads((page.parent / "run.json").read_text(encoding="utf-8"))
    assert len(record["left_out"]) >= least
    assert "What it cannot do without" not in record["left_out"] and "All methods, measured" not in record["left_out"]
    for why in record["left_out"].values():
        assert why and "\n" not in why


def test_bad_input_is_one_line(refused, photo, tmp_path):
    out = ("--out", tmp_path / "out")
    assert "lenet5" in refused("look", "gallery", photo, "--model", "lenet55", *out)
    assert "class 12: expected 0 to 9" in refused("look", "gallery", photo, "--target", "12", *out)
    refused("look", "gallery", tmp_path / "none.png", *out)
    refused("look", "gallery", photo, "--data", tmp_path / "nothing", *out)
    assert not (tmp_path / "out").exists()
