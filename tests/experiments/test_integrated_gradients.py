"""Integrated gradients: the quadrature, completeness, the baseline; a tolerance is kept, or said to be missed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.integrated_gradients import gauss_legendre, integrated_gradients
from minicnn.experiments.saliency import saliency
from minicnn.layers import ReLU, Tanh
from minicnn.pictures import save_png, to_picture


def smooth(net):
    """The network without kinks but those of its pool."""
    for name, layer in list(net.layers()):
        if isinstance(layer, ReLU):
            net.replace(name, Tanh())
    return net


def test_twenty_five_nodes_are_exact_where_other_rules_are_per_cents_off():
    alphas, weights = gauss_legendre(25)
    assert weights @ alphas**2 == pytest.approx(1 / 3, abs=1e-15)
    right = np.mean((np.arange(1, 26) / 25) ** 2)
    assert 3 * right - 1 == pytest.approx(0.061, abs=1e-3)


@pytest.mark.parametrize("nodes", [1, 2, 7, 50])
def test_the_nodes_lie_inside_and_their_weights_add_up_to_one(nodes):
    alphas, weights = gauss_legendre(nodes)
    assert nodes == len(alphas) == len(weights)
    assert weights.sum() == pytest.approx(1, abs=1e-14) and (np.diff(alphas) > 0).all()
    assert alphas[0] > 0 and alphas[-1] < 1
    assert weights @ alphas**1 == pytest.approx(0.5, abs=1e-14)


def test_the_values_add_up_to_the_change_of_the_score(small, image):
    smooth(small).to(dtype=np.float64)
    x = image.astype(np.float64)
    result = integrated_gradients(small, x, "dog", baseline=0.9 * x, tolerance=None)
    change = small.scores(x)[0, 1] - small.scores(0.9 * x)[0, 1]
    assert result.change == pytest.approx(change, rel=1e-12)
    assert result.delta == pytest.approx(result.values.sum() - change, abs=1e-12)
    assert abs(result.delta) < 0.005 * abs(change) and result.nodes == 50
    np.testing.assert_array_equal(result.map, result.values.sum(axis=0))


def test_of_a_linear_function_it_is_the_gradient_times_the_step(small, image):
    start = np.full_like(image, 0.5)
    gradient = saliency(small, image, layer="conv1", unit="2,5,5").values
    result = integrated_gradients(small, image, layer="conv1", unit="2,5,5", baseline="grey", nodes=3)
    np.testing.assert_allclose(result.values, gradient * (image - start)[0], atol=1e-6)
    assert result.nodes == 3 and abs(result.delta) < 1e-5


@pytest.mark.parametrize("tolerance", [0.005, 1e-3])
def test_nodes_are_added_until_the_tolerance_is_kept(small, image, tolerance):
    first = integrated_gradients(small, image, nodes=2, tolerance=None)
    result = integrated_gradients(small, image, nodes=2, tolerance=tolerance)
    assert abs(first.delta) > tolerance * abs(first.change)  # or the test would show nothing
    assert abs(result.delta) <= tolerance * abs(result.change) + 1e-6
    assert result.nodes > first.nodes == 2


def test_a_tolerance_that_is_not_reached_is_said_and_the_result_is_given(small, image, monkeypatch):
    monkeypatch.setitem(integrated_gradients.__globals__, "LIMIT", 50)
    with pytest.warns(
        UserWarning, match=r"with 42 nodes delta is .*, more than 1e-12 of .*; more than 50 are not tried"
    ):
        result = integrated_gradients(small, image, nodes=2, tolerance=1e-12)
    assert result.nodes == 42 and result.delta == pytest.approx(result.values.sum() - result.change, abs=1e-9)


def test_nodes_are_added_where_the_gradient_jumps(small, image):
    """F has one kink on the way: halving the stretch that it lies in halves the error."""
    small.to(dtype=np.float64)
    x, black = image.astype(np.float64), np.zeros(image.shape)
    ends = [small.activations(picture, ["conv1"])["conv1"][0] for picture in (black, x)]
    unit = tuple(map(int, np.argwhere((ends[0] < -0.1) & (ends[1] > 0.1))[0]))
    plain = integrated_gradients(small, x, layer="relu1", unit=unit, nodes=400, tolerance=None)
    result = integrated_gradients(small, x, layer="relu1", unit=unit, nodes=10, tolerance=1e-6)
    assert abs(result.delta) <= 1e-6 * abs(result.change) < abs(plain.delta)
    assert result.nodes < 400


def test_the_batches_change_nothing(small, image):
    done = []
    one = integrated_gradients(
        small, image, nodes=5, tolerance=None, memory=1, progress=lambda *counts: done.append(counts)
    )
    assert done == [(k, 5) for k in range(1, 6)]
    np.testing.assert_allclose(integrated_gradients(small, image, nodes=5, tolerance=None).map, one.map, atol=1e-6)


def test_a_picture_is_explained_from_another(small, image):
    other = image[:, :, ::-1].copy()
    result = integrated_gradients(small, image, "cat", baseline=other)
    np.testing.assert_array_equal(result.baseline, other[0])
    assert [caption for caption, _ in result.panels("seen")] == [
        *("x′", "seen", "integrated gradients for cat", "over the picture")
    ]
    assert (integrated_gradients(small, image, "cat", baseline=image, nodes=1).values == 0).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"nodes": 0}, "nodes 0: expected 1 to 1000"),
        ({"nodes": 10_000}, "nodes 10000: expected 1 to 1000"),
        ({"tolerance": 0.0}, "tolerance 0.0: expected a share"),
        ({"baseline": "gray"}, "baseline 'gray'; did you mean 'grey'"),
        ({"baseline": np.zeros((1, 3, 9, 9), np.float32)}, r"baseline of shape \(1, 3, 9, 9\): expected"),
    ],
)
def test_bad_settings_say_what_was_expected(small, image, options, text):
    with pytest.raises(MinicnnError, match=text):
        integrated_gradients(small, image, **options)


def test_the_same_map_on_every_device(small, image, on):
    expected = integrated_gradients(small, image, nodes=4, tolerance=None).map
    on.place(small)
    result = integrated_gradients(small, on.upload(image), nodes=4, tolerance=None)
    np.testing.assert_allclose(result.map, expected, atol=1e-5)


def test_the_command_reports_delta_and_takes_a_baseline(minicnn, refused, photo, tmp_path):
    explain, out = ("explain", "integrated-gradients", photo), tmp_path / "out"
    status, printed, _ = minicnn(*explain, "--baseline", "white", "--tolerance", "0.01", "--out", out)
    assert status == 0 and "the values add up to F(x) − F(x′) = " in printed
    record = json.loads((out / "run.json").read_text())
    assert abs(record["delta"]) <= 0.01 * abs(record["change"]) and record["used_nodes"] >= 50
    save_png(tmp_path / "half.png", to_picture(np.full((1, 28, 28), 0.5)))
    assert (
        minicnn(*explain, "--baseline", tmp_path / "half.png", "--nodes", 4, "--tolerance", "inf", "--out", out)[0] == 0
    )
    record = json.loads((out / "run.json").read_text())
    assert record["used_nodes"] == 4 and str(tmp_path / "half.png") in record["inputs"]
    save_png(tmp_path / "small.png", to_picture(np.full((1, 20, 28), 0.5)))
    complaint = refused(*explain, "--baseline", tmp_path / "small.png", "--out", out)
    assert "a baseline of 28×20 pixels; expected 28×28, as the photo has" in complaint
    assert "baseline 'blck'; did you mean 'black'" in refused(*explain, "--baseline", "blck", "--out", out)
