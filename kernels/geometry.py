"""Sizes and positions of sliding windows: the arithmetic that every convolution and pooling shares.

W₂ = (W₁ − F + 2P)/S + 1, rounded down, or up in a pool's ceil mode; a dilated kernel of size K covers D(K − 1) + 1.
"""

from __future__ import annotations

Pair = tuple[int, int]
Padding2d = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def conv_output_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int = 1) -> int:
    """Positions of a window along one axis. Raises ValueError when the window does not fit even once."""
    covered = dilation * (kernel - 1) + 1
    padded = size + padding[0] + padding[1]
    if covered > padded:
        raise ValueError(f"a window of {covered} does not fit into {size} pixels padded to {padded}")
    return (padded - covered) // stride + 1


def pool_output_size(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """The same; in ceil mode rounded up, but the last window starts inside the input or its left padding."""
    if 2 * padding > kernel:
        raise ValueError(f"padding {padding} is more than half of the window {kernel}")
    out = conv_output_size(size, kernel, stride, (padding, padding + (stride - 1 if ceil_mode else 0)))
    return out - 1 if ceil_mode and (out - 1) * stride >= size + padding else out


def tap_range(tap: int, size: int, out: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Where one tap of a window lies inside the picture: (positions of the output, pixels of the input they read).

    Output position o reads pixel o·stride + tap − padding; those outside 0…size − 1 belong to the border.
    """
    first = max(0, -((tap - padding) // stride))  # ceil((padding − tap) / stride)
    last = min(out, (size - 1 - tap + padding) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + tap - padding
    return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)
