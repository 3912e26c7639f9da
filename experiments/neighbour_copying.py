"""Texture by copying: each new pixel is one of the sample's, one with the same neighbours.

Let N(p) be the window of n×n around a pixel p of the new picture, of which only what is filled already counts, and
N(q) the window around a pixel q of the sample, wholly inside it. Then

    d(p, q) = Σ_u w(u) ‖N(p)(u) − N(q)(u)‖²        over the filled places u of the window

and p becomes a copy of a q where d is small. Two orders:

    onion      (Efros & Leung 1999, section 2, and the constants that the authors published with their algorithm) From
               3×3 pixels of the sample outwards, ring by ring, those with the most filled neighbours first. w is a
               Gaussian, σ = n/6.4, scaled to Σ w = 1/C. Of all q with d(p, q) ≤ 1.1·min d one is drawn. Where its d is
               not below 0.3, p waits for the next ring; a ring in which all wait makes this bound 1.1 times as large.
    scanline   (Wei & Levoy 2000, section 2) Row by row, w = 1, the best q. The picture is a torus, so that its copies
               can be laid side by side. It is made from coarse to fine in a Gaussian pyramid: on each level but the
               coarsest d(p, q) + d(p/2, q/2) decides, where the second window, of about n/2, is that around the
               parents one level above.

Wei & Levoy fill their picture with noise first and compare with it where there is nothing else. But noise is nearest to
the flattest windows of a sample, and what begins flat goes on so: here noise does not count, and only the very first
pixel is drawn at random.

The search is a convolution of the sample. With a = N(q) and t = N(p),

    d = Σ w‖a‖² − Σ 2wt·a + Σ w‖t‖²

has the filters w and −2wt over the channels ‖a‖² and a, and the bias Σ w‖t‖². The filters of pixels that do not see one
another are applied together; the result is exactly that of one pixel after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator, default_rng

from minicnn import kernels
from minicnn.errors import MinicnnError, nearest
from minicnn.image import Interrupted, Result
from minicnn.image.blur import gaussian_blur

Progress = Callable[[int, int], object]  # (pixels filled, of all)

NEAR = 0.1  # how much worse than the best a candidate may be
BOUND, GROWTH = 0.3, 1.1
SIGMA = 1 / 6.4  # of the Gaussian, in windows
SEED = 3  # side of the first patch
ROUNDING = 1e-6  # differences of d below it mean nothing: half a step of an 8-bit picture would be 4e-6
BLUR = 1.0  # σ before every second pixel is left out
COARSEST = 4  # windows at least along a side of the sample on the coarsest level
AT_ONCE = 64  # pixels that are looked for together


def neighbour_copying(
    texture: np.ndarray,
    shape: tuple[int, int],
    *,
    window: int = 11,
    order: str = "onion",
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """More of a texture (C, H, W), floats in [0, 1]: a picture (C, *shape) of the same dtype, copied pixel by pixel.

    order: "onion" or "scanline", whose result can be tiled; `window`, odd, is n in pixels: as large as what repeats in
    the texture, or it will not be kept. The same seed gives the same pixels. `progress(pixels filled, of all)` counts
    those of all levels. Ctrl-C raises Interrupted, whose result holds the picture (1, C, *shape) as far as it is
    filled, black elsewhere. Raises MinicnnError for a sample that the window does not fit into.

    O(pixels · sample · window² · C) time; beside the sample, AT_ONCE numbers for each of its pixels are held.

    Example: `neighbour_copying(to_array(load_picture("brick.jpg")), (128, 128), window=15)`
    """
    check(texture, shape, window, order)
    state = State(np.full(shape, -1), 0, 0)
    try:
        for state in ORDERS[order](texture, shape, window, default_rng(seed)):
            progress(state.done, state.total)
    except KeyboardInterrupt:
        raise Interrupted(Result(copied(texture, state.source)[None], state.done, None)) from None
    return copied(texture, state.source)


def check(texture: np.ndarray, shape: tuple[int, int], window: int, order: str) -> None:
    """Raise MinicnnError for what cannot be done."""
    if order not in ORDERS:
        raise MinicnnError(f"order {order!r}{nearest(order, ORDERS)}")
    if texture.ndim != 3 or not np.issubdtype(texture.dtype, np.floating):
        raise MinicnnError(f"expected a texture (C, H, W) of floats, got {texture.dtype} {texture.shape}")
    if not (texture.size and texture.min() >= 0 and texture.max() <= 1):
        raise MinicnnError("expected a texture with values in [0, 1]")
    _, height, width = texture.shape
    if window < 3 or window % 2 == 0:
        raise MinicnnError(f"window {window}: expected an odd number from 3 on")
    if min(height, width) < window:
        raise MinicnnError(f"window {window}: does not fit into the sample, which has {width}×{height} pixels")
    if min(shape) < SEED:
        raise MinicnnError(f"shape {shape}: expected {SEED}×{SEED} pixels or more")


def copied(texture: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The picture whose pixels are those of the sample at the places `source` (H, W), row·width + column; −1: black."""
    return np.where(source < 0, 0, texture.reshape(len(texture), -1)[:, source]).astype(texture.dtype)


# The search -----------------------------------------------------------------------------------------------------------


class Sample:
    """A texture (C, H, W) as what windows are looked for in."""

    def __init__(self, texture: np.ndarray) -> None:
        pixels = np.moveaxis(texture, 0, -1).astype(np.float32)
        pixels -= pixels.mean(axis=(0, 1))  # differences stay, and lose less in rounding
        self.colours = pixels.reshape(-1, len(texture))
        self.x = np.concatenate([pixels, (pixels**2).sum(axis=-1, keepdims=True)], axis=-1)  # (H, W, C + 1)
        self.numbers: np.ndarray = np.arange(len(self.colours)).reshape(pixels.shape[:2])  # row·W + column

    def centres(self, n: int) -> np.ndarray:
        """The numbers (H − n + 1, W − n + 1) of the pixels in the middle of a window of n×n."""
        H, W = self.numbers.shape
        return self.numbers[n // 2 : H - n // 2, n // 2 : W - n // 2]

    def distances(self, windows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Windows (B, n, n), the numbers of their pixels, and weights (B, n, n) -> d (B, H − n + 1, W − n + 1)."""
        n, H = windows.shape[1], len(self.x)
        rows = n if weights[:, n // 2 + 1 :].any() else n // 2 + 1  # in a scan the lower half is empty nearly always
        t = self.colours[windows[:, :rows]]  # (B, rows, n, C)
        w = weights[:, :rows, :, None].astype(np.float32)
        filters = np.concatenate([-2 * w * t, w], axis=-1).transpose(0, 3, 1, 2)  # (B, C + 1, rows, n)
        bias = (w * t**2).sum(axis=(1, 2, 3))
        x = self.x[None, : H - n + rows]
        d, _ = kernels.conv2d_forward(x, np.ascontiguousarray(filters), bias, remember=None)
        return np.ascontiguousarray(d[0].transpose(2, 0, 1))


def windows(pixels: np.ndarray, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The indices (B, n, 1) and (B, 1, n) of the windows around pixels (B, 2) of a torus."""
    offsets = np.arange(n) - n // 2
    rows, columns = pixels[:, :1] + offsets, pixels[:, 1:] + offsets
    return rows[:, :, None] % shape[0], columns[:, None, :] % shape[1]


def batches(pixels: np.ndarray, n: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The numbers of pixels (L, 2), in batches whose windows hold none of the same batch, and which keep the order:
    of two pixels that see each other the earlier one comes first."""
    turns = np.full(shape, -1)
    for pixel in pixels:
        turns[tuple(pixel)] = turns[windows(pixel[None], n, shape)].max() + 1
    turn = turns[tuple(pixels.T)]
    for batch in np.split(np.argsort(turn, kind="stable"), np.cumsum(np.bincount(turn))[:-1]):
        yield from (batch[i : i + AT_ONCE] for i in range(0, len(batch), AT_ONCE))


# The orders -----------------------------------------------------------------------------------------------------------


class State(NamedTuple):
    """How far a picture is: the `source` of each pixel (H, W), −1 where there is none yet, and pixels filled, of all.

    An order yields one after each batch; the source is always the same array.
    """

    source: np.ndarray
    done: int
    total: int


def onion(texture: np.ndarray, shape: tuple[int, int], n: int, generator: Generator) -> Iterator[State]:
    """Efros & Leung: outwards from a seed."""
    sample, gaussian, bound = Sample(texture), gaussian_window(n), BOUND
    torus = np.full([side + n // 2 for side in shape], -1)  # what is never filled keeps opposite borders apart
    source = torus[: shape[0], : shape[1]]
    middle = tuple(slice((side - SEED) // 2, (side - SEED) // 2 + SEED) for side in shape)
    top, left = generator.integers(np.subtract(texture.shape[1:], SEED - 1))
    source[middle] = sample.numbers[top : top + SEED, left : left + SEED]
    done = SEED**2
    yield State(source, done, source.size)
    while len(ring := frontier(source, generator)):
        draws, before = generator.random(len(ring)), done
        for batch in batches(ring, n, torus.shape):
            around = torus[windows(ring[batch], n, torus.shape)]
            w = gaussian * (around >= 0)
            w /= w.sum(axis=(1, 2), keepdims=True) * len(texture)
            for pixel, draw, d in zip(ring[batch], draws[batch], sample.distances(around, w), strict=True):
                q = one_of_the_nearest(d, draw)
                if d.flat[q] < bound:
                    source[tuple(pixel)] = sample.centres(n).flat[q]
                    done += 1
            yield State(source, done, source.size)
        bound *= GROWTH if done == before else 1


def gaussian_window(n: int) -> np.ndarray:
    """(n, n), 1 in the middle."""
    line = np.exp(-0.5 * ((np.arange(n) - n // 2) / (SIGMA * n)) ** 2)
    return np.outer(line, line)


def frontier(source: np.ndarray, generator: Generator) -> np.ndarray:
    """The pixels (L, 2) that touch what is filled, those with more filled ones around them first, else shuffled."""
    filled = np.pad(source >= 0, 1)
    count = sliding_window_view(filled, (3, 3)).sum(axis=(2, 3))
    ring = generator.permutation(np.argwhere((source < 0) & (count > 0)))
    return ring[np.argsort(-count[tuple(ring.T)], kind="stable")]


def one_of_the_nearest(d: np.ndarray, draw: float) -> int:
    """The number of one of the windows that are about as near as the nearest; `draw`, in [0, 1), says which."""
    candidates = np.flatnonzero(d <= (1 + NEAR) * max(d.min(), 0) + ROUNDING)
    return int(candidates[int(draw * len(candidates))])


def scanline(texture: np.ndarray, shape: tuple[int, int], n: int, generator: Generator) -> Iterator[State]:
    """Wei & Levoy: row by row, from coarse to fine."""
    levels = pyramid(texture, shape, n)
    finest, coarsest = levels[0], levels[-1]
    coarsest.source[0, 0] = generator.choice(coarsest.sample.centres(n).ravel())
    done, total = 1, sum(level.source.size for level in levels)
    yield State(finest.source, done, total)
    coarser = None
    for level in reversed(levels):
        for filled in scan(level, coarser, n):
            done += filled
            yield State(finest.source, done, total)
        coarser = level


class Level(NamedTuple):
    """The sample, and the source (H, W) of each new pixel, on one level of a pyramid."""

    sample: Sample
    source: np.ndarray


def pyramid(texture: np.ndarray, shape: tuple[int, int], n: int) -> list[Level]:
    """Levels of which each has half the size of that before, as long as COARSEST windows fit along the sample."""
    levels = [Level(Sample(texture), np.full(shape, -1))]
    while min(texture.shape[1:]) >= 2 * COARSEST * n:
        texture, shape = gaussian_blur(texture[None], BLUR)[0, :, ::2, ::2], (-(-shape[0] // 2), -(-shape[1] // 2))
        levels.append(Level(Sample(texture), np.full(shape, -1)))
    return levels


def scan(level: Level, coarser: Level | None, n: int) -> Iterator[int]:
    """Fill what is not filled yet of a level, and say how many pixels were after each batch."""
    sample, source = level
    m = n // 2 | 1  # the window at the parents: odd
    rows, columns = (np.arange(n // 2, side - n // 2) // 2 - m // 2 for side in sample.numbers.shape)  # of the parents
    pixels = skewed_rows(source.shape, n // 2)
    pixels = pixels[source[tuple(pixels.T)] < 0]
    for batch in batches(pixels, n, source.shape):
        around = source[windows(pixels[batch], n, source.shape)]
        d = sample.distances(around, around >= 0)
        if coarser:
            above = coarser.source[windows(pixels[batch] // 2, m, coarser.source.shape)]
            d += coarser.sample.distances(above, above >= 0).take(rows, axis=1).take(columns, axis=2)
        source[tuple(pixels[batch].T)] = sample.centres(n).flat[d.reshape(len(batch), -1).argmin(axis=1)]
        yield len(batch)


def skewed_rows(shape: tuple[int, ...], step: int) -> np.ndarray:
    """All pixels (H·W, 2) row by row, each row begun `step` pixels further right than that above it.

    On a torus a row may begin anywhere. Here it needs only the beginning of the row above, and so many rows go on
    together, one behind the other.
    """
    rows, columns = np.indices(shape).reshape(2, -1)
    return np.stack([rows, (columns + step * rows) % shape[1]], axis=1)


ORDERS = {"onion": onion, "scanline": scanline}
