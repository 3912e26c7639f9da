"""`minicnn classify`: what the network sees, for every kind of picture file, and one line for what is none."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn import models
from minicnn.cli import classify
from minicnn.data import load
from minicnn.files import sha256
from minicnn.pictures import load_picture
from minicnn.weights import save_weights


@pytest.fixture
def digit(tmp_path):
    """A handwritten 7."""
    digits = load("digits", "test")
    number = int(np.flatnonzero(digits.labels == 7)[0])
    path = tmp_path / "seven.png"
    Image.fromarray(digits.images[number, 0]).save(path)
    return path


def test_a_digit_is_named_with_its_probability(minicnn, digit):
    status, printed, complaint = minicnn("classify", digit, "--model", "lenet5", "--top", 3)
    assert status == 0, complaint
    lines = printed.splitlines()
    assert str(digit) in printed
    best = next(line for line in lines if "%" in line)
    assert best.split()[-1] == "7" and float(best.split()[0]) > 90
    assert sum("%" in line for line in lines) == 3


def test_the_folder_gets_a_picture_of_each_photo_and_all_numbers(minicnn, digit, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "other").mkdir()
    turned = tmp_path / "other" / "seven.bmp"
    Image.open(digit).rotate(180).save(turned)
    status, printed, complaint = minicnn("classify", digit, turned, "--model", "lenet5", "--out", out)
    assert status == 0, complaint
    assert "2 pictures and run.json" in " ".join(printed.split())
    record = json.loads((out / "run.json").read_text())
    first, second = record["photos"]
    assert [first["picture"], second["picture"]] == ["seven.png", "seven-2.png"]
    assert first["classes"][0]["name"] == "7" and first["classes"][0]["class_index"] == 7
    net = models.load("lenet5")
    expected = net.predict(net.prepare(load_picture(turned)), top=5)[0]
    assert [guess["name"] for guess in second["classes"]] == [guess.name for guess in expected]
    np.testing.assert_allclose([g["probability"] for g in second["classes"]], [g.probability for g in expected], 1e-5)
    weights = models.weights_file("lenet5")
    assert set(record["inputs"]) == {str(digit), str(turned), str(weights)}
    assert record["inputs"][str(weights)] == sha256(weights)
    for photo in record["photos"]:
        assert load_picture(out / photo["picture"]).width > 400


@pytest.mark.parametrize(
    ("size", "mode", "note"),
    [
        ((1, 1), "RGB", "enlarged"),
        ((3, 2), "L", "enlarged"),
        ((40, 30), "RGBA", "transparent parts laid on white"),
        ((40, 30), "P", ""),
        ((40, 30), "CMYK", "CMYK converted to RGB"),
        ((3000, 2000), "L", ""),
    ],
)
def test_any_picture_can_be_classified(minicnn, tmp_path, size, mode, note):
    path = tmp_path / ("photo.tiff" if mode == "CMYK" else "photo.png")
    Image.new(mode, size).save(path)
    status, printed, complaint = minicnn("classify", path, "--model", "lenet5")
    assert status == 0, complaint
    assert note in printed and printed.count("%") == 5


def test_a_photo_that_was_taken_upright_is_turned(minicnn, digit, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.png"
    Image.open(digit).transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    _, printed, _ = minicnn("classify", turned, "--model", "lenet5", "--top", 1)
    assert "turned as its EXIF tag says" in printed and printed.split()[-1] == "7"


def test_classes_without_names_go_by_their_numbers(minicnn, digit, tmp_path):
    net = models.build("lenet5", num_classes=3)
    save_weights(net, tmp_path / "w.safetensors")
    status, printed, complaint = minicnn(
        "classify", digit, "--model", "lenet5", "--weights", tmp_path / "w.safetensors"
    )
    assert status == 0, complaint
    assert sorted(line.split()[-1] for line in printed.splitlines() if "%" in line) == ["0", "1", "2"]


def test_names_of_classes_are_no_markup(minicnn, digit, tmp_path):
    net = models.build("lenet5", num_classes=2)
    net.class_names = ("[red]rose[/]", "[/] \x1b]0;title\x07")
    save_weights(net, tmp_path / "w.safetensors")
    status, printed, complaint = minicnn(
        "classify", digit, "--model", "lenet5", "--weights", tmp_path / "w.safetensors"
    )
    assert status == 0, complaint
    assert "[red]rose[/]" in printed and r"[/] \x1b]0;title\x07" in printed


def test_what_cannot_be_classified_is_told_in_one_line(minicnn, digit, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (120_000, 1)).save(tmp_path / "thread.png")
    for arguments, said in (
        (["no.jpg", "--model", "lenet5"], "no.jpg: there is no such file"),
        ([tmp_path, "--model", "lenet5"], "expected a picture, this is a folder"),
        ([tmp_path / "text.png", "--model", "lenet5"], "text.png: not a picture"),
        ([tmp_path / "thread.png", "--model", "lenet5"], "thread.png: 120000x1 is too narrow"),
        ([digit, "--model", "lenet6"], "did you mean 'lenet5'"),
    ):
        status, _, complaint = minicnn("classify", *arguments)
        assert status == 2 and said in complaint and complaint.count("\n") == 1


def test_without_the_weights_of_the_usual_network_others_are_named(minicnn, digit, tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    status, _, complaint = minicnn("classify", digit)
    assert status == 2 and complaint.count("\n") == 1
    assert "squeezenet1_0.safetensors" in complaint and "--model: lenet5" in complaint


def test_a_network_that_ends_in_maps_has_no_classes(minicnn, digit, monkeypatch):
    monkeypatch.setattr(classify, "load_network", lambda model, *_: models.architecture(model))
    status, _, complaint = minicnn("classify", digit, "--model", "vgg19_trunk")
    assert status == 2 and "has no classes: it ends in maps" in complaint


def test_a_real_photo_is_named_by_a_real_network(minicnn, shared_data):
    photo = shared_data / "images" / "content" / "golden_gate.jpg"
    status, printed, complaint = minicnn("classify", photo, "--top", 2)
    assert status == 0, complaint
    assert "suspension bridge" in printed and "pier" in printed


def test_photos_of_one_name_get_pictures_of_their_own():
    photos = [Path("a/x.jpg"), Path("b/x.png"), Path("x-2.jpg"), Path("c/x.jpg"), Path("y")]
    assert classify.file_names(photos) == ["x.png", "x-2.png", "x-2-2.png", "x-3.png", "y.png"]
