"""Stand-ins: they take every layer's place in every container, for the length of a block and not longer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.layers import BatchNorm2d, Container, Conv2d, Layer, MaxPool2d, ReLU, Residual, Sequential
from minicnn.layers.rules import StandIn, standing_in
from minicnn.models import build

from ..nets import nested, pictures


class Doubled(StandIn):
    """The layer, but its backward pass twice as strong."""

    def pullback(self, dy, cache, need_dx, need_dparams):
        dx: Any = self.original.pullback(dy, cache, need_dx, need_dparams)
        return 2 * dx


def relus_doubled(layer: Layer) -> Layer | None:
    return Doubled(layer) if isinstance(layer, ReLU) else None


def test_a_stand_in_computes_as_its_layer_does():
    net, x = nested().eval(), pictures(nested(), dtype=np.float32)
    y = net.forward(x)
    dx: Any = net.backward(np.ones_like(y), need_dparams=False)
    with standing_in(net, StandIn):
        np.testing.assert_array_equal(net.forward(x), y)
        again: Any = net.backward(np.ones_like(y), need_dparams=False)
        np.testing.assert_allclose(again, dx, rtol=1e-5, atol=1e-6)


def test_its_rule_holds_inside_every_container():
    net = nested()
    inside = [path for path, layer in net.layers() if isinstance(layer, ReLU)]
    with standing_in(net, relus_doubled):
        assert [path for path, layer in net.layers() if isinstance(layer, Doubled)] == inside
        assert {"stem.relu1", "res1.relu1", "down.relu1"} <= set(inside)


def test_a_stand_in_is_never_computed_along_by_the_kernel_before_it():
    layers = {"conv": Conv2d(2, 3, 3), "norm": BatchNorm2d(3), "relu": ReLU(), "pool": MaxPool2d(2)}
    net, x = Sequential(**layers).initialize(0).eval(), np.random.default_rng(0).random((1, 2, 6, 6), np.float32)
    dy = np.ones_like(net.forward(x))
    once: Any = net.backward(dy, need_dparams=False)
    with standing_in(net, relus_doubled):
        net.forward(x)
        twice: Any = net.backward(dy, need_dparams=False)
        np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


def test_a_batch_norm_at_the_end_of_a_residual_is_replaced_too():
    net = Residual(conv=Conv2d(2, 2, 3, padding=1), norm=BatchNorm2d(2)).initialize(0).eval()
    x = np.random.default_rng(0).random((1, 2, 4, 4), np.float32)
    dy = np.ones_like(net.forward(x))
    dx = net.backward(dy, need_dparams=False)
    with standing_in(net, lambda layer: Doubled(layer) if isinstance(layer, BatchNorm2d) else None):
        net.forward(x)
        np.testing.assert_allclose(net.backward(dy, need_dparams=False) - dy, 2 * (dx - dy), rtol=1e-4, atol=1e-6)


def test_afterwards_every_layer_is_in_its_place_again():
    net = build("squeezenet1_0", num_classes=3)
    before = list(net.layers())
    with pytest.raises(ZeroDivisionError), standing_in(net, StandIn):
        assert list(net.layers()) != before
        assert [path for path, _ in net.layers()] == [path for path, _ in before]  # the same names in the same order
        raise ZeroDivisionError
    assert all(a is b for (_, a), (_, b) in zip(before, net.layers(), strict=True))


def test_nothing_is_replaced_when_one_layer_has_no_stand_in():
    net = nested()
    before = [layer for _, layer in net.layers()]

    def picky(layer: Layer) -> Layer:
        if isinstance(layer, MaxPool2d):
            raise layer.error("no rule")
        return StandIn(layer)

    with pytest.raises(ValueError, match=r"down.shortcut.pool \(MaxPool2d\): no rule"), standing_in(net, picky):
        raise AssertionError("the block runs")
    assert all(a is b for a, (_, b) in zip(before, net.layers(), strict=True))


def test_containers_stay_and_an_error_names_the_place():
    net = nested()
    with standing_in(net, StandIn):
        assert all(isinstance(layer, Container | StandIn) for _, layer in net.layers())
        with pytest.raises(ValueError, match=r"stem.conv1 \(Conv2d\): expected 3 channels"):
            net.layer("stem.conv1").forward(np.zeros((1, 2, 4, 4), np.float32))
        assert repr(net.layer("stem.relu1")) == "StandIn(ReLU())"
