"""A data set on a plane."""

import json

import numpy as np
import pytest

from minicnn.data import Dataset, load
from minicnn.errors import MinicnnError
from minicnn.experiments.collection import chosen, features_of, pictures_of
from minicnn.experiments.embedding import (
    LEAST_STEPS,
    NAMED,
    agreement,
    class_colours,
    draw_grid,
    draw_scatter,
    embedding,
    on_a_grid,
)
from minicnn.pictures import load_picture, save_png, to_picture


@pytest.fixture(scope="module")
def groups():
    """Three groups of 20 vectors, far from one another."""
    generator = np.random.default_rng(0)
    return np.concatenate([generator.normal(10 * k, 1, (20, 6)) for k in range(3)]), np.repeat(np.arange(3), 20)


def coloured(count, classes):
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 9, 7), np.uint8)
    return Dataset(images, np.arange(count) % classes, tuple(f"class {k}" for k in range(classes)), "coloured")


def test_groups_stay_together(groups):
    vectors, labels = groups
    found = embedding(vectors, perplexity=10, steps=500)
    assert found.pca.shape == found.tsne.shape == (60, 2)
    assert agreement(found.pca, labels) == agreement(found.tsne, labels) == 1


def test_pca_is_the_projection_on_the_first_singular_vectors(groups):
    vectors, _ = groups
    found = embedding(vectors, perplexity=5, steps=500)
    centred = vectors - vectors.mean(axis=0)
    _, s, Vt = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.pca), np.abs(centred @ Vt[:2].T), atol=1e-8)
    assert found.share == pytest.approx((s[:2] ** 2).sum() / (s**2).sum())


def test_the_same_seed_gives_the_same_places(groups):
    one, two = (embedding(groups[0], perplexity=5, steps=500, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.tsne, two.tsne)


def test_vectors_of_one_number_are_taken():
    assert embedding(np.arange(40.0)[:, None], perplexity=5, steps=500).pca.shape == (40, 2)


def test_what_cannot_be_embedded_is_refused(groups):
    vectors, _ = groups
    for perplexity in (60, 100, 0, float("nan")):
        with pytest.raises(MinicnnError, match="perplexity"):
            embedding(vectors, perplexity=perplexity)
    with pytest.raises(MinicnnError, match="steps 499: expected 500 or more"):
        embedding(vectors, perplexity=5, steps=499)
    with pytest.raises(MinicnnError, match="relu9: has the same values for all pictures"):
        embedding(np.ones((60, 4)), "relu9", perplexity=5)


@pytest.mark.parametrize(
    "vectors",
    [
        np.arange(60.0),
        np.zeros((60, 2, 2)),
        np.zeros((60, 0)),
        np.zeros((1, 4)),
        np.full((60, 4), np.nan),
        [[1.0], [2]],
    ],
)
def test_what_is_no_vectors_is_one_clear_error(vectors):
    labels = np.zeros(len(vectors), np.int64)
    for function in (embedding, lambda v: agreement(v, labels)):
        with pytest.raises(MinicnnError, match=r"expected \(N, D\)|expected finite"):
            function(vectors)
    with pytest.raises(MinicnnError, match=r"labels of \(3,\): expected \(5,\)"):
        agreement(np.eye(5), labels[:3] if len(labels) > 3 else np.zeros(3))
    with pytest.raises(MinicnnError, match=r"places \(60, 3\): expected \(N, 2\)"):
        on_a_grid(np.zeros((60, 3)))


def test_at_the_least_steps_groups_are_no_clump(groups):
    assert np.ptp(embedding(groups[0], perplexity=10, steps=LEAST_STEPS).tsne) > 10


def test_of_a_sample_only_the_pictures_drawn_are_decoded(tmp_path, capsys):
    for i, pixels in enumerate(np.random.default_rng(4).random((9, 3, 30, 28), np.float32)):
        save_png(tmp_path / f"noise {i}.png", to_picture(pixels))
    (tmp_path / "noise 3.png").write_bytes(b"no picture")
    whole = pictures_of(str(tmp_path), shape=(3, 8, 8))
    assert len(whole) == 8 and capsys.readouterr().out.count("noise 3.png") == 1
    seeds = {seed: len(pictures_of(str(tmp_path), shape=(3, 8, 8), count=4, seed=seed)) for seed in range(6)}
    assert set(seeds.values()) == {3, 4}  # where the damaged one is drawn it is missing
    assert capsys.readouterr().out.count("left out 1 picture") == list(seeds.values()).count(3)


def test_each_picture_gets_a_cell_of_its_own_near_its_place():
    places = np.random.default_rng(0).random((47, 2))
    cells = on_a_grid(places)
    assert len({tuple(cell) for cell in cells.tolist()}) == 47 and cells.max() < 7
    assert np.corrcoef(places[:, 0], cells[:, 1])[0, 1] > 0.9
    assert np.corrcoef(places[:, 1], cells[:, 0])[0, 1] < -0.9  # y points up


def test_a_full_grid_is_found_again():
    y, x = np.mgrid[0:5, 0:5]
    cells = on_a_grid(np.stack([x.ravel(), -y.ravel()], axis=1) * 3.0)
    np.testing.assert_array_equal(cells, np.stack([y.ravel(), x.ravel()], axis=1))


def test_places_on_a_line_get_cells():
    assert len(np.unique(on_a_grid(np.zeros((10, 2))), axis=0)) == 10


def test_pictures_lie_in_their_cells():
    dataset = coloured(4, 2)
    sheet = np.asarray(draw_grid(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), dataset))
    tile = len(sheet) // 2
    for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert sheet[row * tile, column * tile].tolist() == dataset.images[i, :, 0, 0].tolist()


@pytest.mark.parametrize("classes", [1, 3, 10, 15, NAMED, 200])
def test_few_classes_have_names_and_many_a_scale_of_colours(classes):
    colours, names = class_colours(coloured(400, classes))
    assert colours.shape == (classes, 4)
    assert len(names) == (classes if classes <= NAMED else 12)
    assert len(np.unique(colours, axis=0)) == classes


def test_features_with_places_are_averaged(small):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 12, 12), np.uint8)
    dataset = Dataset(images, np.zeros(5, np.int64), ("",), "five")
    found = features_of(small, dataset, "relu1", memory=1)
    expected = small.activations(images / np.float32(255), ["relu1"])["relu1"].mean(axis=(2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_sample_is_drawn_by_the_seed():
    digits = load("digits", "test")
    one, two, other = (chosen(digits, 50, seed) for seed in (1, 1, 2))
    assert one.fingerprint() == two.fingerprint() != other.fingerprint() and len(one) == 50
    assert chosen(digits, 1000, 0) is digits


def test_the_scatter_is_the_same_each_time(groups):
    found = embedding(groups[0], perplexity=5, steps=500)
    one, two = (draw_scatter(found, coloured(60, 3)) for _ in range(2))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("what", [(), ("--model", "lenet5"), ("--model", "lenet5", "--layer", "relu1")])
def test_the_command_draws_a_scatter_and_a_grid(minicnn, tmp_path, what):
    out = tmp_path / "out"
    command = ("look", "embedding", "--data", "digits", *what, "-n", "60", "--steps", "500", "--out", out)
    status, printed, _ = minicnn(*command)
    assert status == 0 and "60 pictures" in printed and "of the same class" in printed
    assert load_picture(out / "scatter.png").width > 1000 and load_picture(out / "grid.png").width > 200
    assert json.loads((out / "run.json").read_text())["vectors"][0] == 60


def test_pictures_without_classes_are_taken(minicnn, tmp_path):
    (tmp_path / "loose").mkdir()
    for i, pixels in enumerate(np.random.default_rng(4).random((9, 3, 30, 28), np.float32)):
        save_png(tmp_path / "loose" / f"noise {i}.png", to_picture(pixels))
    command = ("look", "embedding", "--data", tmp_path / "loose", "--perplexity", "3", "--steps", "500")
    status, printed, _ = minicnn(*command, "--out", tmp_path / "out")
    assert status == 0 and "of the same class" not in printed


def test_bad_input_is_one_line_each(minicnn, refused, tmp_path):
    look, out = ("look", "embedding", "--data"), ("--out", tmp_path / "out")
    for option in ("--layer", "--weights"):
        assert f"{option}: of which network" in refused(*look, "digits", option, "relu1", *out)
    assert minicnn(*look, "digits", "--steps", "499", *out)[0] == 2
    assert "did you mean 'relu1'" in refused(*look, "digits", "--model", "lenet5", "--layer", "rel1", *out)
    assert "perplexity 30" in refused(*look, "digits", "-n", "20", *out)
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in refused(*look, tmp_path / "empty", *out)
    assert not (tmp_path / "out").exists()
