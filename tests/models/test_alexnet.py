"""AlexNet in its forms: the published counts, and torch's numbers at full width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.layers import Shape
from minicnn.network import Network

FORMS = ["alexnet", "alexnet_paper", "alexnet_lecture", "alexnet_cifar"]


def weights_alone(net: Network) -> int:
    return sum(p.size for name, p in net.named_parameters().items() if name.endswith("weight"))


def test_the_published_numbers_of_parameters() -> None:
    """torchvision's documentation; Krizhevsky et al. 2012 (60 million) summed up; the lecture's sum of weights."""
    assert models.architecture("alexnet").num_parameters() == 61_100_840
    assert models.architecture("alexnet_paper").num_parameters() == 60_965_224
    assert weights_alone(models.architecture("alexnet_lecture")) == 28_813_344


def test_the_parameters_of_the_papers_layers() -> None:
    """As Caffe's bvlc_alexnet has them."""
    net = models.architecture("alexnet_paper")
    counts = {name: layer.num_parameters() for name, layer in net.layers() if layer.num_parameters()}
    assert counts == {
        **{"conv1": 34_944, "conv2": 307_456, "conv3": 885_120, "conv4": 663_936, "conv5": 442_624},
        **{"fc6": 37_752_832, "fc7": 16_781_312, "fc8": 4_097_000},
    }


MACS = {  # as the papers on accelerators list them (e.g. Sze et al. 2017, table II, for the two groups)
    "alexnet": [70_276_800, 223_948_800, 112_140_288, 149_520_384, 99_680_256, 37_748_736, 16_777_216, 4_096_000],
    "alexnet_paper": [
        105_415_200,
        223_948_800,
        149_520_384,
        112_140_288,
        74_760_192,
        37_748_736,
        16_777_216,
        4_096_000,
    ],
}


@pytest.mark.parametrize("name", MACS)
def test_the_known_multiply_adds(name: str) -> None:
    net = models.architecture(name)
    found = [layer.macs(shape) for layer, shape in net.inputs(net.input_shape)]
    assert [count for count in found if count] == MACS[name]
    assert net.macs(net.input_shape) == sum(MACS[name])


SIZES = {
    "alexnet": [55, 27, 27, 13, 13, 13, 13, 6],
    "alexnet_paper": [55, 27, 27, 13, 13, 13, 13, 6],
    "alexnet_lecture": [55, 27, 23, 11, 9, 7, 5, 2],
    "alexnet_cifar": [32, 16, 16, 8, 8, 8, 8, 4],
}


@pytest.mark.parametrize("name", FORMS)
def test_the_sizes_on_the_way(name: str) -> None:
    net = models.architecture(name)
    after: dict[str, Shape] = {}
    shape: Shape = net.input_shape
    for path, layer in net.layers():
        shape = layer.output_shape(shape)
        after[path] = shape
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    assert [after[path][1] for path in names] == [after[path][2] for path in names] == SIZES[name]
    assert shape == (10 if name == "alexnet_cifar" else 1000,)


def by_hand(torch: Any, name: str, hidden: int, classes: int) -> Any:
    """Each form as one writes it in torch; `alexnet` as torchvision does."""
    nn = torch.nn

    def lrn(k: float) -> Any:
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=k)

    def conv(*sizes: int, groups: int = 1) -> list[Any]:
        i, f, kernel, stride, padding = sizes
        return [nn.Conv2d(i, f, kernel, stride, padding, groups=groups), nn.ReLU()]

    def pool(padding: int = 0) -> Any:
        return nn.MaxPool2d(3, 2, padding)

    features, size = {
        "alexnet": (
            [
                *(*conv(3, 64, 11, 4, 2), pool(), *conv(64, 192, 5, 1, 2), pool(), *conv(192, 384, 3, 1, 1)),
                *(*conv(384, 256, 3, 1, 1), *conv(256, 256, 3, 1, 1), pool(), nn.AdaptiveAvgPool2d(6)),
            ],
            256 * 36,
        ),
        "alexnet_paper": (
            [
                *(*conv(3, 96, 11, 4, 0), lrn(2), pool(), *conv(96, 256, 5, 1, 2, groups=2), lrn(2), pool()),
                *(*conv(256, 384, 3, 1, 1), *conv(384, 384, 3, 1, 1, groups=2)),
                *(*conv(384, 256, 3, 1, 1, groups=2), pool()),
            ],
            256 * 36,
        ),
        "alexnet_lecture": (
            [
                *(*conv(3, 96, 11, 4, 0), pool(), *conv(96, 256, 5, 1, 0), pool(), *conv(256, 384, 3, 1, 0)),
                *(*conv(384, 384, 3, 1, 0), *conv(384, 256, 3, 1, 0), pool()),
            ],
            256 * 4,
        ),
        "alexnet_cifar": (
            [
                *(*conv(3, 64, 5, 1, 2), pool(1), lrn(1), *conv(64, 64, 5, 1, 2), pool(1), lrn(1)),
                *(*conv(64, 128, 3, 1, 1), *conv(128, 128, 3, 1, 1), *conv(128, 128, 3, 1, 1), pool(1)),
            ],
            128 * 16,
        ),
    }[name]
    head = [nn.Flatten(), nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*features, *head, nn.Linear(hidden, classes))


def assert_torch_agrees(torch: Any, net: Network, module: Any, x: np.ndarray) -> None:
    """Scores, dx and every parameter's gradient, in float32."""
    with torch.no_grad():
        for ours, theirs in zip(net.parameters(), module.parameters(), strict=True):
            theirs.copy_(torch.from_numpy(ours.value))
    normalize = net.layer("normalize")
    mean, std = (torch.tensor(b.value)[:, None, None] for b in (normalize.mean, normalize.std))  # type: ignore[attr-defined]
    pixels = torch.tensor(x, requires_grad=True)
    expected = module((pixels - mean) / std)
    y = net.eval().forward(x)
    dy = np.random.default_rng(1).standard_normal(y.shape, np.float32)
    expected.backward(torch.tensor(dy))
    results = {"y": (y, expected.detach()), "dx": (net.backward(dy), pixels.grad)}
    for ours, theirs in zip(net.parameters(), module.parameters(), strict=True):
        results[ours.name] = (ours.grad, theirs.grad)
    for name, (actual, wanted) in results.items():
        scale = float(wanted.abs().max())
        np.testing.assert_allclose(actual, wanted.numpy(), rtol=0, atol=2e-5 * scale, err_msg=name)


def test_torch_computes_the_same_at_full_width(torch: Any) -> None:
    """61 million weights, on one picture that is as small as the average pool before them allows."""
    net = models.architecture("alexnet")
    for number, parameter in enumerate(net.parameters()):
        bound = (6 / max(1, parameter.size // parameter.shape[0])) ** 0.5
        values = np.random.default_rng(number).random(parameter.size, np.float32)  # quicker than He's normal ones
        parameter.value = (bound * (2 * values - 1)).reshape(parameter.shape)
    x = np.random.default_rng(0).random((1, 3, 63, 63), np.float32)
    assert_torch_agrees(torch, net, by_hand(torch, "alexnet", 4096, 1000), x)


def test_cifars_classes_are_known_when_there_are_ten() -> None:
    assert models.architecture("alexnet_cifar").class_index("frog") == 6
    assert models.architecture("alexnet_cifar", num_classes=100).class_names == ()
