"""The network: any activation, a gradient at any layer, and nothing computed or kept that nobody asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.layers import Layer, Linear, ReLU, unfused
from minicnn.network import Network

from .nets import nested, pictures, torch_gradients


def double(net: Network) -> Network:
    net.to(dtype=np.float64).eval()
    return net


NETS: dict[str, Callable[[], Network]] = {
    "nested": nested,
    "lenet5": lambda: models.build("lenet5"),
    "lenet5_1998": lambda: models.build("lenet5_1998"),
    "alexnet_cifar": lambda: models.build("alexnet_cifar"),
}


@pytest.fixture
def net() -> Network:
    return double(nested())


def drawn(net: Network, x: np.ndarray, names: list[str], seed: int = 1) -> dict[str, np.ndarray]:
    """A gradient for each of these layers."""
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(a.shape) for name, a in net.activations(x, names).items()}


@contextmanager
def counting(net: Network, method: str) -> Iterator[Counter[str]]:
    """How often `method` of each layer without layers inside is called within the block."""
    calls: Counter[str] = Counter()

    def spy(path: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            calls[path] += 1
            return original(*args, **options)

        return call

    leaves = [(path, layer) for path, layer in net.layers() if not layer.children()]
    for path, layer in leaves:
        vars(layer)[method] = spy(path, getattr(layer, method))
    try:
        yield calls
    finally:
        for _, layer in leaves:
            del vars(layer)[method]


# Activations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_torch_computes_the_same_activations_everywhere(torch: Any, make: Callable[[], Network]) -> None:
    net = double(make())
    names = [path for path, _ in net.layers()]
    x = pictures(net)
    found = net.activations(x, names)
    _, expected, _ = torch_gradients(torch, net, x, drawn(net, x, names))
    assert set(found) == set(names)
    for name in names:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12 * scale, err_msg=name)


def test_activations_are_those_of_the_forward_pass(net: Network) -> None:
    x = pictures(net)
    found = net.activations(x, ["fc", "input"])
    np.testing.assert_array_equal(found["fc"], net.forward(x))
    assert found["input"] is x
    assert list(net.activations(x, "res1.relu1")) == ["res1.relu1"]


RUNS = {
    "input": set(),
    "stem.conv1": {"normalize", "stem.conv1"},
    "stem": {"normalize", "stem.conv1", "stem.bn1", "stem.relu1"},
    "res1.relu1": {"stem", "res1.conv1", "res1.relu1"},
    "mix.a": {"res1", "mix.a"},
    "mix.b.conv1": {"res1", "mix.b.conv1"},
    "mix.c.inner.right": {"res1", "mix.c.inner.right"},
    "mix.c.shortcut": {"res1", "mix.c.shortcut"},
    "mix.c.inner": {"res1", "mix.c.inner.left", "mix.c.inner.right"},
    "down.conv1": {"mix", "down.conv1"},
    "down.shortcut.pool": {"mix", "down.shortcut.pool"},
    "down.shortcut": {"mix", "down.shortcut.pool", "down.shortcut.conv", "down.shortcut.norm"},
}


@pytest.mark.parametrize("asked", RUNS)
def test_a_pass_runs_no_deeper_than_what_was_asked_for(net: Network, asked: str) -> None:
    with unfused(), counting(net, "forward") as calls:
        net.activations(pictures(net), [asked])
    assert all(count == 1 for count in calls.values())
    ran = set(calls)
    last = RUNS[asked]
    while whole := next((name for name in last if net.layer(name).children()), None):  # with all that lies before it
        everything = [path for path, layer in net.layers() if not layer.children()]
        inside = [path for path in everything if path.startswith(whole + ".")]
        last = (last - {whole}) | set(everything[: everything.index(inside[-1]) + 1])
    assert ran == last


def test_several_layers_are_found_in_one_pass(net: Network) -> None:
    names = ["mix.c.inner.left", "down.shortcut.conv", "stem.relu1", "res1", "res1.conv1"]
    with counting(net, "forward") as calls:
        found = net.activations(pictures(net), names)
    assert set(found) == set(names)
    assert max(calls.values()) == 1
    assert "fc" not in calls


# Gradients ----------------------------------------------------------------------------------------------------------

AT = {
    "nested": [
        *(["fc"], ["stem.conv1"], ["stem.relu1"], ["res1"], ["res1.relu1"], ["mix"], ["mix.a"], ["mix.b.relu1"]),
        *(["mix.c"], ["mix.c.inner"], ["mix.c.inner.right"], ["mix.c.shortcut"], ["down.shortcut.conv"], ["input"]),
        ["fc", "mix", "mix.a", "mix.c.inner.left", "input"],
        ["res1.conv1", "down", "down.conv1", "down.shortcut", "stem"],
    ],
    "lenet5": [["fc5"], ["relu1"], ["pool2", "conv1", "relu4", "input"]],
    "lenet5_1998": [["fc5"], ["tanh3", "pool1", "scale2"]],
    "alexnet_cifar": [["fc8"], ["norm1"], ["relu3", "pool5", "relu7", "input"]],
}


@pytest.mark.parametrize(("name", "at"), [(name, at) for name in AT for at in AT[name]], ids=str)
def test_input_gradients_are_those_of_torch(torch: Any, name: str, at: list[str]) -> None:
    net = double(NETS[name]())
    x = pictures(net)
    grads = drawn(net, x, at)
    net.activations(x, at, remember="input")
    dx = net.input_gradient(grads)
    expected, _, _ = torch_gradients(torch, net, x, grads)
    assert dx.shape == x.shape
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("remember", ["all", "input"])
def test_the_forward_pass_may_come_first(net: Network, remember: Any) -> None:
    x = pictures(net)
    grads = drawn(net, x, ["mix.b", "stem.conv1"])
    net.activations(x, list(grads), remember="input")
    expected = net.input_gradient(grads)
    net.forward(x, remember=remember)
    np.testing.assert_array_equal(net.input_gradient(grads), expected)
    np.testing.assert_array_equal(net.input_gradient(grads), expected)


def test_gradients_at_several_layers_add_up(net: Network) -> None:
    x = pictures(net)
    grads = drawn(net, x, ["fc", "mix", "mix.c.shortcut", "res1.conv1", "input"])
    net.forward(x)
    alone = sum(net.input_gradient({name: g}) for name, g in grads.items())
    np.testing.assert_allclose(net.input_gradient(grads), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("at", "called"),
    [
        ("mix.a", {"mix.a", "res1", "stem", "normalize"}),
        ("mix.c.inner.left", {"mix.c.inner.left", "res1", "stem", "normalize"}),
        ("mix.c.shortcut", {"mix.c.shortcut", "res1", "stem", "normalize"}),
        ("down.shortcut.pool", {"down.shortcut.pool", "mix", "res1", "stem", "normalize"}),
        ("stem.conv1", {"stem.conv1", "normalize"}),
        ("input", set()),
    ],
)
def test_branches_without_a_gradient_are_never_called(net: Network, at: str, called: set[str]) -> None:
    x = pictures(net)
    grads = drawn(net, x, [at])
    net.forward(x)
    with counting(net, "pullback") as calls:
        net.input_gradient(grads)
    assert {path for path in calls if any(f"{path}.".startswith(f"{part}.") for part in called)} == set(calls)
    assert all(any(f"{path}.".startswith(f"{part}.") for path in calls) for part in called)
    assert all(count == 1 for count in calls.values())


def test_an_input_gradient_leaves_the_parameters_gradients_alone(net: Network) -> None:
    for parameter in net.parameters():
        parameter.grad[...] = 7
    x = pictures(net)
    grads = drawn(net, x, ["fc", "mix.a"])
    net.forward(x)
    net.input_gradient(grads)
    assert all((parameter.grad == 7).all() for parameter in net.parameters())


def test_an_input_gradient_belongs_to_the_caller(net: Network) -> None:
    x = pictures(net)
    g = np.ones_like(x)
    net.forward(x)
    dx = net.input_gradient({"input": g})
    dx += 1
    assert (g == 1).all()
    assert not np.shares_memory(net.activations(x, ["fc"])["fc"], x)


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_torch_computes_the_same_parameter_gradients(torch: Any, make: Callable[[], Network]) -> None:
    net = double(make())
    net.train(make is nested)  # its dropout drops nothing; batch norm uses the batch
    x = pictures(net, 3)
    y = net.forward(x)
    dy = np.random.default_rng(2).standard_normal(y.shape)
    expected_dx, _, expected = torch_gradients(torch, net, x, {list(net.children())[-1]: dy})
    dx = net.backward(dy)
    np.testing.assert_allclose(np.asarray(dx), expected_dx, rtol=0, atol=1e-10 * np.abs(expected_dx).max())
    assert set(expected) == set(net.named_parameters())
    largest = max(np.abs(g).max() for g in expected.values())
    for name, parameter in net.named_parameters().items():
        mask = getattr(net.layer(name.rpartition(".")[0]), "mask", lambda: 1)() if name.endswith("weight") else 1
        np.testing.assert_allclose(parameter.grad, expected[name] * mask, rtol=0, atol=1e-11 * largest, err_msg=name)


# What is not possible -----------------------------------------------------------------------------------------------


def stale(net: Network) -> list[tuple[Callable[[np.ndarray], Any], str]]:
    """(a pass after a whole one, a layer that this pass did not reach)."""
    return [
        (lambda x: net.activations(x, ["stem"], remember="input"), "fc"),
        (lambda x: net.activations(x, ["stem"], remember="input"), "res1.conv1"),
        (lambda x: net.activations(x, ["res1.conv1"], remember="all"), "res1.conv2"),
        (lambda x: net.activations(x, ["mix.a"], remember="input"), "mix.b"),
        (lambda x: net.activations(x, ["mix.a"], remember="input"), "mix"),
        (lambda x: net.activations(x, ["mix.c.inner"], remember="input"), "mix.c.shortcut"),
        (lambda x: net.activations(x, ["down.shortcut"], remember="input"), "down.conv1"),
        (lambda x: net.activations(x, ["down.conv1"], remember="input"), "down.shortcut.conv"),
        (lambda x: net.activations(x, ["input"], remember="input"), "stem"),
        (lambda x: net.activations(x, ["stem"]), "stem"),
        (lambda x: net.forward(x, remember=None), "stem"),
    ]


@pytest.mark.parametrize("which", range(11))
def test_what_an_earlier_pass_left_is_never_used(net: Network, which: int) -> None:
    x = pictures(net)
    later, at = stale(net)[which]
    grads = drawn(net, x, [at])
    net.forward(x)
    later(x + 1)
    with pytest.raises(MinicnnError, match=r"without a (forward )?pass that remembers"):
        net.input_gradient(grads)


def test_unknown_layers_are_refused_with_the_nearest(net: Network) -> None:
    x = pictures(net)
    with pytest.raises(MinicnnError, match=r"nested has no layer 'res1.conv'; did you mean 'res1.conv"):
        net.activations(x, ["res1.conv"])
    net.forward(x)
    with pytest.raises(MinicnnError, match=r"'mix.c.iner'.*did you mean 'mix.c.inner'"):
        net.input_gradient({"mix.c.iner": x})
    with pytest.raises(MinicnnError, match=r"'mix.c.iner'.*did you mean 'mix.c.inner'"):
        net.layer("mix.c.iner")
    with pytest.raises(MinicnnError, match="at least one"):
        net.input_gradient({})


@pytest.mark.parametrize("at", ["fc", "mix", "res1", "mix.c.inner", "input"])
def test_a_gradient_of_another_shape_is_refused_by_name(net: Network, at: str) -> None:
    x = pictures(net)
    (g,) = drawn(net, x, [at]).values()
    net.forward(x)
    for wrong in (np.concatenate([g, g], axis=1), g[:1], g[:, :1]):
        for others in ({}, {"down": np.ones((2, 6, 4, 4))}):
            with pytest.raises(MinicnnError, match=at if at == "input" else r"\w"):
                net.input_gradient({**others, at: wrong})


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 1, 8, 8)), np.zeros((3, 8, 8)), np.zeros((2, 3, 8)), np.zeros((2, 3, 8, 8), np.uint8)],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_what_is_no_batch_of_pictures_is_refused_by_name(net: Network, wrong: np.ndarray) -> None:
    for call in (net.forward, net.predict, net.scores, lambda x: net.activations(x, ["fc"])):
        with pytest.raises(MinicnnError, match="nested: expected"):
            call(wrong)


def test_pictures_of_another_size_are_refused_where_they_do_not_fit() -> None:
    with pytest.raises(MinicnnError, match=r"fc3 \(Linear\): expected \(400,\) features, got \(576,\)"):
        models.build("lenet5").forward(np.zeros((1, 1, 32, 32), np.float32))


def test_a_layer_name_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(MinicnnError, match="no layer 'fc6'"):
        Network({"fc5": Linear(2, 2), "relu5": ReLU()}, input_shape=(2, 1, 1), feature_layer="fc6")


# Predictions --------------------------------------------------------------------------------------------------------


def test_predictions_are_the_softmax_of_the_scores_best_first(torch: Any, net: Network) -> None:
    x = pictures(net, 4)
    net.train()
    predictions = net.predict(x, top=3)
    assert net.training
    assert all(layer.training for _, layer in net.layers())
    net.eval()
    probabilities = torch.softmax(torch.tensor(net.forward(x)), dim=1)
    best, index = probabilities.topk(3)
    for row, (expected, order) in zip(predictions, zip(best, index, strict=True), strict=True):
        assert [p.class_index for p in row] == order.tolist()
        assert [p.name for p in row] == [net.class_names[k] for k in order]
        np.testing.assert_allclose([p.probability for p in row], expected, rtol=1e-12)


def test_equal_scores_keep_the_order_of_the_classes(net: Network) -> None:
    net.layer("fc").weight.value[...] = 0  # type: ignore[attr-defined]
    net.layer("fc").bias.value[...] = 0  # type: ignore[attr-defined]
    assert [p.class_index for p in net.predict(pictures(net, 1))[0]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("target", "index"), [(3, 3), ("3", 3), ("cat", 2), ("CAT", 2), ("honey_bee", 4), ("honey bee", 4), (0, 0)]
)
def test_a_class_is_found_by_number_or_name(net: Network, target: int | str, index: int) -> None:
    assert net.class_index(target) == index


@pytest.mark.parametrize(
    ("target", "message"), [("catt", "did you mean 'cat'"), (5, "expected 0 to 4"), ("-1", "expected 0 to 4")]
)
def test_an_unknown_class_is_refused_with_the_nearest(net: Network, target: int | str, message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        net.class_index(target)


def test_classes_without_names_go_by_number() -> None:
    net = models.build("lenet5", num_classes=3)
    assert net.class_names == ()
    assert net.class_name(2) == "2"
    assert net.class_index("2") == 2
    with pytest.raises(MinicnnError, match="expected 0 to 2"):
        net.class_index("two")


def test_a_picture_is_prepared_to_the_networks_size() -> None:
    net = models.build("lenet5")
    prepared = net.prepare(np.random.default_rng(0).random((3, 40, 50)).astype(np.float32))
    assert prepared.shape == (1, 1, 28, 28)
    assert prepared.dtype == np.float32
    assert 0 <= prepared.min() <= prepared.max() <= 1
    net.forward(prepared)


def test_networks_are_layers_and_can_be_walked(net: Network) -> None:
    assert isinstance(net, Layer)
    assert [path for path, _ in net.layers()][:3] == ["normalize", "stem", "stem.conv1"]
    assert net.layer("mix.c.inner.left").path == "mix.c.inner.left"
    assert net.named_parameters()["mix.b.conv1.weight"].name == "mix.b.conv1.weight"
    assert (net.score_layer, net.feature_layer) == ("fc", "drop")
