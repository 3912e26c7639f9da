"""Losses that make neighbours: gradients by hand against differences, and an embedding that is better than pixels."""

import numpy as np
import pytest

from minicnn.data import Dataset, load
from minicnn.errors import MinicnnError
from minicnn.experiments.collection import features_of
from minicnn.experiments.metric import (
    another,
    contrastive,
    same_class,
    semi_hard,
    squared_distances,
    train_embedding,
    triplet,
)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((3, 20, 5))


def slope(loss, x, direction, h=1e-6):
    return (loss(x + h * direction) - loss(x - h * direction)) / (2 * h)


def test_the_triplets_gradients_are_those_of_the_loss(vectors):
    a, p, n = vectors
    value, gradients = triplet(a, p, n, 1.0)
    d = ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 1
    assert value == pytest.approx(np.maximum(0, d).mean()) and 0 < (d > 0).sum() < len(d)
    for i, gradient in enumerate(gradients):
        direction = np.random.default_rng(i).standard_normal(a.shape)

        def loss(x, i=i):
            moved = [x if j == i else v for j, v in enumerate((a, p, n))]
            return triplet(moved[0], moved[1], moved[2], 1.0)[0]

        assert np.vdot(gradient, direction) == pytest.approx(slope(loss, vectors[i], direction), rel=1e-6)


def test_the_lectures_gradients_where_the_loss_is_positive(vectors):
    a, p, n = vectors[:, :1]
    _, (da, dp, dn) = triplet(a, p, n, 100.0)
    for ours, lecture in ((da, 2 * (n - p)), (dp, 2 * (p - a)), (dn, 2 * (a - n))):
        np.testing.assert_allclose(ours, lecture)
    assert not any(gradient.any() for gradient in triplet(a, a, n, 0.0)[1])  # nothing to improve


def test_the_pairs_gradient_is_that_of_the_loss(vectors):
    a, b, _ = vectors
    same = np.arange(len(a)) % 2 == 0
    for margin in (1.0, 3.0, 100.0):
        _, da = contrastive(a, b, same, margin)
        direction = np.random.default_rng(3).standard_normal(a.shape)
        expected = slope(lambda x, m=margin: contrastive(x, b, same, m)[0], a, direction)
        assert np.vdot(da, direction) == pytest.approx(expected, rel=1e-6)
        behind = slope(lambda x, m=margin: contrastive(a, x, same, m)[0], b, direction)
        assert np.vdot(-da, direction) == pytest.approx(behind, rel=1e-6)


def test_two_pictures_in_one_place_give_no_nan(vectors):
    a = vectors[0]
    assert np.isfinite(contrastive(a, a, np.zeros(len(a), bool), 1.0)[1]).all()


def test_the_negative_is_the_nearest_that_is_farther_than_the_positive():
    z = np.array([[0.0], [5.0], [2.0], [5.5]])  # anchors 0 and 5, their positives 2 and 5.5
    assert semi_hard(z, np.array([0, 1, 0, 1])).tolist() == [1, 2]
    z = np.array([[0.0], [1.0], [9.0], [1.5]])  # nothing is farther than 9: the farthest there is
    assert semi_hard(z, np.array([0, 1, 0, 1]))[0] == 3


def test_distances_are_those_of_all_pairs(vectors):
    v = vectors[0]
    expected = ((v[:, None] - v) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(v), expected, atol=1e-12)


def test_a_positive_is_another_picture():
    generator = np.random.default_rng(0)
    assert {another(np.array([3, 5, 8]), 5, generator) for _ in range(50)} == {3, 8}
    assert {another(np.array([3, 5, 8]), 8, generator) for _ in range(50)} == {3, 5}


@pytest.mark.parametrize("loss", ["triplet", "contrastive"])
def test_neighbours_are_of_one_class_more_often_than_in_pixels(loss):
    """Four patterns, of which noise hides all but a little."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 60, (4, 1, 10, 10))
    labels = np.arange(400) % 4
    images = (patterns[labels] + generator.integers(0, 196, (400, 1, 10, 10))).astype(np.uint8)
    data = Dataset(images, labels, tuple("abcd"), "hidden patterns")
    train_set, test_set = data.subset(slice(300)), data.subset(slice(300, None))
    net = train_embedding(train_set, loss, steps=150)
    before = same_class(test_set.images.reshape(100, -1) / 255.0, test_set.labels)
    after = same_class(features_of(net, test_set, "embedding"), test_set.labels)
    assert before < 0.65 and after > 0.7, (before, after)


def test_what_is_no_vectors_of_one_shape_is_refused(vectors):
    a, b, _ = vectors
    for wrong in (
        (a[0], b[0], b[0]),
        (a, b, b[:5]),
        (a[:0], b[:0], b[:0]),
        (a, b, [1.0, 2]),
        (vectors, vectors, vectors),
    ):
        with pytest.raises(MinicnnError, match=r"expected \(N, D\)"):
            triplet(*wrong)
    with pytest.raises(MinicnnError, match=r"labels of \(3,\): expected \(20,\)"):
        contrastive(a, b, np.ones(3, bool))
    for wrong in (a[0], a[:1], a[:, :0], vectors):
        with pytest.raises(MinicnnError, match=r"expected \(N, D\), N from 2 on"):
            same_class(wrong, np.zeros(len(wrong)))
    with pytest.raises(MinicnnError, match="finite"):
        squared_distances(np.full((3, 2), np.inf))


def test_the_same_seed_trains_the_same_embedding():
    digits = load("digits", "test")
    one, two, other = (train_embedding(digits, steps=3, seed=seed) for seed in (1, 1, 2))
    a, b, c = (net.state_dict()["embedding.weight"] for net in (one, two, other))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_what_cannot_be_trained_on_is_refused():
    digits = load("digits", "test")
    with pytest.raises(MinicnnError, match="did you mean 'triplet'"):
        train_embedding(digits, "tripplet")
    one_each = digits.subset(np.array([int(np.flatnonzero(digits.labels == k)[0]) for k in range(10)]))
    with pytest.raises(MinicnnError, match="two classes or more, with two pictures each"):
        train_embedding(one_each)
