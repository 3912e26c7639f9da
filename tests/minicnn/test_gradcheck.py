"""The gradient check itself: small errors are found in every layer, and nothing is reported that is right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.gradcheck import Check, check_gradients, check_layer
from minicnn.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Example,
    GuidedReLU,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    registered,
)
from minicnn.optimizers import SGD

Mutation = Callable[[np.ndarray], np.ndarray | None]  # None where it would change nothing


def scaled(gradient: np.ndarray) -> np.ndarray | None:
    """0.1 % too large."""
    return gradient * 1.001 if gradient.any() else None


def dropped(gradient: np.ndarray) -> np.ndarray | None:
    """One element, of middling size, is lost."""
    there = np.flatnonzero(gradient)
    if not there.size:
        return None
    wrong = gradient.copy()
    wrong.flat[there[np.argsort(abs(gradient.flat[there]))[there.size // 2]]] = 0
    return wrong


def swapped(gradient: np.ndarray) -> np.ndarray | None:
    """Two axes were exchanged and the memory read as if they were not."""
    for i, j in combinations(reversed(range(gradient.ndim)), 2):
        wrong = gradient.swapaxes(i, j).reshape(gradient.shape)
        if not np.allclose(wrong, gradient):
            return wrong
    return None


def cases() -> list[Any]:
    return [
        pytest.param(layer, example, id=f"{layer.__name__}-{number}")
        for layer, examples in registered().items()
        for number, example in enumerate(examples, 1)
    ]


def mutate(layer: Layer, tensor: str, mutation: Mutation) -> list[bool]:
    """Let a layer go back with one wrong gradient; the list that this gives says whether that changed anything."""
    backward, changed = layer.backward, []

    def wrong(dy: Any, **options: Any) -> Any:
        dx: Any = backward(dy, **options)
        target = dx if tensor == "x" else layer.named_parameters()[tensor].grad
        mutant = mutation(target) if np.linalg.norm(target) > 1e-9 else None  # before a batch norm a bias has none
        changed.append(mutant is not None)
        if mutant is not None and tensor == "x":
            return mutant
        if mutant is not None:
            target[...] = mutant
        return dx

    vars(layer)["backward"] = wrong
    return changed


@pytest.mark.parametrize("mutation", [scaled, dropped, swapped])
@pytest.mark.parametrize(("kind", "example"), cases())
def test_a_wrong_gradient_of_any_tensor_is_found(kind: type[Layer], example: Example, mutation: Mutation) -> None:
    tensors = ["x", *example.build(kind).named_parameters()]
    for tensor in tensors:
        layer = example.build(kind)
        changed = mutate(layer, tensor, mutation)
        report = check_gradients(layer, example.input_shape)
        wrong = [(check.tensor, check.layer) for check in report.failures]
        if any(changed):
            assert [name for name, where in wrong if where in ("whole", kind.__name__)] == [tensor]
        else:
            assert not wrong


def test_the_mutations_change_something_in_every_layer() -> None:
    for kind, examples in registered().items():
        for mutation in (scaled, dropped, swapped):
            changed = []
            for example in examples:
                layer = example.build(kind)
                seen = mutate(layer, "x", mutation)
                check_gradients(layer, example.input_shape)
                changed += seen
            assert any(changed), (kind, mutation)


@pytest.mark.parametrize(("kind", "example"), cases())
def test_right_gradients_pass_with_every_seed(kind: type[Layer], example: Example) -> None:
    for seed in range(20):
        assert check_gradients(example.build(kind), example.input_shape, seed=seed), seed


def test_one_lost_element_of_a_large_tensor_is_named() -> None:
    layer = Linear(120, 90).initialize(0)

    def lost(gradient: np.ndarray) -> np.ndarray:
        gradient[41, 77] = 0
        return gradient

    mutate(layer, "weight", lost)
    (failure,) = check_gradients(layer, (120,)).failures
    assert failure.tensor == "weight"
    assert failure.note.startswith("at weight(41, 77): backward 0, difference ")
    assert failure.note.endswith("no kink within 0.0002")


def test_a_relu_at_zero_is_reported_as_a_kink_with_its_place() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    x[1, 2, 0, 3] = 0
    (check,) = check_at(ReLU(), x)
    assert not check.ok
    assert check.kink == "the layer (1, 2, 0, 3)"
    assert check.note.startswith("a kink at the layer (1, 2, 0, 3) lies within 2e-10; at x(1, 2, 0, 3): backward 0, ")


def test_a_tie_in_a_max_pool_is_reported_as_a_kink_with_its_place() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    x[1, 2, 2:, 4:] = 9  # all four pixels of window (1, 2)
    (check,) = check_at(MaxPool2d(2), x)
    assert not check.ok
    assert check.kink == "the layer (1, 2, 1, 2)"


def test_a_kink_inside_a_network_is_named_by_its_layer() -> None:
    net = Sequential(inner=Residual(relu1=ReLU(), fc1=Linear(4, 4)), fc2=Linear(4, 2))
    net.initialize(0).to(dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((3, 4))
    x[2, 1] = 0
    check = next(iter(check_layer(net, x, "whole", np.random.default_rng(0))))
    assert check.kink == "inner.relu1 (2, 1)"


def test_a_kink_further_away_than_the_shortest_step_is_no_obstacle() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    x[1, 2, 0, 3] = 1e-7
    (check,) = check_at(ReLU(), x)
    assert check.ok and not check.kink


def test_guided_relu_is_reported_wrong() -> None:
    report = check_gradients(GuidedReLU(), (3, 4, 5))
    assert not report
    assert report.worst > 0.1
    assert not report.failures[0].kink


def test_a_gradient_that_is_not_a_number_is_wrong() -> None:
    layer = Tanh()
    mutate(layer, "x", lambda gradient: gradient * np.nan)
    assert not check_gradients(layer, (4,))


def test_a_layer_without_dx_is_an_error_that_names_it() -> None:
    class Silent(Tanh):
        def pullback(self, dy: Any, cache: Any, need_dx: bool, need_dparams: bool) -> None:
            return None

    with pytest.raises(MinicnnError, match=r"Silent: backward gave None, expected dx of shape \(3, 4\)"):
        check_gradients(Silent(), (4,))


def test_an_error_inside_a_network_is_looked_at_once_where_it_is() -> None:
    net = Sequential(fc1=Linear(5, 4), act=Tanh(), fc2=Linear(4, 3)).initialize(0)
    mutate(net.layer("fc2"), "weight", scaled)
    notes = {(check.layer, check.tensor): check.note for check in check_gradients(net, (5,)).failures}
    assert list(notes) == [("fc2", "weight"), ("whole", "fc2.weight")]
    assert notes["fc2", "weight"].startswith("at weight(")
    assert notes["whole", "fc2.weight"] == "a layer inside is wrong already"


def test_a_wrong_container_around_right_layers_is_found() -> None:
    class Forgetful(Residual):
        def inject(self, dy: Any, grads: Any, need_dx: bool, need_dparams: bool, **fused: Any) -> Any:
            return self.inject_chain(dy, grads, need_dx, need_dparams)  # the shortcut is lost

    failures = check_gradients(Forgetful(fc1=Linear(4, 4)).initialize(0), (4,)).failures
    assert [(check.layer, check.tensor) for check in failures] == [("whole", "x")]


def noisy_net() -> Sequential:
    net = Sequential(conv1=Conv2d(2, 3, 3), norm1=BatchNorm2d(3), relu1=ReLU(), drop1=Dropout(0.5))
    net.initialize(3)
    net.forward(np.random.default_rng(0).standard_normal((4, 2, 5, 5)).astype(np.float32))  # moves the running averages
    net.layer("norm1").eval()
    for parameter in net.parameters():
        parameter.grad += 1
    return net


def test_a_check_leaves_everything_as_it_was() -> None:
    net = noisy_net()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    arrays = [(p.value, p.grad) for p in net.parameters()]
    before = net.state_dict(), [g.copy() for _, g in arrays], net.random_states()
    modes = [layer.training for _, layer in net.nodes()]
    check_gradients(net, (2, 5, 5))
    after = net.state_dict()
    for name, value in before[0].items():
        assert after[name].dtype == value.dtype == np.float32
        assert after[name].tobytes() == value.tobytes()
    for parameter, (value, grad), gradient in zip(net.parameters(), arrays, before[1], strict=True):
        assert np.shares_memory(parameter.value, value) and np.shares_memory(parameter.grad, grad)
        assert parameter.grad.tobytes() == gradient.tobytes()
    assert net.random_states() == before[2]
    assert [layer.training for _, layer in net.nodes()] == modes
    optimizer.step()
    assert not np.array_equal(net.state_dict()["conv1.weight"], before[0]["conv1.weight"])


def test_an_interrupted_check_leaves_everything_as_it_was() -> None:
    net = noisy_net()
    before, drawn = net.state_dict(), net.random_states()

    def interrupt(done: int, total: int, last: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_gradients(net, (2, 5, 5), progress=interrupt)
    after = net.state_dict()
    assert all(after[name].tobytes() == value.tobytes() for name, value in before.items())
    assert net.random_states() == drawn


def test_a_network_in_float64_keeps_its_values_and_its_averages() -> None:
    layer = BatchNorm1d(4, affine=False)
    layer.to(dtype=np.float64)
    before = layer.state_dict()
    check_gradients(layer, (4,))
    assert all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())


def test_the_progress_ends_at_the_total() -> None:
    heard: list[tuple[int, int, str]] = []
    net = Sequential(fc1=Linear(5, 4), act=Tanh())
    report = check_gradients(net, (5,), progress=lambda *told: heard.append(told))
    assert [done for done, _, _ in heard] == list(range(1, len(report.checks) + 1))
    assert {total for _, total, _ in heard} == {len(report.checks)}
    assert heard[0][2] == "fc1 x"


def test_a_wrong_input_shape_is_an_error_that_names_the_layer() -> None:
    with pytest.raises(MinicnnError, match=r"Linear.*expected \(5,\) features"):
        check_gradients(Linear(5, 4), (6,))


def check_at(layer: Layer, x: np.ndarray) -> list[Check]:
    return list(check_layer(layer, x, "layer", np.random.default_rng(0)))
