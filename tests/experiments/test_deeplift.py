"""DeepLIFT: contributions add up to the change of the score; the paper's examples by hand; captum where it is right."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.experiments.deeplift import RULES, deeplift
from minicnn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Normalize,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from minicnn.network import Network
from minicnn.pictures import load_picture

from ..minicnn.nets import nested
from ..twins import twin

TOLERANCES = {np.float32: 1e-5, np.float64: 1e-12}


def inception(seed: int = 0) -> Network:
    """A small GoogLeNet: overlapping, padded and rounded-up max pools, LRN, branches side by side, on (3, 19, 19)."""
    net = Network(
        {
            "normalize": Normalize((104, 117, 123), (60, 55, 58), scale=255, bgr=True),
            "conv1": Conv2d(3, 8, 3, padding=1),
            "relu1": ReLU(),
            "pool1": MaxPool2d(3, 2, ceil_mode=True),
            "norm1": LocalResponseNorm(5, alpha=0.1, k=2.0),
            "mix": Concat(
                one=Sequential(conv=Conv2d(8, 4, 1), relu=ReLU()),
                three=Sequential(reduce=Conv2d(8, 4, 1), relu1=ReLU(), conv=Conv2d(4, 6, 3, padding=1), relu2=ReLU()),
                pool=Sequential(pool=MaxPool2d(3, 1, 1), conv=Conv2d(8, 3, 1), tanh=Tanh(gain=1.7, slope=0.7)),
                bare=MaxPool2d(3, 1, 1),
            ),
            "norm2": BatchNorm2d(21),
            "leaky": LeakyReLU(0.1),
            "pool2": MaxPool2d(3, 2),
            "squash": Sigmoid(),
            "average": AvgPool2d(2),
            "flatten": Flatten(),
            "fc": Linear(21 * 4, 5),
            "softmax": Softmax(),
        },
        input_shape=(3, 19, 19),
        name="inception",
        score_layer="fc",
    )
    net.initialize(seed).eval()
    generator = np.random.default_rng(seed)
    for name, buffer in net.named_buffers().items():
        if "running" in name:
            buffer.value[...] = generator.uniform(0.5, 1.5, buffer.shape)
    return net


def picture(net: Network, dtype: Any, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((1, *net.input_shape)).astype(dtype)


def made(layers: dict[str, Layer], weights: dict[str, Any]) -> Network:
    """A net on pictures of 1×1 pixel, whose channels are the inputs, in float64."""
    count = next(np.asarray(value).shape[1] for value in weights.values())
    net = Network({"flatten": Flatten(), **layers}, input_shape=(count, 1, 1))
    net.initialize(0).to(dtype=np.float64)
    for name, value in net.named_parameters().items():
        value.value[...] = weights.get(name, 0)
    return net.eval()


def contributions(net: Network, x: Any, rule: str, baseline: Any = None) -> list[float]:
    pixels, start = (
        np.asarray(np.zeros(len(x)) if a is None else a, np.float64).reshape(1, -1, 1, 1) for a in (x, baseline)
    )
    values = deeplift(net, pixels, 0, rule=rule, baseline=start).values
    assert values is not None
    return [round(float(v), 10) + 0.0 for v in values.ravel()]


# Summation to delta ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("make", [inception, nested])
def test_the_contributions_add_up_to_the_change_of_the_score(make, dtype, rule):
    net = make().to(dtype=dtype)
    for seed in range(3):
        x, x0 = picture(net, dtype, seed), picture(net, dtype, seed + 10)
        for baseline in ("black", x0):
            result: Any = deeplift(net, x, seed, rule=rule, baseline=baseline)
            assert abs(result.delta) <= TOLERANCES[dtype] * max(abs(result.change), 0.1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "resnet20", "alexnet_cifar"])
def test_they_add_up_in_whole_networks(name, dtype, rule):
    net = models.build(name)
    net.initialize(0).eval().to(dtype=dtype)
    result: Any = deeplift(net, picture(net, dtype), 3, rule=rule)
    assert abs(result.change) > 0.01
    assert abs(result.delta) <= TOLERANCES[dtype] * abs(result.change)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ["squeezenet1_0", "darknet_tiny"])
def test_they_add_up_in_networks_trained_on_photographs(name, dtype, rule):
    try:
        net = models.load(name)
    except MinicnnError as error:
        pytest.skip(str(error))
    net.eval().to(dtype=dtype)
    x = np.random.default_rng(0).random((1, 3, 67, 67)).astype(dtype)  # a small picture: it is quick
    result: Any = deeplift(net, x, 3, rule=rule)
    assert abs(result.delta) <= TOLERANCES[dtype] * abs(result.change)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("layer", "unit"), [("softmax", 2), ("norm1", "3,4,5"), ("mix.pool.tanh", 1), ("pool1", 0)])
def test_any_unit_of_any_layer_is_explained(layer, unit, rule):
    net = inception().to(dtype=np.float64)
    x = picture(net, np.float64)
    result: Any = deeplift(net, x, layer=layer, unit=unit, rule=rule)
    start = net.activations(np.zeros_like(x), [layer])[layer]
    assert result.change == pytest.approx(
        float((net.activations(x, [layer])[layer] - start)[(0, *result.target.index)]), rel=1e-9
    )
    assert abs(result.delta) <= 1e-12


def test_nothing_changes_between_a_picture_and_itself():
    net = inception().to(dtype=np.float64)
    x = picture(net, np.float64)
    for rule in RULES:
        result = deeplift(net, x, 1, rule=rule, baseline=x.copy())
        assert result.change == result.delta == 0 and not result.map.any()


def test_beside_itself_every_multiplier_is_the_gradient():
    net = inception().to(dtype=np.float64)
    x = picture(net, np.float64)
    net.forward(x)
    net.activations(x, ["fc"], remember="input")
    gradient = net.input_gradient({"fc": np.eye(5)[1:2]})[0]
    for rule in RULES:
        found = deeplift(net, x, 1, rule=rule, baseline=x.copy()).multipliers
        np.testing.assert_allclose(found, gradient, rtol=1e-6, atol=1e-9)


# The paper's examples -------------------------------------------------------------------------------------------------


def saturated() -> Network:
    """y = 1 − max(0, 1 − i1 − i2): 1 as soon as i1 + i2 ≥ 1 (figure 1)."""
    layers = {"fc1": Linear(2, 1), "relu": ReLU(), "fc2": Linear(1, 1)}
    return made(layers, {"fc1.weight": [[-1, -1]], "fc1.bias": 1, "fc2.weight": [[-1]], "fc2.bias": 1})


def smaller() -> Network:
    """y = i1 − max(0, i1 − i2), the smaller of two positive numbers (figure 3)."""
    layers = {"fc1": Linear(2, 2, bias=False), "relu": ReLU(), "fc2": Linear(2, 1, bias=False)}
    return made(layers, {"fc1.weight": [[1, 0], [1, -1]], "fc2.weight": [[1, -1]]})


@pytest.mark.parametrize("rule", RULES)
def test_a_saturated_rectifier_passes_on_what_it_answers_for(rule):
    net = saturated()
    assert contributions(net, [1, 1], rule) == [0.5, 0.5]
    assert contributions(net, [3, 1], rule) == [0.75, 0.25]
    assert not net.forward(np.ones((1, 2, 1, 1))) - 1  # y is 1
    dx: Any = net.backward(np.ones((1, 1)))
    assert not dx.any()  # where the gradient sees nothing


@pytest.mark.parametrize("rule", RULES)
def test_there_is_no_jump_where_a_rectifier_opens(rule):
    net = made(
        {"fc1": Linear(1, 1), "relu": ReLU()}, {"fc1.weight": [[1]], "fc1.bias": -10}
    )  # max(0, i − 10) (figure 2)
    assert contributions(net, [10], rule) == [0]
    assert contributions(net, [10.001], rule) == [0.001]
    assert contributions(net, [12], rule) == [2]


def test_the_smaller_of_two_is_the_doing_of_both_when_cancelling_is_revealed():
    net = smaller()
    for x, least in (([3, 1], 1), ([1, 3], 1), ([2, 2], 2)):
        assert contributions(net, x, "reveal-cancel") == [least / 2, least / 2]
    assert contributions(net, [3, 1], "rescale") == [0, 1]
    assert contributions(net, [1, 3], "rescale") == [1, 0]


def test_positive_and_negative_terms_are_kept_apart_in_a_linear_layer():
    """max(0, 2·i1 − 3·i2) at (2, 1): Δ⁺ = 4, Δ⁻ = −3. Δy⁺ = ½(4 + 1) = 2.5 and Δy⁻ = ½(0 − 3) = −1.5."""
    net = made({"fc1": Linear(2, 1, bias=False), "relu": ReLU()}, {"fc1.weight": [[2, -3]]})
    assert contributions(net, [2, 1], "reveal-cancel") == [2.5, -1.5]
    assert contributions(net, [2, 1], "rescale") == [4, -3]


def test_a_batch_norm_tells_apart_what_its_convolution_does():
    """With a factor below 0 behind a convolution, what pushed up pushes down: as in one convolution for both."""
    rng = np.random.default_rng(0)
    apart = Network(
        {"conv": Conv2d(2, 3, 3), "norm": BatchNorm2d(3), "relu": ReLU(), "flatten": Flatten(), "fc": Linear(48, 2)},
        input_shape=(2, 6, 6),
    )
    apart.initialize(0).to(dtype=np.float64).eval()
    factor, offset = np.array([1.5, -0.7, 0.4]), rng.standard_normal(3)
    norm: Any = apart.layer("norm")
    norm.weight.value[...], norm.bias.value[...] = factor, offset
    norm.running_mean.value[...] = mean = rng.standard_normal(3)
    factor = factor / np.sqrt(1 + norm.eps)
    layers = {"conv": Conv2d(2, 3, 3), "relu": ReLU(), "flatten": Flatten(), "fc": Linear(48, 2)}
    one = Network(layers, input_shape=(2, 6, 6))
    one.initialize(0).to(dtype=np.float64).eval()
    state = {name: p.value for name, p in apart.named_parameters().items() if "norm" not in name}
    state["conv.weight"] = state["conv.weight"] * factor[:, None, None, None]
    state["conv.bias"] = offset + factor * (state["conv.bias"] - mean)
    one.load_state_dict(state)
    x = rng.random((1, 2, 6, 6))
    for rule in RULES:
        expected = deeplift(one, x, 0, rule=rule).values
        np.testing.assert_allclose(deeplift(apart, x, 0, rule=rule).values, expected, atol=1e-12)


def by_the_book(weights, biases, x, x0):
    """The contributions by reveal-cancel in a chain of linear layers with ReLUs between, term by term (section 3.5)."""
    kept: Any = []
    changes: Any = []
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        dx = x - x0
        terms = w * dx
        up, down = np.maximum(terms, 0).sum(axis=1), np.minimum(terms, 0).sum(axis=1)
        z0 = w @ x0 + b
        changes.append(dx)
        if i == len(weights) - 1:
            break
        z = [z0, z0 + up, z0 + down, z0 + up + down]
        f, slope = [np.maximum(a, 0) for a in z], [a > 0 for a in z]
        multipliers = []
        for by, this, other in ((up, 1, 2), (down, 2, 1)):
            change = (f[this] - f[0] + f[3] - f[other]) / 2
            limit = (slope[0] * 1.0 + slope[other]) / 2  # f' at both places where the change, being 0, begins
            multipliers.append([c / d if d else m for c, d, m in zip(change, by, limit, strict=True)])
        kept.append(multipliers)
        x, x0 = f[3], f[0]
    plus: Any = np.ones(len(weights[-1]))
    minus: Any = plus
    for w, dx, before in zip(weights[::-1], changes[::-1], [*kept[::-1], (1, 1)], strict=True):
        m = np.zeros(len(dx))
        for i, change in enumerate(dx):
            for j in range(len(w)):
                positive = plus[j] if w[j, i] * change > 0 else minus[j]
                m[i] += w[j, i] * (positive if change else (plus[j] + minus[j]) / 2)
        plus, minus = m * before[0], m * before[1]
    return plus * changes[0]


def test_reveal_cancel_is_that_of_the_paper_term_by_term():
    rng = np.random.default_rng(0)
    sizes = [6, 9, 7, 1]
    weights = [rng.standard_normal((b, a)) for a, b in pairwise(sizes)]
    biases = [rng.standard_normal(size) for size in sizes[1:]]
    layers: dict[str, Layer] = {}
    for i, (a, b) in enumerate(pairwise(sizes), 1):
        layers |= {f"fc{i}": Linear(a, b)} | ({f"relu{i}": ReLU()} if i < 3 else {})
    values = {f"fc{i}.weight": w for i, w in enumerate(weights, 1)}
    net = made(layers, values | {f"fc{i}.bias": b for i, b in enumerate(biases, 1)})
    for _ in range(5):
        x, x0 = rng.standard_normal((2, 6))
        x[2] = x0[2]
        found = deeplift(net, x.reshape(1, 6, 1, 1), 0, rule="reveal-cancel", baseline=x0.reshape(1, 6, 1, 1)).values
        np.testing.assert_allclose(found.ravel(), by_the_book(weights, biases, x, x0), atol=1e-12)


# Other programs -------------------------------------------------------------------------------------------------------


def test_rescale_agrees_with_captum_where_there_is_no_max_pool(torch):
    captum = pytest.importorskip("captum.attr", reason="captum is an oracle here: pip install captum")
    net = Network(
        {
            "normalize": Normalize((0.5, 0.4), (0.2, 0.3)),
            "conv1": Conv2d(2, 6, 3, padding=1, stride=2),
            "norm1": BatchNorm2d(6),
            "relu1": ReLU(),
            "conv2": Conv2d(6, 4, 3),
            "leaky2": LeakyReLU(0.1),
            "average": AvgPool2d(2),
            "flatten": Flatten(),
            "fc3": Linear(4 * 4, 7),
            "sigmoid3": Sigmoid(),
            "fc4": Linear(7, 3),
        },
        input_shape=(2, 12, 12),
    )
    net.initialize(3).eval().to(dtype=np.float64)
    x, x0 = (np.random.default_rng(seed).random((1, 2, 12, 12)) for seed in (0, 1))
    module = torch.nn.Sequential(*(twin(torch, layer) for _, layer in net.layers()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.DeepLift(module, eps=1e-10).attribute(torch.tensor(x), torch.tensor(x0), target=2)
    ours = deeplift(net, x, 2, baseline=x0).values
    np.testing.assert_allclose(ours, theirs[0].detach().numpy(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("layer", ["fc", "softmax"])
@pytest.mark.parametrize("rule", RULES)
def test_the_same_contributions_on_every_device(on, rule, layer):
    net = inception()
    x = picture(net, np.float32)
    expected = deeplift(net, x, layer=layer, unit=1, rule=rule, baseline=x[:, :, ::-1].copy()).values
    on.place(net)
    there = deeplift(net, on.upload(x), layer=layer, unit=1, rule=rule, baseline=on.upload(x[:, :, ::-1].copy()))
    np.testing.assert_allclose(there.values, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


# Bad input, and what is left behind -----------------------------------------------------------------------------------


def test_the_network_is_left_as_it_was(small, image):
    before = list(small.layers())
    small.train()
    for rule in RULES:
        deeplift(small, image, rule=rule)
    assert small.training and all(a is b for (_, a), (_, b) in zip(before, small.layers(), strict=True))
    assert not any(p.grad.any() for p in small.parameters())


def test_a_layer_without_a_rule_is_refused_by_its_name(small, image):
    class Swish(Layer):
        def compute(self, x, remember):
            return x / (1 + np.exp(-x)), None

    small.replace("swish", Swish())
    with pytest.raises(MinicnnError, match=r"swish \(Swish\): DeepLIFT has no rescale rule"):
        deeplift(small, image, 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rule": "rescaled"}, "rule 'rescaled'; did you mean 'rescale'"),
        ({"baseline": "blakc"}, "baseline 'blakc'; did you mean 'black'"),
        ({"baseline": np.zeros((1, 3, 9, 9), np.float32)}, r"baseline of shape \(1, 3, 9, 9\): expected"),
        ({"layer": "conv3"}, "no layer 'conv3'; did you mean 'conv"),
        ({"target": 3}, "class 3: expected 0 to 2"),
    ],
)
def test_bad_settings_say_what_was_expected(small, image, options, text):
    with pytest.raises(MinicnnError, match=text):
        deeplift(small, image, **options)


@pytest.mark.parametrize("rule", RULES)
def test_the_command_says_how_well_it_adds_up(minicnn, photo, tmp_path, rule):
    out = tmp_path / "out"
    status, printed, _ = minicnn("explain", "deeplift", photo, "--target", "7", "--rule", rule, "--out", out)
    assert status == 0
    assert f"DeepLIFT ({rule}) for 7 is in {out / 'deeplift.png'}; the values add up to F(x) − F(x′) = " in printed
    assert load_picture(out / "deeplift.png").width > 300
    record = json.loads((out / "run.json").read_text())
    assert abs(record["delta"]) <= 1e-5 * abs(record["change"]) and record["settings"]["rule"] == rule


def test_bad_input_on_the_command_line_is_one_line_each(refused, photo, tmp_path):
    command = ("explain", "deeplift", photo, "--out", tmp_path / "out")
    assert "did you mean 'reveal-cancel'" in refused(*command, "--rule", "reveal")
    assert "baseline 'red'" in refused(*command, "--baseline", "red")
