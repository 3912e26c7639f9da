"""What every part of the image engine promises. It runs over all that are registered, on every array library.

Objectives: the gradient is the derivative. Transforms: the adjoint is exact. And all of them keep the dtype, leave
their arguments alone, treat each picture of a batch for itself, and never wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn.image import Example, Objective, Optimizer, Parametrization, Projection, Transform, registered
from minicnn.image.optimizers import FirstOrder
from minicnn.schedules import Clock

from ..devices import Device, device

CLOCK = Clock(0, 10, 10)


class Part(NamedTuple):
    """A part of the engine, one example of it, and random arrays to try it on."""

    kind: type
    example: Example
    seed: int = 0

    def build(self, place: Callable[[np.ndarray], Any] = lambda a: a) -> Any:
        return self.example.build(self.kind, place)

    def arrays(self, dtype: Any = np.float64, seed: int = 0) -> dict[str, np.ndarray]:
        """One array a layer, the same every time, uniform in [-0.5, 1.5): pictures that leave [0, 1] here and there."""
        generator = np.random.default_rng(seed)
        shapes = self.example.shapes
        return {layer: generator.uniform(-0.5, 1.5, shape).astype(dtype) for layer, shape in shapes.items()}

    def array(self, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
        return self.arrays(dtype, seed)["input"]


def parts(kind: type) -> list[Any]:
    return [
        pytest.param(Part(part, example), id=f"{part.__name__}-{number}")
        for part, examples in registered(kind).items()
        for number, example in enumerate(examples)
    ]


objectives = pytest.mark.parametrize("part", parts(Objective))
transforms = pytest.mark.parametrize("part", parts(Transform))
projections = pytest.mark.parametrize("part", parts(Projection))
optimizers = pytest.mark.parametrize("part", parts(Optimizer))
parametrizations = pytest.mark.parametrize("part", parts(Parametrization))
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def up(on: Device, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: on.upload(a) for name, a in arrays.items()}


def down(on: Device, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: on.download(a).copy() for name, a in arrays.items()}


def test_there_is_something_of_every_kind() -> None:
    assert all(registered(kind) for kind in (Objective, Transform, Projection, Optimizer, Parametrization))


# Objectives -----------------------------------------------------------------------------------------------------------


@objectives
def test_the_gradient_of_an_objective_is_the_derivative(part: Part) -> None:
    objective, at = part.build(), part.arrays()
    gradients = objective.evaluate(at)[1]
    assert set(gradients) <= set(objective.layers) == set(at)
    for layer, a in at.items():
        v = np.random.default_rng(1).standard_normal(a.shape)

        def slope(h: float, layer: str = layer, a: np.ndarray = a, v: np.ndarray = v) -> float:
            ahead, behind = (objective.evaluate(at | {layer: a + s * h * v})[0] for s in (1, -1))
            return float((ahead - behind) / (2 * h))

        numeric = (4 * slope(1e-4) - slope(2e-4)) / 3
        terms = gradients[layer] * v
        assert abs(numeric - terms.sum()) <= 1e-7 * max(float(np.linalg.norm(terms)), 1e-3)


@objectives
@dtypes
def test_an_objective_keeps_dtype_and_shape_and_its_arguments(part: Part, dtype: Any, on: str) -> None:
    there, at = device(on), part.arrays(dtype)
    arrays = up(there, at)
    value, gradients = part.build().evaluate(arrays)
    assert (value.shape, value.dtype) == ((), dtype)
    assert {name: (g.shape, g.dtype) for name, g in gradients.items()} == {n: (a.shape, dtype) for n, a in at.items()}
    for name, a in down(there, arrays).items():
        np.testing.assert_array_equal(a, at[name])


@objectives
def test_an_objective_is_the_same_on_every_device_and_waits_for_none(part: Part, on: str) -> None:
    there, at = device(on), part.arrays()
    arrays = up(there, at)
    counters = getattr(there.xp, "counters", None)
    if counters:
        counters.reset()
    value, gradients = part.build().evaluate(arrays)
    if counters:
        assert (counters.synchronizations, counters.downloads) == (0, 0)
    expected, host = part.build().evaluate(at)
    assert float(there.download(value)) == pytest.approx(float(expected), rel=1e-12)
    for layer, gradient in down(there, gradients).items():
        np.testing.assert_allclose(gradient, host[layer], rtol=1e-12, atol=1e-14)


@objectives
def test_the_pictures_of_a_batch_add_up(part: Part) -> None:
    objective, at = part.build(), part.arrays()
    if objective.together:
        return
    whole, gradients = objective.evaluate(at)
    total = 0.0
    for i in range(len(next(iter(at.values())))):
        value, alone = objective.evaluate({layer: a[i : i + 1] for layer, a in at.items()})
        total += value
        for layer, gradient in alone.items():
            np.testing.assert_allclose(gradients[layer][i : i + 1], gradient, rtol=1e-12)
    assert total == pytest.approx(float(whole), rel=1e-12)


@objectives
def test_objectives_add_up_and_scale(part: Part) -> None:
    one, at = part.build(), part.arrays()
    other = 3 * part.build()
    a, grads_a = one.evaluate(at)
    b, grads_b = other.evaluate(at)
    for combined, factors in ((one + other, (1, 1)), (2 * one - other * 0.5, (2, -0.5)), (-one * 4, (-4, 0))):
        value, gradients = combined.evaluate(at)
        assert float(value) == pytest.approx(float(factors[0] * a + factors[1] * b), rel=1e-12, abs=1e-12)
        for layer, gradient in gradients.items():
            np.testing.assert_allclose(gradient, factors[0] * grads_a[layer] + factors[1] * grads_b[layer], atol=1e-12)


# Transforms -----------------------------------------------------------------------------------------------------------


@transforms
@pytest.mark.parametrize("seed", range(4))
def test_the_adjoint_of_a_transform_is_exact(part: Part, seed: int) -> None:
    drawn, x = part.build().sample(np.random.default_rng(seed)), part.array()
    y = drawn.apply(x) - drawn.apply(0 * x)  # without what a border brings in
    dy = np.random.default_rng(seed).standard_normal(y.shape)
    forth, back = np.vdot(y, dy), np.vdot(x, drawn.adjoint(dy, x.shape))
    assert abs(forth - back) <= 1e-12 * np.linalg.norm(y) * np.linalg.norm(dy)


@transforms
def test_a_transform_is_affine(part: Part) -> None:
    drawn = part.build().sample(np.random.default_rng(0))
    a, b = part.array(), part.array(seed=1)
    np.testing.assert_allclose(drawn.apply(2 * a - b), 2 * drawn.apply(a) - drawn.apply(b), atol=1e-13)


@transforms
def test_a_transform_is_drawn_by_the_generator_alone(part: Part) -> None:
    x = part.array()
    a, b = (part.build().sample(np.random.default_rng(7)).apply(x) for _ in range(2))
    assert a.tobytes() == b.tobytes()


@transforms
@dtypes
def test_a_transform_keeps_dtype_and_its_arguments(part: Part, dtype: Any, on: str) -> None:
    there, host = device(on), part.array(dtype)
    x = there.upload(host)
    drawn = part.build().sample(np.random.default_rng(0))
    y = drawn.apply(x)
    dx = drawn.adjoint(y, x.shape)
    assert y.dtype == dx.dtype == dtype and dx.shape == x.shape
    np.testing.assert_array_equal(there.download(x), host)
    expected = drawn.apply(host)
    np.testing.assert_allclose(there.download(y), expected, rtol=1e-6)
    np.testing.assert_allclose(there.download(dx), drawn.adjoint(expected, host.shape), rtol=1e-5)


# Projections ----------------------------------------------------------------------------------------------------------


@projections
@dtypes
def test_a_projection_keeps_dtype_and_its_arguments(part: Part, dtype: Any, on: str) -> None:
    there, value, gradient = device(on), part.array(dtype), part.array(dtype, seed=1)
    x, g = there.upload(value), there.upload(gradient)
    y = part.build().project(x, g)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    np.testing.assert_array_equal(there.download(x), value)
    np.testing.assert_array_equal(there.download(g), gradient)
    np.testing.assert_allclose(there.download(y), part.build().project(value, gradient), rtol=1e-6, atol=1e-7)


@projections
def test_a_projection_treats_each_picture_for_itself(part: Part) -> None:
    value, gradient = part.array(), part.array(seed=1)
    whole = part.build().project(value, gradient)
    for i in range(len(value)):
        alone = part.build().project(value[i : i + 1], gradient[i : i + 1])
        np.testing.assert_allclose(whole[i : i + 1], alone, rtol=1e-13)


# Optimizers -----------------------------------------------------------------------------------------------------------


def slope(gradient: Any) -> Any:
    """The objective whose gradient is the same everywhere."""
    return lambda value: ((value * gradient).sum(), gradient)


@optimizers
@dtypes
def test_an_optimizer_keeps_dtype_and_its_arguments_and_goes_up(part: Part, dtype: Any, on: str) -> None:
    there, value, gradient = device(on), part.array(dtype), part.array(dtype, seed=1)
    x, g, state = there.upload(value), there.upload(gradient), None
    for _ in range(3):
        y, state = part.build().step(x, slope(g), state, CLOCK)
        assert (y.shape, y.dtype) == (x.shape, dtype)
        np.testing.assert_array_equal(there.download(x), value)
        np.testing.assert_array_equal(there.download(g), gradient)
        assert np.vdot(there.download(y) - value, gradient) > 0


@optimizers
def test_an_optimizer_evaluates_where_it_stands_first(part: Part) -> None:
    value, gradient, seen = part.array(), part.array(seed=1), []

    def evaluate(at: Any) -> Any:
        seen.append(at)
        return slope(gradient)(at)

    part.build().step(value, evaluate, None, CLOCK)
    np.testing.assert_array_equal(seen[0], value)


@optimizers
def test_the_state_of_an_optimizer_is_all_that_it_remembers(part: Part) -> None:
    optimizer, value, up = part.build(), part.array(), slope(part.array(seed=1))
    _, state = optimizer.step(value, up, None, CLOCK)
    a, _ = optimizer.step(value, up, state, CLOCK)
    optimizer.step(value, slope(-part.array(seed=1)), None, CLOCK)
    b, _ = optimizer.step(value, up, state, CLOCK)
    assert a.tobytes() == b.tobytes()


@optimizers
def test_a_gradient_of_zero_moves_nothing(part: Part) -> None:
    value = part.array()
    np.testing.assert_array_equal(part.build().step(value, slope(0 * value), None, CLOCK)[0], value)


@optimizers
def test_an_optimizer_treats_each_picture_for_itself(part: Part) -> None:
    value, gradient = part.array(), part.array(seed=1)
    whole, _ = part.build().step(value, slope(gradient), None, CLOCK)
    for i in range(len(value)):
        alone, _ = part.build().step(value[i : i + 1], slope(gradient[i : i + 1]), None, CLOCK)
        np.testing.assert_allclose(whole[i : i + 1], alone, rtol=1e-13)


@pytest.mark.parametrize("part", parts(FirstOrder))
def test_a_schedule_scales_the_step(part: Part) -> None:
    options = part.example.options
    assert isinstance(options, dict)
    value, up = part.array(), slope(part.array(seed=1))
    full, half = (
        part.kind(**options, schedule=lambda clock, factor=factor: factor).step(value, up, None, CLOCK)[0] - value
        for factor in (1.0, 0.5)
    )
    np.testing.assert_allclose(half, full / 2, rtol=1e-10, atol=1e-14)


# Parametrizations -----------------------------------------------------------------------------------------------------


@parametrizations
def test_the_pullback_of_a_parametrization_is_the_derivative(part: Part) -> None:
    made = part.build()
    value, image = made.value, made.image()
    d_image, v = (np.random.default_rng(seed).standard_normal(a.shape) for seed, a in ((1, image), (2, value)))
    gradient = made.pullback(d_image)
    assert (gradient.shape, gradient.dtype) == (value.shape, value.dtype)

    def slope(h: float) -> float:
        ends = []
        for s in (1, -1):
            made.value = value + s * h * v
            ends.append(float(np.vdot(made.image(), d_image)))
        return (ends[0] - ends[1]) / (2 * h)

    numeric = (4 * slope(1e-4) - slope(2e-4)) / 3
    assert abs(numeric - np.vdot(gradient, v)) <= 1e-7 * np.linalg.norm(gradient * v)


@parametrizations
def test_a_parametrization_does_not_write_into_its_picture(part: Part) -> None:
    made = part.build()
    before = made.image().copy()
    made.pullback(np.ones_like(before))
    made.value = made.value + 1
    assert made.image().shape == before.shape
    assert not np.array_equal(made.image(), before)
    np.testing.assert_array_equal(part.build().image(), before)


@parametrizations
@dtypes
def test_a_parametrization_is_the_same_on_every_device_and_keeps_dtype(part: Part, dtype: Any, on: str) -> None:
    there, host = device(on), part.build(lambda a: a.astype(dtype))
    made = part.build(lambda a: there.upload(a.astype(dtype)))
    image = made.image()
    gradient = made.pullback(image)
    assert image.dtype == gradient.dtype == made.value.dtype == dtype
    assert gradient.shape == made.value.shape
    expected = host.image()
    np.testing.assert_allclose(there.download(image), expected, rtol=1e-5)
    np.testing.assert_allclose(there.download(gradient), host.pullback(expected), rtol=1e-4, atol=1e-5)


@parametrizations
def test_a_parametrization_makes_each_picture_for_itself(part: Part) -> None:
    made = part.build()
    value, image = made.value, made.image()
    for i in range(len(value)):
        made.value = value[i : i + 1]
        np.testing.assert_allclose(made.image(), image[i : i + 1], rtol=1e-13)
        assert made.pullback(image[i : i + 1]).shape == made.value.shape
