"""Blur, transforms, projections, optimizers and parametrizations: by other means than ours, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import (
    Adam,
    ClipSmall,
    Decay,
    Example,
    GaussianBlur,
    GradientAscent,
    Jitter,
    Optimizer,
    Parametrization,
    Pixels,
    Projection,
    Roll,
    Transform,
    ValidPixels,
    register,
)
from minicnn.image.blur import gaussian_blur
from minicnn.schedules import Clock, cosine

CLOCK = Clock(0, 10, 10)


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape or (2, 3, 8, 9))


# Blur -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.7, 8.0])
def test_the_blur_is_scipys(sigma: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is the oracle")
    x = picture()
    expected = ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="reflect")
    np.testing.assert_allclose(gaussian_blur(x, sigma), expected, atol=1e-14)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0, 8.0])
def test_the_blur_keeps_the_sum_of_each_channel(sigma: float) -> None:
    x = picture()
    np.testing.assert_allclose(gaussian_blur(x, sigma).sum(axis=(2, 3)), x.sum(axis=(2, 3)), rtol=1e-13)


def test_a_blur_of_nothing_is_a_copy() -> None:
    x = picture()
    y = gaussian_blur(x, 0)
    assert y is not x
    np.testing.assert_array_equal(y, x)


# Transforms -----------------------------------------------------------------------------------------------------------


def test_a_roll_goes_down_and_to_the_right_and_round() -> None:
    x = np.zeros((1, 1, 3, 4))
    x[0, 0, 2, 3] = 1
    assert np.argwhere(Roll(1, 2).apply(x)).tolist() == [[0, 0, 0, 1]]


def test_jitter_reaches_every_place_and_no_further() -> None:
    generator = np.random.default_rng(0)
    rolls = {Jitter(1).sample(generator) for _ in range(200)}
    assert rolls == {Roll(rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1)}


# Projections ----------------------------------------------------------------------------------------------------------


def test_regularizers_are_left_out_after_the_last_step_and_bounds_are_not() -> None:
    blur = GaussianBlur(1.0, every=4)
    assert [step for step in range(1, 13) if blur.due(step, 12)] == [4, 8]
    assert not Decay(0.1).due(5, 5) and not ClipSmall(50).due(5, 5)
    assert ValidPixels().due(5, 5)
    assert GaussianBlur(1.0, last=True).due(5, 5)


def test_decay_goes_towards_the_centre() -> None:
    x = picture(1, 3, 2, 2)
    centre = np.array([0.2, 0.4, 0.6])
    expected = centre[:, None, None] + 0.75 * (x - centre[:, None, None])
    np.testing.assert_allclose(Decay(0.25, center=(0.2, 0.4, 0.6)).project(x, x), expected)


def test_pixels_of_small_norm_go_to_the_centre_in_all_colours() -> None:
    x = np.arange(1.0, 31.0).reshape(1, 3, 2, 5)
    y = ClipSmall(50, center=-1.0).project(x, x)
    np.testing.assert_array_equal(y[0, :, 0], -1)
    np.testing.assert_array_equal(y[0, :, 1], x[0, :, 1])


def test_small_values_go_to_the_centre_each_for_itself() -> None:
    x = np.array([[[[0.1, -0.5]], [[0.4, -0.2]]]])
    np.testing.assert_array_equal(ClipSmall(50, "value").project(x, x), [[[[0, -0.5]], [[0.4, 0]]]])


def test_a_benefit_is_minus_the_gradient_times_the_value_over_the_colours() -> None:
    x, g = np.array([[[[1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0]]]]), np.array([[[[1.0, -1.0, 0.1]], [[1.0, -1.0, 0.1]]]])
    np.testing.assert_array_equal(ClipSmall(50, "benefit").project(x, g)[0, 0, 0], [0, 2, 3])  # −2, 3, −0.4
    np.testing.assert_array_equal(ClipSmall(50, "abs_benefit").project(x, g)[0, 0, 0], [1, 2, 0])


# Optimizers -----------------------------------------------------------------------------------------------------------


def test_adam_goes_up_as_torchs_goes_down() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    value, state = picture(), None
    x = torch.tensor(value, requires_grad=True)
    adam = torch.optim.Adam([x], lr=0.05, betas=(0.8, 0.99), eps=1e-6)
    for step in range(5):
        g = picture(seed=step) - 0.5
        x.grad = torch.tensor(-g)
        adam.step()
        value, state = Adam(0.05, 0.8, 0.99, 1e-6).move(value, g, state, 0.05)
    np.testing.assert_allclose(value, x.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("normalization", "size"),
    [("none", lambda g: 1), ("mean", lambda g: np.abs(g).mean()), ("std", np.std), ("l2", np.linalg.norm)],
)
def test_each_pictures_gradient_is_divided_by_its_own_size(normalization: str, size: Callable[..., Any]) -> None:
    value, g = picture(), picture(seed=1) * np.array([1.0, 1e-3])[:, None, None, None]
    new, _ = GradientAscent(0.1, normalization).move(value, g, None, 0.1)
    for i in range(2):
        np.testing.assert_allclose(new[i], value[i] + 0.1 * g[i] / size(g[i]), rtol=1e-12)


def test_a_tiny_gradient_in_float32_is_normalized_all_the_same() -> None:
    g = (1e-25 * picture(1, 1, 4, 4)).astype(np.float32)
    for normalization in ("mean", "l2"):
        step = GradientAscent(1.0, normalization).move(g * 0, g, None, 1.0)[0]
        assert np.isfinite(step).all() and step.max() > 0.1


def test_momentum_is_torchs() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    value, state = picture(), None
    x = torch.tensor(value, requires_grad=True)
    sgd = torch.optim.SGD([x], lr=0.1, momentum=0.9)
    for step in range(4):
        x.grad = torch.tensor(-picture(seed=step))
        sgd.step()
        value, state = GradientAscent(0.1, momentum=0.9).move(value, picture(seed=step), state, 0.1)
    np.testing.assert_allclose(value, x.detach().numpy(), rtol=1e-13)


def test_a_schedule_that_trains_networks_works_here() -> None:
    zero, g = np.zeros((1, 1, 2, 2)), np.ones((1, 1, 2, 2))
    ascent = GradientAscent(1.0, schedule=cosine())
    steps = [ascent.step(zero, lambda at: (at.sum(), g), None, Clock(step, 4, 4))[0].max() for step in range(4)]
    np.testing.assert_allclose(steps, [0.5 * (1 + np.cos(np.pi * step / 4)) for step in range(4)])


# Parametrizations -----------------------------------------------------------------------------------------------------


def test_pixels_are_a_copy_of_the_picture() -> None:
    x = picture()
    pixels = Pixels(x)
    x[...] = 0
    assert pixels.image().any()


@pytest.mark.parametrize("wrong", [np.zeros((3, 4, 4)), np.zeros((1, 3, 4, 4), np.uint8)])
def test_pixels_of_no_batch_of_floats_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(MinicnnError, match=r"expected pictures \(N, C, H, W\) of floats, got"):
        Pixels(wrong)


# All ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian_blur(picture(), -1), "sigma -1: expected 0 or more"),
        (lambda: Jitter(-1), "-1 pixels: expected 0 or more"),
        (lambda: GaussianBlur(1.0, every=0), "every 0 steps: expected 1 or more"),
        (lambda: Decay(1.5), "rate 1.5: expected 0 to 1"),
        (lambda: ClipSmall(101), "percentile 101: expected 0 to 100"),
        (lambda: ClipSmall(10, "norms"), "measure 'norms'; did you mean 'norm'"),
        (lambda: GradientAscent(0), "lr 0: expected more than 0"),
        (lambda: GradientAscent(1, "means"), "normalization 'means'; did you mean 'mean'"),
        (lambda: GradientAscent(1, momentum=1), "momentum 1: expected 0 to below 1"),
        (lambda: Adam(-1), "Adam: lr -1: expected more than 0"),
        (lambda: register(), "give at least one Example"),
    ],
)
def test_a_setting_out_of_range_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        make()


@pytest.mark.parametrize(
    "call",
    [
        lambda: Transform().apply(None),
        lambda: Transform().adjoint(None, ()),
        lambda: Projection().project(None, None),
        lambda: Optimizer().step(None, None, None, CLOCK),  # type: ignore[arg-type]
        lambda: Parametrization().image(),
        lambda: Parametrization().pullback(None),
    ],
)
def test_a_new_part_without_its_methods_says_so(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="does not say"):
        call()


def test_an_example_may_be_made_by_a_function() -> None:
    assert Example(lambda: {"pixels": 2}).build(Jitter) == Jitter(2)
