"""Parameters lie in one array, and stay there whatever is loaded, moved or replaced."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.initialization import ones, zeros
from minicnn.layers import Layer, Linear, ReLU, Sequential
from minicnn.optimizers import SGD
from minicnn.parameter import ALIGNMENT, Parameter, pack, stretches, to_host, transfer

from ..devices import device
from ..strict import strict
from .nets import nested


def assert_packed(net: Layer) -> None:
    """Every value and gradient is a view into the same two arrays, each from a 64-byte boundary on."""
    parameters = net.parameters()
    flat = parameters[0].flat
    assert flat is not None
    end = 0
    for parameter in parameters:
        assert parameter.flat is flat
        for view, whole in ((parameter.value, flat.value), (parameter.grad, flat.grad)):
            assert view.dtype == whole.dtype
            assert view.ctypes.data % ALIGNMENT == 0
            assert view.ctypes.data - whole.ctypes.data == parameter.offset * whole.itemsize >= end
            assert np.shares_memory(view.ravel()[0:1], whole[parameter.offset : parameter.offset + 1])
        end = (parameter.offset + parameter.size) * flat.value.itemsize
    assert end <= flat.value.nbytes


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "alexnet_cifar"])
def test_all_parameters_lie_in_one_array_on_64_byte_boundaries(name: str) -> None:
    assert_packed(models.build(name))


def test_they_stay_there_after_loading() -> None:
    net, other = nested(0), nested(1)
    views = [parameter.value for parameter in net.parameters()]
    net.load_state_dict(other.state_dict())
    assert_packed(net)
    assert all(parameter.value is view for parameter, view in zip(net.parameters(), views, strict=True))
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_weights_can_be_loaded_into_a_network_that_drew_none() -> None:
    fresh, trained = models.architecture("lenet5"), models.build("lenet5", seed=3)
    assert not any(parameter.initialized for parameter in fresh.parameters())
    fresh.load_state_dict(trained.state_dict())
    assert_packed(fresh)
    x = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
    np.testing.assert_array_equal(fresh.forward(x), trained.forward(x))


def test_they_stay_there_in_another_dtype_and_back() -> None:
    net = nested()
    before = net.state_dict()
    net.parameters()[0].grad[...] = 3
    net.to(dtype=np.float64)
    assert_packed(net)
    assert all(parameter.value.dtype == np.float64 for parameter in net.parameters())
    assert all(buffer.value.dtype == np.float64 for buffer in net.named_buffers().values())
    assert (net.parameters()[0].grad == 3).all()
    net.to(dtype=np.float32)
    assert_packed(net)
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_they_move_to_a_device_and_back() -> None:
    net = nested()
    before = net.state_dict()
    device("strict").place(net)
    flat = net.parameters()[0].flat
    assert all(parameter.flat is flat for parameter in net.parameters())
    assert all(isinstance(value, strict.ndarray) for value in net.state_dict().values())
    assert all(np.shares_memory(p.value._a, flat.value._a) for p in net.parameters())  # type: ignore[union-attr]
    net.to("cpu")
    assert_packed(net)
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_a_replaced_layer_joins_them() -> None:
    net = models.build("lenet5")
    kept = net.layer("fc4").weight.value.copy()  # type: ignore[attr-defined]
    head = Linear(84, 3).initialize(5)
    drawn = head.weight.value.copy()
    net.replace("fc5", head)
    SGD(net.parameters(), 0.1)
    assert_packed(net)
    assert [p.name for p in net.parameters()][-2:] == ["fc5.weight", "fc5.bias"]
    np.testing.assert_array_equal(head.weight.value, drawn)
    np.testing.assert_array_equal(net.layer("fc4").weight.value, kept)  # type: ignore[attr-defined]
    assert net.forward(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 3)


def test_training_a_part_leaves_the_rest_where_it_is() -> None:
    net = models.build("lenet5")
    part = [p for p in net.parameters() if p.name.startswith("fc5")]
    before = net.state_dict()
    for parameter in net.parameters():
        parameter.grad[...] = 1
    optimizer = SGD(part, 0.5, weight_decay=0.1)
    assert_packed(net)
    optimizer.step()
    optimizer.zero_grad()
    for name, parameter in net.named_parameters().items():
        changed = name.startswith("fc5")
        assert (parameter.value != before[name]).any() == changed
        assert (parameter.grad == (0 if changed else 1)).all()


def test_neighbours_that_decay_alike_are_one_stretch() -> None:
    weights = [
        Parameter((3, 5), ones),
        Parameter((2,), ones),
        Parameter((2,), zeros, decay=False),
        Parameter((9,), ones),
    ]
    pack(weights)
    found = stretches(weights, 0.1)
    assert [stretch.decay for stretch in found] == [0.1, 0, 0.1]
    assert [stretch.where for stretch in found] == [slice(0, 32), slice(32, 48), slice(48, 64)]
    assert [len(stretches(some, 0.1)) for some in (weights[:2], weights[::2], weights[1:2])] == [1, 2, 1]
    assert [stretch.where for stretch in stretches(weights)] == [slice(0, 64)]  # none decays
    assert [stretch.decay for stretch in stretches(weights, 0.1, decay_all=True)] == [0.1]
    assert [stretch.where for stretch in stretches(weights[::2])] == [slice(0, 16), slice(32, 48)]


def test_a_value_of_another_shape_is_refused_by_name() -> None:
    layer = Sequential(fc=Linear(3, 2), relu=ReLU()).layer("fc")
    assert isinstance(layer, Linear)
    with pytest.raises(MinicnnError, match=r"fc.weight: expected shape \(2, 3\), got \(3, 2\)"):
        layer.weight.value = np.zeros((3, 2), np.float32)
    value = layer.weight.value
    layer.weight.value = np.full((2, 3), 2, np.float32)
    assert layer.weight.value is value
    assert (value == 2).all()
    layer.weight.value *= 2
    layer.weight.grad += 1
    assert (value == 4).all()
    assert (layer.weight.grad == 1).all()


def test_the_same_seed_draws_the_same_bits() -> None:
    one, same, other = (models.build("lenet5_1998", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(one[name].tobytes() == same[name].tobytes() for name in one)
    assert (one["conv1.weight"] != other["conv1.weight"]).any()


def test_arrays_change_their_device_here_only() -> None:
    host = np.arange(6, dtype=np.float64).reshape(2, 3)
    there = transfer(host, like=strict.zeros(1, np.float32))
    assert isinstance(there, strict.ndarray)
    assert there.dtype == np.float32
    back = transfer(there, like=host)
    np.testing.assert_array_equal(back, host)
    assert back.dtype == np.float64
    assert transfer(host, like=host) is host
    np.testing.assert_array_equal(to_host(there.T), host.T)
    assert to_host(there.T).flags.c_contiguous
    assert to_host(np.float32(3)).shape == ()
