"""What goes into a network and what comes out of it: pictures as it wants them, scores at its end."""

from __future__ import annotations

import numpy as np

from minicnn.layers import Flatten, Linear, Softmax
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


def test_a_softmax_at_the_end_is_not_taken_twice() -> None:
    layers = {"flatten": Flatten(), "fc": Linear(2, 2), "probabilities": Softmax()}
    net = Network(layers, input_shape=(2, 1, 1), score_layer="fc")
    net.initialize(0)
    x = np.random.default_rng(0).random((3, 2, 1, 1)).astype(np.float32)
    expected = net.forward(x, remember=None).max(axis=1)
    np.testing.assert_allclose([best[0].probability for best in net.predict(x)], expected, rtol=1e-6)


def test_a_picture_is_scaled_to_what_the_network_asks_for_before_its_middle_is_cut_out() -> None:
    net = Network({"flatten": Flatten(), "fc": Linear(16, 2)}, input_shape=(1, 4, 4), resize=6)
    ramp = np.arange(36, dtype=np.float32).reshape(1, 6, 6) / 36
    np.testing.assert_array_equal(net.prepare(ramp)[0], ramp[:, 1:5, 1:5])
    net.resize = None
    assert not np.array_equal(net.prepare(ramp)[0], ramp[:, 1:5, 1:5])
