"""Normalization: torch's conventions, and the preprocessing that belongs to the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.layers import BatchNorm1d, BatchNorm2d, LocalResponseNorm, Normalize

SHAPES = {"(N, C)": (BatchNorm1d, (5, 3)), "(N, C, L)": (BatchNorm1d, (4, 3, 6)), "2d": (BatchNorm2d, (4, 3, 5, 2))}


@pytest.mark.parametrize(("kind", "shape"), SHAPES.values(), ids=SHAPES)
def test_the_running_averages_move_as_torchs_do(torch: Any, kind: Any, shape: tuple[int, ...]) -> None:
    """The variance that is kept is the unbiased one, that which is divided by is not."""
    ours, theirs = kind(3, momentum=0.3), getattr(torch.nn, kind.__name__)(3, momentum=0.3).double()
    ours.initialize(0).to(dtype=np.float64)
    for step in range(4):
        x = np.random.default_rng(step).standard_normal(shape) * (step + 1) + step
        y = ours.forward(x)
        np.testing.assert_allclose(y, theirs(torch.tensor(x)).detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.running_mean.value, theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(ours.running_var.value, theirs.running_var, rtol=1e-12)
    ours.eval(), theirs.eval()
    np.testing.assert_allclose(ours.forward(x), theirs(torch.tensor(x)).detach(), rtol=0, atol=1e-12)
    assert ours.forward(x[:1]).shape == (1, *shape[1:])


def test_evaluation_does_not_move_the_running_averages() -> None:
    norm = BatchNorm2d(3).initialize(0).eval()
    before = norm.state_dict()
    norm.forward(np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    assert all((norm.state_dict()[name] == value).all() for name, value in before.items())


def test_one_value_a_channel_cannot_be_normalized() -> None:
    norm = BatchNorm1d(3).initialize(0)
    before = norm.state_dict()
    with pytest.raises(MinicnnError, match=r"more than one value a channel: enlarge the batch, or call eval\(\)"):
        norm.forward(np.zeros((1, 3), np.float32))
    assert all((norm.state_dict()[name] == value).all() for name, value in before.items())


def test_the_papers_response_norm_is_torchs_with_alpha_times_n() -> None:
    """Krizhevsky et al. 2012, section 3.3, as it is printed: k = 2, n = 5, α = 1e-4, β = 0.75."""
    a = np.random.default_rng(0).standard_normal((1, 9, 2, 2)) * 50
    b = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2).forward(a)
    for i in range(9):
        window = a[:, max(0, i - 2) : min(8, i + 2) + 1]
        expected = a[:, i] / (2 + 1e-4 * (window**2).sum(axis=1)) ** 0.75
        np.testing.assert_allclose(b[:, i], expected, rtol=1e-12)


def test_preprocessing_is_what_caffe_did() -> None:
    """0…255, blue first, minus the mean of ImageNet: the 2014 VGG nets."""
    rgb = np.random.default_rng(0).random((2, 3, 4, 5))
    layer = Normalize((104, 117, 123), (1, 1, 1), scale=255, bgr=True)
    expected = 255 * rgb[:, ::-1] - np.array([104, 117, 123])[:, None, None]
    np.testing.assert_allclose(layer.forward(rgb), expected, rtol=0, atol=1e-12)
    red = np.zeros_like(rgb)
    red[:, 2] = 1  # the third of what comes out
    np.testing.assert_array_equal(layer.backward(red), 255 * red[:, ::-1])


def test_loaded_preprocessing_turns_the_colours_round() -> None:
    caffe, other = Normalize((1, 2, 3), (1, 1, 1), scale=255, bgr=True), Normalize((0, 0, 0), (1, 1, 1))
    x = np.random.default_rng(0).random((1, 3, 2, 2), np.float32)
    other.load_state_dict(caffe.state_dict())
    np.testing.assert_array_equal(other.forward(x), caffe.forward(x))
    assert other.describe() == "BGR"


def test_preprocessing_has_no_parameters_to_learn() -> None:
    layer = Normalize((0.5,), (0.2,))
    assert (layer.parameters(), layer.num_parameters()) == ([], 0)
    assert set(layer.state_dict()) == {"mean", "std", "scale", "order"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalize((0, 0), (1,)), "expected as many"),
        (lambda: Normalize((0,), (0,)), "no std of 0"),
        (lambda: BatchNorm2d(0), "0 features"),
        (lambda: LocalResponseNorm(0), "size 0"),
    ],
)
def test_impossible_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        make()


def test_a_grey_picture_in_a_colour_network_is_refused_with_the_colours() -> None:
    with pytest.raises(MinicnnError, match=r"expected 3 \(red, green, blue\) channels, got 1"):
        Normalize((0, 0, 0), (1, 1, 1)).forward(np.zeros((1, 1, 2, 2), np.float32))
    with pytest.raises(MinicnnError, match=r"expected 1 \(grey\) channels, got 3"):
        Normalize((0,), (1,)).forward(np.zeros((1, 3, 2, 2), np.float32))
