"""The measures of a map: against their definitions step by step, and on maps of which one knows what they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import kernels
from minicnn.errors import MinicnnError
from minicnn.experiments.attribution import Attribution, Target
from minicnn.experiments.deeplift import deeplift
from minicnn.experiments.quality import (
    deletion,
    infidelity,
    insertion,
    max_sensitivity,
    randomization,
    rank_correlation,
)
from minicnn.experiments.saliency import saliency
from minicnn.image.blur import gaussian_blur
from minicnn.layers import BatchNorm2d, Conv2d, Flatten, Linear, ReLU
from minicnn.network import Network


@pytest.fixture
def weights_of_pixels():
    """F₀ = Σ w x on pictures of 4×5 pixels, and F₁ = 0."""
    net = Network({"flatten": Flatten(), "fc": Linear(20, 2, bias=False)}, input_shape=(1, 4, 5))
    net.initialize(0).eval()
    fc: Any = net.layer("fc")
    fc.weight.value[0] = np.random.default_rng(0).standard_normal(20)
    fc.weight.value[1] = 0
    return net


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(3).random((1, 1, 4, 5)).astype(np.float32)


def probability(net: Network, x: np.ndarray, c: int) -> float:
    scores = net.scores(x)[0].astype(np.float64)
    return float(np.exp(scores[c]) / np.exp(scores).sum())


def test_pixels_turn_black_in_the_order_of_the_map(weights_of_pixels, grey):
    net, x = weights_of_pixels, grey.copy()
    map = np.random.default_rng(1).standard_normal((4, 5))
    curve = deletion(net, grey, map, 0, steps=20)
    assert curve.value[0] == pytest.approx(probability(net, x, 0))
    for i, pixel in enumerate(np.argsort(-map.ravel()), 1):
        x.reshape(-1)[pixel] = 0
        assert curve.value[i] == pytest.approx(probability(net, x, 0), rel=1e-5)
    np.testing.assert_allclose(curve.share, np.arange(21) / 20)
    assert curve.auc == pytest.approx(np.trapezoid(curve.value, curve.share))


def test_pixels_come_back_into_a_blurred_picture(small, image):
    map = np.random.default_rng(1).random((12, 12))
    curve = insertion(small, image, map, 1, steps=7, sigma=2.0)
    blurred = gaussian_blur(image, 2.0)
    assert curve.value[0] == pytest.approx(probability(small, blurred, 1), rel=1e-4)
    assert curve.value[-1] == pytest.approx(probability(small, image, 1), rel=1e-4)
    third = np.where(map >= np.sort(map.ravel())[::-1][round(3 / 7 * 144) - 1], image, blurred)
    assert curve.value[3] == pytest.approx(probability(small, third, 1), rel=1e-4)


def test_a_better_map_loses_the_class_sooner_and_finds_it_sooner(weights_of_pixels, grey):
    net = weights_of_pixels
    right = deeplift(net, grey, 0).map
    guess = np.random.default_rng(2).random(right.shape)
    lost = [deletion(net, grey, map, 0).auc for map in (right, guess, -right)]
    gain = deeplift(net, grey, 0, baseline=gaussian_blur(grey, 9.0)).map
    found = [insertion(net, grey, map, 0, sigma=9.0).auc for map in (gain, guess, -gain)]
    assert lost == sorted(lost) and found == sorted(found)[::-1]


def test_the_size_of_the_batches_changes_no_curve(small, image):
    map, calls = np.random.default_rng(1).random((12, 12)), []
    one = deletion(small, image, map, 1, steps=9, memory=1, progress=lambda *done: calls.append(done))
    assert calls == [(i, 10) for i in range(1, 11)]
    np.testing.assert_allclose(deletion(small, image, map, 1, steps=9).value, one.value, atol=1e-6)


def test_more_steps_than_pixels_are_no_harm(weights_of_pixels, grey):
    assert len(deletion(weights_of_pixels, grey, grey[0, 0], 0, steps=100).value) == 101


def test_the_curve_of_a_unit_is_its_activation(small, image):
    map = np.random.default_rng(1).random((12, 12))
    curve = deletion(small, image, map, Target("relu2", (3, 1, 1), "a unit"), steps=4)
    before = small.activations(image, ["relu2"])["relu2"][0, 3, 1, 1]
    assert curve.value[0] == pytest.approx(float(before), rel=1e-5)


def test_the_same_figures_on_every_device(small, image, on):
    map = np.random.default_rng(1).random((12, 12))
    measures = (
        lambda x: deletion(small, x, map, 1, steps=5).auc,
        lambda x: insertion(small, x, map, 1, steps=5).auc,
        lambda x: infidelity(small, x, map, 1, count=20).share,
        lambda x: max_sensitivity(small, saliency, x, 1, count=3),
        lambda x: randomization(small, saliency, x, 1).all,
    )
    expected = [measure(image) for measure in measures]
    on.place(small)
    there = [measure(on.upload(image)) for measure in measures]
    assert there == pytest.approx(expected, rel=1e-3)


# Randomization --------------------------------------------------------------------------------------------------------


def norm_of(net: Any) -> Any:
    return net.layer("norm")


def of_the_picture(net, image, target):
    """A "method" that does not look at the network: where the picture is bright."""
    return Attribution("brightness", target, image[0], image[0].sum(axis=0), False, image[0], "")


def test_a_map_of_the_picture_alone_does_not_notice_other_weights(small, image):
    assert randomization(small, of_the_picture, image).all == pytest.approx(1)


def test_a_gradient_notices_other_weights(small, image):
    found = randomization(small, saliency, image, 1, cascade=True)
    assert found.layers == ("fc3", "conv2", "conv1")
    assert found.correlation[-1] == found.all and abs(found.all) < 0.6
    assert randomization(small, saliency, image, 1).all == found.all
    assert randomization(small, saliency, image, 1, seed=1).all != found.all


def test_the_network_keeps_its_weights_also_where_kernels_keep_what_they_made_of_them(small, image):
    before = small.state_dict()
    plain = randomization(small, saliency, image, 1, cascade=True)
    with kernels.frozen_weights():
        small.forward(image)
        frozen = randomization(small, saliency, image, 1, cascade=True)
    np.testing.assert_array_equal(frozen.correlation, plain.correlation)
    for name, value in small.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_running_averages_are_forgotten_with_the_weights(image):
    layers = {
        "conv": Conv2d(3, 4, 3),
        "norm": BatchNorm2d(4),
        "relu": ReLU(),
        "flatten": Flatten(),
        "fc": Linear(400, 2),
    }
    net = Network(layers, input_shape=(3, 12, 12)).initialize(0).eval()
    norm: Any = net.layer("norm")
    norm.running_var.value[...] = 7
    seen = []

    def method(other, x, target):
        seen.append(float(norm_of(other).running_var.value[0]))
        return of_the_picture(other, x, target)

    randomization(net, method, image, 0, cascade=True)
    assert seen == [7, 7, 1, 1]  # as it is, and without fc, norm, conv


def test_ranks_correlate_as_in_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for levels in (3, 1000):
        a, b = rng.integers(0, levels, (2, 200)).astype(float)
        assert rank_correlation(a, a + b) == pytest.approx(stats.spearmanr(a, a + b)[0])
    assert rank_correlation(a, 0 * a) == 0


# Infidelity and sensitivity -------------------------------------------------------------------------------------------


def test_of_a_weighted_sum_the_contributions_tell_everything(weights_of_pixels, grey):
    right = deeplift(weights_of_pixels, grey, 0).map
    told = infidelity(weights_of_pixels, grey, right, 0, window=2)
    assert told.share < 1e-10 and told.scale == pytest.approx(1, rel=1e-5)
    assert infidelity(weights_of_pixels, grey, 3 * right, 0, window=2).scale == pytest.approx(1 / 3, rel=1e-5)
    assert infidelity(weights_of_pixels, grey, 0 * right, 0).share == 1
    assert 0.01 < infidelity(weights_of_pixels, grey, 1 - right, 0, window=2).share <= 1


def test_infidelity_hides_what_it_says(small, image):
    map = np.random.default_rng(1).random((12, 12))
    found = infidelity(small, image, map, 1, count=1, window=12)
    fall = float((small.scores(image) - small.scores(0 * image))[0, 1])
    assert found.scale == pytest.approx(fall / map.sum(), rel=1e-4) and found.share == pytest.approx(0, abs=1e-9)


def test_the_gradient_of_a_weighted_sum_is_not_sensitive(weights_of_pixels, grey):
    assert max_sensitivity(weights_of_pixels, saliency, grey, 0) == 0


def test_sensitivity_is_the_greatest_change_in_parts_of_the_map(small, image):
    found = max_sensitivity(small, of_the_picture, image, 1, radius=0.1, count=3)
    rng = np.random.default_rng(0)
    noise = [rng.uniform(-0.1, 0.1, image.shape).astype(np.float32)[0].sum(axis=0) for _ in range(3)]
    expected = max(np.linalg.norm(n) for n in noise) / np.linalg.norm(image[0].sum(axis=0))
    assert found == pytest.approx(expected, rel=1e-4)
    assert max_sensitivity(small, of_the_picture, image, 1, radius=0.0) == 0


def test_bad_settings_say_what_was_expected(small, image):
    map = np.zeros((12, 12))
    with pytest.raises(MinicnnError, match=r"a map of the picture's size \(12, 12\), got \(6, 6\)"):
        deletion(small, image, np.zeros((6, 6)))
    with pytest.raises(MinicnnError, match="steps 0: expected 1 or more"):
        insertion(small, image, map, steps=0)
    with pytest.raises(MinicnnError, match="window 13: expected 1 to 12"):
        infidelity(small, image, map, window=13)
