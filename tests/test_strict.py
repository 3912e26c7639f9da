"""The stand-in for CuPy refuses what it must; and whole steps of training and explaining run on it without a wait."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minicnn import kernels, models
from minicnn.kernels.backend import get_array_module
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.optimizers import SGD, Adam, Optimizer
from minicnn.training import train_step

from . import strict as lists
from .devices import Device, device
from .strict import StrictArray, counters, strict


@pytest.fixture
def a() -> Any:
    return strict.asarray(np.arange(6.0).reshape(2, 3))


HOST = np.ones((2, 3))

MIXTURES: dict[str, Callable[[Any], Any]] = {
    "operand": lambda a: a + HOST,
    "left operand": lambda a: HOST * a,
    "in place": lambda a: operator.iadd(a, HOST),
    "into the host": lambda a: operator.iadd(HOST.copy(), a),
    "comparison": lambda a: a == HOST,
    "matrix product": lambda a: a @ HOST.T,
    "assignment": lambda a: operator.setitem(a, slice(None), HOST),
    "assignment to the host": lambda a: HOST.copy().__setitem__(slice(None), a),
    "index": lambda a: a[np.array([0, 1])],
    "index of the host": lambda a: HOST[a],
    "list as an index": lambda a: a[[0, 1]],
    "function": lambda a: strict.maximum(a, HOST),
    "function of the host alone": lambda a: strict.exp(HOST),
    "in a list": lambda a: strict.concatenate([a, HOST]),
    "copyto": lambda a: strict.copyto(a, HOST),
    "out": lambda a: strict.exp(a, out=HOST),
    "host function": lambda a: np.exp(a),
    "host function of a list": lambda a: np.concatenate([a, a]),
}

CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "float": lambda a: float(a.sum()),
    "int": lambda a: int(a.sum()),
    "bool": lambda a: bool(a.sum() > 0),
    "if": lambda a: 1 if a.any() else 0,
    "index": lambda a: [1, 2][a[0, 0]],
    "item": lambda a: a.sum().item(),
    "tolist": lambda a: a.tolist(),
    "iteration": lambda a: list(a),
    "in": lambda a: 1.0 in a,
    "asarray": lambda a: np.asarray(a),
    "format": lambda a: f"{a:.3f}",
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
def test_host_and_device_arrays_do_not_mix(a: Any, mix: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, IndexError)):
        mix(a)


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_values_come_back_only_when_they_are_asked_for(a: Any, convert: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        convert(a)
    np.testing.assert_array_equal(a.get(), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("name", ["vecdot", "block", "errstate", "nothing"])
def test_names_that_cupy_lacks_are_missing(a: Any, name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(strict, name)
    with pytest.raises(AttributeError, match=name):
        getattr(a, name)


def test_options_that_cupy_lacks_are_refused(a: Any) -> None:
    with pytest.raises(TypeError, match="count"):
        strict.unpackbits(strict.packbits(a > 1), count=3)
    with pytest.raises(TypeError, match="where"):
        strict.exp(a, where=a > 1)
    with pytest.raises(TypeError, match="initial"):
        a.sum(initial=1)


def test_everything_that_is_offered_is_in_cupy() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    functions = lists.ELEMENTWISE + lists.OTHERS + lists.VIEW_FUNCTIONS + lists.CREATION + lists.CONSTANTS
    for name in functions.split():
        operator.attrgetter(name)(cupy)
    for name in (*lists.PROPERTIES, *lists.REDUCTIONS, *lists.VIEWS):
        getattr(cupy.ndarray, name)


def test_an_index_that_occurs_twice_is_not_assigned_to(a: Any) -> None:
    twice, once = strict.asarray([0, 0]), strict.asarray([1, 0])
    with pytest.raises(IndexError, match="twice"):
        a[twice] += 1
    a[once, once] -= 1
    np.testing.assert_array_equal(a.get(), [[-1, 1, 2], [3, 3, 5]])
    with pytest.raises(IndexError):
        a[strict.asarray([2])]


def test_results_lie_in_memory_as_cupys_do(a: Any) -> None:
    assert (a.T * 2).flags.c_contiguous
    assert not a.T.flags.c_contiguous
    assert isinstance(a.sum(), StrictArray)
    assert a.sum().shape == a[0, 0].shape == ()
    assert np.isnan(strict.empty(3).get()).all()
    view = a[0]
    view += 1
    assert a.get()[0, 0] == 1


def test_the_counters_count(a: Any) -> None:
    counters.reset()
    b = strict.asarray(np.ones(3, np.float32))
    c = (b + b).reshape(3, 1)[1:]
    assert (counters.launches, counters.uploads, counters.downloads, counters.synchronizations) == (1, 1, 0, 0)
    strict.asnumpy(c)
    assert (counters.launches, counters.uploads, counters.downloads, counters.synchronizations) == (1, 1, 1, 1)
    b[b > 0]
    assert counters.synchronizations == 2
    assert get_array_module(b) is strict


MODELS = ["lenet5", "lenet5_1998", "alexnet_cifar"]


@pytest.fixture
def on_array_kernels() -> Iterator[None]:
    """Devices have the array kernels: the same sums in the same order on the host."""
    with kernels.using("array"):
        yield


def batch(on: Device, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Two pictures and their classes."""
    x = np.random.default_rng(0).random((2, *shape), np.float32)
    return on.upload(x), on.upload(np.array([3, 7]))


@pytest.mark.usefixtures("on_array_kernels")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_training_step_never_leaves_the_device(name: str, optimizer: Callable[..., Optimizer]) -> None:
    results = []
    for on in (device("strict"), device("numpy")):
        net = on.place(models.build(name))
        dropouts = [layer for _, layer in net.layers() if type(layer).__name__ == "Dropout"]
        update, loss = optimizer(net.parameters(), 0.01, weight_decay=1e-3), SoftmaxCrossEntropy(label_smoothing=0.1)
        x, y = batch(on, net.input_shape)
        counters.reset()
        value = train_step(net, loss, update, x, y)
        assert (counters.downloads, counters.synchronizations) == (0, 0)
        assert counters.uploads == (len(dropouts) if on.name == "strict" else 0) + uploads_of_pools(net, on)
        results.append({"loss": on.download(value)} | {n: on.download(a) for n, a in net.state_dict().items()})
    for key, expected in results[1].items():
        np.testing.assert_allclose(results[0][key], expected, rtol=1e-5, atol=1e-6, err_msg=key)


def uploads_of_pools(net: Any, on: Device) -> int:
    """An average pool uploads by how much each window is divided, a connection table which connections there are."""
    kinds = [type(layer).__name__ for _, layer in net.layers()]
    return 0 if on.name == "numpy" else kinds.count("AvgPool2d") + 2 * kinds.count("TableConv2d")


@pytest.mark.usefixtures("on_array_kernels")
@pytest.mark.parametrize("name", MODELS)
def test_an_input_gradient_never_leaves_the_device(name: str) -> None:
    gradients: list[np.ndarray] = []
    for on in (device("strict"), device("numpy")):
        net = on.place(models.build(name))
        net.eval()
        x, _ = batch(on, net.input_shape)
        counters.reset()
        found = net.activations(x, [net.score_layer, net.feature_layer, "input"], remember="input")
        dx = net.input_gradient({path: activation * 2.0 for path, activation in found.items()})
        assert (counters.downloads, counters.synchronizations) == (0, 0)
        gradients.append(on.download(dx))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
