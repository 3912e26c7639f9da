"""What goes into a network and what comes out of it: pictures as it wants them, scores at its end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.layers import AdaptiveAvgPool2d, Conv2d, Flatten, Layer, Linear, ReLU, Sequential, Softmax
from minicnn.network import Network


def test_predictions_are_of_what_comes_out_not_of_where_explanations_begin() -> None:
    layers = {"flatten": Flatten(), "fc": Linear(2, 2), "double": Linear(2, 2)}
    net = Network(layers, input_shape=(2, 1, 1), score_layer="fc")
    net.initialize(0)
    for name, weights in (("fc", [[1, 0], [0, 1]]), ("double", [[0, 2], [2, 0]])):
        net.layer(name).weight.value[...] = weights  # type: ignore[attr-defined]
        net.layer(name).bias.value[...] = 0  # type: ignore[attr-defined]
    x = np.array([[1, 0]], np.float32).reshape(1, 2, 1, 1)
    assert net.scores(x).tolist() == [[0, 2]]
    assert net.predict(x)[0][0].class_index == 1


ENDS: dict[str, tuple[Callable[[], dict[str, Layer]], str, str]] = {  # the layers, where the scores and features are
    "a softmax": (lambda: {"softmax": Softmax()}, "fc", "flatten"),
    "a softmax in a block": (
        lambda: {"head": Sequential(relu=ReLU(), fc2=Linear(4, 3), softmax=Softmax())},
        "head.fc2",
        "fc",
    ),
    "a softmax, then flattened": (lambda: {"softmax": Softmax(), "flatten2": Flatten()}, "fc", "flatten"),
}


def ending(layers: dict[str, Layer]) -> Network:
    net = Network({"flatten": Flatten(), "fc": Linear(12, 4), **layers}, input_shape=(3, 2, 2))
    net.initialize(0)
    for parameter in net.parameters():
        parameter.value[...] *= 5  # far from equal probabilities
    return net.eval()


@pytest.mark.parametrize("end", ENDS)
def test_a_softmax_at_the_end_is_not_taken_twice(end: str) -> None:
    layers, score_layer, feature_layer = ENDS[end]
    net, x = ending(layers()), np.random.default_rng(0).random((4, 3, 2, 2)).astype(np.float32)
    assert (net.score_layer, net.prediction_layer, net.feature_layer) == (score_layer, score_layer, feature_layer)
    np.testing.assert_array_equal(net.scores(x), net.activations(x, [score_layer])[score_layer])
    expected = net.forward(x, remember=None).max(axis=1)
    np.testing.assert_allclose([best[0].probability for best in net.predict(x)], expected, rtol=1e-6)


def test_a_softmax_over_maps_of_one_pixel_is_found_behind_its_flatten() -> None:
    layers = {"conv": Conv2d(3, 4, 1), "pool": AdaptiveAvgPool2d(1), "softmax": Softmax(), "flatten": Flatten()}
    net = Network(layers, input_shape=(3, 4, 4))
    net.initialize(0)
    x = np.random.default_rng(0).random((2, 3, 4, 4)).astype(np.float32)
    assert (net.score_layer, net.feature_layer) == ("pool", "conv")
    np.testing.assert_allclose(net.scores(x), net.activations(x, ["pool"])["pool"][:, :, 0, 0])


def test_a_softmax_in_the_middle_is_a_layer_like_others() -> None:
    net = ending({"softmax": Softmax(), "fc2": Linear(4, 3)})
    assert net.score_layer == net.prediction_layer == "fc2"


def test_a_picture_is_scaled_to_what_the_network_asks_for_before_its_middle_is_cut_out() -> None:
    net = Network({"flatten": Flatten(), "fc": Linear(16, 2)}, input_shape=(1, 4, 4), resize=6)
    ramp = np.arange(36, dtype=np.float32).reshape(1, 6, 6) / 36
    np.testing.assert_array_equal(net.prepare(ramp)[0], ramp[:, 1:5, 1:5])
    net.resize = None
    assert not np.array_equal(net.prepare(ramp)[0], ramp[:, 1:5, 1:5])


def test_a_picture_is_prepared_in_the_precision_of_the_network() -> None:
    net = ending({})
    assert net.prepare(np.zeros((3, 4, 4))).dtype == np.float32
    net.to(dtype=np.float64)
    assert net.prepare(np.zeros((3, 4, 4), np.float32)).dtype == np.float64


def test_preparing_a_picture_draws_no_weights() -> None:
    net = Network({"flatten": Flatten(), "fc": Linear(48, 2)}, input_shape=(3, 4, 4))
    net.prepare(np.zeros((3, 4, 4), np.float32))
    assert not net.parameters()[0].initialized


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (np.zeros((2, 3, 2, 2), np.float32), r"expected one picture \(1, C, H, W\), got \(2, 3, 2, 2\)"),
        (np.zeros((3, 2, 2), np.float32), r"expected one picture \(1, C, H, W\), got \(3, 2, 2\)"),
        ([[0.5]], "expected one picture .*, got list"),
        (np.zeros((1, 1, 2, 2), np.float32), r"expected pictures \(N, 3, 2, 2\), got \(1, 1, 2, 2\)"),
        (np.zeros((1, 3, 2, 2), np.uint8), r"expected float32 pictures in \[0, 1\], got uint8"),
        (
            np.array([0, np.nan, np.inf, *[0] * 9], np.float32).reshape(1, 3, 2, 2),
            "picture: 2 of 12 values are NaN",
        ),
    ],
)
def test_what_is_not_one_picture_of_finite_numbers_is_refused(picture: np.ndarray, text: str) -> None:
    with pytest.raises(MinicnnError, match=text):
        ending({}).check_picture(picture)


def test_a_picture_of_another_size_is_named_where_a_layer_cannot_take_it() -> None:
    with pytest.raises(MinicnnError, match=r"made for pictures of 3×2×2, got 3×1×2: fc \(Linear\): expected \(12,\)"):
        ending({}).forward(np.zeros((1, 3, 1, 2), np.float32))
