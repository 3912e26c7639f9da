"""How weights are drawn. A weight (F, C, KH, KW) has fan-in C·KH·KW and fan-out F·KH·KW."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from .parameter import Init


def fan_in_out(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs that one output sums, and outputs that one input reaches."""
    taps = prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def he_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """N(0, 2/fan-in), which keeps the variance through ReLUs (He et al. 2015, section 2.2)."""
    return normal(sqrt(2 / fan_in_out(shape)[0]))(shape, generator)


def xavier_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """U(±√(6/(fan-in + fan-out))), for tanh and linear units (Glorot & Bengio 2010, equation 16)."""
    bound = sqrt(6 / sum(fan_in_out(shape)))
    return generator.uniform(-bound, bound, shape).astype(np.float32)


def lecun_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """N(0, 1/fan-in), for the scaled tanh (LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.6)."""
    return normal(sqrt(1 / fan_in_out(shape)[0]))(shape, generator)


def normal(std: float) -> Init:
    """N(0, std²)."""

    def draw(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        values = generator.standard_normal(shape, np.float32)
        values *= np.float32(std)
        return values

    return draw


def constant(value: float) -> Init:
    """The same number everywhere."""
    return lambda shape, _: np.full(shape, value, np.float32)


zeros, ones = constant(0.0), constant(1.0)
