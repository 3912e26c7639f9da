"""What a network gives belongs to the caller, and what it is asked to do leaves the rest of it as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.layers import Conv2d, Linear
from minicnn.network import Network

from .nets import nested


@pytest.fixture
def net() -> Network:
    return nested().to(dtype=np.float64).eval()


@pytest.mark.parametrize("remember", ["all", "input"])
def test_writing_into_what_was_returned_changes_no_gradient(net: Network, remember: Any) -> None:
    x = np.random.default_rng(0).random((2, 3, 8, 8))
    names = ["stem.relu1", "mix", "down.conv1", "drop", "fc"]
    found = net.activations(x, names, remember=remember)
    gradient = {"fc": np.ones_like(found["fc"])}
    before = net.input_gradient(gradient)
    for activation in found.values():
        activation[...] = 7
    np.testing.assert_array_equal(net.input_gradient(gradient), before)


def test_a_look_at_the_scores_leaves_each_layers_own_mode(net: Network) -> None:
    net.train()
    net.layer("drop").eval()
    net.scores(np.zeros((1, 3, 8, 8)))
    assert net.training and net.layer("fc").training
    assert not net.layer("drop").training


def test_a_replaced_layer_inside_keeps_the_whole_path(net: Network) -> None:
    net.layer("stem").replace("conv1", Conv2d(3, 4, 5, padding=2))  # type: ignore[attr-defined]
    assert net.layer("stem.conv1").path == "stem.conv1"
    assert "stem.conv1.weight" in [parameter.name for parameter in net.parameters()]


def test_a_network_of_one_layer_and_of_none() -> None:
    only = Network({"fc": Linear(4, 2)}, input_shape=(4, 1, 1))
    assert (only.score_layer, only.feature_layer) == ("fc", "fc")
    with pytest.raises(MinicnnError, match="at least one layer"):
        Network({}, input_shape=(1, 2, 2))


def test_a_way_to_remember_that_there_is_not_is_refused(net: Network) -> None:
    with pytest.raises(MinicnnError, match="remember='some': expected"):
        net.activations(np.zeros((1, 3, 8, 8)), ["fc"], remember="some")  # type: ignore[arg-type]
