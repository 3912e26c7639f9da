"""The loss as training calls it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.losses import SoftmaxCrossEntropy

from ..devices import DEVICES, device

SCORES = np.random.default_rng(0).standard_normal((4, 6)) * 5
LABELS = np.array([5, 0, 3, 3])


@pytest.mark.parametrize("on", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_torch_computes_the_same_loss_and_gradient(torch: Any, on: str, dtype: Any, smoothing: float) -> None:
    here, loss = device(on), SoftmaxCrossEntropy(label_smoothing=smoothing)
    value = loss.forward(here.upload(SCORES.astype(dtype)), LABELS)
    scores = torch.tensor(SCORES, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor(LABELS), label_smoothing=smoothing)
    expected.backward()
    gradient = loss.backward()
    assert (value.shape, value.dtype, gradient.dtype) == ((), dtype, dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(here.download(value), expected.item(), rtol=tolerance)
    np.testing.assert_allclose(here.download(gradient), scores.grad, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (SCORES, LABELS[:3], r"expected scores \(N, K\) and N integer labels"),
        (SCORES[0], LABELS, "expected scores"),
        (SCORES, LABELS.astype(float), "float64"),
        (SCORES, LABELS + 1, "expected 0 to 5"),
        (SCORES, LABELS - 1, "labels from -1 to 4"),
    ],
)
def test_labels_that_do_not_fit_are_refused(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    for on in ("numpy", "strict"):
        with pytest.raises(MinicnnError, match=message):
            SoftmaxCrossEntropy().forward(device(on).upload(scores), labels)


def test_backward_comes_after_forward() -> None:
    with pytest.raises(MinicnnError, match="before forward"):
        SoftmaxCrossEntropy().backward()
    with pytest.raises(MinicnnError, match="label smoothing 1"):
        SoftmaxCrossEntropy(label_smoothing=1)
