"""From small to large: what is drawn at one size is carried on to the next.

A layer's units see a field of so many pixels, however large the picture is: in a small picture they draw its large
forms, in a large one the details. Two ways to go from one size to the next:

    octaves       detail = picture − base, and it alone is enlarged: base at the new size + detail (Mordvintsev, Olah,
                  Tyka 2015). What the photo shows stays as sharp as the photo is.
    multi-scale   the picture is enlarged as it is, and what the optimizer remembers with it (Gatys, Ecker, Bethge,
                  Hertzmann, Shechtman 2017, section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import MinicnnError
from ..kernels.backend import Array
from .resize import Size, resize


def octave_sizes(size: Size, octaves: int, scale: float = 1.4, *, least: Size = (1, 1)) -> list[Size]:
    """The sizes (H, W) of so many octaves, the smallest first, `size` the last; each `scale` times the one before.

    Raises MinicnnError where the first would be smaller than `least`, what the network needs at least.
    """
    if octaves < 1 or not scale > 1:
        raise MinicnnError(f"{octaves} octaves of scale {scale}: expected 1 or more, and a scale above 1")
    sizes = [tuple(round(side / scale**i) for side in size) for i in reversed(range(octaves))]
    (height, width), (rows, columns) = sizes[0], least
    if height < rows or width < columns:
        raise MinicnnError(
            f"a picture of {size[0]}×{size[1]} pixels in {octaves} octaves begins with {height}×{width}: the network "
            f"needs {rows}×{columns}; take fewer octaves, a smaller scale or a larger picture"
        )
    return [(height, width) for height, width in sizes]


def over_octaves(image: Array, sizes: Sequence[Size], draw: Callable[[Array, Array], Array]) -> Array:
    """`draw(start, base)` at one size after the other -> the last picture; image (N, C, H, W) is resized to each.

    base: the picture at that size; start: the same with the detail that was drawn so far.
    """
    drawn, detail = image, None
    for size in sizes:
        base = resize(image, size)
        drawn = draw(base if detail is None else base + resize(detail, size), base)
        detail = drawn - base
    return drawn


def carried(state: Any, size: Size) -> Any:
    """What an optimizer remembers of pictures, for pictures of another size: its arrays (N, C, H, W) are resized."""
    if isinstance(state, tuple):
        return tuple(carried(part, size) for part in state)
    return resize(state, size) if getattr(state, "ndim", 0) == 4 else state
