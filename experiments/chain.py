"""The layers that a picture passes one after another, and those of them that forget something of it."""

from __future__ import annotations

from collections.abc import Iterator

from minicnn.layers import (
    AdaptiveAvgPool2d,
    Aside,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Normalize,
    Scale,
    Sequential,
    Sigmoid,
    Tanh,
    ZeroPad2d,
)
from minicnn.layers.norm import BatchNorm
from minicnn.network import Network
from minicnn.receptive import activation_shape

UNCHANGED = (Normalize, ZeroPad2d, Flatten, Dropout, Aside)
INVERTIBLE = (BatchNorm, Scale, LeakyReLU, Tanh, Sigmoid)


def chain(net: Sequential) -> Iterator[tuple[str, Layer]]:
    """(path, layer) from the first to the last; of a Sequential those in it. A block with branches is one layer."""
    for name, layer in net.children().items():
        if type(layer) is Sequential:
            yield from ((f"{name}.{path}", inner) for path, inner in chain(layer))
        else:
            yield name, layer


def main_layers(net: Network) -> list[str]:
    """The paths of the chain's layers, but for those that tell the same as another one.

    A layer that passes on what it gets is left out; one that can be inverted, such as a batch norm or a leaky ReLU,
    stands for the one before it. A ReLU and a pool forget something, and count for themselves.
    """
    kept: list[str] = []
    for path, layer in chain(net):
        same_size = bool(kept) and activation_shape(net, path) == activation_shape(net, kept[-1])
        if isinstance(layer, UNCHANGED) or (isinstance(layer, AdaptiveAvgPool2d) and same_size):
            continue
        if isinstance(layer, INVERTIBLE) and kept:
            kept.pop()
        kept.append(path)
    return kept
