"""What every layer promises. It runs over all that are registered: `pytest tests/contracts --layers FILE.py` adds more.

The tests with `case` run over NumPy, the device-strict stand-in for CuPy, and CuPy where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np
import pytest

from minicnn import kernels
from minicnn.errors import MinicnnError
from minicnn.gradcheck import BOUND, check_gradients
from minicnn.layers import Conv1d, Conv2d, Layer, Linear, unfused

from .conftest import Case, gradients

Close = Callable[..., None]


def channels_last(a: np.ndarray) -> np.ndarray:
    """The same (N, C, …) array, in memory as (N, …, C)."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_gradients_are_the_derivatives(on_host: Case, training: bool) -> None:
    report = check_gradients(on_host.build(), on_host.example.input_shape, batch=3, training=training)
    assert report.checks
    assert report, report.failures
    assert report.worst <= BOUND == 1e-7


def test_the_backward_pass_is_linear_in_dy(case: Case, close: Close) -> None:
    y = case.build().forward(case.x())
    first, second = case.dy(y, seed=4), case.dy(y, seed=5)
    a, b, both = case.run(dy=first), case.run(dy=second), case.run(dy=2.0 * first - 3.0 * second)
    close(both, {name: a[name] if name == "y" else 2 * a[name] - 3 * b[name] for name in a}, 1e-12)


def test_a_zero_dy_gives_zero_gradients(case: Case) -> None:
    y = case.build().forward(case.x())
    results = case.run(dy=y * 0)
    assert not any(results[name].any() for name in results if name != "y")


def test_the_same_passes_twice_give_the_same_bits(case: Case) -> None:
    once, again = case.run(), case.run()
    assert all(once[name].tobytes() == again[name].tobytes() for name in once)


def test_a_second_backward_pass_gives_the_same_bits(case: Case) -> None:
    layer = case.build()
    dy = case.dy(layer.forward(case.x()))
    first, second = (case.host({"dx": layer.backward(dy)})["dx"] for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_later_pass_leaves_earlier_results_alone(case: Case) -> None:
    layer = case.build()
    y = layer.forward(case.x())
    dx = layer.backward(case.dy(y))
    before = case.host({"y": y, "dx": dx})
    layer.backward(case.dy(layer.forward(case.x() * 2.0)))
    after = case.host({"y": y, "dx": dx})
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


@pytest.mark.parametrize("laid_out", [np.ascontiguousarray, channels_last], ids=["as_torch", "as_between_layers"])
def test_no_argument_is_changed(case: Case, laid_out: Callable[[np.ndarray], np.ndarray]) -> None:
    layer, x = case.build(), case.on.upload(laid_out(case.on.download(case.x())))
    y = layer.forward(x)
    dy = case.on.upload(laid_out(case.on.download(case.dy(y))))
    before = case.host({"x": x, "dy": dy, "y": y} | layer.state_dict())
    layer.backward(dy)
    after = case.host({"x": x, "dy": dy, "y": y} | layer.state_dict())
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    np.testing.assert_array_equal(after["x"], case.on.download(case.x()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_shapes_are_kept(case: Case, dtype: Any) -> None:
    layer = case.build(dtype)
    shapes = {"y": (3, *layer.output_shape(case.example.input_shape)), "dx": (3, *case.example.input_shape)}
    shapes |= {name: parameter.shape for name, parameter in layer.named_parameters().items()}
    results = case.run(dtype=dtype)
    assert {name: (a.shape, a.dtype) for name, a in results.items()} == {n: (s, dtype) for n, s in shapes.items()}


def test_memory_in_another_order_changes_nothing(case: Case, close: Close) -> None:
    plain = case.run()
    x = case.on.download(case.x())
    every_second = np.stack([x, x], axis=-1)[..., 0]
    reversed_axes = np.array(x.T, order="C").T
    for other in (every_second, reversed_axes, channels_last(x)):
        close(case.run(x=case.on.upload(other)), plain, 1e-12)
    y = case.on.upload(np.array(plain["y"].T, order="C").T)
    dy = case.on.download(case.dy(y))
    close(case.run(dy=case.on.upload(np.array(dy.T, order="C").T)), plain, 1e-12)


def test_every_picture_is_computed_for_itself_in_evaluation_mode(case: Case, close: Close) -> None:
    layer, x = case.build().eval(), case.x()
    whole = case.host({"y": layer.forward(x)})["y"]
    for start, stop in ((0, 1), (1, 3), (0, 0)):
        y = layer.forward(x[start:stop])
        dx = layer.backward(case.dy(y))
        assert dx.shape == (stop - start, *case.example.input_shape)
        close(case.host({"y": y}), {"y": whole[start:stop]}, 1e-12)


def test_a_batch_of_one_trains_or_says_why_not(case: Case) -> None:
    layer = case.build()
    layer.name_paths("here.") if layer.children() else vars(layer).update(path="here")
    try:
        y = layer.forward(case.x(batch=1))
    except MinicnnError as error:
        assert "here" in str(error)  # batch norm of one value
    else:
        assert layer.backward(case.dy(y)).shape == (1, *case.example.input_shape)


def test_float32_is_close_to_float64(case: Case, close: Close) -> None:
    close(case.run(dtype=np.float32), case.run(dtype=np.float64), 1e-5)


def test_another_array_library_computes_the_same(case: Case, on_host: Case, close: Close) -> None:
    close(case.run(), on_host.run(), 1e-12)


def test_the_reference_kernels_compute_the_same(on_host: Case, close: Close) -> None:
    expected = on_host.run()
    with kernels.using("reference"):
        close(on_host.run(), expected, 1e-12)


def test_remembering_for_the_input_gives_dx_and_refuses_parameters(case: Case) -> None:
    layer, x = case.build(), case.x()
    layer.forward(x, remember="input")
    y = case.run()["y"]
    dx = layer.backward(case.dy(y), need_dparams=False)
    np.testing.assert_array_equal(case.on.download(dx), case.run()["dx"])
    assert not any(a.any() for a in case.host(gradients(layer)).values())
    if layer.parameters():
        with pytest.raises(MinicnnError, match='remember="all"'):
            layer.backward(case.dy(y))


def test_remembering_nothing_gives_the_same_and_refuses_to_go_back(case: Case) -> None:
    layer = case.build()
    layer.forward(case.x())
    layer.load_random_states(case.build().random_states())
    y = layer.forward(case.x(), remember=None)
    np.testing.assert_array_equal(case.on.download(y), case.run()["y"])
    with pytest.raises(MinicnnError, match=r"call forward\(x\) first"):
        layer.backward(case.dy(y))


def test_a_dy_of_none_costs_nothing(case: Case) -> None:
    layer = case.build()
    layer.forward(case.x())
    assert layer.backward(None) is None
    assert not any(a.any() for a in case.host(gradients(layer)).values())


def test_without_dx_the_parameters_get_the_same_gradients(case: Case) -> None:
    layer = case.build()
    y = layer.forward(case.x())
    assert layer.backward(case.dy(y), need_dx=False) is None
    expected = case.run()
    for name, gradient in case.host(gradients(layer)).items():
        np.testing.assert_array_equal(gradient, expected[name])


def test_gradients_add_up_until_they_are_zeroed(case: Case) -> None:
    layer = case.build()
    y = layer.forward(case.x())
    layer.backward(case.dy(y))
    layer.backward(case.dy(y))
    expected = case.run()
    for name, gradient in case.host(gradients(layer)).items():
        np.testing.assert_array_equal(gradient, 2 * expected[name])


def test_the_state_is_all_that_a_layer_is(case: Case) -> None:
    trained = case.build(np.float32)
    trained.forward(case.x(np.float32))  # moves running averages
    state = case.host(trained.state_dict())
    fresh = case.on.place(case.example.build(case.layer))
    fresh.load_state_dict(state)
    assert list(fresh.state_dict()) == list(state)
    x = case.x(np.float32)
    trained.eval()
    fresh.eval()
    np.testing.assert_array_equal(case.on.download(fresh.forward(x)), case.on.download(trained.forward(x)))


@pytest.mark.parametrize("family", ["array", "native"])
def test_memory_is_what_is_kept(on_host: Case, family: str) -> None:
    """Per float32 picture; what a batch of any size keeps once, as the statistics of batch norm, does not count."""
    layer = on_host.build(np.float32)
    leaves = [leaf for _, leaf in layer.nodes() if not leaf.children()]
    kept = []
    for batch in (8, 16):
        with kernels.using(family), unfused() if family == "array" else nullcontext():
            layer.forward(on_host.x(np.float32, batch=batch))
        # two layers count what they share twice, in `memory` too, but not what is between layers that run as one
        apart = [[leaf] for leaf in leaves] if family == "array" else [leaves]
        kept.append(sum(bytes_kept(layers) for layers in apart))
    said = 8 * layer.memory(on_host.example.input_shape)
    if family == "array":
        assert 0 <= said - (kept[1] - kept[0]) < 8 * len(leaves)  # bits fill up whole bytes
    else:  # bits fill up blocks; layers that run as one keep less, as do sums that are cheap to make again
        assert kept[1] - kept[0] <= said + 64 * len(leaves)


def bytes_kept(layers: list[Layer]) -> int:
    """The arrays in the layers' caches that are no parameters, each once. Where another did the work there are none."""
    parameters = [parameter.value for layer in layers for parameter in layer.parameters()]
    arrays = {
        a.__array_interface__["data"]: a
        for layer in layers
        for a in arrays_in(layer._memory.cache if layer._memory else None)
    }
    return sum(a.nbytes for a in arrays.values() if not any(np.shares_memory(a, p) for p in parameters))


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from arrays_in(part)
    elif hasattr(value, "__dict__") and not isinstance(value, type(np)):
        yield from arrays_in(list(vars(value).values()))


def test_macs_of_a_convolution_are_one_for_each_weight_and_position(on_host: Case) -> None:
    layer, shape = on_host.build(), on_host.example.input_shape
    assert layer.macs(shape) >= 0
    if isinstance(layer, Conv2d | Conv1d):
        kernel = layer.weight.shape[2:]
        assert layer.macs(shape) == prod(layer.output_shape(shape)) * (shape[0] // layer.groups) * prod(kernel)
    if isinstance(layer, Linear):
        assert layer.macs(shape) == shape[0] * layer.out_features


def test_a_wrong_input_is_refused_by_name_or_taken(on_host: Case) -> None:
    """Some layers take any shape; then the shape that they promise is the one that they give."""
    x = on_host.x()
    more_channels = np.concatenate([x, x[:, :1]], axis=1)
    for wrong in (more_channels, x[:, :0], x[..., None], x[..., 0], x[..., :1], x.astype(np.float32)):
        layer = named(on_host)
        try:
            y = layer.forward(wrong)
        except MinicnnError as error:
            assert "conv7" in str(error)
        else:
            assert y.shape == (3, *layer.output_shape(wrong.shape[1:]))


def named(case: Case) -> Any:
    """The layer as it is inside a network, where it is called conv7."""
    layer = case.build()
    layer.path = "conv7"
    if layer.children():
        layer.name_paths("conv7.")
    return layer


def test_a_layer_with_parameters_refuses_other_channels_dimensions_and_dtypes(on_host: Case) -> None:
    x, some_layer = on_host.x(), named(on_host)
    if not some_layer.parameters():
        return
    one_more = x[..., None] if some_layer.ndim else x[:, :0]
    for wrong in (np.concatenate([x, x[:, :1]], axis=1), x[:, 0], one_more, x.astype(np.float32)):
        with pytest.raises(MinicnnError, match="conv7"):
            named(on_host).forward(wrong)


def test_integers_are_refused_by_name(on_host: Case) -> None:
    for dtype in (np.int64, np.uint8, bool):
        with pytest.raises(MinicnnError, match=r"conv7.*float"):
            named(on_host).forward(on_host.x().astype(dtype))


def test_a_wrong_dy_is_refused_by_name(on_host: Case) -> None:
    layer = named(on_host)
    dy = on_host.dy(layer.forward(on_host.x()))
    for wrong in (dy[:2], dy[..., None], dy[..., :0], dy.astype(np.float32)):
        with pytest.raises(MinicnnError, match="conv7"):
            layer.backward(wrong)


def test_arrays_of_another_device_are_refused_by_name(on_host: Case, on_strict: Case) -> None:
    if not named(on_host).parameters():
        return
    for here, there in ((on_host, on_strict), (on_strict, on_host)):
        with pytest.raises(MinicnnError, match="conv7"):
            named(here).forward(there.x())


def test_the_passes_never_wait_for_the_device(on_strict: Case) -> None:
    layer, x = on_strict.build(), on_strict.x()
    counters = on_strict.on.xp.counters
    y = layer.forward(x)
    dy = on_strict.dy(y)
    counters.reset()
    layer.backward(dy)
    layer.forward(x)
    assert (counters.synchronizations, counters.downloads) == (0, 0)


def test_a_layer_describes_itself_in_one_line(on_host: Case) -> None:
    assert repr(on_host.build()).startswith(on_host.layer.__name__ + "(")
    assert "\n" not in repr(on_host.build())
