"""Grad-CAM: the maps of any layer, the gradient that comes back to them, and nothing left behind in the network."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.gradcam import enlarged, gradcam, guided_gradcam, last_maps, maps_and_gradient
from minicnn.experiments.guided import guided
from minicnn.layers import Concat, Conv2d, ReLU, Residual, Sequential
from minicnn.models import architecture


def test_the_map_is_the_positive_part_of_the_weighted_maps(small, image):
    result = gradcam(small, image, "dog")
    assert result.at == "relu2"
    maps = small.activations(image, ["relu2"])["relu2"][0]
    weights = small.layer("fc3").weight.value[1].reshape(5, 4, 4)  # the gradient, as only a Linear layer is behind
    np.testing.assert_allclose(result.alphas, weights.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        result.coarse, np.maximum((result.alphas[:, None, None] * maps).sum(axis=0), 0), rtol=1e-5
    )


@pytest.mark.parametrize("at", ["conv1", "pool1", "conv2"])
def test_the_gradient_inside_is_what_a_change_there_does(small, image, at):
    small.to(dtype=np.float64)
    x = image.astype(np.float64)
    target = gradcam(small, x, "eel").target
    maps, gradient = maps_and_gradient(small, x, target, at)
    direction = np.random.default_rng(0).standard_normal(maps.shape)
    behind = list(small.children())[list(small.children()).index(at) + 1 :]

    def score(a):
        y = a[None]
        for name in behind:
            y = small.layer(name).forward(y, remember=None)
        return y[0, 2]

    difference = (score(maps + 1e-6 * direction) - score(maps - 1e-6 * direction)) / 2e-6
    assert np.vdot(gradient, direction) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("at", ["inner", "inner.conv", "inner.shortcut", "wide", "wide.one", "wide.two.conv", "conv2"])
def test_maps_inside_a_container_are_reached(small, image, at):
    """Each number of the gradient at a layer is found by adding to that layer's bias."""
    small.replace("conv2", Sequential(conv=Conv2d(4, 5, 3)))
    names = list(small.children())
    deep = {
        "inner": Residual(conv=Conv2d(4, 4, 3, padding=1), shortcut=Conv2d(4, 4, 1)),
        "wide": Concat(one=Conv2d(4, 2, 1), two=Sequential(conv=Conv2d(4, 2, 3, padding=1), relu=ReLU())),
    }
    layers = {n: small.children()[n] for n in names}
    small._children.clear()
    for name in names:
        small.replace(name, layers[name])
        if name == "pool1":
            for inner, layer in deep.items():
                small.replace(inner, layer.initialize(3))
    small.to(dtype=np.float64)
    x = image.astype(np.float64)
    result = gradcam(small, x, "cat", at=at)
    convolutions = {"conv2": "conv2.conv", "inner": "inner.conv", "wide": "wide.one"}
    bias = small.layer(convolutions.get(at, at)).bias.value
    places = np.prod(result.coarse.shape)
    for k in range(len(bias)):
        bias[k] += 1e-6
        ahead = small.scores(x)[0, 0]
        bias[k] -= 2e-6
        behind = small.scores(x)[0, 0]
        bias[k] += 1e-6
        assert result.alphas[k] * places == pytest.approx((ahead - behind) / 2e-6, rel=1e-5, abs=1e-8)


def test_the_network_is_left_as_it_was(small, image):
    before, layers = small.scores(image), dict(small.layers())
    gradcam(small, image)
    with pytest.raises(MinicnnError):
        gradcam(small, image, at="fc3")
    assert dict(small.layers()) == layers and [layer.path for layer in layers.values()] == list(layers)
    np.testing.assert_array_equal(small.scores(image), before)


def test_the_default_is_the_last_layer_with_maps_of_features():
    wanted = {
        "squeezenet1_0": "fire9",
        "darknet_tiny": "relu15",
        "lenet5": "relu2",
        "resnet20": "stage3",
        "vgg11": "relu5_2",
    }
    assert {name: last_maps(net, net.score_layer) for name in wanted for net in [architecture(name)]} == wanted


def test_a_unit_is_explained_by_maps_before_it(small, image):
    assert gradcam(small, image, layer="conv2", unit=1).at == "relu1"
    assert last_maps(architecture("squeezenet1_0"), "fire5.expand3x3.relu") == "fire4"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"at": "fc3"}, "at fc3: it does not lie before fc3"),
        ({"at": "flatten"}, r"at flatten: expected maps \(K, h, w\) with places, got \(80,\)"),
        ({"at": "relu2", "layer": "conv2"}, "at relu2: it does not lie before conv2"),
        ({"at": "rellu2"}, "did you mean 'relu2'"),
        ({"layer": "normalize"}, "small has no layer with maps before normalize"),
    ],
)
def test_what_cannot_be_weighed_is_refused(small, image, options, text):
    with pytest.raises(MinicnnError, match=text):
        gradcam(small, image, **options)


def test_guided_gradcam_is_their_product(small, image):
    result = guided_gradcam(small, image, "dog")
    expected = guided(small, image, "dog").values * gradcam(small, image, "dog").map
    np.testing.assert_array_equal(result.values, expected)
    np.testing.assert_array_equal(result.map, expected.sum(axis=0))


def test_enlarging_keeps_a_constant_map_and_its_sides():
    assert (enlarged(np.full((3, 5), 2.0), (12, 20)) == 2).all()
    ramp = enlarged(np.array([[0.0, 1.0]]), (4, 8))
    np.testing.assert_allclose(ramp[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])


@pytest.mark.parametrize("size", [(12, 20), (13, 13), (5, 3)])
def test_a_map_is_enlarged_as_by_torch(torch, size):
    coarse = np.random.default_rng(0).random((6, 7))
    expected = torch.nn.functional.interpolate(torch.tensor(coarse)[None, None], size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(enlarged(coarse, size), expected, rtol=1e-13)
    assert enlarged(coarse.astype(np.float32), size).dtype == np.float32


def test_the_same_map_on_every_device(small, image, on):
    expected = gradcam(small, image).map
    on.place(small)
    np.testing.assert_allclose(gradcam(small, on.upload(image)).map, expected, atol=1e-5)


def test_the_command_writes_both_pictures(minicnn, photo, tmp_path):
    status, printed, _ = minicnn("explain", "gradcam", photo, "--at", "relu1", "--out", tmp_path / "out")
    assert status == 0 and "Grad-CAM for 1" in printed
    assert (tmp_path / "out" / "gradcam.png").exists() and (tmp_path / "out" / "guided-gradcam.png").exists()
