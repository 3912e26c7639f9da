"""The nearest pictures, in pixels and in features."""

import json

import numpy as np
import pytest

from minicnn.data import Dataset
from minicnn.errors import MinicnnError
from minicnn.experiments.neighbours import draw, nearest_of, neighbours
from minicnn.layers import Conv2d
from minicnn.network import Network
from minicnn.pictures import load_picture, save_png, to_picture


@pytest.fixture
def dataset():
    images = np.random.default_rng(5).integers(0, 256, (11, 3, 12, 12), np.uint8)
    return Dataset(images, np.arange(11) % 3, ("cat", "dog", "eel"), "noise")


@pytest.mark.parametrize("layer", [None, "relu1"])
@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_distances_are_those_of_every_picture_by_itself(small, image, dataset, layer, memory):
    found = neighbours(small, image, dataset, 4, layer=layer, memory=memory)
    pictures = dataset.images / np.float32(255)
    name = layer or small.feature_layer
    features = small.activations(np.concatenate([image, pictures]), [name])[name]
    features = features.reshape(*features.shape[:2], -1).mean(axis=2)  # over the places
    for near, vectors in ((found.pixels, np.concatenate([image, pictures])), (found.features, features)):
        d = [np.sqrt(((v - vectors[0]) ** 2).sum()) for v in vectors[1:]]
        assert near.pictures.tolist() == np.argsort(d)[:4].tolist()
        np.testing.assert_allclose(near.distance, np.sort(d)[:4], rtol=1e-5)
    assert found.layer == name


def test_a_picture_is_its_own_neighbour(small, dataset):
    found = neighbours(small, dataset.images[6:7] / np.float32(255), dataset, 2)
    for near in (found.pixels, found.features):
        assert near.pictures[0] == 6 and near.distance[0] == pytest.approx(0, abs=1e-5)


def test_of_equal_distances_the_first_counts():
    assert nearest_of(np.array([2.0, 1, 1, 0]), 3).pictures.tolist() == [3, 1, 2]


def test_more_neighbours_than_pictures_are_refused(small, image, dataset):
    for count in (12, 0):
        with pytest.raises(MinicnnError, match="expected 1 to 11, noise has no more pictures"):
            neighbours(small, image, dataset, count)
    with pytest.raises(MinicnnError, match="did you mean 'relu1'"):
        neighbours(small, image, dataset, 2, layer="rel1")


def test_what_is_not_one_picture_as_large_as_the_others_is_refused(image, small, dataset):
    for wrong in (
        image[0],
        image[0, 0, 0],
        np.concatenate([image, image]),
        image[..., :9],
        np.full_like(image, np.nan),
    ):
        with pytest.raises(MinicnnError):
            neighbours(small, wrong, dataset, 2)
    anywhere = Network({"conv1": Conv2d(3, 4, 3)}, input_shape=(3, 12, 12)).initialize(0)
    with pytest.raises(MinicnnError, match=r"the picture is \(3, 12, 9\), those of noise \(3, 12, 12\)"):
        neighbours(anywhere, image[..., :9], dataset, 2)
    with pytest.raises(MinicnnError, match=r"distances \(2, 3\): expected \(N,\)"):
        nearest_of(np.zeros((2, 3)), 1)


def test_the_same_neighbours_on_every_device(small, image, dataset, on):
    expected = neighbours(small, image, dataset, 5)
    on.place(small)
    found = neighbours(small, on.upload(image), dataset, 5)
    np.testing.assert_array_equal(found.features.pictures, expected.features.pictures)
    np.testing.assert_allclose(found.pixels.distance, expected.pixels.distance, rtol=1e-5)


def test_the_figure_grows_with_the_neighbours(small, image, dataset):
    found = {count: neighbours(small, image, dataset, count) for count in (2, 6)}
    few, more = (draw(image[0], dataset, {"pixels": near.pixels}) for near in found.values())
    assert more.width > 1.7 * few.width


def test_the_command_names_the_neighbours(minicnn, refused, photo, tmp_path):
    (tmp_path / "loose").mkdir()
    for i, pixels in enumerate(np.random.default_rng(4).random((5, 1, 30, 28), np.float32)):
        save_png(tmp_path / "loose" / f"noise {i}.png", to_picture(pixels))
    out = tmp_path / "out"
    command = ("look", "neighbours", photo, "--data", tmp_path / "loose", "--out", out)
    assert "8 neighbours: expected 1 to 5" in refused(*command)
    assert not out.exists()
    status, printed, _ = minicnn(*command, "--count", "3")
    assert status == 0 and printed.count("noise") == 6
    assert load_picture(out / "neighbours.png").width > 400
    record = json.loads((out / "run.json").read_text())
    assert record["neighbours"]["pixels"][0]["picture"].startswith(str(tmp_path / "loose"))


def test_an_embedding_is_trained_for_it(minicnn, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.experiments.metric.PAIRS", 16)
    out = tmp_path / "out"
    command = ("look", "neighbours", photo, "--data", "digits", "--train-embedding", "triplet", "--out", out)
    status, printed, _ = minicnn(*command)
    assert status == 0 and "nearest in the triplet embedding" in printed and "trained on 1,437 pictures" in printed
    shares = json.loads((out / "run.json").read_text())["nearest_is_of_the_same_class"]
    assert min(shares.values()) > 0.9


def test_bad_input_is_one_line_each(refused, photo, tmp_path):
    look, out = ("look", "neighbours"), ("--out", tmp_path / "out")
    assert "did you mean 'triplet'" in refused(*look, photo, "--data", "digits", "--train-embedding", "tripel", *out)
    assert "did you mean 'relu1'" in refused(*look, photo, "--data", "digits", "--layer", "rel1", *out)
    assert "no data set of this name" in refused(*look, photo, "--data", "digit", *out)
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in refused(*look, photo, "--data", tmp_path / "empty", *out)
    assert not (tmp_path / "out").exists()
