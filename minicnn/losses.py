"""Losses: `forward` gives the number, `backward` its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import kernels
from .errors import MinicnnError
from .kernels.backend import Array, get_array_module


class SoftmaxCrossEntropy:
    """−log p of the right class, averaged over the batch (kernels/array/softmax_cross_entropy.py).

    `label_smoothing` ε gives every class ε/K of the target (Szegedy et al. 2015, section 7).
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise MinicnnError(f"label smoothing {label_smoothing}: expected 0 to below 1")
        self.label_smoothing = label_smoothing
        self._cache: Any = None

    def forward(self, scores: Array, labels: Array) -> Array:
        """scores (N, K), labels (N,) integers below K -> the loss, 0-dimensional, on the device of the scores."""
        xp = get_array_module(scores)
        if scores.ndim != 2 or not len(scores) or labels.shape != scores.shape[:1] or labels.dtype.kind not in "iu":
            raise MinicnnError(
                f"loss: expected scores (N, K) and N integer labels, N at least 1, "
                f"got {tuple(scores.shape)} and {tuple(labels.shape)} {labels.dtype}"
            )
        if get_array_module(labels) is not xp:  # labels of the host are looked at: that costs no waiting for a device
            labels = xp.asarray(self._checked(labels, scores.shape[1]))
        elif xp is np:
            self._checked(labels, scores.shape[1])
        loss, self._cache = kernels.softmax_cross_entropy_forward(scores, labels, label_smoothing=self.label_smoothing)
        return loss

    @staticmethod
    def _checked(labels: np.ndarray, classes: int) -> np.ndarray:
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise MinicnnError(f"loss: labels from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
        return labels

    def backward(self) -> Array:
        """The gradient of the last loss at the scores, (N, K)."""
        if self._cache is None:
            raise MinicnnError("loss: backward before forward")
        return kernels.softmax_cross_entropy_backward(1.0, self._cache)
