"""Saliency and guided backpropagation: against differences, torch, and the lecture's example."""

import json

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.guided import guided_backprop
from minicnn.experiments.saliency import saliency
from minicnn.layers import Dropout
from minicnn.models import build
from minicnn.pictures import load_picture


def test_the_map_is_the_largest_magnitude_over_the_colours(small, image):
    result = saliency(small, image)
    assert result.map.shape == (12, 12) and result.gradient.shape == (3, 12, 12)
    np.testing.assert_array_equal(result.map, np.abs(result.gradient).max(axis=0))


def test_the_gradient_is_that_of_the_score_before_softmax(small, image):
    small.to(dtype=np.float64)
    x = image.astype(np.float64)
    gradient = saliency(small, x, "eel").gradient
    direction = np.random.default_rng(2).standard_normal(x.shape)
    h = 1e-6
    ahead, behind = (small.scores(x + s * h * direction)[0, 2] for s in (1, -1))
    assert np.vdot(gradient, direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


def test_the_class_predicted_is_the_default_and_names_work(small, image):
    best = small.predict(image)[0][0].name
    assert small.class_name(saliency(small, image).target) == best
    assert saliency(small, image, "dog").target == saliency(small, image, 1).target == 1


def test_a_picture_changes_neither_mode_nor_parameter_gradients(small, image):
    small.replace("drop", Dropout(0.5))
    small.train()
    before = [p.grad.copy() for p in small.parameters()]
    saliency(small, image, 0), guided_backprop(small, image, 0)
    assert small.training and small.layer("relu1").rule == "gradient"
    for parameter, grad in zip(small.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_several_pictures_at_once_are_refused(small, image):
    with pytest.raises(MinicnnError, match=r"one picture \(1, C, H, W\), got \(2, 3, 12, 12\)"):
        saliency(small, np.concatenate([image, image]))


def test_the_same_maps_on_every_device(small, image, on):
    plain, guided = saliency(small, image).map, guided_backprop(small, image).map
    on.place(small)
    there = on.upload(image)
    np.testing.assert_allclose(saliency(small, there).map, plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(guided_backprop(small, there).map, guided, rtol=1e-4, atol=1e-6)


def test_gradient_and_guided_backpropagation_agree_with_torch(small, image, torch):
    F = torch.nn.functional

    def guided_relu(x):
        y = F.relu(x)
        y.register_hook(lambda dy: dy.clamp(min=0))  # before the ReLU's own backward
        return y

    weights = {name: torch.tensor(p.value.copy()) for name, p in small.named_parameters().items()}
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    for relu, ours in ((F.relu, saliency), (guided_relu, guided_backprop)):
        x = torch.tensor(image, requires_grad=True)
        y = F.conv2d((x - mean) / std, weights["conv1.weight"], weights["conv1.bias"], padding=1)
        y = F.conv2d(F.max_pool2d(relu(y), 2), weights["conv2.weight"], weights["conv2.bias"])
        scores = F.linear(relu(y).flatten(1), weights["fc3.weight"], weights["fc3.bias"])
        scores[0, 1].backward()
        expected = x.grad[0].numpy()
        np.testing.assert_allclose(ours(small, image, 1).gradient, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


def test_a_network_without_relus_cannot_be_guided():
    net = build("lenet5_1998")
    with pytest.raises(MinicnnError, match="lenet5_1998 has no ReLU"):
        guided_backprop(net, np.zeros((1, 1, 28, 28), np.float32))


@pytest.mark.parametrize("method", ["saliency", "guided"])
def test_the_command_says_what_it_found_and_where(minicnn, photo, tmp_path, method):
    out = tmp_path / "out"
    status, printed, _ = minicnn("explain", method, photo, "--model", "lenet5", "--target", "7", "--out", out)
    assert status == 0
    assert "seen as 1" in printed and "for 7" in printed and str(out / f"{method}.png") in printed
    assert load_picture(out / f"{method}.png").width > 300
    record = json.loads((out / "run.json").read_text())
    assert record["target"] == "7" and record["status"] == "finished" and str(photo) in record["inputs"]


def test_the_same_command_makes_the_same_bytes(minicnn, photo, tmp_path):
    for method in ("saliency", "guided", "occlusion"):
        for out in ("a", "b"):
            assert minicnn("explain", method, photo, "--out", tmp_path / out)[0] == 0
        assert (tmp_path / "a" / f"{method}.png").read_bytes() == (tmp_path / "b" / f"{method}.png").read_bytes()


@pytest.mark.parametrize("method", ["saliency", "guided", "occlusion"])
def test_bad_input_is_one_line_each(refused, photo, tmp_path, method):
    explain = ("explain", method)
    out = ("--out", tmp_path / "out")
    assert "there is no such file" in refused(*explain, tmp_path / "none.png", *out)
    (tmp_path / "text.png").write_text("no picture")
    assert "not a picture" in refused(*explain, tmp_path / "text.png", *out)
    assert "did you mean 'lenet5'" in refused(*explain, photo, "--model", "lenet", *out)
    assert "expected 0 to 9" in refused(*explain, photo, "--target", "10", *out)
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
