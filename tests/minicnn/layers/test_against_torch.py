"""Every example of every layer that torch has as well: the same numbers from its module with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.layers import Dropout, Example, Layer, registered

from ...twins import twin

EXAMPLES = {
    f"{layer.__name__}-{number}": (layer, example)
    for layer, examples in registered().items()
    if layer.__module__.startswith("minicnn.layers")
    for number, example in enumerate(examples)
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("layer", "example"), EXAMPLES.values(), ids=EXAMPLES)
def test_torch_computes_the_same(torch: Any, layer: type[Layer], example: Example, training: bool) -> None:
    training = training and layer is not Dropout  # what that drops is random: see test_shape.py
    ours = example.build(layer)
    generator = np.random.default_rng(0)
    for parameter in ours.parameters():
        parameter.value += generator.uniform(-0.5, 0.5, parameter.shape).astype(np.float32)
    for name, buffer in ours.named_buffers().items():
        if "running" in name:
            buffer.value[...] = generator.uniform(0.5, 1.5, buffer.shape)
    ours.to(dtype=np.float64).train(training)
    theirs = twin(torch, ours).train(training)

    x = generator.standard_normal((3, *example.input_shape))
    pixels = torch.tensor(x, requires_grad=True)
    y, expected = ours.forward(x), theirs(pixels)
    dy = generator.standard_normal(y.shape)
    expected.backward(torch.tensor(dy))
    close(y, expected.detach().numpy(), "y")
    close(ours.backward(dy), pixels.grad.numpy(), "dx")
    parameters = dict(theirs.named_parameters())
    assert set(parameters) == set(ours.named_parameters())
    for name, parameter in ours.named_parameters().items():
        close(parameter.grad, parameters[name].grad.numpy(), name)
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            close(ours.named_buffers()[name].value, buffer.numpy(), name)


def close(actual: Any, expected: np.ndarray, name: str) -> None:
    assert actual.shape == expected.shape, name
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()), err_msg=name)
