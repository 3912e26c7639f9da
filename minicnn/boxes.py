"""What figures are put together from: boxes, which are PIL pictures, of text and of other boxes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (38, 38, 42)
GAP = 12
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE, SMALLEST_SIZE = 20, 15, 13, 10


def stack(
    boxes: Sequence[Image.Image], *, gap: int = GAP, background: Colour = WHITE, align: float = 0.5
) -> Image.Image:
    """Boxes from top to bottom, `gap` pixels apart; `align` from 0 (left edges on one line) to 1 (right edges)."""
    width = max(box.width for box in boxes)
    whole = Image.new("RGB", (width, sum(box.height for box in boxes) + gap * (len(boxes) - 1)), background)
    y = 0
    for box in boxes:
        whole.paste(box, (round((width - box.width) * align), y))
        y += box.height + gap
    return whole


def beside(
    boxes: Sequence[Image.Image], *, gap: int = GAP, background: Colour = WHITE, align: float = 0
) -> Image.Image:
    """Boxes from left to right, `gap` pixels apart; `align` from 0 (top edges on one line) to 1 (bottom edges)."""
    height = max(box.height for box in boxes)
    whole = Image.new("RGB", (sum(box.width for box in boxes) + gap * (len(boxes) - 1), height), background)
    x = 0
    for box in boxes:
        whole.paste(box, (x, round((height - box.height) * align)))
        x += box.width + gap
    return whole


def framed(box: Image.Image, margin: int = GAP, *, background: Colour = WHITE) -> Image.Image:
    """A box with an empty margin."""
    return centred(box, (box.width + 2 * margin, box.height + 2 * margin), background=background)


def centred(box: Image.Image, size: tuple[int, int], *, background: Colour = WHITE) -> Image.Image:
    """A box in the middle of one of `size`, or of its own size where that is larger."""
    width, height = max(size[0], box.width), max(size[1], box.height)
    whole = Image.new("RGB", (width, height), background)
    whole.paste(box, ((width - box.width) // 2, (height - box.height) // 2))
    return whole


def text_box(text: str, width: int, *, size: int = TEXT_SIZE, background: Colour = WHITE) -> Image.Image:
    """Text in the middle of a box `width` pixels wide: in lines of about one length, and small enough for its longest
    word.

    A word too long even at the smallest size is broken. So nothing is ever cut off.
    """
    room = width - 2  # letters may reach a little beyond their measured width
    fits = [
        points
        for points in range(size, SMALLEST_SIZE, -1)
        if all(font(points, text).getlength(word) <= room for word in words(text))
    ]
    letters = font(fits[0] if fits else SMALLEST_SIZE, text)
    lines = evenly_wrapped(text, letters, room)
    step = sum(letters.getmetrics()) + 1
    box = Image.new("RGB", (width, step * len(lines)), background)
    draw = ImageDraw.Draw(box)
    for i, line in enumerate(lines):
        draw.text((width / 2, i * step), line, font=letters, fill=ink_on(background), anchor="ma")
    return box


def wrapped(text: str, letters: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines of `text` that are at most `width` pixels wide, broken at spaces, within a word where it is wider alone."""
    lines = [""]
    for word in words(text):
        longer = f"{lines[-1]} {word}".strip()
        if letters.getlength(longer) <= width:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and letters.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line] or [""]


def evenly_wrapped(text: str, letters: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """As `wrapped`, in no more lines; where the last would be short they become narrower, so no word is left alone."""
    lines = wrapped(text, letters, width)
    if len(lines) == 1 or letters.getlength(lines[-1]) > width / 2:
        return lines
    narrow = max(map(letters.getlength, words(text)))
    while width - narrow > 8:
        middle = (narrow + width) / 2
        narrow, width = (middle, width) if len(wrapped(text, letters, middle)) > len(lines) else (narrow, middle)
    return wrapped(text, letters, width)


def words(text: str) -> list[str]:
    """What is kept on one line where it fits: a word, a number with its "%", a difference."""
    return re.findall(r"\S+(?: %\S*| − \S+)*", " ".join(text.split()))


def ink_on(background: Colour) -> Colour:
    """The colour for text on `background`: dark on light, light on dark."""
    return INK if sum(background) > 3 * 110 else (235, 235, 235)


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """The font for `text`: Pillow's own; matplotlib's DejaVu Sans for what that lacks, nearly all that is not ASCII."""
    return _font(size, text.isascii())


@lru_cache(maxsize=64)
def _font(size: int, ascii_only: bool) -> ImageFont.FreeTypeFont:
    if not ascii_only:
        import matplotlib

        return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), round(size * 0.92))
    letters = ImageFont.load_default(size)
    if not isinstance(letters, ImageFont.FreeTypeFont):
        raise ImportError("this Pillow was built without FreeType, which text in figures needs")
    return letters
