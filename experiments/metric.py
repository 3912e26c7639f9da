"""An embedding trained for neighbours: pictures of one class near, those of others far.

With d(a, b) = ‖a − b‖ between embedded pictures:

    triplet       L = max(0, d(a, p)² − d(a, n)² + m)          for an anchor, a positive of its class, a negative
    contrastive   L = y·d² + (1 − y)·max(0, m − d)²            for a pair, y = 1 where it is of one class

(Schroff, Kalenichenko, Philbin 2015, equation 3; Hadsell, Chopra, LeCun 2006, equation 4.) Where L > 0, the gradients
of the triplet are 2(n − p) at a, 2(p − a) at p and 2(a − n) at n. Those of a pair are 2(a − b) at a where y = 1, and
−2(m − d)·(a − b)/d where y = 0 and d < m, the negatives of these at b.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from minicnn.data import NAMES, Dataset
from minicnn.errors import MinicnnError, nearest
from minicnn.layers import Flatten, Linear, Normalize, ReLU
from minicnn.network import Network
from minicnn.optimizers import Adam

from .collection import check_vectors, pictures_of

LOSSES = ("triplet", "contrastive")
MARGIN = 8.0  # about the distance of two pictures in the beginning
SIZE, HIDDEN = 32, 128  # numbers that a picture becomes, and of the layer before
PAIRS, RATE = 128, 1e-3


def triplet(
    a: np.ndarray, p: np.ndarray, n: np.ndarray, margin: float = MARGIN
) -> tuple[float, tuple[np.ndarray, ...]]:
    """Anchors, positives and negatives (N, D) -> the mean loss, and its gradients (da, dp, dn)."""
    check_vectors(a, p, n)
    loss = ((a - p) ** 2).sum(axis=1) - ((a - n) ** 2).sum(axis=1) + margin
    scale = np.where(loss > 0, 2 / len(a), 0).astype(a.dtype)[:, None]
    return float(np.maximum(loss, 0).mean()), (scale * (n - p), scale * (p - a), scale * (a - n))


def contrastive(a: np.ndarray, b: np.ndarray, same: np.ndarray, margin: float = MARGIN) -> tuple[float, np.ndarray]:
    """Pairs (N, D), and `same` (N,) bool: whether of one class -> the mean loss, and its gradient da; db is −da."""
    check_vectors(a, b, labels=same)
    difference = a - b
    d = np.sqrt((difference**2).sum(axis=1))
    gap = np.maximum(margin - d, 0)
    loss = np.where(same, d**2, gap**2)
    scale = np.where(same, 2.0, -2 * gap / np.where(d > 0, d, 1)) / len(a)
    return float(loss.mean()), scale.astype(a.dtype)[:, None] * difference


def train_embedding(
    dataset: Dataset,
    loss: str = "triplet",
    *,
    steps: int = 1000,
    margin: float = MARGIN,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Network:
    """A small network from the pixels to SIZE numbers, trained on the classes of `dataset`; the same seed, the same
    bits. Raises MinicnnError where there are not two classes with two pictures each.

    Example: `train_embedding(load("digits", "train"), "contrastive")`
    """
    if loss not in LOSSES:
        raise MinicnnError(f"loss {loss!r}{nearest(loss, LOSSES)}")
    count = np.bincount(dataset.labels, minlength=1)
    if (count > 1).sum() < 2:
        raise MinicnnError(f"{dataset.name}: an embedding is trained on two classes or more, with two pictures each")
    net = network(dataset).initialize(seed)
    optimizer, generator = Adam(net.parameters(), RATE), np.random.default_rng(seed)
    usable = np.flatnonzero(count[dataset.labels] > 1)
    members = {int(k): np.flatnonzero(dataset.labels == k) for k in np.unique(dataset.labels)}
    for step in range(steps):
        anchors = generator.choice(usable, PAIRS)
        while len(np.unique(dataset.labels[anchors])) < 2:
            anchors = generator.choice(usable, PAIRS)
        positives = [another(members[int(dataset.labels[i])], i, generator) for i in anchors]
        batch = np.concatenate([anchors, positives])
        optimizer.zero_grad()
        z = net.forward(dataset.images[batch] / np.float32(255))
        negatives = semi_hard(z, dataset.labels[batch])
        a, p, n = z[:PAIRS], z[PAIRS:], z[negatives]
        if loss == "triplet":
            _, (da, dp, dn) = triplet(a, p, n, margin)
        else:
            _, near = contrastive(a, p, np.ones(PAIRS, bool), margin)
            _, far = contrastive(a, n, np.zeros(PAIRS, bool), margin)
            da, dp, dn = near + far, -near, -far
        dz = np.concatenate([da, dp])
        np.add.at(dz, negatives, dn)  # one picture may be the negative of several
        net.backward(dz, need_dx=False)
        optimizer.step()
        progress(step + 1, steps)
    return net.eval()


def pictures_to_train_on(source: str, tested: Dataset, *, resize: int | None = None) -> Dataset:
    """The training split of the data set at `source`, or, of one without, the very pictures that are tested."""
    if source in NAMES or (Path(source) / "train").is_dir():
        return pictures_of(source, "train", shape=tested.image_shape, resize=resize)
    return tested


def network(dataset: Dataset) -> Network:
    """Two fully connected layers over the pixels."""
    some = dataset.images[:1000] / np.float32(255)
    return Network(
        {
            "normalize": Normalize(some.mean((0, 2, 3)), some.std((0, 2, 3)) + 1e-6),
            "flatten": Flatten(),
            "fc1": Linear(int(np.prod(dataset.image_shape)), HIDDEN),
            "relu1": ReLU(),
            "embedding": Linear(HIDDEN, SIZE),
        },
        input_shape=dataset.image_shape,
        name="embedding",
        score_layer="embedding",
        feature_layer="embedding",
    )


def another(members: np.ndarray, index: int, generator: np.random.Generator) -> int:
    """Another picture of the same class."""
    drawn = int(generator.integers(len(members) - 1))
    return int(members[drawn] if members[drawn] != index else members[-1])


def semi_hard(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each anchor of embedded pictures (2N, D), N anchors and then their positives, the number of its negative.

    It is the nearest of another class that is farther than the positive; or else the farthest of another class
    (Schroff et al. 2015, section 3.2).
    """
    N = len(z) // 2
    d = squared_distances(z)[:N]
    positive = d[np.arange(N), N + np.arange(N)]
    other = labels[:N, None] != labels
    farther = other & (d > positive[:, None])
    nearest_farther = np.where(farther, d, np.inf).argmin(axis=1)
    return np.where(farther.any(axis=1), nearest_farther, np.where(other, d, -np.inf).argmax(axis=1))


def squared_distances(vectors: np.ndarray) -> np.ndarray:
    """(N, D) -> (N, N)."""
    check_vectors(vectors)
    square = np.einsum("nd,nd->n", vectors, vectors)
    return square[:, None] + square - 2 * (vectors @ vectors.T)


def same_class(vectors: np.ndarray, labels: np.ndarray) -> float:
    """The share of vectors (N, D), N from 2 on, whose nearest other one has the same label."""
    check_vectors(vectors, labels=labels, least=2)
    distances = squared_distances(vectors)
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(axis=1)] == labels).mean())
