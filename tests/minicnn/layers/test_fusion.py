"""Layers that run as one give what they give one after another, whatever is asked for and in whatever order."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn import kernels, models
from minicnn.errors import MinicnnError
from minicnn.layers import (
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    PadShortcut,
    ReLU,
    Remember,
    Residual,
    Sequential,
    backward_rule,
    unfused,
)
from minicnn.network import Network
from minicnn.optimizers import SGD
from minicnn.parameter import Buffer, Parameter

from ...kernels.levels import needs_native

SHAPES = {name: models.architecture(name).input_shape for name in models.ARCHITECTURES}
SMALL = [name for name, shape in SHAPES.items() if models.architecture(name).macs(shape) < 2e8]
REMEMBER: list[Remember] = ["all", "once", "input", None]


class Pass(NamedTuple):
    """What a pass there and back gives: scores, the gradient at the picture, those of parameters, running averages."""

    y: np.ndarray
    dx: np.ndarray | None
    grads: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]


def run(net: Network, remember: Any, *, fused: bool, size: int | None = None, dtype: Any = np.float64) -> Pass:
    """A pass of two pictures through a copy of the network."""
    net = copy.deepcopy(net)
    rng, (channels, height, width) = np.random.default_rng(0), net.input_shape
    x = rng.random((2, channels, size or height, size or width)).astype(dtype)
    with contextlib.nullcontext() if fused else unfused():
        y = net.forward(x, remember=remember)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dx = net.backward(dy, need_dparams=remember != "input") if remember else None
    grads = {name: parameter.grad.copy() for name, parameter in net.named_parameters().items()}
    return Pass(y, dx, grads, {name: buffer.value.copy() for name, buffer in net.named_buffers().items()})


def assert_alike(found: Pass, expected: Pass, bound: float) -> None:
    """Each array agrees to `bound` times its largest value."""
    assert (found.dx is None) == (expected.dx is None)
    for name, a, b in [
        ("y", found.y, expected.y),
        *([] if found.dx is None or expected.dx is None else [("dx", found.dx, expected.dx)]),
        *((name, found.grads[name], grad) for name, grad in expected.grads.items()),
        *((name, found.buffers[name], value) for name, value in expected.buffers.items()),
    ]:
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * (1e-3 + np.abs(b).max()), err_msg=name)


def network(layers: dict[str, Layer], input_shape: tuple[int, int, int] = (3, 9, 8)) -> Network:
    """float64, with running averages and factors that are not 0 and 1."""
    net = Network(layers, input_shape=input_shape).initialize(1)
    rng = np.random.default_rng(2)
    tensors: dict[str, Parameter | Buffer] = {**net.named_parameters(), **net.named_buffers()}
    for name, tensor in tensors.items():
        if "norm" in name:
            tensor.value[...] = rng.uniform(0.5, 1.5, tensor.shape)
    return net.to(dtype=np.float64)


def block(shortcut: Layer | None = None, channels: int = 3, stride: int = 1) -> Residual:
    layers: dict[str, Layer] = {
        "conv1": Conv2d(3, channels, 3, stride, padding=1),
        "norm1": BatchNorm2d(channels),
        "relu1": ReLU(),
        "conv2": Conv2d(channels, channels, 3, padding=1),
        "norm2": BatchNorm2d(channels),
    }
    return Residual(**layers, **({} if shortcut is None else {"shortcut": shortcut}))


def behind(head: Layer, channels: int = 3, pool: MaxPool2d | None = None) -> Network:
    """A layer, a ReLU, a pool and something behind them."""
    return network({"head": head, "relu": ReLU(), "pool": pool or MaxPool2d(2), "conv": Conv2d(channels, 2, 2)})


NETWORKS: dict[str, Callable[[], Network]] = {
    "conv": lambda: behind(Conv2d(3, 4, 3, padding=1), 4),
    "conv_overlapping_pool": lambda: behind(Conv2d(3, 4, 3, padding=1), 4, MaxPool2d(3, 2)),
    "conv_cut_off_pool": lambda: behind(Conv2d(3, 4, 3, padding=1), 4, MaxPool2d((3, 2), 2, 1, ceil_mode=True)),
    "conv_large_pool": lambda: behind(Conv2d(3, 4, 1, padding=8), 4, MaxPool2d(16, 7, 8)),
    "norm": lambda: behind(BatchNorm2d(3)),
    "norm_without_factors": lambda: behind(BatchNorm2d(3, affine=False)),
    "norm_relu": lambda: network(
        {"conv": Conv2d(3, 4, 3), "norm": BatchNorm2d(4), "relu": ReLU(), "end": Conv2d(4, 2, 2)}
    ),
    "identity": lambda: behind(block()),
    "pad": lambda: behind(block(PadShortcut(3, 6, 2), 6, 2), 6),
    "conv_shortcut": lambda: behind(block(Conv2d(3, 6, 1, 2), 6, 2), 6),
    "two_blocks": lambda: network({"block1": block(), "relu1": ReLU(), "block2": block(), "relu2": ReLU()}),
    "block_at_the_end": lambda: network({"conv": Conv2d(3, 3, 1), "block": block()}),
    "only_the_shortcut_learns": lambda: behind(Residual(norm=BatchNorm2d(3, affine=False), shortcut=Conv2d(3, 3, 1))),
    "chain": lambda: behind(Sequential(conv=Conv2d(3, 4, 3, padding=1), norm=BatchNorm2d(4)), 4),
    "nested": lambda: behind(Residual(conv=Conv2d(3, 3, 1), inner=block(), norm=BatchNorm2d(3))),
    "inside_a_chain": lambda: network({"chain": Sequential(conv=Conv2d(3, 4, 3), norm=BatchNorm2d(4)), "relu": ReLU()}),
}


@pytest.fixture(params=NETWORKS, scope="module")
def net(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]()


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("remember", REMEMBER)
def test_fused_layers_give_the_numbers_of_separate_ones(net: Network, remember: Any, mode: str) -> None:
    net.train(mode == "train")
    assert_alike(run(net, remember, fused=True), run(net, remember, fused=False), 1e-12)


def test_parameters_get_their_gradients_though_the_picture_needs_none(net: Network) -> None:
    """A shortcut's comes from the kernel of the last norm, even where nothing before that learns."""
    results = []
    for fused in (True, False):
        twin = copy.deepcopy(net)
        with contextlib.nullcontext() if fused else unfused():
            y = twin.forward(np.random.default_rng(0).random((2, *net.input_shape)))
            assert twin.backward(y, need_dx=False) is None
        results.append({name: parameter.grad for name, parameter in twin.named_parameters().items()})
    for name, expected in results[1].items():
        np.testing.assert_allclose(results[0][name], expected, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", SMALL)
def test_a_model_gives_the_same_fused_and_separate(name: str, mode: str) -> None:
    net = models.build(name).to(dtype=np.float64).train(mode == "train")
    for remember in REMEMBER[1:] if mode == "eval" else REMEMBER[:1]:
        assert_alike(run(net, remember, fused=True), run(net, remember, fused=False), 1e-12)


@needs_native
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", SMALL)
def test_native_kernels_give_the_same_fused_and_separate(name: str, mode: str) -> None:
    """To 1e-5 of the largest value: a convolution rounds the same with its ReLU, a batch norm in another order."""
    net = models.build(name).train(mode == "train")
    with kernels.using("native"):
        found, expected = (run(net, "all", fused=fused, dtype=np.float32) for fused in (True, False))
    assert_alike(found, expected, 1e-5)


# What is asked for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_each_activation_is_that_of_separate_layers(net: Network, mode: str) -> None:
    x = np.random.default_rng(0).random((2, *net.input_shape))
    net.train(mode == "train")
    names = [path for path, _ in net.layers()]
    with unfused():
        expected = net.activations(x, names)
    for name in names:
        for remember in REMEMBER:
            found = net.activations(x, [name], remember=remember)
            assert list(found) == [name]
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("remember", ["all", "input"])
def test_a_gradient_enters_at_any_layer_whether_or_not_it_was_asked_for(net: Network, remember: Any) -> None:
    """One pass forward, then a gradient at each layer in turn, and the whole way last."""
    rng = np.random.default_rng(0)
    x = rng.random((2, *net.input_shape))
    names = [path for path, _ in net.layers()]
    with unfused():
        activations = net.activations(x, names, remember=remember)
        grads = {name: rng.standard_normal(a.shape) for name, a in activations.items()}
        expected = {name: net.input_gradient({name: g}) for name, g in grads.items()}
        together = net.input_gradient(grads)
    last = names[-1]
    for order in (names, names[::-1]):
        net.forward(x, remember=remember)
        for name in [*order, last]:
            found = net.input_gradient({name: grads[name]})
            np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-11, err_msg=name)
        np.testing.assert_allclose(net.input_gradient(grads), together, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rule", ["guided", "deconvnet", "redirected"])
@pytest.mark.parametrize("remember", ["all", "input"])
def test_a_rule_set_after_the_forward_pass_holds_inside_a_group(net: Network, rule: str, remember: Any) -> None:
    x = np.random.default_rng(0).random((2, *net.input_shape))
    results = []
    for fused in (True, False):
        with contextlib.nullcontext() if fused else unfused():
            dy = net.forward(x, remember=remember)
        plain = net.backward(dy, need_dparams=False)
        with backward_rule(net, rule):
            ruled = net.backward(dy, need_dparams=False)
        results.append((plain, ruled, net.backward(dy, need_dparams=False)))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_a_gradient_that_never_reaches_a_group_leaves_its_memory_alone() -> None:
    """remember="once" serves one backward pass through each layer: one past the group is none of its."""
    layers: dict[str, Layer] = {"conv": Conv2d(3, 4, 3, padding=1), "relu": ReLU(), "end": Conv2d(4, 3, 1)}
    x = np.random.default_rng(0).random((2, 3, 9, 8))
    results: list[Any] = []
    for fused in (True, False):
        net = network({"block": Residual(**copy.deepcopy(layers), shortcut=Conv2d(3, 3, 1))})
        with contextlib.nullcontext() if fused else unfused():
            net.forward(x, remember="once")
            net.input_gradient({"block.shortcut": np.ones_like(x)})
            results.append(net.input_gradient({"block.end": np.ones_like(x)}))
            with pytest.raises(MinicnnError, match="backward without a forward pass"):
                net.input_gradient({"block.end": np.ones_like(x)})
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_rule_set_after_a_pass_that_serves_once_holds_inside_a_group(net: Network, mode: str) -> None:
    x = np.random.default_rng(0).random((2, *net.input_shape))
    net.train(mode == "train")
    results: list[Any] = []
    for fused in (True, False):
        with contextlib.nullcontext() if fused else unfused():
            dy = net.forward(x, remember="once")
            with backward_rule(net, "guided"):
                results.append(net.backward(dy, need_dparams=False))
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("remember", [None, "all"])
def test_kernels_of_ones_own_run_though_ours_would_do_their_work_along(remember: Any) -> None:
    ran = []

    class Own:
        @staticmethod
        def relu_forward(x: Any, *, remember: Any = "all") -> Any:
            ran.append("relu")
            return 2 * x, None if remember is None else x.shape

        @staticmethod
        def max_pool2d_forward(x: Any, *, remember: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: Any):
            ran.append("pool")
            return x[:, ::2, ::2], None if remember is None else x.shape

    net = network({"conv": Conv2d(3, 3, 1), "relu": ReLU(), "pool": MaxPool2d(2)}, (3, 8, 8))
    x = np.random.default_rng(0).random((2, 3, 8, 8))
    with kernels.using(Own):  # type: ignore[arg-type]
        y = net.forward(x, remember=remember)
    assert ran == ["relu", "pool"]
    np.testing.assert_allclose(y, 2 * net.activations(x, ["conv"])["conv"][:, :, ::2, ::2], rtol=1e-12)


# What is not fused ----------------------------------------------------------------------------------------------------


class OtherReLU(ReLU):
    def compute(self, x: Any, remember: Any) -> Any:
        y, cache = super().compute(x, remember)
        return 3 * y, cache


class OtherConv(Conv2d):
    def compute(self, x: Any, remember: Any) -> Any:  # type: ignore[override]
        return super().compute(x, remember)


class HalfBlock(Residual):
    def trace(self, x: Any, wanted: Any, remember: Any) -> Any:  # type: ignore[override]
        y, found = super().trace(x, wanted, remember)
        return None if y is None else y / 2, found


SEPARATE: dict[str, tuple[Layer, ...]] = {
    "a ReLU of one's own": (Conv2d(3, 4, 3), OtherReLU()),
    "a convolution of one's own": (OtherConv(3, 4, 3), ReLU()),
    "a leaky ReLU": (Conv2d(3, 4, 3), LeakyReLU()),
    "a leaky ReLU behind a norm": (BatchNorm2d(3), LeakyReLU()),
    "a ReLU with another rule": (Conv2d(3, 4, 3), ReLU("guided")),
    "a block of one's own": (HalfBlock(norm=BatchNorm2d(3)), ReLU()),
}


@pytest.mark.parametrize("layers", SEPARATE.values(), ids=SEPARATE)
def test_what_the_kernel_does_not_compute_is_left_to_the_layer(layers: tuple[Layer, ...]) -> None:
    net = copy.deepcopy(network({f"layer{i}": layer for i, layer in enumerate(layers)}))
    assert_alike(run(net, "all", fused=True), run(net, "all", fused=False), 1e-12)
    net.forward(np.ones((2, *net.input_shape)))
    assert net._groups == tuple((name,) for name in net.children())


@pytest.mark.parametrize(
    "pool", [MaxPool2d(3, 2), MaxPool2d(2, 1), MaxPool2d(2, padding=1), MaxPool2d(2, ceil_mode=True), MaxPool2d(3)]
)
def test_another_pool_than_2_by_2_runs_by_itself(pool: MaxPool2d) -> None:
    net = network({"norm": BatchNorm2d(3), "relu": ReLU(), "pool": copy.deepcopy(pool), "conv": Conv2d(3, 2, 2)})
    assert_alike(run(net, "all", fused=True), run(net, "all", fused=False), 1e-12)
    net.forward(np.ones((2, *net.input_shape)))
    assert net._groups == (("norm", "relu"), ("pool",), ("conv",))


def test_a_map_of_one_row_before_a_fused_pool_is_refused_in_one_line() -> None:
    for head in (BatchNorm2d(3), Conv2d(3, 3, 1)):
        net = network({"head": head, "relu": ReLU(), "pool": MaxPool2d(2)})
        with pytest.raises(MinicnnError, match=r"pool .*: input \(3, 1, 8\)"):
            net.forward(np.ones((2, 3, 1, 8)))


# State ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["head", "relu", "pool", "head.norm2", "head.relu1"])
def test_a_layer_replaced_after_the_forward_pass_is_an_error_not_a_wrong_gradient(place: str) -> None:
    net = behind(block())
    y = net.forward(np.ones((2, *net.input_shape)))
    outer, _, name = place.rpartition(".")
    holder = net.layer(outer) if outer else net
    new: dict[str, Layer] = {"head": block(), "norm2": BatchNorm2d(3), "pool": MaxPool2d(2)}
    holder.replace(name, new.get(name, ReLU()))  # type: ignore[attr-defined]
    with pytest.raises(MinicnnError, match="backward without a forward pass"):
        net.backward(np.ones_like(y))


def test_a_pass_that_fails_leaves_nothing_of_the_one_before_it() -> None:
    net = network(
        {"norm": BatchNorm2d(3), "relu": ReLU(), "conv": Conv2d(3, 2, 3), "flatten": Flatten(), "fc": Linear(84, 2)}
    )
    x = np.random.default_rng(0).random((2, *net.input_shape))
    small = x[:, :, :5]
    dy = np.ones_like(small)
    net.forward(x)
    with unfused():
        with pytest.raises(MinicnnError, match="fc"):
            net.forward(small)
        expected = net.input_gradient({"relu": dy})
        net.forward(x)
    with pytest.raises(MinicnnError, match="fc"):
        net.forward(small)
    np.testing.assert_allclose(net.input_gradient({"relu": dy}), expected, rtol=0, atol=1e-12)
    with pytest.raises(MinicnnError, match=r"fc .*backward without a forward pass"):
        net.backward(np.ones((2, 2)))


def test_running_averages_move_once_though_a_group_was_taken_apart() -> None:
    net = behind(block())
    x = np.random.default_rng(0).random((2, *net.input_shape))
    net.forward(x)
    before = {name: buffer.value.copy() for name, buffer in net.named_buffers().items()}
    net.input_gradient({"head": np.ones_like(x), "head.norm1": np.ones_like(x)})
    for name, buffer in net.named_buffers().items():
        np.testing.assert_array_equal(buffer.value, before[name])


def test_a_mode_changed_after_the_forward_pass_does_not_change_its_gradient() -> None:
    net = behind(block())
    x = np.random.default_rng(0).random((2, *net.input_shape))
    results = []
    for mode in (True, False):
        net.train()
        net.forward(x)
        net.train(mode)
        results.append(net.input_gradient({"head": np.ones_like(x)}))
    np.testing.assert_array_equal(*results)


def test_a_copy_of_a_network_trains_by_itself_and_takes_no_pass_along() -> None:
    net = behind(block())
    x = np.random.default_rng(0).random((2, *net.input_shape))
    y = net.forward(x)
    twin = copy.deepcopy(net)
    with pytest.raises(MinicnnError, match="backward without a forward pass"):
        twin.backward(np.ones_like(y))
    np.testing.assert_allclose(twin.forward(x), y, rtol=0, atol=1e-12)
    before = net.state_dict()
    twin.backward(y)
    SGD(twin.parameters(), 0.1).step()
    assert all((p.value != before[name]).any() for name, p in twin.named_parameters().items() if "conv" in name)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert net.backward(np.ones_like(y)) is not None
