"""Arrays as pictures that people look at: tiles, heat maps, labelled rows and grids, training curves.

Everything here takes and returns PIL pictures or float arrays (C, H, W) in [0, 1], and is deterministic. Small pictures
are enlarged to crisp squares, and text is shrunk and wrapped to fit, never cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .boxes import (
    GAP,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    WHITE,
    Colour,
    beside,
    centred,
    font,
    framed,
    ink_on,
    stack,
    text_box,
    wrapped,
)
from .errors import MinicnnError, nearest
from .pictures import to_picture

Picture = Image.Image | np.ndarray

TILE = 40  # tiles are enlarged to at least this
SHOWN = 160  # pictures in a row are enlarged to at least this height
SIDE = 110  # width of the labels of rows
BAR, BAR_COLOURS = 8, ((229, 231, 235), (26, 111, 181))  # height; what is missing from 1, and the share

# Sequential: matplotlib's magma (N. Smith, S. van der Walt; CC0) at 17 equal steps, within 3/255 of the full table.
SEQUENTIAL = (
    "000004 0a0822 1d1146 36106a 50127c 691c81 822681 9c2e7f b63779 cf4170 e65163 f5695c fb8761 fea571 fec387 fde0a2"
    " fcfdbf"
)
# Diverging: ColorBrewer's RdBu, blue for negative, red for positive.
DIVERGING = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"


# Values to colours


def rescale(array: np.ndarray, mode: str = "tile") -> np.ndarray:
    """Stretches values to [0, 1]: float32 of the same shape, (C, H, W) or (N, C, H, W).

    "tile": each picture from its own least to its own greatest value; "all": one range for all of them;
    "symmetric": one range for all, centred at zero, so that 0 becomes 0.5. What is constant becomes 0.5.
    """
    if mode not in ("tile", "all", "symmetric"):
        raise MinicnnError(f"rescale mode {mode!r}{nearest(mode, ('tile', 'all', 'symmetric'))}")
    if array.ndim not in (3, 4) or array.size == 0:
        raise MinicnnError(f"expected pictures (C, H, W) or (N, C, H, W) to rescale, got shape {array.shape}")
    values = _finite(array)
    axes = (-3, -2, -1) if mode == "tile" else None
    if mode == "symmetric":
        high = np.abs(values).max(keepdims=True)
        low = -high
    else:
        low, high = values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)
    span = high - low
    return np.where(span > 0, (values - low) / np.where(span > 0, span, 1), 0.5).astype(np.float32)


def top_value(values: np.ndarray, percentile: float = 99) -> float:
    """The magnitude that gets the strongest colour: a percentile of |values|, so that one outlier does not darken all.

    Zeros do not count: a unit that sees a corner of the picture has a map that is zero nearly everywhere.
    """
    size = np.abs(_finite(values))
    shown = size[size > 0]
    return float(np.percentile(shown, percentile)) if shown.size else 0.0


def heatmap(
    values: np.ndarray, *, signed: bool = False, top: float | None = None, percentile: float = 99
) -> Image.Image:
    """A map (H, W) in colours, one pixel a value: black, purple, yellow for 0 to `top` (by default `top_value`).

    `signed`: blue, white, red for -top to top. Negative values in a map that is not signed are an error.
    """
    return Image.fromarray(_coloured(_strength(values, signed, top, percentile), signed))


def overlay(
    picture: Picture,
    values: np.ndarray,
    *,
    alpha: float = 0.75,
    signed: bool = False,
    top: float | None = None,
    percentile: float = 99,
) -> Image.Image:
    """A map (h, w), smoothly enlarged to the picture's size, in colours over the picture in grey.

    A colour is the more opaque the stronger it is, up to `alpha`; where the map is 0 the picture shows through.
    """
    below = _as_picture(picture).convert("L").convert("RGB")
    strength = _strength(values, signed, top, percentile).astype(np.float32)
    smooth = np.asarray(Image.fromarray(strength).resize(below.size, Image.Resampling.BICUBIC))
    smooth = np.clip(smooth, -1 if signed else 0, 1)
    opacity = (alpha * np.abs(smooth))[:, :, None]
    mixed = (1 - opacity) * np.asarray(below, np.float32) + opacity * _coloured(smooth, signed)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def colour_bar(
    top: float, meaning: str, *, signed: bool = False, width: int = 240, background: Colour = WHITE
) -> Image.Image:
    """The legend of `heatmap` and `overlay`: their colours from 0 (`signed`: -top) to `top`, and what they mean."""
    ramp = np.linspace(-1 if signed else 0, 1, width)[None]
    bar = Image.fromarray(_coloured(ramp, signed)).resize((width, 12))
    letters = font(SMALL_SIZE)
    numbers = Image.new("RGB", (width, sum(letters.getmetrics())), background)
    draw = ImageDraw.Draw(numbers)
    ends = [(0, f"{0 - top:.3g}", "la"), (width / 2, "0", "ma")] if signed else [(0, "0", "la")]
    for x, number, anchor in [*ends, (width, f"{top:.3g}", "ra")]:
        draw.text((x, 0), number, font=letters, fill=ink_on(background), anchor=anchor)
    below = text_box(meaning, width, size=SMALL_SIZE, background=background)
    return stack([bar, numbers, below], gap=2, background=background)


# Pictures together


def tiles(
    pictures: Sequence[np.ndarray] | np.ndarray,
    *,
    columns: int | None = None,
    padding: int = 4,
    background: Colour = WHITE,
    scale: int | None = None,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """A grid of pictures of one shape (C, H, W), floats in [0, 1], C = 1 or 3, each with its label beneath if given.

    `scale` enlarges each pixel to scale x scale; by default so far that a tile has at least 40 pixels.
    """
    shapes = {tuple(picture.shape) for picture in pictures}
    if len(shapes) != 1:
        raise MinicnnError(f"expected tiles of one shape (C, H, W), got {sorted(shapes) or 'none'}")
    if labels is not None and len(labels) != len(pictures):
        raise MinicnnError(f"{len(labels)} labels for {len(pictures)} tiles")
    boxes = [to_picture(picture) for picture in pictures]
    scale = scale or max(1, math.ceil(TILE / max(boxes[0].size)))
    boxes = [box.resize((box.width * scale, box.height * scale), Image.Resampling.NEAREST) for box in boxes]
    if labels is not None:
        texts = [text_box(label, boxes[0].width, size=SMALL_SIZE, background=background) for label in labels]
        boxes = [stack([box, text], gap=3, background=background) for box, text in zip(boxes, texts, strict=True)]
    columns = columns or _columns(len(boxes))
    rows = [boxes[i : i + columns] for i in range(0, len(boxes), columns)]
    lines = [beside(row, gap=padding, background=background) for row in rows]
    return framed(stack(lines, gap=padding, background=background, align=0), padding, background=background)


def labelled_row(
    items: Sequence[tuple[str, Picture]],
    *,
    title: str | None = None,
    height: int | None = None,
    background: Colour = WHITE,
) -> Image.Image:
    """Pictures of any sizes side by side, scaled to one height, each with its label beneath."""
    return labelled_grid([("", items)], title=title, height=height, background=background)


def labelled_grid(
    rows: Sequence[tuple[str, Sequence[tuple[str, Picture]]]],
    *,
    columns: Sequence[str] = (),
    title: str | None = None,
    height: int | None = None,
    background: Colour = WHITE,
) -> Image.Image:
    """Rows (label, [(caption, picture), …]) of pictures of any sizes, all scaled to one height.

    Row labels stand on the left, `columns` above the first row, captions beneath the pictures; each may be "".
    `height`: by default that of the highest picture, enlarged by a whole factor where that is less than 160.
    """
    pictures = [[_as_picture(picture) for _, picture in items] for _, items in rows]
    if not pictures or not all(pictures):
        raise MinicnnError("expected at least one picture in each row of a grid")
    if height is None:
        highest = max(picture.height for line in pictures for picture in line)
        height = highest * math.ceil(SHOWN / highest)
    pictures = [[_of_height(picture, height) for picture in line] for line in pictures]
    count = max(len(columns), *(len(line) for line in pictures))
    widths = [max([SHOWN // 2] + [line[i].width for line in pictures if i < len(line)]) for i in range(count)]
    has_side = any(label for label, _ in rows)
    lines = []
    if columns:
        heads = [text_box(head, width, background=background) for head, width in zip(columns, widths, strict=False)]
        lines.append(beside([_side("", 0, background)] * has_side + heads, background=background))
    for (label, items), line in zip(rows, pictures, strict=True):
        cells = [
            _captioned(picture, caption, width, background)
            for picture, (caption, _), width in zip(line, items, widths, strict=False)
        ]
        lines.append(beside([_side(label, height, background)] * has_side + cells, background=background))
    body = stack(lines, background=background, align=0)
    head = [text_box(title, body.width, size=TITLE_SIZE, background=background)] if title else []
    return framed(stack([*head, body], background=background), background=background)


# Curves


def probability_bars(rows: Sequence[tuple[str, float]], *, width: int = 300, background: Colour = WHITE) -> Image.Image:
    """Classes with their probabilities, (name, 0 to 1) from top to bottom: the name and the percentage over a bar."""
    if not rows:
        raise MinicnnError("expected at least one class to draw")
    _finite(np.array([share for _, share in rows]))
    step = sum(font(TEXT_SIZE).getmetrics()) + 1
    boxes = []
    for name, share in rows:
        letters, percent = font(TEXT_SIZE, name), f"{100 * share:.1f} %"
        lines = wrapped(name, letters, width - font(TEXT_SIZE).getlength(percent) - GAP)
        box = Image.new("RGB", (width, step * len(lines) + BAR), background)
        pen, y = ImageDraw.Draw(box), step * len(lines)
        for i, line in enumerate(lines, 1):
            pen.text((0, i * step - 6), line, font=letters, fill=ink_on(background), anchor="ls")
        pen.text((width, y - 6), percent, font=font(TEXT_SIZE), fill=ink_on(background), anchor="rs")
        pen.rectangle((0, y, width - 1, y + BAR - 1), fill=BAR_COLOURS[0])
        if length := round(share * width):
            pen.rectangle((0, y, length - 1, y + BAR - 1), fill=BAR_COLOURS[1])
        boxes.append(box)
    return framed(stack(boxes, gap=10, background=background, align=0), background=background)


# Helpers


def _finite(values: np.ndarray) -> np.ndarray:
    wide = np.asarray(values, dtype=np.float64)
    bad = wide.size - int(np.isfinite(wide).sum())
    if bad:
        raise MinicnnError(f"{bad} of {wide.size} values to draw are NaN or infinite")
    return wide


def _strength(values: np.ndarray, signed: bool, top: float | None, percentile: float) -> np.ndarray:
    """A map (H, W) divided by its top value: in [0, 1], or [-1, 1] if signed."""
    if values.ndim != 2 or values.size == 0:
        raise MinicnnError(f"expected a map (H, W), got shape {values.shape}")
    wide = _finite(values)
    if not signed and wide.min() < 0:
        raise MinicnnError(f"a map with negative values (down to {wide.min():.3g}): draw it with signed=True")
    top = top_value(wide, percentile) if top is None else top
    return np.clip(wide / (top or 1), -1, 1)


def _coloured(strength: np.ndarray, signed: bool) -> np.ndarray:
    """Colours (H, W, 3) uint8 of values in [0, 1], or [-1, 1] if signed."""
    table = np.array([list(bytes.fromhex(colour)) for colour in (DIVERGING if signed else SEQUENTIAL).split()])
    place = (strength + 1) / 2 if signed else strength
    steps = np.linspace(0, 1, len(table))
    return np.rint(np.stack([np.interp(place, steps, table[:, i]) for i in range(3)], axis=-1)).astype(np.uint8)


def _as_picture(picture: Picture) -> Image.Image:
    return picture if isinstance(picture, Image.Image) else to_picture(picture)


def _of_height(picture: Image.Image, height: int) -> Image.Image:
    """Scaled to `height`: to crisp squares where it at least doubles, else smoothly."""
    width = max(1, round(picture.width * height / picture.height))
    if (width, height) == picture.size:
        return picture
    crisp = height >= 2 * picture.height
    return picture.resize((width, height), Image.Resampling.NEAREST if crisp else Image.Resampling.LANCZOS)


def _captioned(picture: Image.Image, caption: str, width: int, background: Colour) -> Image.Image:
    cell = centred(picture, (width, picture.height), background=background)
    if not caption:
        return cell
    text = text_box(caption, width, size=SMALL_SIZE, background=background)
    return stack([cell, text], gap=5, background=background)


def _side(label: str, height: int, background: Colour) -> Image.Image:
    return centred(text_box(label, SIDE, background=background), (SIDE, height), background=background)


def _columns(count: int) -> int:
    """A number of columns that fills its rows where there is one, and makes the grid wider than high."""
    if count <= 8:
        return count
    square = math.isqrt(count - 1) + 1
    return next((columns for columns in range(square, 2 * square) if count % columns == 0), square)
