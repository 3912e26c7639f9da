"""Small networks for tests: one with everything nested in everything, and how torch differentiates it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Normalize,
    ReLU,
    Residual,
    Sequential,
)
from minicnn.network import Network

from ..twins import activations, twin


def nested(seed: int = 0) -> Network:
    """Residuals and Concats inside one another, on (3, 8, 8), with running averages that are not 0 and 1."""
    net = Network(
        {
            "normalize": Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
            "stem": Sequential(conv1=Conv2d(3, 4, 3, padding=1), bn1=BatchNorm2d(4), relu1=ReLU()),
            "res1": Residual(conv1=Conv2d(4, 4, 3, padding=1), relu1=ReLU(), conv2=Conv2d(4, 4, 3, padding=1)),
            "mix": Concat(
                a=Conv2d(4, 3, 1),
                b=Sequential(conv1=Conv2d(4, 2, 3, padding=1), relu1=LeakyReLU()),
                c=Residual(
                    inner=Concat(left=Conv2d(4, 3, 1), right=Conv2d(4, 2, 3, padding=1)), shortcut=Conv2d(4, 5, 1)
                ),
            ),
            "down": Residual(
                conv1=Conv2d(10, 6, 3, stride=2, padding=1),
                relu1=ReLU(),
                shortcut=Sequential(pool=MaxPool2d(2), conv=Conv2d(10, 6, 1), norm=BatchNorm2d(6)),
            ),
            "pool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "drop": Dropout(0.0),
            "fc": Linear(6, 5),
        },
        input_shape=(3, 8, 8),
        name="nested",
        class_names=("ant", "bee", "cat", "dog", "honey_bee"),
    )
    net.initialize(seed)
    generator = np.random.default_rng(seed)
    for name, buffer in net.named_buffers().items():
        if "running" in name:
            buffer.value[...] = generator.uniform(0.5, 1.5, buffer.shape)
    return net


def pictures(net: Network, count: int = 2, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    """(count, C, H, W) in [0, 1]."""
    return np.random.default_rng(seed).random((count, *net.input_shape)).astype(dtype)


def torch_gradients(
    torch: Any, net: Network, x: np.ndarray, grads: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(dx, {name: activation}, {parameter: gradient}) of Σ ⟨activation, gradient⟩ by autograd with the same weights."""
    module, pixels = twin(torch, net), torch.tensor(x, requires_grad=True)
    _, found = activations(module, pixels, [name for name in grads if name != "input"])
    found["input"] = pixels
    total = sum((found[name] * torch.tensor(g)).sum() for name, g in grads.items())
    total.backward()
    parameters = {n: p.grad.numpy() for n, p in module.named_parameters() if p.grad is not None}
    return pixels.grad.numpy(), {name: found[name].detach().numpy() for name in grads}, parameters
