"""Every registered layer with each of its examples, on each array library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn.layers import BatchNorm2d, Conv2d, Example, Layer, ReLU, registered
from minicnn.models.densenet import Dense
from minicnn.models.squeezenet import Fire

from ..devices import DEVICES, Device, device


class Case(NamedTuple):
    """A layer and one example of it, on a device."""

    layer: type[Layer]
    example: Example
    on: Device

    def build(self, dtype: Any = np.float64) -> Any:
        """A new layer, every time with the same weights (none of them 0 or 1) and running averages."""
        layer = self.example.build(self.layer)
        generator = np.random.default_rng(1)
        for parameter in layer.parameters():
            parameter.value += generator.uniform(0.1, 0.2, parameter.shape).astype(np.float32)
        layer.to(dtype=dtype)
        return self.on.place(layer)

    def x(self, dtype: Any = np.float64, batch: int = 3) -> Any:
        """A batch of inputs, the same every time; its values are float32's, whatever the dtype."""
        shape = (batch, *self.example.input_shape)
        return self.on.upload(np.random.default_rng(2).standard_normal(shape, np.float32).astype(dtype))

    def dy(self, y: Any, seed: int = 3) -> Any:
        """A gradient for y."""
        return self.on.upload(np.random.default_rng(seed).standard_normal(y.shape, np.float32).astype(y.dtype))

    def run(self, x: Any = None, dy: Any = None, dtype: Any = np.float64) -> dict[str, np.ndarray]:
        """{"y", "dx", and each parameter's gradient} of a new layer, on the host."""
        layer = self.build(dtype)
        y = layer.forward(self.x(dtype) if x is None else x)
        dx = layer.backward(self.dy(y) if dy is None else dy)
        return self.host({"y": y, "dx": dx} | gradients(layer))

    def host(self, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        """Copies on the host."""
        return {name: self.on.download(a).copy() for name, a in arrays.items()}


def gradients(layer: Layer) -> dict[str, Any]:
    """Each parameter's gradient by its path."""
    return {name: parameter.grad for name, parameter in layer.named_parameters().items()}


# Layers that one family of networks has for itself.
OF_FAMILIES: dict[type[Layer], tuple[Example, ...]] = {
    Fire: (Example({"in_channels": 3, "squeeze": 2, "expand": 4}, (3, 4, 5)),),
    Dense: (
        Example(
            lambda: {
                **{"norm1": BatchNorm2d(8), "relu1": ReLU(), "conv1": Conv2d(8, 8, 1, bias=False)},
                **{"norm2": BatchNorm2d(8), "relu2": ReLU(), "conv2": Conv2d(8, 2, 3, padding=1, bias=False)},
            },
            (8, 4, 5),
        ),
    ),
}


def examples() -> list[Any]:
    """(layer, example) of all there are, one's own of `--layers` among them."""
    return [
        pytest.param((layer, example), id=f"{layer.__name__}-{number}")
        for layer, numbered in (registered() | OF_FAMILIES).items()
        for number, example in enumerate(numbered)
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Here, and not in a fixture's params, because `--layers` is read later than this file."""
    if "example" in metafunc.fixturenames:
        metafunc.parametrize("example", examples())
    if "on" in metafunc.fixturenames:
        metafunc.parametrize("on", DEVICES)


@pytest.fixture
def case(example: tuple[type[Layer], Example], on: str) -> Case:
    return Case(*example, device(on))


@pytest.fixture
def on_host(example: tuple[type[Layer], Example]) -> Case:
    """For what is the same on every device."""
    return Case(*example, device("numpy"))


@pytest.fixture
def on_strict(example: tuple[type[Layer], Example]) -> Case:
    return Case(*example, device("strict"))


@pytest.fixture
def close() -> Callable[..., None]:
    """Assert that {name: array} agree to `tolerance` times the largest value of each (1 or more)."""

    def check(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> None:
        assert list(actual) == list(expected)
        for name, a in actual.items():
            bound = tolerance * max(1, np.abs(expected[name]).max(initial=0))
            np.testing.assert_allclose(a, expected[name], rtol=0, atol=bound, err_msg=name)

    return check
