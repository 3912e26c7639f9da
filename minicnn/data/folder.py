"""Any folder of pictures as a data set.

The classes are its sub-folders, or, where the pictures lie directly in it, the WordNet ids that their names begin with
(`n01440764_tench.JPEG`). A folder with sub-folders `train` and `test` (or `val`) has these two splits; any other is one
whole, to test on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import MinicnnError, nearest
from ..files import reason
from ..pictures import cut, load_picture
from .dataset import Dataset, Indices
from .places import Progress

# Of pictures.FORMATS. Files with other names are passed over: notes, thumbnails' data bases, lists of licences.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".tif", ".tiff", ".webp", ".avif", ".jp2", ".j2k"),
)
WORDNET_ID = re.compile(r"(n\d{8})(?:_(.*))?$")
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val")}
MODES = {1: "L", 3: "RGB"}  # by the number of channels
MAX_SIDE = 8192  # pixels
MAX_BYTES = 4 << 30  # of pictures decoded into memory


class PictureFiles:
    """Files as the images of a data set, uint8 (N, *shape), decoded each time they are indexed.

    Each picture is scaled and cut to `shape` (C, H, W) as by `pictures.cut`, as a network prepares a single one; a
    network's `resize` is the short side that they are scaled to first.
    Indexing raises MinicnnError, which names the file, where a picture is damaged.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int], *, resize: int | None = None) -> None:
        self.paths = np.array(paths, dtype=object)
        if len(shape) != 3 or shape[0] not in MODES or not all(1 <= side <= MAX_SIDE for side in shape[1:]):
            raise MinicnnError(f"shape {shape}: expected (C, H, W) with C = 1 or 3, H and W from 1 to {MAX_SIDE}")
        if resize is not None and not 1 <= resize <= MAX_SIDE:
            raise MinicnnError(f"resize {resize}: expected 1 to {MAX_SIDE} pixels")
        self.image_shape, self.resize = shape, resize

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return len(self.paths), *self.image_shape

    def __getitem__(self, indices: Indices) -> np.ndarray:
        """The pictures at a slice or an array of indices, uint8 (n, C, H, W)."""
        paths = self.paths[indices]
        images = np.empty((len(paths), *self.image_shape), np.uint8)
        for image, path in zip(images, paths, strict=True):
            image[:] = self._decoded(path)
        return images

    def _decoded(self, path: Path) -> np.ndarray:
        channels, height, width = self.image_shape
        picture = load_picture(path, mode=MODES[channels])
        try:
            return _planes(cut(picture, height, width, resize=self.resize))
        except MinicnnError as error:
            raise MinicnnError(f"{path}: {error}") from None

    def unreadable(self, progress: Progress = lambda what, done, total: None) -> dict[int, str]:
        """The numbers of the pictures that indexing would fail on, and why. Each picture is decoded once."""
        found = {}
        for number, path in enumerate(self.paths):
            try:
                self._decoded(path)
            except MinicnnError as error:
                found[number] = str(error)
            progress("looking for damaged pictures", number + 1, len(self.paths))
        return found

    def subset(self, indices: Indices) -> PictureFiles:
        """The chosen files."""
        return PictureFiles(list(self.paths[indices]), self.image_shape, resize=self.resize)

    def update(self, digest: hashlib._Hash) -> None:
        """Adds the sizes and the bytes of all files to a digest."""
        digest.update(repr((*self.image_shape, self.resize) if self.resize else self.image_shape).encode())
        for path in self.paths:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise MinicnnError(f"{path}: cannot be read: {reason(error)}") from error
            digest.update(hashlib.sha256(data).digest())


def load(
    folder: Path,
    split: str | None = None,
    *,
    shape: tuple[int, int, int] | None = None,
    resize: int | None = None,
    classes: Sequence[str] | None = None,
    wordnet: Mapping[str, str] | None = None,
    any_name: bool = False,
) -> Dataset:
    """A folder of pictures as a data set, in the order of the files' names.

    With `shape` (C, H, W) the pictures are decoded when they are used, scaled to `resize` and cut to it (see
    PictureFiles). Without it all are decoded now, as RGB, and must be of one size. `classes` gives the classes' order
    by sub-folder, WordNet id, what `wordnet` says that an id is called, or what a file's name says after its id, so
    that labels agree with those of a trained network; it may name more than there are here. By default they are sorted;
    test takes those of train. `split` None takes the whole of a folder that has no splits. `any_name`: pictures that
    lie directly in the folder, and whose names say no class, are together one whose name is "". Raises MinicnnError.
    """
    chosen = _split_folder(folder, split)
    entries = _entries(chosen, any_name)
    names = {key: _class_name(key, path) for key, path in reversed(entries)}
    if classes is None:
        train = folder / "train"
        known = _entries(train, any_name) if chosen != folder and train.is_dir() else entries
        classes = sorted({key for key, _ in known})
    numbers = {key: number for number, key in enumerate(classes)}
    called = wordnet or {}
    found = {
        key: next((numbers[n] for n in (key, called.get(key), name) if n in numbers), None)
        for key, name in names.items()
    }
    for key, path in entries:
        if found[key] is None:
            raise MinicnnError(f"{path}: class {key!r} is not among the {len(numbers)} classes{nearest(key, numbers)}")
    paths = [path for _, path in entries]
    labels = np.array([found[key] for key, _ in entries], np.int64)
    images = _decoded(paths) if shape is None else PictureFiles(paths, shape, resize=resize)
    return Dataset(images, labels, tuple(names.get(key, key) for key in classes), str(folder))


def _split_folder(folder: Path, split: str | None) -> Path:
    here = {name: [folder / sub for sub in subs if (folder / sub).is_dir()] for name, subs in SPLIT_FOLDERS.items()}
    if not any(here.values()):
        if split == "train":
            raise MinicnnError(
                f"{folder}: to train on it, it needs sub-folders train and test; without, it is one test set"
            )
        return folder
    if split is None:
        raise MinicnnError(f"{folder}: has splits; say which, 'train' or 'test'")
    if not here[split]:
        raise MinicnnError(f"{folder}: has no sub-folder {' or '.join(SPLIT_FOLDERS[split])}")
    return here[split][0]


def _entries(folder: Path, any_name: bool = False) -> list[tuple[str, Path]]:
    """(class, file) of each picture, sorted by their names."""
    try:
        children = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise MinicnnError(f"{folder}: cannot be read: {reason(error)}") from error
    loose = [path for path in children if _is_picture(path)]
    classes = {path.name: _pictures_below(path) for path in children if path.is_dir()}
    if not any(classes.values()):
        if not loose:
            raise MinicnnError(f"{folder}: no pictures in it ({' '.join(SUFFIXES)})")
        return [("" if any_name and not WORDNET_ID.match(path.stem) else _wordnet_id(path), path) for path in loose]
    if loose:
        raise MinicnnError(f"{loose[0]}: lies beside sub-folders of pictures; which class does it belong to?")
    empty = [name for name, paths in classes.items() if not paths]
    if empty:
        raise MinicnnError(f"{folder / empty[0]}: no pictures in the sub-folder of this class")
    return [(name, path) for name, paths in classes.items() for path in paths]


def _pictures_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _is_picture(path))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _wordnet_id(path: Path) -> str:
    match = WORDNET_ID.match(path.stem)
    if match is None:
        raise MinicnnError(
            f"{path}: of no class: expected one sub-folder a class, "
            "or names that begin with a WordNet id (n01440764_tench.jpg)"
        )
    return match[1]


def _class_name(key: str, path: Path) -> str:
    """What the file's name says after its WordNet id, unless that is a number; else the key, underscores as spaces."""
    match = WORDNET_ID.match(path.stem)
    words = match[2] if match and match[1] == key else None
    return (words if words and not words.isdigit() else key).replace("_", " ")


def _decoded(paths: list[Path]) -> np.ndarray:
    first = load_picture(paths[0])
    size = (len(paths), 3, first.height, first.width)
    if np.prod(size, dtype=np.int64) > MAX_BYTES:
        raise MinicnnError(f"{paths[0].parent}: {len(paths):,} pictures of {first.width}x{first.height}: give a shape")
    images = np.empty(size, np.uint8)
    for image, path in zip(images, paths, strict=True):
        picture = load_picture(path)
        if picture.size != first.size:
            raise MinicnnError(
                f"{path}: {picture.width}x{picture.height}, but {paths[0].name} is {first.width}x{first.height}: "
                "pictures of several sizes need a shape to be cut to"
            )
        image[:] = _planes(picture)
    return images


def _planes(picture: Image.Image) -> np.ndarray:
    """uint8 (C, H, W)."""
    return np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
