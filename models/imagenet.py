"""The 1000 classes of ImageNet (Russakovsky et al., "ImageNet large scale visual recognition challenge", 2015), in the
order that every network trained on them has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minicnn.layers import Layer
from minicnn.network import Network

_LINES = Path(__file__).with_name("data").joinpath("imagenet-classes.txt").read_text(encoding="utf-8").splitlines()

# Two names occur twice in the list; WordNet's explanations tell them apart.
_EXPLAINED = {
    "n02012849": "crane (bird)",
    "n03126707": "crane (machine)",
    "n03710637": "maillot (tights)",
    "n03710721": "maillot (tank suit)",
}

WNIDS = tuple(line.split()[0] for line in _LINES)  # WordNet ids: n01440764, …
CLASSES = tuple(
    _EXPLAINED.get(wnid, line.split()[1].replace("_", " ")) for wnid, line in zip(WNIDS, _LINES, strict=True)
)
NAMES = dict(zip(WNIDS, CLASSES, strict=True))


def imagenet_network(
    layers: Mapping[str, Layer], *, name: str, num_classes: int, size: int = 224, **options: Any
) -> Network:
    """A network for pictures of size×size, cut from the middle of a short side of 256 as these networks are tested.

    With 1000 classes they are ImageNet's, and are found by their WordNet ids too.
    """
    net = Network(
        layers,
        name=name,
        input_shape=(3, size, size),
        class_names=CLASSES if num_classes == len(CLASSES) else (),
        resize=256,
        **options,
    )
    net.other_names = NAMES
    return net
