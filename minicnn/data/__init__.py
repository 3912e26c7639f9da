"""Data sets: MNIST, CIFAR-10, scikit-learn's digits, and any folder of pictures; batches and augmentation.

train = load("mnist", "train")
for images, labels in Batches(train, 64, augment=RandomShift(2)).epoch(0): ...
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import MinicnnError, nearest
from . import cifar10, digits, folder, mnist, places
from .augment import Compose, Cutout, HorizontalFlip, RandomAffine, RandomCrop, RandomShift, from_config
from .batches import Batches
from .dataset import Dataset
from .places import Progress

__all__ = [
    "NAMES",
    "Batches",
    "Compose",
    "Cutout",
    "Dataset",
    "HorizontalFlip",
    "RandomAffine",
    "RandomCrop",
    "RandomShift",
    "available",
    "from_config",
    "load",
    "where",
]

NAMES = ("mnist", "cifar10", "digits")


def load(
    source: str | os.PathLike[str],
    split: str | None = "train",
    *,
    shape: tuple[int, int, int] | None = None,
    resize: int | None = None,
    classes: Sequence[str] | None = None,
    wordnet: Mapping[str, str] | None = None,
    any_name: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """The "train" or "test" pictures of a data set by its name ("mnist", "cifar10", "digits"), or of a path.

    The path may be MNIST's folder of idx files, one of CIFAR-10's official folders, one of its archives, or a folder
    of pictures, which alone takes the split None. `shape` (C, H, W) is what a network takes: a folder's pictures are
    cut to it, a data set that has another is refused; `resize`, `classes`, `wordnet` and `any_name` are for a folder's
    pictures and the order of its classes (see folder.load). A name is looked for in MINICNN_DATA, the cache and the
    network, in this order; `progress(what, done, total)` hears of downloads and decoding. To read a folder that is
    called like a data set, write ./mnist. Raises MinicnnError.
    """
    if split not in ("train", "test", None):
        raise MinicnnError(f"split {split!r}: expected 'train' or 'test'")
    path = Path(source).expanduser()
    name = source if isinstance(source, str) and source in NAMES else None
    if name is None and not path.exists():
        raise MinicnnError(f"{os.fspath(source)}: no data set of this name, and no folder{nearest(str(source), NAMES)}")
    is_mnist, is_cifar10 = name is None and mnist.is_here(path), name is None and cifar10.is_source(path)
    if name is None and not is_mnist and not is_cifar10:
        if not path.is_dir():
            raise MinicnnError(f"{path}: expected a folder of pictures, or an archive of CIFAR-10")
        return folder.load(path, split, shape=shape, resize=resize, classes=classes, wordnet=wordnet, any_name=any_name)
    if split is None:
        raise MinicnnError(f"{os.fspath(source)}: has splits; say which, 'train' or 'test'")
    if name == "mnist" or is_mnist:
        found = mnist.load(split, folder=path if is_mnist else None, progress=progress)
    elif name == "cifar10" or is_cifar10:
        found = cifar10.load(split, source=path if is_cifar10 else None, progress=progress)
    else:
        found = digits.load(split)
    if shape is not None and found.image_shape != tuple(shape):
        raise MinicnnError(
            f"{os.fspath(source)}: its pictures are {found.image_shape}, the network takes {tuple(shape)}"
        )
    return found


def available(name: str) -> Path | None:
    """Where this data set lies on this machine, or None. Nothing is fetched. Raises MinicnnError for another name."""
    if name not in NAMES:
        raise MinicnnError(f"there is no data set {name!r}{nearest(name, NAMES)}")
    return {"mnist": mnist.find, "cifar10": cifar10.find, "digits": digits.find}[name]()


def where(name: str) -> str:
    """One line for people: where this data set lies, or from where `load` would fetch it, how much, and to where."""
    if (path := available(name)) is not None:
        return str(path)
    files = mnist.FILES if name == "mnist" else (cifar10.ARCHIVE,)
    servers = ", ".join(url.split("/")[2] for url in files[0].urls)
    megabytes = sum(file.size or 0 for file in files) / 1e6
    return (
        f"not on this machine; would be fetched ({megabytes:.0f} MB) from {servers} into {places.cache_folder() / name}"
    )
