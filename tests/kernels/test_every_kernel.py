"""What holds for every pair of a forward and a backward kernel, in every family."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from .levels import Native
from .oracles import DTYPES, assert_agree, family, normal

POOL: dict[str, Any] = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}  # overlapping, padded, rectangular
KEPT = np.random.default_rng(1).random((2, 4, 3, 5)) < 0.6


class Pair(NamedTuple):
    """One call of a kernel: x and its parameters have these shapes; y gets one name, in `NAME_forward`."""

    shapes: list[tuple[int, ...]]
    forward: Callable[..., tuple[Any, Any]]  # (ops, x, *parameters, remember=…)
    sums_the_batch: bool = False  # y of one picture depends on the others
    inputs: int = 1  # x alone, or x and, behind the parameters, a residual


def conv2d(ops: Any, x: np.ndarray, w: np.ndarray, b: np.ndarray, **options: Any) -> tuple[Any, Any]:
    geometry: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 2}
    return ops.conv2d_forward(x, w, b, **geometry, **options)


def conv2d_relu(ops: Any, x: np.ndarray, w: np.ndarray, b: np.ndarray, **remember: Any) -> tuple[Any, Any]:
    """Both in one call; what goes back is the cache of the convolution and that of the ReLU."""
    y, cache = conv2d(ops, x, w, b, relu=True, **remember)
    gate = ops.relu_forward(y, rectified=True, **remember)[1]
    return y, None if cache is None else (cache, gate)


def batch_norm(ops: Any, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, **options: Any) -> tuple[Any, Any]:
    return ops.batch_norm_forward(x, *ops.batch_moments(x), gamma, beta, from_batch=True, **options)


PAIRS = {
    "conv2d": Pair([(2, 5, 4, 4), (6, 2, 3, 2), (6,)], conv2d),
    "conv2d (relu)": Pair([(2, 5, 4, 4), (6, 2, 3, 2), (6,)], conv2d_relu),
    "conv1d": Pair(
        [(2, 9, 4), (6, 2, 3), (6,)],
        lambda ops, x, w, b, **r: ops.conv1d_forward(x, w, b, stride=2, padding=(2, 1), dilation=2, groups=2, **r),
    ),
    "linear": Pair([(3, 5), (4, 5), (4,)], lambda ops, x, w, b, **r: ops.linear_forward(x, w, b, **r)),
    "max_pool2d": Pair([(2, 5, 4, 3)], lambda ops, x, **r: ops.max_pool2d_forward(x, **POOL, **r)),
    "max_pool2d (relu)": Pair([(2, 5, 4, 3)], lambda ops, x, **r: ops.max_pool2d_forward(x, **POOL, relu=True, **r)),
    "avg_pool2d": Pair([(2, 5, 4, 3)], lambda ops, x, **r: ops.avg_pool2d_forward(x, **POOL, **r)),
    "adaptive_avg_pool2d": Pair(
        [(2, 5, 4, 3)], lambda ops, x, **r: ops.adaptive_avg_pool2d_forward(x, output_size=(3, 2), **r)
    ),
    "relu": Pair([(2, 4, 3, 5)], lambda ops, x, **r: ops.relu_forward(x, **r)),
    "leaky_relu": Pair([(2, 4, 3, 5)], lambda ops, x, **r: ops.leaky_relu_forward(x, slope=0.1, **r)),
    "tanh": Pair([(2, 4, 3, 5)], lambda ops, x, **r: ops.tanh_forward(x, **r)),
    "sigmoid": Pair([(2, 4, 3, 5)], lambda ops, x, **r: ops.sigmoid_forward(x, **r)),
    "softmax": Pair([(3, 5)], lambda ops, x, **r: ops.softmax_forward(x, **r)),
    "batch_norm": Pair([(2, 4, 3, 5), (5,), (5,)], batch_norm, sums_the_batch=True),
    "batch_norm (residual, relu, pool)": Pair(
        [(2, 5, 3, 5), (5,), (5,), (2, 5, 3, 5)],
        lambda ops, x, g, b, residual, **r: batch_norm(ops, x, g, b, residual=residual, relu=True, pool=True, **r),
        sums_the_batch=True,
        inputs=2,
    ),
    "local_response_norm": Pair(
        [(2, 2, 3, 7)], lambda ops, x, **r: ops.local_response_norm_forward(x, size=4, alpha=0.5, k=2.0, **r)
    ),
    "dropout": Pair([(2, 4, 3, 5)], lambda ops, x, **r: ops.dropout_forward(x, KEPT[: len(x)], p=0.4, **r)),
    "scale": Pair([(2, 4, 3, 5), (5,), (5,)], lambda ops, x, g, b, **r: ops.scale_forward(x, g, b, **r)),
    "zero_pad2d": Pair([(2, 4, 3, 5)], lambda ops, x, **r: ops.zero_pad2d_forward(x, padding=((1, 2), (0, 3)), **r)),
    "softmax_cross_entropy": Pair(
        [(3, 5)],
        lambda ops, x, **r: ops.softmax_cross_entropy_forward(x, np.array([4, 0, 2]), label_smoothing=0.1, **r),
        sums_the_batch=True,
    ),
}


@pytest.fixture(params=PAIRS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pair(name: str) -> Pair:
    return PAIRS[name]


@pytest.fixture
def arrays(pair: Pair, rng: np.random.Generator) -> list[np.ndarray]:
    """x and the parameters, float64."""
    return [normal(rng, shape) for shape in pair.shapes]


def gradients(ops: Any, name: str, dy: np.ndarray, cache: Any, **needs: Any) -> list[Any]:
    """[dx, one for each parameter, and one for the residual where there is one]"""
    if name == "conv2d (relu)":
        cache, needs["gate"] = cache
    result = getattr(ops, f"{name.split()[0]}_backward")(dy, cache, **needs)
    if name == "batch_norm":
        *result, dresidual = result
        assert dresidual is None
    return list(result) if isinstance(result, (tuple, list)) else [result]


def test_the_table_above_has_every_kernel(ops: Any) -> None:
    exported = {op for op in ops.__all__ if op.endswith(("_forward", "_backward"))}
    assert exported == {f"{name.split()[0]}_{direction}" for name in PAIRS for direction in ("forward", "backward")}


def test_every_gradient_is_the_derivative(
    ops: Any, name: str, pair: Pair, arrays: list[np.ndarray], rng: np.random.Generator
) -> None:
    y, cache = pair.forward(ops, *arrays)
    dy = normal(rng, y.shape)
    step, bound = 1e-5, 1e-8
    exact = ops
    if isinstance(ops, Native):  # float32 has no digits for differences: those of the array kernels, in float64
        exact, bound = family("array"), 1e-5
    for which, gradient in enumerate(gradients(ops, name, dy, cache)):
        direction = normal(rng, arrays[which].shape)

        def loss(t: float, which: int = which, direction: np.ndarray = direction) -> float:
            moved = [a + t * direction if i == which else a for i, a in enumerate(arrays)]
            return float((pair.forward(exact, *moved)[0] * dy).sum())

        measured = (loss(step) - loss(-step)) / (2 * step)
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert abs(measured - (gradient * direction).sum()) <= bound * scale


def test_no_argument_is_changed(ops: Any, name: str, pair: Pair, arrays: list[np.ndarray]) -> None:
    before = [a.copy() for a in arrays]
    y, cache = pair.forward(ops, *arrays)
    dy = np.asarray(y * 0.5 - 1)
    dy_before = dy.copy()
    gradients(ops, name, dy, cache)
    np.testing.assert_array_equal(dy, dy_before)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_result_is_a_view_of_an_argument(ops: Any, name: str, pair: Pair, arrays: list[np.ndarray]) -> None:
    y, cache = pair.forward(ops, *arrays)
    dy = np.ones_like(y)
    for result in [np.asarray(y), *gradients(ops, name, dy, cache)]:
        assert not any(np.shares_memory(result, a) for a in [*arrays, dy])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_and_shapes_are_kept(ops: Any, name: str, pair: Pair, arrays: list[np.ndarray], dtype: str) -> None:
    typed = [a.astype(dtype) for a in arrays]
    y, cache = pair.forward(ops, *typed)
    assert y.dtype == dtype
    for gradient, a in zip(gradients(ops, name, np.ones_like(y), cache), typed, strict=True):
        assert (gradient.dtype, gradient.shape) == (a.dtype, a.shape)


def test_the_backward_pass_is_linear_in_dy(
    ops: Any, name: str, pair: Pair, arrays: list[np.ndarray], rng: np.random.Generator
) -> None:
    y, cache = pair.forward(ops, *arrays)
    first, second = np.asarray(normal(rng, y.shape)), np.asarray(normal(rng, y.shape))
    sums = gradients(ops, name, 2 * first - 3 * second, cache)
    parts = zip(gradients(ops, name, first, cache), gradients(ops, name, second, cache), strict=True)
    for together, (a, b) in zip(sums, parts, strict=True):
        assert_agree(together, 2 * a - 3 * b)


def test_a_zero_dy_gives_zero_gradients(ops: Any, name: str, pair: Pair, arrays: list[np.ndarray]) -> None:
    y, cache = pair.forward(ops, *arrays)
    for gradient in gradients(ops, name, np.zeros_like(y), cache):
        assert not gradient.any()


def test_the_same_call_twice_gives_the_same_bits(
    ops: Any, name: str, pair: Pair, arrays: list[np.ndarray], rng: np.random.Generator
) -> None:
    y, cache = pair.forward(ops, *arrays)
    dy = np.asarray(normal(rng, y.shape))
    first = [np.asarray(y), *gradients(ops, name, dy, cache)]
    kept = [a.copy() for a in first]
    again, cache_again = pair.forward(ops, *arrays)
    second = [np.asarray(again), *gradients(ops, name, dy, cache)]
    third = gradients(ops, name, dy, cache_again)
    for a, b, c in zip(kept, second, [np.asarray(again), *third], strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b, err_msg="a later call wrote into an earlier result")


def test_remembering_nothing_keeps_nothing(ops: Any, pair: Pair, arrays: list[np.ndarray]) -> None:
    expected, _ = pair.forward(ops, *arrays)
    y, cache = pair.forward(ops, *arrays, remember=None)
    assert cache is None
    np.testing.assert_array_equal(y, expected)


def test_remembering_for_dx_alone_is_enough_for_dx(
    ops: Any, name: str, pair: Pair, arrays: list[np.ndarray], rng: np.random.Generator
) -> None:
    y, everything = pair.forward(ops, *arrays, remember="all")
    _, for_dx = pair.forward(ops, *arrays, remember="input")
    dy = np.asarray(normal(rng, y.shape))
    needs = {"need_dparams": False} if len(arrays) > 1 else {}
    found, wanted = gradients(ops, name, dy, for_dx, **needs), gradients(ops, name, dy, everything)
    of_inputs = [0, *range(len(found) + 1 - pair.inputs, len(found))]
    for index, gradient in enumerate(found):
        if index in of_inputs:
            np.testing.assert_array_equal(gradient, wanted[index])
        else:
            assert gradient is None


@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if len(pair.shapes) > 1])
def test_only_what_is_needed_is_computed(ops: Any, name: str, pair: Pair, arrays: list[np.ndarray]) -> None:
    y, cache = pair.forward(ops, *arrays)
    dx, dw, db, *dresidual = gradients(ops, name, np.ones_like(y), cache)
    without_dx, *same = gradients(ops, name, np.ones_like(y), cache, need_dx=False)
    assert without_dx is None
    for a, b in zip([dw, db, *dresidual], same, strict=True):
        np.testing.assert_array_equal(a, b)
    same_dx, no_dw, no_db, *same = gradients(ops, name, np.ones_like(y), cache, need_dparams=False)
    for a, b in zip([dx, *dresidual], [same_dx, *same], strict=True):
        np.testing.assert_array_equal(a, b)
    assert no_dw is no_db is None
    nothing = gradients(ops, name, np.ones_like(y), cache, need_dx=False, need_dparams=False)
    assert nothing[:3] == [None] * 3
    for a, b in zip(dresidual, nothing[3:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["conv2d", "conv2d (relu)", "linear"])
def test_parameter_gradients_are_written_into_the_arrays_that_are_given(
    ops: Any, name: str, pair: Pair, arrays: list[np.ndarray]
) -> None:
    y, cache = pair.forward(ops, *arrays)
    dy = np.ones_like(y)
    dx, *expected = gradients(ops, name, dy, cache)
    given = [np.full_like(a, np.nan) for a in arrays[1:]]
    same_dx, *dparams = gradients(ops, name, dy, cache, out=tuple(given))
    np.testing.assert_array_equal(same_dx, dx)
    for gradient, out, wanted in zip(dparams, given, expected, strict=True):
        np.testing.assert_array_equal(gradient, wanted)
        np.testing.assert_array_equal(out, wanted)
        assert gradient is out or not isinstance(ops, ModuleType)
    _, dw, db = gradients(ops, name, dy, cache, out=(None, given[1]))
    np.testing.assert_array_equal(dw, expected[0])
    np.testing.assert_array_equal(db, expected[1])


def test_dy_may_be_a_view_in_another_order(
    ops: Any, name: str, pair: Pair, arrays: list[np.ndarray], rng: np.random.Generator
) -> None:
    y, cache = pair.forward(ops, *arrays)
    dy = np.asarray(normal(rng, y.shape))
    strided = np.asarray(dy.T.copy().T)
    for a, b in zip(gradients(ops, name, strided, cache), gradients(ops, name, dy, cache), strict=True):
        assert_agree(a, b)


@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if not pair.sums_the_batch])
@pytest.mark.parametrize("batch", [0, 1])
def test_an_empty_batch_and_a_batch_of_one(
    ops: Any, name: str, pair: Pair, arrays: list[np.ndarray], rng: np.random.Generator, batch: int
) -> None:
    x, *params = arrays
    whole, whole_cache = pair.forward(ops, x, *params)
    y, cache = pair.forward(ops, x[:batch], *params)
    assert_agree(y, whole[:batch])
    dy = normal(rng, whole.shape)
    dx, *dparams = gradients(ops, name, dy[:batch], cache)
    assert_agree(dx, gradients(ops, name, dy, whole_cache)[0][:batch])
    for dparam, param in zip(dparams, params, strict=True):
        assert dparam.shape == param.shape
        assert batch or not dparam.any()


@pytest.mark.parametrize("numbers", [1, 24])
def test_the_size_of_the_blocks_changes_rounding_alone(
    name: str, pair: Pair, arrays: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, numbers: int
) -> None:
    results = []
    for size in (1 << 16, numbers):
        monkeypatch.setattr("minicnn.kernels.array.blocks.BLOCK", size)
        y, cache = pair.forward(family("array"), *arrays)
        results.append([np.asarray(y), *gradients(family("array"), name, np.asarray(np.cos(3 * y)), cache)])
    for actual, expected in zip(*reversed(results), strict=True):
        assert_agree(actual, expected)
