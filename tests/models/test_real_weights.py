"""Networks with the weights that others trained, against the logits that torch computes with them in float64.

The files lie in a folder of MINICNN_DATA; without it these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import models


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["squeezenet1_0", "darknet_tiny"])
def test_the_expected_logits_of_eight_photographs(shared_data: Path, name: str, dtype: Any) -> None:
    if not (shared_data / f"{name}-expected.npz").is_file():
        pytest.skip(f"no {name}-expected.npz in {shared_data}")
    net = models.load(name)
    net.to(dtype=dtype)
    with np.load(shared_data / f"{name}-expected.npz") as expected:
        pixels, logits, classes = expected["pixels"], expected["logits"], expected["classes"]
    pictures = (pixels.transpose(0, 3, 1, 2) / 255).astype(dtype)
    assert pictures.shape[1:] == net.input_shape
    found = net.forward(pictures, remember=None)
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-4)
    assert (found.argmax(axis=1) == classes).sum() >= 7
    np.testing.assert_array_equal(net.scores(pictures), found)
