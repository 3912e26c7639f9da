"""VGG against the published counts, and against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.gradcheck import check_gradients
from minicnn.models import vgg
from minicnn.network import Network

from ..twins import activations, twin


def test_the_published_numbers_of_parameters() -> None:
    """torchvision's documentation; for the trunk, its 143,667,240 of VGG-19 without the three last layers."""
    assert models.architecture("vgg11_bn").num_parameters() == 132_868_840
    classifier = (512 * 7 * 7 + 1) * 4096 + 4097 * 4096 + 4097 * 1000
    assert models.architecture("vgg19_trunk").num_parameters() == 143_667_240 - classifier == 20_024_384
    assert models.architecture("vgg11_bn_cifar").num_parameters() == 9_231_114


def test_the_known_multiply_adds() -> None:
    """torchvision's 7.61 and 19.63 GFLOPS, the latter with the classifier's 0.12."""
    assert models.architecture("vgg11_bn").macs((3, 224, 224)) == pytest.approx(7.61e9, rel=1e-3)
    assert models.architecture("vgg19_trunk").macs((3, 224, 224)) == pytest.approx(19.63e9 - 0.124e9, rel=1e-3)


def test_the_layers_have_the_names_of_the_paper() -> None:
    names = [name for name, _ in models.architecture("vgg19_trunk").layers()]
    first = ["normalize", "conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1"]
    assert names[: len(first)] == first
    assert names[-3:] == ["conv5_4", "relu5_4", "pool5"]
    assert sum(name.startswith("conv") for name in names) == 16


def test_the_parameters_are_in_torchvisions_order() -> None:
    names = list(models.architecture("vgg11_bn").named_parameters())
    assert names[:5] == ["conv1_1.weight", "conv1_1.bias", "norm1_1.weight", "norm1_1.bias", "conv2_1.weight"]
    assert names[-2:] == ["fc8.weight", "fc8.bias"]


@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_the_trunk_takes_pictures_of_any_size(size: tuple[int, int]) -> None:
    net = models.build("vgg19_trunk")
    x = np.random.default_rng(0).random((1, 3, *size), np.float32)
    found = net.activations(x, ["relu4_1", "relu5_4"], remember="input")
    assert found["relu4_1"].shape == (1, 512, size[0] // 8, size[1] // 8)
    assert net.input_gradient({"relu4_1": found["relu4_1"]}).shape == x.shape


def test_another_pool_than_there_is_is_refused() -> None:
    with pytest.raises(MinicnnError, match=r"model vgg19_trunk: pool 'mean'.*max"):
        models.architecture("vgg19_trunk", pool="mean")


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_torch_computes_the_same_trunk(torch: Any, pool: str) -> None:
    net = models.build("vgg19_trunk", pool=pool)
    module = twin(torch, net)
    x = np.random.default_rng(0).random((1, 3, 34, 40), np.float32)
    pixels = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    found = net.activations(x, ["relu4_1"], remember="input")
    expected = activations(module, pixels, ["relu4_1"])[1]["relu4_1"]
    expected.backward(expected.detach())
    dx = net.input_gradient(found)
    for actual, wanted in ((found["relu4_1"], expected.detach()), (dx, pixels.grad)):
        np.testing.assert_allclose(actual, wanted.numpy(), rtol=0, atol=2e-5 * float(wanted.abs().max()))


def test_the_gradients_of_a_whole_network_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "CHANNELS", (4, 6, 8, 10, 12))
    net = Network(vgg.trunk((1, 1, 2, 1, 1), norm=True), input_shape=(3, 32, 32)).initialize(0)
    report = check_gradients(net, (3, 32, 32))
    assert report, report.failures
