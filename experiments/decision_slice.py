"""A slice of the decision regions (Warde-Farley & Goodfellow 2016, "Adversarial perturbations of deep neural networks":
church window plots): which class is seen where, in a plane through a picture that two directions span.

One leads to another picture, such as a fooled one; the other is drawn at random, at right angles to it and as long:

    x(a, b) = x + a·δ + b·ν,    δ = x′ − x,  ⟨δ, ν⟩ = 0,  ‖ν‖₂ = ‖δ‖₂

What a network does along δ it hardly ever does along ν: the regions are bands across δ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from minicnn.boxes import INK, SMALL_SIZE, TEXT_SIZE, WHITE, Colour, beside, font, framed, stack, text_box, wrapped
from minicnn.errors import MinicnnError, whole_number
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network
from minicnn.parameter import to_host, transfer

from .common import pictures_at_once

REACH = 3.0  # in both directions: times δ, and times ν
SHOWN = 401  # pixels of a drawn slice in each direction
# Of the classes, that of the picture first: Okabe & Ito's colours, which colour-blind people tell apart.
COLOURS: tuple[Colour, ...] = (
    *((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167)),
    *((240, 228, 66), (0, 114, 178), (213, 94, 0), (120, 120, 120)),
)
OTHERS: Colour = (205, 205, 205)


class Slice(NamedTuple):
    """What is seen at x + a·δ + b·ν: `classes` (SHOWN, SHOWN), a from −REACH to REACH to the right, b upwards.

    length: ‖δ‖₂ = ‖ν‖₂, in pixels of [0, 1].
    """

    classes: np.ndarray
    length: float


def decision_slice(
    net: Network,
    image: Array,
    other: Array,
    *,
    side: int = 19,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Slice:
    """The classes in the plane through `image` and `other`, both (1, C, H, W) in [0, 1].

    The network is asked at side×side places, in pictures cut to [0, 1]; between them the scores are interpolated, which
    for a network of ReLUs is exact but where a kink lies between. The same seed gives the same ν. `progress` gets (how
    many places are done, of how many). Raises MinicnnError for two pictures that are the same.

    Example: `decision_slice(net, image, fgsm(net, image, 7, 0.25)).classes`
    """
    net.check_picture(image)
    net.check_picture(other)
    side = whole_number("side", side, 2)
    xp, delta = get_array_module(image), to_host(other - image).astype(np.float64)
    length = float(np.linalg.norm(delta))
    if not length:
        raise MinicnnError("a slice needs two different pictures: these are the same, no direction leads to the other")
    plane = transfer(np.concatenate([delta, across(delta, seed)]), like=image)  # (2, C, H, W): δ and ν
    steps = np.linspace(-REACH, REACH, side)
    places = np.stack([np.tile(steps, side), np.repeat(steps[::-1], side)], axis=1)  # (side², 2): a and b
    count, scores = pictures_at_once(net, image.shape[1:]), []
    for i in range(0, len(places), count):
        moved = xp.tensordot(transfer(places[i : i + count], like=image), plane, 1)
        scores.append(to_host(net.scores(xp.clip(image + moved, 0, 1))))
        if progress is not None:
            progress(min(i + count, len(places)), len(places))
    return Slice(regions(np.concatenate(scores).reshape(side, side, -1)), length)


def regions(scores: np.ndarray) -> np.ndarray:
    """Scores (side, side, classes) -> the classes with the highest (SHOWN, SHOWN), bilinear in between."""
    seen = np.unique(scores.argmax(axis=2))
    coarse, fine = np.linspace(0, 1, len(scores)), np.linspace(0, 1, SHOWN)
    hats = np.stack([np.interp(fine, coarse, hat) for hat in np.eye(len(scores))], axis=1)  # (SHOWN, side)
    between = np.einsum("yi,ijk,xj->kyx", hats, scores[:, :, seen], hats, optimize=True)
    return seen[between.argmax(axis=0)]


def across(delta: np.ndarray, seed: int) -> np.ndarray:
    """A direction drawn at random, at right angles to `delta`, of its shape and length."""
    drawn = np.random.default_rng(seed).standard_normal(delta.shape)
    drawn -= np.vdot(drawn, delta) / np.vdot(delta, delta) * delta
    return drawn * np.linalg.norm(delta) / np.linalg.norm(drawn)


def draw_slice(net: Network, found: Slice, marks: tuple[str, str] = ("original", "changed")) -> Image.Image:
    """The regions in colours, the two pictures marked in them, and beside them which colour is which class."""
    colours = colours_of(found.classes)
    pixels = np.full((SHOWN, SHOWN, 3), OTHERS, np.uint8)
    for c, colour in colours.items():
        pixels[found.classes == c] = colour
    plane, middle = Image.fromarray(pixels), (SHOWN - 1) / 2
    mark(plane, (middle, middle), marks[0])
    mark(plane, (middle + middle / REACH, middle), marks[1])
    caption = f"→ the change, from dot to dot ‖δ‖₂ {found.length:.3g};  ↑ a random direction at right angles to it"
    return framed(beside([stack([plane, text_box(caption, plane.width, size=SMALL_SIZE)]), legend(net, found)]))


def colours_of(classes: np.ndarray) -> dict[int, Colour]:
    """Class -> colour: first the one in the middle, then the others by their area, as far as there are colours."""
    middle = int(classes[len(classes) // 2, len(classes) // 2])
    numbers, areas = np.unique(classes, return_counts=True)
    order = [middle] + [int(c) for c in numbers[np.argsort(-areas, kind="stable")] if c != middle]
    return dict(zip(order, COLOURS, strict=False))


def mark(plane: Image.Image, place: tuple[float, float], text: str) -> None:
    """A dot with a name beneath, both with a white border."""
    pen, (x, y) = ImageDraw.Draw(plane), place
    pen.ellipse((x - 7, y - 7, x + 7, y + 7), fill=INK, outline=WHITE, width=2)
    letters = font(TEXT_SIZE, text)
    pen.text((x, y + 10), text, font=letters, fill=INK, anchor="ma", stroke_width=2, stroke_fill=WHITE)


def legend(net: Network, found: Slice, width: int = 200) -> Image.Image:
    """The classes with their colours and their shares of the area."""
    colours = colours_of(found.classes)
    lines = [(colour, net.class_name(c), float((found.classes == c).mean())) for c, colour in colours.items()]
    rest = 1 - sum(share for _, _, share in lines)
    if rest > 1e-9:
        lines.append((OTHERS, f"{len(np.unique(found.classes)) - len(colours)} others", rest))
    rows = []
    for colour, name, share in lines:
        letters = font(TEXT_SIZE, name)
        words = [*wrapped(name, letters, width - 30), f"{100 * share:.0f} %" if share >= 0.01 else "below 1 %"]
        row = Image.new("RGB", (width, 20 * len(words)), WHITE)
        pen = ImageDraw.Draw(row)
        pen.rectangle((0, 0, 19, 19), fill=colour)
        for i, line in enumerate(words):
            pen.text((30, 10 + 20 * i), line, font=letters, fill=INK, anchor="lm")
        rows.append(row)
    return stack(rows, gap=8, align=0)
