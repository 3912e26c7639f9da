"""Objectives that compare pictures, against torch and against what their papers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.image import AlphaNorm, Amplify, Direction, Diversity, Features, Gram, Guide, Objective, gram


def activation(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape or (1, 3, 4, 5))


def agrees(objective: Objective, a: np.ndarray, theirs: Callable[[Any], Any]) -> None:
    """Value and gradient are those of the formula on torch."""
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x = torch.tensor(a, requires_grad=True)
    expected = theirs(x)
    expected.backward()
    value, gradients = objective.evaluate({objective.layers[0]: a})
    assert float(value) == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradients[objective.layers[0]], x.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_the_gram_matrix_needs_the_channels_outside() -> None:
    a = activation(2, 3, 4, 5)
    expected = np.einsum("nchw,ndhw->ncd", a, a)
    np.testing.assert_allclose(gram(a, per="none"), expected, rtol=1e-12)
    np.testing.assert_allclose(gram(a), expected / 20, rtol=1e-12)
    np.testing.assert_allclose(gram(a, per="elements"), expected / 60, rtol=1e-12)


def test_a_centred_gram_matrix_is_the_covariance() -> None:
    a = activation()
    np.testing.assert_allclose(gram(a, centred=True)[0], np.cov(a.reshape(3, -1), bias=True), rtol=1e-12)


def test_a_mask_of_half_a_picture_gives_the_gram_matrix_of_that_half() -> None:
    a, mask = activation(1, 3, 4, 6), np.zeros((4, 6))
    mask[:, :3] = 1
    for options in ({}, {"per": "elements"}, {"centred": True}):
        np.testing.assert_allclose(gram(a, mask=mask, **options), gram(a[..., :3], **options), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_gram_matrix_of_few_and_of_many_places(size: int) -> None:
    a = activation(2, 4, 1, size)
    np.testing.assert_allclose(gram(a, per="none"), np.einsum("nchw,ndhw->ncd", a, a), rtol=1e-10)


@pytest.mark.parametrize("per", ["none", "places", "elements"])
def test_the_gram_loss_and_its_gradient_are_torchs(per: str) -> None:
    other = gram(activation(1, 3, 7, 2, seed=1), per=per)
    d = {"none": 1, "places": 20, "elements": 60}[per]

    def theirs(x: Any) -> Any:
        F = x.reshape(3, -1)
        return ((F @ F.T / d - x.new_tensor(other[0])) ** 2).sum()

    agrees(Gram("conv1", other, per=per), activation(), theirs)


def test_gatys_loss_is_the_gram_loss_by_four_times_the_channels_squared() -> None:
    """E = 1/(4N²M²)·Σ(G − A)², of the raw products (Gatys, Ecker, Bethge 2016, equation 4)."""
    a, other = activation(), activation(seed=1)
    raw = gram(a, per="none") - gram(other, per="none")
    expected = (raw**2).sum() / (4 * 3**2 * 20**2)
    assert Gram("conv1", gram(other)).evaluate({"conv1": a})[0] / (4 * 3**2) == pytest.approx(expected)


def test_features_and_their_gradient_are_torchs() -> None:
    other = activation(seed=1)
    agrees(Features("conv1", other), activation(), lambda x: ((x - x.new_tensor(other)) ** 2).sum())


def test_each_place_is_drawn_to_the_guide_it_is_most_like() -> None:
    guide = activation(1, 3, 2, 3, seed=1)

    def theirs(x: Any) -> Any:
        return (x.reshape(3, -1).T @ x.new_tensor(guide).reshape(3, -1)).max(dim=1).values.sum()

    agrees(Guide("conv1", guide), activation(), theirs)


def test_a_guide_is_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Guide("conv1", activation(seed=1)).evaluate({"conv1": activation()})
    monkeypatch.setattr("minicnn.image.likeness.BLOCK", 1)
    small = Guide("conv1", activation(seed=1)).evaluate({"conv1": activation()})
    assert whole[0] == small[0]
    np.testing.assert_array_equal(whole[1]["conv1"], small[1]["conv1"])


def test_pictures_are_diverse_when_their_textures_are_at_right_angles() -> None:
    a = np.zeros((2, 2, 1, 2))
    a[0, 0] = a[1, 1] = 1
    assert Diversity("conv1").evaluate({"conv1": a})[0] == pytest.approx(0)
    assert Diversity("conv1").evaluate({"conv1": a[[0, 0]]})[0] == pytest.approx(-1)


def test_diversity_and_its_gradient_are_torchs() -> None:
    def theirs(x: Any) -> Any:
        F = x.reshape(3, 2, -1)
        G = F @ F.transpose(1, 2)
        unit = G / (G**2).sum((1, 2), keepdim=True).sqrt()
        return -sum((unit[i] * unit[j]).sum() for i, j in ((0, 1), (0, 2), (1, 2)))

    agrees(Diversity("conv1"), activation(3, 2, 4, 5), theirs)


def test_deepdream_injects_the_activation_itself() -> None:
    a = activation()
    np.testing.assert_array_equal(Amplify("conv1").evaluate({"conv1": a})[1]["conv1"], a)
    one = Amplify("conv1", 1, (2, 3)).evaluate({"conv1": a})[1]["conv1"]
    assert np.flatnonzero(one).tolist() == [1 * 20 + 2 * 5 + 3] and one[0, 1, 2, 3] == a[0, 1, 2, 3]


def test_a_direction_is_a_mean_over_the_places() -> None:
    a = activation()
    value, _ = Direction("conv1", np.array([0.0, 3.0, 4.0])).evaluate({"conv1": a})
    assert value == pytest.approx(0.6 * a[0, 1].mean() + 0.8 * a[0, 2].mean())


def test_the_alpha_norm_is_torchs() -> None:
    agrees(AlphaNorm(6), activation(), lambda x: (x**6).sum())


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Features("conv1", activation(1, 3, 4, 4)), r"target \(1, 3, 4, 4\): expected \(1, 3, 4, 5\)"),
        (Gram("conv1", activation(4, 4)), r"Gram of conv1: Gram matrix \(4, 4\): expected that of 3 channels"),
        (Gram("conv1", activation(3, 3), mask=activation(2, 2)), r"mask \(2, 2\): expected \(4, 5\)"),
        (Guide("conv1", activation(1, 2, 2, 2)), "expected 3 channels"),
        (Direction("conv1", activation(4)), r"direction \(4,\): expected \(3,\)"),
    ],
)
def test_what_belongs_to_another_layer_is_refused(objective: Objective, message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        objective.evaluate({"conv1": activation()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gram("conv1", activation(3, 3), per="place"), "per 'place'"),
        (lambda: AlphaNorm(1.0), "alpha 1.0: expected more than 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(make: Callable[[], Objective], message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        make()
