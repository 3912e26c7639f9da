"""The handwritten digits that scikit-learn carries (Alpaydin, Kaynak 1998), enlarged to the size of MNIST's.

1797 digits of 13 people, 8x8 with values from 0 to 16. They need no network.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import MinicnnError
from .dataset import Dataset

NAME = "digits"
CLASS_NAMES = tuple("0123456789")
TEST_PER_CLASS = 36  # of 174 to 183: 360 for the test, 1437 to train on


def load(split: str) -> Dataset:
    """The "train" (1437) or "test" (360) digits, uint8 (N, 1, 28, 28), 0 is background.

    The split is always the same, and has 36 test digits of each class.
    """
    from sklearn.datasets import load_digits  # here: it takes a second

    images, labels = load_digits(return_X_y=True)
    labels = labels.astype(np.int64)
    # RandomState: its stream never changes between NumPy versions.
    order = np.random.RandomState(0).permutation(len(labels))
    test = np.zeros(len(labels), bool)
    for label in range(10):
        test[order[labels[order] == label][:TEST_PER_CLASS]] = True
    chosen = order[test[order] == (split == "test")]
    enlarged = np.stack([_enlarged(digit) for digit in images[chosen].reshape(-1, 8, 8)])
    return Dataset(enlarged[:, None], labels[chosen], CLASS_NAMES, NAME)


def _enlarged(digit: np.ndarray) -> np.ndarray:
    """A digit (8, 8) from 0 to 16 as uint8 (28, 28): 2.5 times as large, so that it fills 20x20 as MNIST's do."""
    grey = np.zeros((12, 12), np.uint8)  # with a border, in which its strokes fade out
    grey[2:-2, 2:-2] = np.rint(digit * (255 / 16))
    return np.asarray(Image.fromarray(grey).resize((30, 30), Image.Resampling.BICUBIC))[1:-1, 1:-1]


def find() -> Path:
    """The folder of scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise MinicnnError("the digits come with scikit-learn, which is not installed")
    return Path(spec.origin).parent
