"""The pictures of a data set in batches, prepared ahead in a background thread.

Everything random is a pure function of (seed, epoch, batch): a run that was stopped in the middle of an epoch and goes
on from there sees the same bits as one that was not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..errors import MinicnnError
from .augment import Augmentation
from .dataset import Dataset

AHEAD = 2  # batches that are prepared before they are asked for

Batch = tuple[np.ndarray, np.ndarray]


class Batches:
    """Batches of `dataset`: images in [0, 1], `dtype` (n, C, H, W), and int64 labels (n,).

    Shuffled anew in each epoch unless `shuffle` is false. `augment` (see augment.py) changes the images. The last batch
    of an epoch holds what is left, unless `drop_last`.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        augment: Augmentation | None = None,
        drop_last: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise MinicnnError(f"batch size {batch_size!r}: expected 1, 2, 3, …")
        if not isinstance(seed, int) or seed < 0:
            raise MinicnnError(f"seed {seed!r}: expected 0, 1, 2, …")
        if drop_last and batch_size > len(dataset):
            raise MinicnnError(f"{dataset.name}: no whole batch of {batch_size:,} in {len(dataset):,} pictures")
        self.dtype = np.dtype(dtype)
        if self.dtype.kind != "f":
            raise MinicnnError(f"dtype {self.dtype}: expected floats, the pictures are in [0, 1]")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.augment = augment
        self.drop_last = drop_last

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, left = divmod(len(self.dataset), self.batch_size)
        return whole + (left > 0 and not self.drop_last)

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch (0, 1, …), from batch `start` on.

        The arrays belong to the caller. What goes wrong while a batch is prepared is raised where that batch would be
        given. The thread ends with the iterator: when it is used up, closed, or no longer referred to.
        """
        if not isinstance(epoch, int) or epoch < 0:
            raise MinicnnError(f"epoch {epoch!r}: expected 0, 1, 2, …")
        if not 0 <= start <= len(self):
            raise MinicnnError(f"start {start}: an epoch has {len(self):,} batches of {self.batch_size:,}")
        return self._epoch(epoch, start)

    def _epoch(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        order = self._order(epoch)
        prepared: deque[Future[Batch]] = deque()
        worker = ThreadPoolExecutor(1, thread_name_prefix="minicnn-batches")
        try:
            for index in range(start, len(self)):
                prepared.append(worker.submit(self._prepare, order, epoch, index))
                if len(prepared) > AHEAD:
                    yield prepared.popleft().result()
            while prepared:
                yield prepared.popleft().result()
        finally:
            worker.shutdown(cancel_futures=True)

    def _order(self, epoch: int) -> np.ndarray:
        n = len(self.dataset)
        return _generator(self.seed, epoch).permutation(n) if self.shuffle else np.arange(n)

    def _prepare(self, order: np.ndarray, epoch: int, index: int) -> Batch:
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        images = np.divide(self.dataset.images[chosen], self.dtype.type(255), dtype=self.dtype)  # (n, C, H, W)
        if self.augment is not None:
            images = self.augment(images, _generator(self.seed, epoch, index))
        return images, self.dataset.labels[chosen]


def _generator(*key: int) -> np.random.Generator:
    """A generator of its own for each key. The key's length is part of it: SeedSequence takes (1, 0) for (1,)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((len(key), *key))))
