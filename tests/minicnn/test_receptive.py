"""The receptive field is exact: nothing outside it changes a unit, and all along its border something does."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from minicnn import kernels
from minicnn.errors import MinicnnError
from minicnn.layers import (
    AdaptiveAvgPool2d,
    Aside,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Container,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Normalize,
    PadShortcut,
    ReLU,
    Residual,
    Scale,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    ZeroPad2d,
    evaluating,
)
from minicnn.models import build
from minicnn.models.densenet import dense_block
from minicnn.models.squeezenet import Fire
from minicnn.network import Network
from minicnn.receptive import Field, activation_shape, receptive_field, windows

from .nets import nested


def network(*layers: Layer, input_shape: tuple[int, int, int] = (2, 11, 9)) -> Network:
    net = Network({f"layer{i}": layer for i, layer in enumerate(layers, 1)}, input_shape=input_shape)
    net.initialize(0)
    return net


def open_up(net: Network) -> Network:
    """The same network with nothing that could hide a pixel: weights above 0, means for maxima, float64."""
    generator = np.random.default_rng(0)
    for parameter in net.parameters():
        parameter.value[...] = generator.uniform(0.5, 1.5, parameter.shape) / prod(parameter.shape[1:])
    for path, layer in [*net.layers()]:
        if isinstance(layer, MaxPool2d):
            *above, name = path.split(".")
            holder = net.layer(".".join(above)) if above else net
            assert isinstance(holder, Container)
            mean = AvgPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
            holder.replace(name, mean)
    net.to(dtype=np.float64)
    return net.eval()


def support(net: Network, path: str, index: tuple[int, ...]) -> Field:
    """The box of pixels with a gradient, of a network that is opened up."""
    x = np.random.default_rng(1).uniform(0.5, 1, (1, *net.input_shape))
    with kernels.using("array"):  # no Winograd: a weight of 0 gives 0
        a = net.activations(x, [path], remember="input")[path]
        one = np.zeros_like(a)
        one[(0, *index)] = 1
        moved = (net.input_gradient({path: one})[0] != 0).any(axis=0)  # (H, W)
    if not moved.any():
        return Field(0, 0, 0, 0)
    rows, columns = np.flatnonzero(moved.any(axis=1)), np.flatnonzero(moved.any(axis=0))
    return Field(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def some_units(shape: tuple[int, ...], count: int = 8) -> list[tuple[int, ...]]:
    """The corners of a layer's activation, and others drawn from it."""
    drawn = np.random.default_rng(2).integers(0, shape, (count, len(shape)))
    corners = [tuple(0 for _ in shape), tuple(size - 1 for size in shape)]
    return [*corners, *(tuple(map(int, index)) for index in drawn)]


def check(net: Network, paths: list[str] | None = None, count: int = 8) -> None:
    open_up(net)
    for path in paths or [path for path, _ in net.layers()]:
        for index in some_units(activation_shape(net, path), count):
            assert receptive_field(net, path, index) == support(net, path, index), (path, index)


CHAINS = {
    "plain": (Conv2d(2, 3, 3), ReLU(), Conv2d(3, 2, (3, 2), stride=(2, 1))),
    "padded": (Conv2d(2, 3, 5, padding=2), LeakyReLU(), Conv2d(3, 2, 3, 2, ((0, 2), (2, 1)))),
    "dilated": (Conv2d(2, 4, 3, dilation=(2, 1), padding=2), Conv2d(4, 4, 3, padding=1, dilation=1)),
    "holes at the border": (Conv2d(2, 2, 1, 2, 1), Conv2d(2, 2, 2, padding=2, dilation=3), Conv2d(2, 2, 1, 2, 1)),
    "stride beyond the kernel": (Conv2d(2, 3, 1, stride=3), Conv2d(3, 2, 2)),
    "max pool": (Conv2d(2, 3, 3, padding=1), MaxPool2d(3, 2, 1), Conv2d(3, 2, 2)),
    "ceil mode": (MaxPool2d(3, 2, ceil_mode=True), MaxPool2d(2, 2, ceil_mode=True), Conv2d(2, 2, 2)),
    "average pool": (AvgPool2d(2, 2, 1), Conv2d(2, 2, 3)),
    "adaptive pool": (Conv2d(2, 3, 2), AdaptiveAvgPool2d((3, 4)), Conv2d(3, 2, 2)),
    "zero pad": (ZeroPad2d(((3, 0), (1, 2))), Conv2d(2, 3, 3, stride=2), Conv2d(3, 2, 2)),
    "padding wider than the kernel": (Conv2d(2, 2, 2, padding=3), Conv2d(2, 2, 2)),
    "groups": (Conv2d(2, 4, 3, groups=2), ZeroPad2d(1), Conv2d(4, 2, 1, groups=2)),
    "norms": (Normalize((0.1, 0.2), (1, 2), bgr=True), Scale(2), Conv2d(2, 7, 3), LocalResponseNorm(3), BatchNorm2d(7)),
    "smooth": (Conv2d(2, 3, 3), Tanh(slope=0.1), Sigmoid(), Dropout(0.5), Softmax()),
    "vectors": (Conv2d(2, 3, 3, 2), Flatten(), Linear(60, 4), ReLU(), Linear(4, 2)),
    "a flat end": (Conv2d(2, 3, 3, 2), Flatten()),
    "aside": (Conv2d(2, 3, 3), Aside(pool=AvgPool2d(3, 3), conv=Conv2d(3, 2, 2)), Conv2d(3, 2, 2)),
    "option A": (
        Conv2d(2, 4, 3, padding=1),
        Residual(conv=Conv2d(4, 8, 3, 2, 1), shortcut=PadShortcut(4, 8, 2)),
        PadShortcut(8, 12, 2),
    ),
    "fire": (Conv2d(2, 4, 3, 2), Fire(4, 2, 3), MaxPool2d(2, ceil_mode=True), Fire(6, 2, 2)),
    "dense": (Conv2d(2, 4, 3, padding=1), dense_block(4, 3)),
    "a branch alone": (Concat(one=Conv2d(2, 2, 1), three=Conv2d(2, 3, 3, padding=1)), Scale(5), Flatten()),
    "an empty chain": (Sequential(), Residual(), Conv2d(2, 2, 3)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_unit_sees_its_field_and_nothing_else(name):
    check(network(*CHAINS[name]))


def test_residuals_and_concats_inside_one_another():
    check(nested())


@pytest.mark.parametrize(
    ("model", "paths"),
    [
        ("lenet5_1998", ["tanh1", "pool2", "tanh3", "fc5"]),
        ("alexnet_cifar", ["pool1", "conv2"]),
        ("resnet20", ["stage1.block1.conv1", "stage2.block1", "stage3.block1.shortcut", "fc"]),
        ("squeezenet1_0", ["relu1", "fire2.expand1x1", "fire3", "fire5.expand3x3.conv"]),
        ("googlenet", ["pool2", "inception3a", "inception3b.branch3"]),
        ("densenet121", ["pool1", "dense1.layer3"]),
        ("darknet_tiny", ["conv3"]),
    ],
)
def test_the_fields_of_whole_networks(model, paths):
    net = build(model)
    if max(net.input_shape) > 100:
        net.input_shape = (3, 75, 67)  # as exact, and sooner checked
    check(net, paths, count=4)


def test_pixels_outside_the_field_do_not_change_a_unit_of_the_trained_kind():
    net = nested().eval()
    x = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float32)
    for index in some_units(activation_shape(net, "down")):
        box = receptive_field(net, "down", index)
        other = 1 - x
        other[:, :, box.top : box.bottom, box.left : box.right] = x[:, :, box.top : box.bottom, box.left : box.right]
        a, b = (net.activations(p, ["down"])["down"][(0, *index)] for p in (x, other))
        assert a == pytest.approx(b, abs=1e-5)


def test_the_formula_of_the_lecture():
    """r_out = r_in + (k − 1)·j, j_out = j·s, by hand for LeNet-5 and SqueezeNet."""
    lenet = build("lenet5")
    found = {name: windows(lenet, name) for name in ("conv1", "pool1", "conv2", "pool2")}
    assert {name: w.size[0] for name, w in found.items()} == {"conv1": 5, "pool1": 6, "conv2": 14, "pool2": 16}
    assert {name: w.jump[0] for name, w in found.items()} == {"conv1": 1, "pool1": 2, "conv2": 2, "pool2": 4}
    squeezenet = build("squeezenet1_0")
    assert windows(squeezenet, "pool1") == ((11, 11), (4, 4), (0, 0))
    assert windows(squeezenet, "fire2") == ((19, 19), (4, 4), (-4, -4))


def test_a_unit_of_a_concat_sees_what_its_branch_sees():
    net = build("squeezenet1_0")
    one, three = (receptive_field(net, "fire2", (channel, 20, 20)) for channel in (63, 64))
    assert (one.height, three.height) == (11, 19)


def test_a_field_that_is_not_cut_off_reaches_beyond_the_picture():
    net = network(Conv2d(2, 2, 5, padding=2))
    assert receptive_field(net, "layer1", (0, 0, 0)) == (0, 0, 3, 3)
    assert receptive_field(net, "layer1", (0, 0, 0), inside=False) == (-2, -2, 3, 3)


def test_the_picture_itself_is_a_layer():
    assert receptive_field(nested(), "input", (0, 3, 4)) == (3, 4, 4, 5)


def test_what_is_no_unit_is_refused():
    net = nested()
    with pytest.raises(MinicnnError, match="nested has no layer 'res2'; did you mean 'res1'"):
        receptive_field(net, "res2", (0, 0, 0))
    with pytest.raises(MinicnnError, match=r"no unit \(4, 0, 0\), expected 0 to 3 × 0 to 7 × 0 to 7"):
        receptive_field(net, "res1", (4, 0, 0))
    with pytest.raises(MinicnnError, match=r"no unit \(0, 0\)"):
        receptive_field(net, "res1", (0, 0))
    with pytest.raises(MinicnnError, match="fc of nested has no places"):
        windows(net, "fc")


def test_a_layer_of_ones_own_must_say_what_it_sees():
    class Own(Layer):
        pass

    class Joined(Container):
        pass

    with pytest.raises(MinicnnError, match=r"register its type with receptive\.seen_by"):
        receptive_field(network(Own(), Conv2d(2, 2, 3)), "layer2", (0, 0, 0))
    with pytest.raises(MinicnnError, match=r"layer1 \(Joined\)"):
        receptive_field(network(Joined(), Conv2d(2, 2, 3)), "layer2", (0, 0, 0))


def test_every_layer_of_the_registry_is_known():
    from minicnn.layers import Conv1d, registered
    from minicnn.receptive import parts, seen_by

    unknown = [
        layer.__name__
        for layer in registered()
        if layer.__module__.startswith("minicnn.layers")
        and layer is not Conv1d
        and (parts if issubclass(layer, Container) else seen_by).dispatch(layer)
        is (parts if issubclass(layer, Container) else seen_by).dispatch(object)
    ]
    assert not unknown


def test_evaluation_mode_is_not_touched():
    net = nested()
    with evaluating(net):
        receptive_field(net, "fc", (0,))
    assert net.training
