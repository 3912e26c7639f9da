"""Three classifiers, and the convolution as a Linear layer."""

import json

import numpy as np
import pytest

from minicnn.data import Dataset, load
from minicnn.errors import MinicnnError
from minicnn.experiments.learned import CASES, FIXED, STAGES, Stage, as_matrix, compared, counts, draw, learned
from minicnn.layers import Conv2d, Linear
from minicnn.pictures import load_picture, save_png, to_picture


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train").subset(slice(500)), load("digits", "test")


@pytest.fixture(scope="module")
def stages(digits):
    return learned(*digits, epochs=12)


def kernels_of(stage: Stage) -> np.ndarray:
    conv = stage.net.layer("conv")
    assert isinstance(conv, Conv2d)
    return conv.weight.value


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 0), (1, 2)])
def test_the_matrix_does_what_the_convolution_does(stride, padding):
    generator = np.random.default_rng(0)
    w, x = generator.standard_normal((4, 2, 3, 2)), generator.standard_normal((1, 2, 7, 8))
    conv = Conv2d(2, 4, (3, 2), stride, padding, bias=False).initialize(0).to(dtype=np.float64)
    conv.weight.value = w
    M = as_matrix(w, (2, 7, 8), stride=stride, padding=padding)
    y = conv.forward(x)
    np.testing.assert_allclose(M @ x.ravel(), y.ravel(), atol=1e-12)
    dy = generator.standard_normal(y.shape)
    dx = conv.backward(dy)
    assert dx is not None
    np.testing.assert_allclose(M.T @ dy.ravel(), dx.ravel(), atol=1e-12)


def test_the_two_layers_agree_to_rounding():
    weight = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float32)
    found = compared(weight, (2, 9, 8))
    assert found.matrix.shape == (3 * 7 * 6, 2 * 9 * 8)
    assert 0 < found.forward < 1e-5 and 0 < found.backward < 1e-5


def test_the_matrix_is_sparse_and_shared():
    weight = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    M = as_matrix(weight, (1, 6, 6))
    assert sorted(set(M.ravel().tolist())) == list(range(10))
    assert ((M != 0).sum(axis=1) == 9).all() and ((M == 5).sum(axis=1) == 1).all()


@pytest.mark.parametrize("case", CASES)
def test_the_counts_are_those_of_layers(case):
    shape, F, K, P = CASES[case]
    found = counts(shape, F, K, padding=P)
    conv = Conv2d(shape[0], F, K, padding=P)
    assert found["convolution"] == conv.num_parameters()
    outputs = int(np.prod(conv.output_shape(shape)))
    assert found["dense"] == Linear(int(np.prod(shape)), outputs).num_parameters()
    assert found["locally connected"] == outputs * (shape[0] * K * K + 1)


def test_kernels_by_hand_stay_as_they_are_and_learned_ones_do_not(stages):
    assert list(stages) == list(STAGES)
    fixed, found = (kernels_of(stages[name]) for name in ("fixed", "learned"))
    for w, kernel in zip(fixed[:, 0], FIXED.values(), strict=True):
        np.testing.assert_allclose(w, kernel * np.sqrt(2) / np.linalg.norm(kernel), rtol=1e-5)
    assert fixed.shape == found.shape and not np.allclose(fixed, found, atol=0.1)
    assert stages["learned"].learned - stages["fixed"].learned == found.size + len(found)


def test_kernels_help(stages):
    assert 0.7 < stages["raw"].accuracy < stages["fixed"].accuracy
    assert stages["raw"].accuracy < stages["learned"].accuracy


def test_the_same_seed_learns_the_same(digits):
    a, b, c = (kernels_of(learned(*digits, epochs=1, seed=seed)["learned"]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_colours_have_kernels_of_their_own(stages):
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 12, 12), np.uint8)
    some = Dataset(images, np.arange(30) % 3, ("a", "b", "c"), "colours")
    found = learned(some, some, epochs=1)
    assert kernels_of(found["fixed"]).shape == (3 * len(FIXED), 1, 3, 3)
    assert draw(found).width > 400


def test_no_epochs_are_refused(digits):
    with pytest.raises(MinicnnError, match="epochs 0"):
        learned(*digits, epochs=0)


def test_the_command_writes_the_figures_and_the_numbers(minicnn, tmp_path):
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(12):
                pixels = generator.random((3, 20, 20), np.float32) * (0.5 if name == "a" else 1)
                save_png(tmp_path / "data" / split / name / f"{i}.png", to_picture(pixels))
    out = tmp_path / "out"
    command = ("look", "learned", "--data", tmp_path / "data", "--epochs", "2", "--out", out)
    status, printed, _ = minicnn(*command)
    assert status == 0 and "numbers learned" in printed and "locally connected" in printed
    record = json.loads((out / "run.json").read_text())
    assert set(record["accuracies"]) == set(STAGES) and record["parameters"]["1×6×6, one 3×3"]["convolution"] == 10
    assert load_picture(out / "learned.png").width > 400 and load_picture(out / "matrix.png").width > 400


def test_bad_input_is_one_line_each(refused, tmp_path):
    look, out = ("look", "learned"), ("--out", tmp_path / "out")
    assert "no data set of this name" in refused(*look, "--data", "mnits", *out)
    (tmp_path / "empty").mkdir()
    assert "to train on it" in refused(*look, "--data", tmp_path / "empty", *out)
    assert "epochs 0" in refused(*look, "--data", "digits", "--epochs", "0", *out)
    assert not (tmp_path / "out").exists()
