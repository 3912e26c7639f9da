"""Saliency, guided backpropagation, the deconvnet and SmoothGrad: against differences, torch, and each other."""

import json

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.attribution import Target
from minicnn.experiments.deconvnet import deconvnet
from minicnn.experiments.guided import guided
from minicnn.experiments.saliency import saliency
from minicnn.experiments.smoothgrad import smoothgrad
from minicnn.layers import Dropout, LeakyReLU
from minicnn.models import build
from minicnn.pictures import load_picture


def test_the_map_is_the_largest_magnitude_over_the_colours(small, image):
    result = saliency(small, image)
    assert result.map.shape == (12, 12) and result.values.shape == (3, 12, 12)
    np.testing.assert_array_equal(result.map, np.abs(result.values).max(axis=0))


def test_the_gradient_is_that_of_the_score_before_softmax(small, image):
    small.to(dtype=np.float64)
    x = image.astype(np.float64)
    gradient = saliency(small, x, "eel").values
    direction = np.random.default_rng(2).standard_normal(x.shape)
    h = 1e-6
    ahead, behind = (small.scores(x + s * h * direction)[0, 2] for s in (1, -1))
    assert np.vdot(gradient, direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


def test_the_class_predicted_is_the_default_and_names_work(small, image):
    best = small.predict(image)[0][0].name
    assert saliency(small, image).target.name == best
    assert saliency(small, image, "dog").target == saliency(small, image, 1).target == Target("fc3", (1,), "dog")


def test_a_picture_changes_neither_mode_nor_parameter_gradients(small, image):
    small.replace("drop", Dropout(0.5))
    small.train()
    before = [p.grad.copy() for p in small.parameters()]
    saliency(small, image, 0), guided(small, image, 0)
    assert small.training and small.layer("relu1").rule == "gradient"
    for parameter, grad in zip(small.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_several_pictures_at_once_are_refused(small, image):
    with pytest.raises(MinicnnError, match=r"one picture \(1, C, H, W\), got \(2, 3, 12, 12\)"):
        saliency(small, np.concatenate([image, image]))


@pytest.mark.parametrize("method", [saliency, guided, deconvnet, smoothgrad])
def test_the_same_maps_on_every_device(small, image, on, method):
    expected = method(small, image).map
    on.place(small)
    np.testing.assert_allclose(method(small, on.upload(image)).map, expected, rtol=1e-4, atol=1e-6)


def test_the_rules_agree_with_torch_for_a_unit_in_the_middle(small, image, torch):
    """The rules by hooks, as people do it in torch, at a leaky ReLU as well."""
    F = torch.nn.functional
    small.replace("relu2", LeakyReLU(0.2))
    small.to(dtype=np.float64)
    weights = {name: torch.tensor(p.value.copy()) for name, p in small.named_parameters().items()}
    mean, std = (torch.tensor(v).double().view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))

    def through(x, y, rule):
        """Of a rectifier: y, from x, in which the gradient goes back by the rule."""
        if rule == "deconvnet":
            y = x + (y - x).detach()
        if rule != "gradient":
            y.register_hook(lambda dy: dy.clamp(min=0))
        return y

    for rule, method in (("gradient", saliency), ("guided", guided), ("deconvnet", deconvnet)):
        x = torch.tensor(image.astype(np.float64), requires_grad=True)
        y = F.conv2d((x - mean) / std, weights["conv1.weight"], weights["conv1.bias"], padding=1)
        y = F.conv2d(F.max_pool2d(through(y, F.relu(y), rule), 2), weights["conv2.weight"], weights["conv2.bias"])
        through(y, F.leaky_relu(y, 0.2), rule)[0, 3, 1, 2].backward()
        found = method(small, image.astype(np.float64), layer="relu2", unit=(3, 1, 2)).values
        assert np.abs(found).max() > 0
        np.testing.assert_allclose(found, x.grad[0].numpy(), atol=1e-12)


def test_a_network_without_relus_has_no_rules():
    net = build("lenet5_1998")
    for method in (guided, deconvnet):
        with pytest.raises(MinicnnError, match="lenet5_1998 has no ReLU"):
            method(net, np.zeros((1, 1, 28, 28), np.float32))


def test_smoothgrad_is_the_gradient_of_noisy_copies(small, image):
    gradients = []
    for k in range(3):
        noise = np.random.default_rng((7, k)).standard_normal(image.shape[1:])
        copy = (image + 0.2 * np.ptp(image) * noise).astype(np.float32)
        gradients.append(saliency(small, copy, "dog").values)
    result = smoothgrad(small, image, "dog", copies=3, noise=0.2, seed=7)
    np.testing.assert_allclose(result.values, np.mean(gradients, axis=0), atol=1e-5)
    np.testing.assert_array_equal(result.map, np.abs(result.values).max(axis=0))


def test_smoothgrad_without_noise_is_saliency(small, image):
    np.testing.assert_allclose(smoothgrad(small, image, noise=0, copies=2).map, saliency(small, image).map, atol=1e-6)


def test_the_batches_of_smoothgrad_change_nothing(small, image):
    done = []
    one = smoothgrad(small, image, copies=5, memory=1, progress=lambda *counts: done.append(counts))
    assert done == [(k, 5) for k in range(1, 6)]
    np.testing.assert_allclose(smoothgrad(small, image, copies=5).map, one.map, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"copies": 0}, "copies 0: expected 1 or more"),
        ({"copies": 2.5}, "copies 2.5: expected 1 or more, a whole number"),
        ({"seed": -1}, "seed -1: expected 0 or more"),
        ({"noise": -0.1}, "noise -0.1: expected 0 or more"),
        ({"noise": float("nan")}, "noise nan"),
        ({"noise": float("inf")}, "noise inf"),
    ],
)
def test_bad_settings_of_smoothgrad_say_what_was_expected(small, image, options, text):
    with pytest.raises(MinicnnError, match=text):
        smoothgrad(small, image, **options)


METHODS = ("saliency", "smoothgrad", "guided", "deconvnet", "gradcam", "integrated-gradients", "occlusion")


@pytest.mark.parametrize("method", METHODS)
def test_the_command_says_what_it_found_and_where(minicnn, photo, tmp_path, method):
    out = tmp_path / "out"
    status, printed, _ = minicnn("explain", method, photo, "--model", "lenet5", "--target", "7", "--out", out)
    assert status == 0
    assert "seen as 1" in printed and " for 7 " in printed and str(out / f"{method}.png") in printed
    assert load_picture(out / f"{method}.png").width > 300
    record = json.loads((out / "run.json").read_text())
    assert record["target"] == "7" and record["status"] == "finished" and str(photo) in record["inputs"]


@pytest.mark.parametrize("method", METHODS)
def test_a_unit_in_the_middle_is_explained_as_a_class_is(minicnn, photo, tmp_path, method):
    unit = ("--layer", "conv2", "--unit", "3")
    status, printed, _ = minicnn("explain", method, photo, *unit, "--out", tmp_path / "out")
    assert status == 0
    assert "for conv2: channel 3 at " in printed


def test_the_same_command_makes_the_same_bytes(minicnn, photo, tmp_path):
    for method in ("saliency", "smoothgrad", "gradcam", "occlusion"):
        for out in ("a", "b"):
            assert minicnn("explain", method, photo, "--out", tmp_path / out)[0] == 0
        assert (tmp_path / "a" / f"{method}.png").read_bytes() == (tmp_path / "b" / f"{method}.png").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_is_one_line_each(refused, photo, tmp_path, method):
    explain = ("explain", method)
    out = ("--out", tmp_path / "out")
    assert "there is no such file" in refused(*explain, tmp_path / "none.png", *out)
    (tmp_path / "text.png").write_text("no picture")
    assert "not a picture" in refused(*explain, tmp_path / "text.png", *out)
    assert "did you mean 'lenet5'" in refused(*explain, photo, "--model", "lenet", *out)
    assert "expected 0 to 9" in refused(*explain, photo, "--target", "10", *out)
    assert "no layer 'conv3'; did you mean 'conv2'" in refused(*explain, photo, "--layer", "conv3", *out)
    assert "conv2: unit 16: expected 0 to 15" in refused(*explain, photo, "--layer", "conv2", "--unit", 16, *out)
    assert "not both" in refused(*explain, photo, "--layer", "conv2", "--target", 3, *out)
    assert "no such weights file" in refused(*explain, photo, "--weights", tmp_path / "none.safetensors", *out)
    assert "no weights come with minicnn" in refused(*explain, photo, "--model", "alexnet_lecture", *out)
    assert "is a file" in refused(*explain, photo, "--out", photo)
    assert not (tmp_path / "out" / f"{method}.png").exists()


def test_a_small_or_odd_picture_is_taken_and_said(minicnn, tmp_path):
    from PIL import Image

    Image.new("RGBA", (20, 10), (255, 0, 0, 100)).save(tmp_path / "odd.png")
    status, printed, _ = minicnn("explain", "saliency", tmp_path / "odd.png", "--out", tmp_path / "out")
    assert status == 0
    assert "20×10 pixels, enlarged to the network's 28×28" in printed and "laid on white" in printed
