"""LeNet-5 against the counts of the paper, and against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.gradcheck import check_gradients
from minicnn.layers import Conv2d
from minicnn.models.lenet import C3_CONNECTIONS, TableConv2d
from minicnn.network import Network


def macs(net: Network) -> dict[str, int]:
    """Multiply-adds of each layer that has any."""
    inputs = zip(net.children(), net.inputs(net.input_shape), strict=True)
    return {name: child.macs(shape) for name, (child, shape) in inputs if child.macs(shape)}


def test_the_published_number_of_parameters() -> None:
    assert models.architecture("lenet5").num_parameters() == 61_706


def test_the_published_parameters_of_1998() -> None:
    """Section II.B says for each layer how many are trainable; 60,000 up to F6."""
    net = models.architecture("lenet5_1998")
    counts = {name: layer.num_parameters() for name, layer in net.layers() if layer.num_parameters()}
    assert counts == {
        **{"conv1": 156, "scale1": 12, "conv2": 1_516, "scale2": 32, "conv3": 48_120, "fc4": 10_164},
        "fc5": 850,
    }
    assert net.num_parameters() - counts["fc5"] == 60_000
    assert net.num_parameters() == 60_850


def test_the_published_connections_of_1998() -> None:
    """The paper counts the biases as connections too."""
    net = models.architecture("lenet5_1998")
    products = macs(net)
    assert products["conv1"] + 6 * 28 * 28 == 122_304
    assert products["conv2"] + 16 * 10 * 10 == 151_600
    assert products["conv3"] + 120 == 48_120
    assert products["fc4"] + 84 == 10_164


def test_the_known_multiply_adds() -> None:
    net = models.architecture("lenet5")
    assert macs(net) == {"conv1": 117_600, "conv2": 240_000, "fc3": 48_000, "fc4": 10_080, "fc5": 840}
    assert net.macs((1, 28, 28)) == 416_520


def test_shapes_are_the_papers() -> None:
    net = models.build("lenet5_1998")
    found = net.activations(np.zeros((2, 1, 28, 28), np.float32), [path for path, _ in net.layers()])
    shapes = {
        name: found[name].shape[1:] for name in ("pad", "conv1", "pool1", "conv2", "pool2", "conv3", "fc4", "fc5")
    }
    assert shapes == {
        **{"pad": (1, 32, 32), "conv1": (6, 28, 28), "pool1": (6, 14, 14), "conv2": (16, 10, 10)},
        **{"pool2": (16, 5, 5), "conv3": (120, 1, 1), "fc4": (84,), "fc5": (10,)},
    }
    assert found["normalize"].min() == pytest.approx(-0.1)
    ink = net.activations(np.ones((1, 1, 28, 28), np.float32), "normalize")["normalize"]
    assert ink.max() == pytest.approx(1.175)


def test_the_table_of_connections_is_the_papers() -> None:
    """Table I: the first six maps see three neighbours, the next six four, three see four apart, the last all."""
    table = np.array([[mark == "X" for mark in row] for row in C3_CONNECTIONS.split()]).T
    assert table.shape == (16, 6)
    sees = [set(np.flatnonzero(row)) for row in table]
    assert sees[:6] == [{k % 6, (k + 1) % 6, (k + 2) % 6} for k in range(6)]
    assert sees[6:12] == [{(k + i) % 6 for i in range(4)} for k in range(6)]
    assert sees[12:15] == [{0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}]
    assert sees[15] == set(range(6))


def test_what_is_not_connected_neither_counts_nor_learns() -> None:
    table = np.array([[True, False], [True, True], [False, True]])
    layer, plain = TableConv2d(table, 3), Conv2d(2, 3, 3)
    layer.initialize(0)
    plain.initialize(0)
    assert (layer.num_parameters(), layer.macs((2, 5, 5))) == (4 * 9 + 3, 4 * 9 * 9)
    layer.weight.value[...] = 1
    layer.bias.value[...] = 0.5  # type: ignore[union-attr]
    plain.load_state_dict({"weight": table[:, :, None, None] * np.ones((3, 2, 3, 3), "f"), "bias": layer.bias.value})  # type: ignore[union-attr]
    x = np.random.default_rng(0).random((2, 2, 5, 5), np.float32)
    y = layer.forward(x)
    np.testing.assert_array_equal(y, plain.forward(x))
    np.testing.assert_array_equal(layer.backward(y), plain.backward(y))
    for _ in range(2):  # also when gradients add up
        layer.backward(y)
    assert not layer.weight.grad[~table].any()
    assert layer.weight.grad[table].all()
    assert check_gradients(layer, (2, 5, 5))


def by_hand(torch: Any) -> Any:
    """LeNet-5 as one writes it in torch."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    ).double()


def test_torch_computes_the_same_scores_and_gradients(torch: Any) -> None:
    net = models.build("lenet5")
    net.to(dtype=np.float64)
    module = by_hand(torch)
    with torch.no_grad():
        for ours, theirs in zip(net.parameters(), module.parameters(), strict=True):
            theirs.copy_(torch.tensor(ours.value))
    x = np.random.default_rng(0).random((4, 1, 28, 28))
    pixels = torch.tensor(x, requires_grad=True)
    buffers = net.named_buffers()
    mean, std = (float(buffers[f"normalize.{name}"].value[0]) for name in ("mean", "std"))
    assert (mean, std) == pytest.approx((0.1307, 0.3081))
    expected = module((pixels - mean) / std)
    y = net.forward(x)
    dy = np.random.default_rng(1).standard_normal((4, 10))
    expected.backward(torch.tensor(dy))
    dx = net.backward(dy)
    results = {"y": (y, expected.detach()), "dx": (dx, pixels.grad)}
    for ours, theirs in zip(net.parameters(), module.parameters(), strict=True):
        results[ours.name] = (ours.grad, theirs.grad)
    for name, (actual, wanted) in results.items():
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()), err_msg=name)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_the_gradients_of_the_whole_network_are_right(name: str) -> None:
    report = check_gradients(models.build(name), (1, 28, 28))
    assert report, report.failures
