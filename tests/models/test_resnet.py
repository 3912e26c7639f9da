"""ResNet-20 against the counts of the paper. Against torch: test_against_torch.py."""

from __future__ import annotations

import numpy as np

from minicnn import models
from minicnn.gradcheck import check_gradients
from minicnn.layers import Conv2d, Linear
from minicnn.models.resnet import block, cifar_resnet


def test_the_published_numbers_of_parameters() -> None:
    """Table 6: 0.27 M for 20 layers, 0.46 M for 32, 0.66 M for 44, 0.85 M for 56, 1.7 M for 110."""
    assert models.architecture("resnet20").num_parameters() == 269_722
    counts = {6 * n + 2: cifar_resnet(f"n={n}", n, 10).num_parameters() for n in (3, 5, 7, 9, 18)}
    assert {depth: round(count / 1e6, 2 if depth < 110 else 1) for depth, count in counts.items()} == {
        **{20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
    }


def test_as_many_layers_with_weights_as_its_name_says() -> None:
    layers = [layer for _, layer in models.architecture("resnet20").layers()]
    assert sum(isinstance(layer, Conv2d | Linear) for layer in layers) == 20


def test_the_sizes_of_the_paper() -> None:
    net = models.build("resnet20", num_classes=7)
    x = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    found = net.activations(x, ["stage1", "stage2.block1.conv1", "stage2", "stage3.relu3", "avgpool", "fc"])
    assert {name: a.shape[1:] for name, a in found.items()} == {
        "stage1": (16, 32, 32),
        "stage2.block1.conv1": (32, 16, 16),
        "stage2": (32, 16, 16),
        "stage3.relu3": (64, 8, 8),
        "avgpool": (64, 1, 1),
        "fc": (7,),
    }


def test_a_shortcut_is_the_identity_where_the_size_stays() -> None:
    assert "shortcut" not in block(16, 16).children()
    layer = block(16, 32).initialize(0)
    for parameter in layer.parameters():
        parameter.value = 0 * parameter.value
    x = np.random.default_rng(0).random((2, 16, 6, 6), np.float32)
    y = layer.forward(x)
    np.testing.assert_array_equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


def test_the_gradients_of_the_whole_network_are_right() -> None:
    report = check_gradients(cifar_resnet("resnet8", 1, 10), (3, 8, 8))
    assert report, report.failures
