"""A data set: pictures with their classes, all of one size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from ..errors import MinicnnError

Indices = np.ndarray | slice


@runtime_checkable
class Images(Protocol):
    """Pictures that come into memory when they are asked for, as those of folder.PictureFiles."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""

    def __getitem__(self, indices: Indices) -> np.ndarray:
        """The chosen pictures as one uint8 array (n, C, H, W)."""

    def subset(self, indices: Indices) -> Images:
        """The chosen pictures, still not in memory."""

    def update(self, digest: hashlib._Hash) -> None:
        """Adds to the digest all that decides about the pixels."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """`images` uint8 (N, C, H, W) with C = 1 or 3, `labels` int64 (N,) from 0 to K - 1, and the K `class_names`.

    `images` is an array, or an `Images` that decodes files when it is indexed with a slice or an array of indices.
    Arrays are taken as they are, not copied, and are read only as seen through the data set. `name` begins the text
    of errors. Raises MinicnnError where these do not fit together.
    """

    images: Any  # np.ndarray | Images; nearly all who use it have an array
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        self._check_images()
        self._check_labels()
        for field in ("images", "labels"):
            if isinstance(array := getattr(self, field), np.ndarray):
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(self, field, view)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return cast("tuple[int, int, int]", self.images.shape[1:])

    def subset(self, indices: Indices) -> Dataset:
        """The pictures at `indices`: a slice, an integer array, or a bool array (N,). Classes keep their numbers."""
        if not isinstance(indices, slice):
            indices = self._checked(np.asarray(indices))
        chosen = self.images[indices] if isinstance(self.images, np.ndarray) else self.images.subset(indices)
        return Dataset(chosen, self.labels[indices], self.class_names, self.name)

    def in_memory(self) -> Dataset:
        """The same data set with all its pictures decoded: N·C·H·W bytes."""
        if isinstance(self.images, np.ndarray):
            return self
        return Dataset(self.images[:], self.labels, self.class_names, self.name)

    def fingerprint(self) -> str:
        """The SHA-256 (64 hex digits) of pictures, labels and class names, in their order; the name does not count.

        Pictures that are not in memory count by the bytes of their files: the same pictures in memory have another one.
        """
        digest = hashlib.sha256()
        digest.update(repr((self.images.shape, self.class_names)).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        if isinstance(self.images, np.ndarray):
            digest.update(np.ascontiguousarray(self.images).data)
        else:
            self.images.update(digest)
        return digest.hexdigest()

    def _check_images(self) -> None:
        images = self.images
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8:
                raise MinicnnError(f"{self.name}: images are {images.dtype}, expected uint8 from 0 to 255")
        elif not isinstance(images, Images):
            raise MinicnnError(f"{self.name}: images are {type(images).__name__}, expected a uint8 array (N, C, H, W)")
        if len(images.shape) != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
            raise MinicnnError(
                f"{self.name}: images have shape {images.shape}, expected (N, C, H, W), none of them 0, with C = 1 or 3"
            )

    def _check_labels(self) -> None:
        labels, classes = self.labels, len(self.class_names)
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
            got = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
            raise MinicnnError(f"{self.name}: labels are {got}, expected an int64 array (N,)")
        if len(labels) != self.images.shape[0]:
            raise MinicnnError(f"{self.name}: {len(labels):,} labels for {self.images.shape[0]:,} pictures")
        if not isinstance(self.class_names, tuple) or not all(isinstance(n, str) for n in self.class_names):
            raise MinicnnError(f"{self.name}: class_names is {self.class_names!r}, expected a tuple of strings")
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(wrong):
            at = int(wrong[0])
            raise MinicnnError(
                f"{self.name}: picture {at} has label {labels[at]}, expected 0 to {classes - 1} ({classes} classes)"
            )

    def _checked(self, indices: np.ndarray) -> np.ndarray:
        """The indices as integers from 0 to N - 1."""
        if indices.dtype == np.bool_ and indices.shape == self.labels.shape:
            return np.flatnonzero(indices)
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise MinicnnError(
                f"{self.name}: a subset by {indices.dtype} {indices.shape}, "
                f"expected integers (n,) or bools ({len(self)},)"
            )
        wrong = indices[(indices < -len(self)) | (indices >= len(self))]
        if len(wrong):
            raise MinicnnError(f"{self.name}: there is no picture {wrong[0]}, there are {len(self):,}")
        return indices.astype(np.int64) % len(self)
