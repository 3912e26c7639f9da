"""The recipes: their first steps by hand, those of Yosinski et al. against SciPy and torch, what a network can take."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from minicnn.errors import MinicnnError
from minicnn.experiments.visualize import climb, visualize
from minicnn.experiments.visualize_recipes import (
    RECIPES,
    DesiredProgress,
    choices,
    default_recipe,
    likelihood,
    zero_colour,
)
from minicnn.image import (
    L2,
    ClassScore,
    Crop,
    Diversity,
    Fourier,
    GradientAscent,
    Jitter,
    LogProbability,
    Pad,
    Unit,
    ValidPixels,
    evaluate,
)
from minicnn.layers import Conv2d, Flatten, Linear, Normalize, Tanh
from minicnn.models import build
from minicnn.network import Network
from minicnn.schedules import Clock

from ..twins import twin

MEAN = np.reshape([0.5, 0.4, 0.3], (1, 3, 1, 1))  # the network's


def gradient(net, objective, x):
    return evaluate(net, objective.terms(), x)[1]


@pytest.fixture
def kinkless():
    """In an area of one colour, which these recipes leave, max pools have ties, which rounding decides: none here."""
    layers = {
        "normalize": Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
        "conv1": Conv2d(3, 4, 3, stride=2),
        "tanh1": Tanh(),
        "flatten": Flatten(),
        "fc2": Linear(4 * 5 * 5, 3),
    }
    net = Network(layers, input_shape=(3, 12, 12), name="kinkless")
    net.initialize(0)
    net.to(dtype=np.float64)
    return net.eval()


# One step by hand ----------------------------------------------------------------------------------------------------


def test_plain_is_a_step_along_the_gradient_of_the_score(small):
    g = gradient(small, ClassScore(1), np.broadcast_to(MEAN, (1, 3, 12, 12)).astype(np.float32))
    expected = np.clip(MEAN + 0.1 * g / g.std(), 0, 1)
    np.testing.assert_allclose(visualize(small, "dog", recipe="plain", steps=1), expected, atol=1e-6)


def test_simonyan_pulls_each_pixel_back_to_the_mean_by_2_lambda(small):
    chosen = choices(small, "dog", "simonyan", starts=2, l2=0.7, steps=1)
    x = chosen.parametrization.value
    g = gradient(small, ClassScore(1), x) - 2 * 0.7 * (x - MEAN)
    expected = np.clip(x + 0.1 * g / g.std(axis=(1, 2, 3), keepdims=True), 0, 1)
    np.testing.assert_allclose(climb(small, chosen), expected, atol=1e-6)


def test_clear_speaks_of_probability_and_moves_the_picture(small):
    chosen = choices(small, "dog", "clear")
    assert chosen.objective == LogProbability(1) and chosen.transforms == [Jitter(1)]
    both = likelihood(2 * ClassScore(1) - L2() + Unit("conv2", 3))
    assert both.terms() == ((2, LogProbability(1)), (-1, L2()), (1, Unit("conv2", 3)))


def test_modern_is_a_step_of_adam_in_the_spectrum(small):
    chosen = choices(small, "dog", "modern", steps=1)
    assert isinstance(chosen.parametrization, Fourier)
    before = chosen.parametrization.value
    climb(small, chosen)
    moved = abs(chosen.parametrization.value - before)
    assert moved.max() <= 0.05 * (1 + 1e-5)  # Adam's first step is lr·g/|g|, where there is a gradient
    assert (moved > 0.0499).mean() > 0.8


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.startswith("yosinski")])
def test_the_recipes_of_yosinski_are_their_loop_on_255_levels(torch, kinkless, recipe):
    """Their code's loop on pixels 255·(I − mean), with SciPy's blur and torch's gradient."""
    settings = dict(zip(("decay", "blur", "norm", "benefit", "progress"), THEIRS[recipe], strict=True))
    chosen = choices(kinkless, 1, recipe, steps=6)
    module, mean = twin(torch, kinkless), 255 * np.reshape(zero_colour(kinkless), (1, 3, 1, 1))
    x = 255 * chosen.parametrization.value - mean
    for step in range(1, 7):
        x = np.clip(x + mean, 0, 255) - mean
        leaf = torch.tensor(x, requires_grad=True)
        module((leaf + torch.tensor(mean)) / 255)[0, 1].backward()
        g = leaf.grad.numpy()
        lr = min(100, 2.0 / np.linalg.norm(g) ** 2) if settings["progress"] else 100
        x = x + lr * g
        if step == 6:
            break
        x *= 1 - settings["decay"]
        if settings["blur"] and step % 4 == 0:
            x = np.stack([gaussian_filter(plane, settings["blur"]) for plane in x[0]])[None]
        size, benefit = np.linalg.norm(x, axis=1), abs((g * -x).sum(1))
        x = x * (size >= np.percentile(size, settings["norm"]))[:, None]
        x = x * (benefit >= np.percentile(benefit, settings["benefit"]))[:, None]
    found = 255 * climb(kinkless, chosen) - mean
    assert abs(found).max() > 5
    np.testing.assert_allclose(found, np.clip(x + mean, 0, 255) - mean, atol=1e-8)


THEIRS = {  # decay, blur, percentile of small norms, of small benefits, lr by progress: table 1 of the paper
    "yosinski-1": (0.0, 0.5, 50, 0, True),
    "yosinski-2": (0.3, 0.0, 20, 0, False),
    "yosinski-3": (1e-4, 1.0, 0, 0, False),
    "yosinski-4": (0.0, 0.5, 0, 90, True),
}


def test_desired_progress_is_what_a_linear_score_would_gain():
    g = np.array([[[[3.0, 4.0]]], [[[0.01, 0.0]]], [[[0.0, 0.0]]]])
    moved, _ = DesiredProgress(10.0, desired=2.0).move(np.zeros_like(g), g, None, 10.0)
    assert (moved * g).sum(axis=(1, 2, 3)) == pytest.approx([2.0, 10 * 0.01**2, 0.0])  # the second by the largest step


# Where they start, and what they take --------------------------------------------------------------------------------


def test_they_start_from_the_mean_colour_and_several_starts_from_noise(small):
    one, several = (choices(small, "cat", "plain", starts=starts).parametrization.value for starts in (1, 3))
    np.testing.assert_allclose(one, np.broadcast_to(MEAN, (1, 3, 12, 12)), atol=1e-7)
    assert several.shape == (3, 3, 12, 12) and several.std() > 0.2
    noisy = choices(small, "cat", "yosinski-3", starts=20).parametrization.value
    assert (noisy - MEAN).std() == pytest.approx(10 / 255, rel=0.05)
    assert len({picture.tobytes() for picture in choices(small, 0, "modern", starts=3).parametrization.value}) == 3


def test_the_empty_picture_is_the_mean_or_grey_where_none_is_subtracted_and_black_for_digits(small):
    assert zero_colour(small) == pytest.approx((0.5, 0.4, 0.3))
    assert zero_colour(build("darknet_tiny")) == (0.5, 0.5, 0.5)
    assert zero_colour(build("lenet5")) == (0.0,)


def test_colour_networks_get_the_modern_recipe_and_grey_ones_the_clear(small):
    assert default_recipe(small) == "modern" and default_recipe(build("lenet5")) == "clear"
    assert isinstance(choices(small, "cat").parametrization, Fourier)


def test_the_border_stays_where_the_network_takes_larger_pictures(small):
    fixed, free = (choices(small, target, "modern").transforms for target in ("dog", Unit("conv2", 3)))
    assert isinstance(fixed[-1], Crop) and not isinstance(free[-1], Crop)
    assert isinstance(fixed[0], Pad) and fixed[0].pixels == 2  # of 12 pixels; 12 of 128 and more
    assert choices(small, Unit("conv2", 3), "modern", image_size=200).transforms[0].pixels == 12  # type: ignore[attr-defined]


def test_the_same_recipe_serves_units_and_sums(small):
    sum_ = Unit("conv2", 3) + 2 * Diversity("relu1")
    for recipe in RECIPES:
        chosen = choices(small, sum_, recipe, starts=2, steps=2)
        assert {term for _, term in chosen.objective.terms()} >= {Unit("conv2", 3)}
        assert np.isfinite(climb(small, chosen)).all()


def test_only_the_modern_recipe_needs_no_valid_pixels(small):
    for recipe in RECIPES:
        assert (ValidPixels() in choices(small, "cat", recipe).projections) == (recipe != "modern")


def test_steps_fall_to_nothing(small):
    optimizer = choices(small, "cat", "plain").optimizer
    assert isinstance(optimizer, GradientAscent)
    assert [optimizer.schedule(Clock(step, 10, 10)) for step in (0, 5, 9)] == pytest.approx([1, 0.5, 0.1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "clean"}, "recipe 'clean'; did you mean 'clear'"),
        ({"steps": 0}, "0 steps: expected 1 or more"),
        ({"starts": 0}, "0 starts: expected 1 or more"),
        ({"image_size": 0}, "0 pixels: expected 1 or more"),
        ({"target": "cow"}, "class 'cow'"),
        ({"target": 3}, "class 3: expected 0 to 2"),
    ],
)
def test_bad_settings_are_refused(small, options, message):
    target = options.pop("target", "cat")
    with pytest.raises(MinicnnError, match=message):
        choices(small, target, **options)
