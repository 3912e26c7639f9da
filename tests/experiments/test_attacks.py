"""FGSM, BIM, PGD and DeepFool: against the same written in torch, closed forms of linear networks, and on digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.data import load as load_data
from minicnn.errors import MinicnnError
from minicnn.experiments.attacks import CrossEntropy, ball_around, bim, deepfool, fgsm, pgd, radius, random_in_ball
from minicnn.experiments.common import probabilities
from minicnn.image import Interrupted, evaluate
from minicnn.layers import Flatten, Linear, Softmax
from minicnn.models import load
from minicnn.network import Network

from ..twins import twin

N = 5
EPSILON = 0.03


@pytest.fixture
def labels() -> np.ndarray:
    return np.array([0, 2, 1, 1, 0])


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(2).random((N, 3, 12, 12))


@pytest.fixture
def double(small: Network) -> Network:
    return small.to(dtype=np.float64)


# Against torch --------------------------------------------------------------------------------------------------------


def climbed(torch: Any, net: Network, start: Any, centre: Any, labels: Any, norm: str, **how: Any) -> np.ndarray:
    """Madry et al.'s loop, as torch users write it."""
    module, y = twin(torch, net), torch.tensor(labels)
    x0, x, length = torch.tensor(centre), torch.tensor(start), how["step"] * how["epsilon"]
    for _ in range(how["steps"]):
        x.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(module(x), y, reduction="sum")
        (g,) = torch.autograd.grad(-loss if how["targeted"] else loss, x)
        with torch.no_grad():
            if norm == "linf":
                x = x + length * g.sign()
                x = torch.minimum(torch.maximum(x, x0 - how["epsilon"]), x0 + how["epsilon"])
            else:
                x = x + length * g / g.flatten(1).norm(dim=1)[:, None, None, None]
                away = x - x0
                size = away.flatten(1).norm(dim=1)[:, None, None, None]
                x = x0 + away * torch.clamp(how["epsilon"] / size, max=1)
            x = x.clamp(0, 1)
    return x.numpy()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_and_bim_are_those_of_torch(torch, double, images, labels, norm, targeted):
    epsilon = EPSILON if norm == "linf" else 0.4
    how = {"epsilon": epsilon, "targeted": targeted}
    expected = climbed(torch, double, images, images, labels, norm, steps=1, step=1, **how)
    np.testing.assert_allclose(fgsm(double, images, labels, norm=norm, **how), expected, atol=1e-12)
    expected = climbed(torch, double, images, images, labels, norm, steps=10, step=0.2, **how)
    np.testing.assert_allclose(bim(double, images, labels, norm=norm, **how), expected, atol=1e-10)
    assert abs(expected - images).max() > 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_is_that_of_torch_from_the_same_start(torch, double, images, labels, norm):
    drawn = random_in_ball(images.shape, ball_around(images, 0.4, norm), np.random.default_rng(3))
    how = {"epsilon": 0.4, "steps": 50, "step": 0.025, "targeted": False}
    expected = climbed(torch, double, np.clip(images + drawn, 0, 1), images, labels, norm, **how)
    np.testing.assert_allclose(pgd(double, images, labels, 0.4, norm=norm, seed=3), expected, atol=1e-9)


def torch_deepfool(torch: Any, net: Network, image: np.ndarray, steps: int = 50, overshoot: float = 0.02) -> np.ndarray:
    """Algorithm 2 of the paper, class by class, on one picture (1, C, H, W)."""
    module, x0 = twin(torch, net), torch.tensor(image)
    order = module(x0)[0].argsort(descending=True).tolist()
    first, x, total = order[0], x0.clone(), torch.zeros_like(x0)
    for _ in range(steps):
        x.requires_grad_(True)
        f = module(x)[0]
        if int(f.argmax()) != first:
            break
        (own,) = torch.autograd.grad(f[first], x, retain_graph=True)
        best = None
        for k in order[1:10]:
            (g,) = torch.autograd.grad(f[k], x, retain_graph=True)
            w, gap = g - own, abs(f[k] - f[first]).item()
            if best is None or gap / w.norm() < best[0]:
                best = gap / w.norm(), w
        total = total + (best[0] + 1e-4) * best[1] / best[1].norm()  # type: ignore[index]
        x = (x0 + (1 + overshoot) * total).clamp(0, 1).detach()
    return x.detach().numpy()


def test_deepfool_is_that_of_torch_for_many_pictures_at_once(torch, double, images):
    expected = np.concatenate([torch_deepfool(torch, double, image[None]) for image in images])
    found = deepfool(double, images)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (double.scores(found).argmax(1) != double.scores(images).argmax(1)).all()


def test_deepfool_of_a_digit_is_that_of_torch(torch):
    net = load("lenet5").to(dtype=np.float64)
    x = load_data("digits", "test").images[:1] / 255
    np.testing.assert_allclose(deepfool(net, x), torch_deepfool(torch, net, x), atol=1e-6)


# Closed forms ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def linear() -> Network:
    """Four classes, scores W x + b of pictures of 3×5 pixels; pictures around 0.5 touch no border of [0, 1]."""
    net = Network({"flatten": Flatten(), "fc": Linear(15, 4)}, input_shape=(1, 3, 5))
    net.initialize(4).eval()
    return net.to(dtype=np.float64)


@pytest.fixture
def greys() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.45, 0.55, (6, 1, 3, 5))


def test_deepfool_goes_straight_to_the_nearest_border_of_a_linear_network(linear, greys):
    """Section 3.1 of the paper: the distance is the least |f_k − f_k₀| / ‖w_k − w_k₀‖."""
    W, f = linear.layer("fc").weight.value, linear.scores(greys)
    for x, scores, found in zip(greys, f, deepfool(linear, greys, overshoot=0.0), strict=True):
        first = scores.argmax()
        others = [k for k in range(4) if k != first]
        distances = [abs(scores[k] - scores[first]) / np.linalg.norm(W[k] - W[first]) for k in others]
        assert np.linalg.norm(found - x) == pytest.approx(min(distances) + 1e-4, abs=1e-12)


def test_no_change_within_epsilon_costs_a_linear_network_more_than_fgsm(linear, greys):
    """Between two classes w = w₁ − w₀ and η = ε·sign w: the margin falls by ε‖w‖₁ (Goodfellow et al. 2015, 3)."""
    W = linear.layer("fc").weight.value
    W[2:], linear.layer("fc").bias.value[2:] = 0, -1e3  # two classes are left
    found = fgsm(linear, greys, 0, 0.01)
    before, after = ((s[:, 1] - s[:, 0]) for s in (linear.scores(greys), linear.scores(found)))
    np.testing.assert_allclose(after - before, 0.01 * abs(W[1] - W[0]).sum(), rtol=1e-9)


def test_the_gradient_of_the_cross_entropy(double, images, labels):
    objective = CrossEntropy(labels, "fc3")
    _, gradient = evaluate(double, objective.terms(), images)
    direction = np.random.default_rng(1).standard_normal(images.shape)

    def value(t: float) -> float:
        return float(evaluate(double, objective.terms(), images + t * direction)[0][0][1])

    assert (value(1e-6) - value(-1e-6)) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-6)
    p = np.exp(double.scores(images))
    p /= p.sum(axis=1, keepdims=True)
    assert value(0) == pytest.approx(-np.log(p[np.arange(N), labels]).sum(), rel=1e-12)


def test_a_random_place_is_uniform_in_the_ball():
    generator = np.random.default_rng(0)
    inside = np.zeros((4000, 1, 1, 3))
    r = np.linalg.norm(random_in_ball(inside.shape, ball_around(inside, 2.0, "l2"), generator).reshape(-1, 3), axis=1)
    volumes = np.sort((r / 2) ** 3)  # uniform from 0 to 1; Kolmogorov's distance at the level 1e-6
    assert abs(volumes - (np.arange(4000) + 0.5) / 4000).max() < 2.6 / 4000**0.5
    cube = random_in_ball(inside.shape, ball_around(inside, 2.0, "linf"), generator)
    assert abs(cube).max() <= 2 and cube.std() == pytest.approx(4 / 12**0.5, rel=0.03)


# On real networks -----------------------------------------------------------------------------------------------------


def test_the_more_steps_the_fewer_digits_are_read_right():
    net, data = load("lenet5"), load_data("digits", "test")
    x, y = data.images[:20].astype(np.float32) / 255, data.labels[:20]
    natural, one, ten, fifty = (
        (net.scores(found).argmax(axis=1) == y).mean()
        for found in (x, fgsm(net, x, y, 0.1), bim(net, x, y, 0.1), pgd(net, x, y, 0.1))
    )
    assert natural > 0.9 > 0.5 > one > ten >= fifty


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 1.5)])
def test_what_comes_out_lies_in_the_ball_and_is_a_picture(small, norm, epsilon):
    x = np.random.default_rng(0).random((3, 3, 12, 12), np.float32)
    for found in (fgsm, bim, pgd):
        changed = found(small, x, [0, 1, 2], epsilon, norm=norm)
        away = (changed - x).reshape(3, -1)
        assert changed.dtype == np.float32 and changed.min() >= 0 and changed.max() <= 1
        assert np.linalg.norm(away, np.inf if norm == "linf" else 2, axis=1).max() <= epsilon * (1 + 1e-5)
        assert abs(away).max() > 0.01


def test_towards_a_class_it_becomes_more_likely_and_away_less(small, image):
    def score(x: np.ndarray) -> float:
        return probabilities(small, x)[0, 1]

    away, towards = (bim(small, image, "dog", EPSILON, targeted=targeted) for targeted in (False, True))
    assert score(away) < score(image) < score(towards)


def test_a_softmax_at_the_end_changes_nothing(small, image, labels):
    layers = dict(small.children()) | {"softmax": Softmax()}
    ended = Network(layers, input_shape=(3, 12, 12)).eval()
    np.testing.assert_array_equal(fgsm(ended, image, 1, EPSILON), fgsm(small, image, 1, EPSILON))
    np.testing.assert_array_equal(deepfool(ended, image), deepfool(small, image))


@pytest.mark.parametrize(
    "method",
    [
        lambda net, x: fgsm(net, x, [0, 1], EPSILON),
        lambda net, x: pgd(net, x, 1, 0.5, norm="l2", steps=3),
        lambda net, x: deepfool(net, x),
    ],
)
def test_every_device_and_nothing_left_behind(small, image, on, method: Callable[..., Any]):
    x = np.concatenate([image, image[..., ::-1]])
    expected = method(small, x)
    small.train()
    on.place(small)
    uploaded = on.upload(x)
    found = method(small, uploaded)
    np.testing.assert_allclose(on.download(found), expected, atol=1e-5)
    np.testing.assert_array_equal(on.download(uploaded), x)
    assert all(layer.training for _, layer in small.nodes())
    with pytest.raises(MinicnnError, match="without a"):
        small.input_gradient({"fc3": found})


def test_deepfool_leaves_alone_what_it_has_fooled_and_stops_when_told(small):
    x = np.random.default_rng(0).random((4, 3, 12, 12), np.float32)
    one_by_one = np.concatenate([deepfool(small, image[None]) for image in x])
    np.testing.assert_allclose(deepfool(small, x), one_by_one, atol=1e-6)
    counts = []
    deepfool(small, x, callbacks=[lambda now: counts.append(now.step) or True])  # type: ignore[func-returns-value]
    assert counts == [1]


def test_a_class_without_a_gradient_is_no_way_out():
    net = Network({"flatten": Flatten(), "fc": Linear(4, 3)}, input_shape=(1, 2, 2)).initialize(0).eval()
    net.layer("fc").weight.value[...] = [[1, 1, 1, 1], [1, 1, 1, 1], [-1, -1, -1, -1]]  # type: ignore[attr-defined]
    bias = net.layer("fc").bias  # type: ignore[attr-defined]
    bias.value[...] = [0, -1e-3, 1]  # the second is the nearest by far, were there a way
    x = np.full((1, 1, 2, 2), 0.3, np.float32)
    assert net.scores(deepfool(net, x)).argmax() == 2


def test_ctrl_c_keeps_the_last_whole_pictures(small, image):
    def interrupt(step: Any) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    for method in (
        lambda **options: pgd(small, image, 1, EPSILON, **options),
        lambda **options: deepfool(small, image, overshoot=0, candidates=2, steps=2, **options),
    ):
        try:
            method(callbacks=[interrupt])
        except Interrupted as stopped:
            assert stopped.result.image.shape == image.shape and stopped.result.steps in (1, 2)
            assert abs(stopped.result.image - image).max() > 0


# Refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: fgsm(net, x, 0, 0), "epsilon 0: expected more than 0, in pixels"),
        (lambda net, x: fgsm(net, x, 0, float("nan")), "epsilon nan: expected more than 0"),
        (lambda net, x: bim(net, x, 0, 0.1, norm="l1"), "norm 'l1'; did you mean 'l2'"),
        (lambda net, x: pgd(net, x, 0, 0.1, steps=0), "0 steps: expected 1 or more"),
        (lambda net, x: bim(net, x, 0, 0.1, step=0), "lr 0.0: expected more than 0"),
        (lambda net, x: fgsm(net, x, 3, 0.1), "class 3: expected 0 to 2"),
        (lambda net, x: fgsm(net, x, "cot", 0.1), "no class 'cot'; did you mean 'cat'"),
        (lambda net, x: fgsm(net, x, [0, 1], 0.1), r"expected 1 classes, whole numbers, got \(2,\)"),
        (lambda net, x: fgsm(net, x, [0.5], 0.1), r"expected 1 classes, whole numbers, got \(1,\) float64"),
        (lambda net, x: fgsm(net, x, [-1], 0.1), "class -1: expected 0 to 2"),
        (lambda net, x: deepfool(net, x, steps=0), "deepfool: steps 0: expected 1 or more"),
        (lambda net, x: deepfool(net, x, candidates=1), "deepfool: candidates 1: expected"),
        (lambda net, x: deepfool(net, x, overshoot=-1), "deepfool: overshoot -1: expected 0 or more"),
        (lambda net, x: radius("abc", "linf", (1, 2, 2)), "epsilon abc: expected more than 0 to 1, pixels"),
        (lambda net, x: radius("8", "linf", (1, 2, 2)), "epsilon 8: expected more than 0 to 1, pixels"),
        (lambda net, x: radius("1/0", "l2", (1, 2, 2)), "epsilon 1/0: expected more than 0 to 2, pixels"),
    ],
)
def test_settings_that_make_no_sense_are_refused(small, image, call, message):
    with pytest.raises(MinicnnError, match=message):
        call(small, image)


def test_epsilon_is_read_as_people_write_it():
    assert radius("8/255", "linf", (3, 9, 9)) == 8 / 255
    assert radius("0.3", "linf", (1, 28, 28)) == radius(0.3, "linf", (1, 28, 28)) == 0.3
    assert radius(None, "linf", (1, 28, 28)) == 0.25
    assert radius(None, "linf", (3, 32, 32)) == 8 / 255 and radius(None, "linf", (3, 224, 224)) == 2 / 255
    assert radius(None, "l2", (3, 10, 10)) == pytest.approx(4 / 255 * 300**0.5)
