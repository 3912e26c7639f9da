"""Layers made of layers. (test_network.py asks them for activations and gradients.)"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.layers import BatchNorm2d, Concat, Conv2d, Dropout, Flatten, Layer, Linear, ReLU, Residual, Sequential


def test_names_are_paths_and_parameters_know_theirs() -> None:
    net = Sequential(
        conv1=Conv2d(1, 2, 3), fire2=Sequential(squeeze=Conv2d(2, 2, 1), expand=Concat(a=Conv2d(2, 1, 1), b=ReLU()))
    )
    assert [path for path, _ in net.layers()] == [
        *("conv1", "fire2", "fire2.squeeze", "fire2.expand", "fire2.expand.a", "fire2.expand.b")
    ]
    assert net.layer("fire2.expand.a").path == "fire2.expand.a"
    assert [parameter.name for parameter in net.parameters()] == list(net.named_parameters())
    assert list(net.named_parameters())[-1] == "fire2.expand.a.bias"


def test_a_replaced_layer_takes_the_place_and_the_name() -> None:
    net = Sequential(fc1=Linear(3, 4), relu1=ReLU(), fc2=Linear(4, 2))
    head = Linear(4, 5)
    net.replace("fc2", head)
    assert list(net.children()) == ["fc1", "relu1", "fc2"]
    assert head.path == "fc2"
    assert head.weight.name == "fc2.weight"
    net.replace("fc3", Linear(5, 1))
    assert list(net.children()) == ["fc1", "relu1", "fc2", "fc3"]
    assert net.initialize(0).forward(np.zeros((1, 3), np.float32)).shape == (1, 1)


def test_one_layer_in_two_places_is_refused() -> None:
    relu = ReLU()
    with pytest.raises(MinicnnError, match="relu2 and relu1 are the same object"):
        Sequential(fc1=Linear(2, 2), relu1=relu, fc2=Linear(2, 2), relu2=relu)
    with pytest.raises(MinicnnError, match=r"inner\.b and a are the same object"):
        Sequential(a=relu, inner=Concat(b=relu))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"input": ReLU()}, "cannot be called 'input'"),
        ({"a.b": ReLU()}, r"cannot be called 'a\.b'"),
        ({"relu": ReLU}, "relu: expected a layer, got type"),
        ({"": ReLU()}, "cannot be called ''"),
    ],
)
def test_impossible_names_and_layers_are_refused(layers: dict[str, Layer], message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        Sequential(**layers)


def test_a_shortcut_of_another_shape_is_refused_with_both() -> None:
    block = Residual(conv1=Conv2d(2, 3, 3, padding=1))
    Sequential(res3=block)
    block.initialize(0)
    with pytest.raises(MinicnnError, match=r"res3 \(Residual\).*\(3, 4, 4\).*\(2, 4, 4\)"):
        block.forward(np.zeros((1, 2, 4, 4), np.float32))


def test_branches_of_other_sizes_are_refused_with_both() -> None:
    block = Concat(a=Conv2d(2, 3, 3), b=ReLU())
    block.initialize(0)
    with pytest.raises(MinicnnError, match=r"cannot join \(3, 2, 2\), \(2, 4, 4\): only"):
        block.forward(np.zeros((1, 2, 4, 4), np.float32))


def test_an_inner_error_names_the_inner_layer() -> None:
    net = Sequential(block=Residual(conv1=Conv2d(2, 2, 3, padding=1), fc=Flatten()), fc9=Linear(5, 1))
    net.initialize(0)
    with pytest.raises(MinicnnError, match=r"block\.conv1 \(Conv2d\): expected 2 channels, got 3"):
        net.forward(np.zeros((1, 3, 4, 4), np.float32))


def test_what_a_container_says_is_the_sum_of_its_layers() -> None:
    block = Residual(
        conv1=Conv2d(2, 4, 3, 2, 1), bn1=BatchNorm2d(4), shortcut=Sequential(conv=Conv2d(2, 4, 1, 2), bn=BatchNorm2d(4))
    )
    assert block.output_shape((2, 8, 6)) == (4, 4, 3)
    assert block.macs((2, 8, 6)) == 12 * 4 * 2 * 9 + 12 * 4 * 2
    assert block.memory((2, 8, 6)) == 4 * (96 + 48 + 96 + 48)
    assert block.num_parameters() == (72 + 4) + 8 + (8 + 4) + 8
    assert Concat(a=Conv2d(2, 3, 1), b=ReLU()).output_shape((2, 8, 6)) == (5, 8, 6)


def test_an_empty_chain_is_the_identity() -> None:
    x = np.arange(6.0).reshape(2, 3)
    for net, factor in ((Sequential(), 1), (Residual(), 2)):
        np.testing.assert_array_equal(net.forward(x), factor * x)
        np.testing.assert_array_equal(net.backward(x), factor * x)


def test_modes_and_seeds_reach_every_layer() -> None:
    net = Sequential(a=Residual(drop=Dropout(0.5)), b=Concat(drop=Dropout(0.5), bn=BatchNorm2d(2)))
    assert all(layer.training for _, layer in net.layers())
    net.eval()
    assert not any(layer.training for _, layer in net.nodes())
    net.train().initialize(3)
    assert len({seed for seed, _ in net.random_states().values()}) == 2


def test_layers_before_the_first_parameter_do_not_go_back_in_training() -> None:
    """dx of the picture costs as much as a layer, and training does not need it."""
    calls: list[str] = []

    class Spy(ReLU):
        def pullback(self, dy: Any, cache: Any, need_dx: bool, need_dparams: bool) -> Any:
            calls.append(self.path)

    net = Sequential(before=Spy(), fc1=Linear(2, 2), between=ReLU(), fc2=Linear(2, 2))
    net.initialize(0)
    y = net.forward(np.ones((1, 2), np.float32))
    assert net.backward(y, need_dx=False) is None
    assert calls == []
    net.backward(y)
    assert calls == ["before"]
