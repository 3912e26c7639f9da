"""Where sliding windows lie: the index arithmetic that convolution and pooling share, written out as lists.

A window at output position p reads, with its tap i, the pixel

    u = p·stride + i·dilation − padding        (v = q·stride + j·dilation − padding along the other axis)

Where u is not in 0…size − 1 lies the border. The border is left out of the lists: a convolution would multiply it by
zero, a maximum never chooses it, an average adds nothing for it.
"""

from __future__ import annotations

from ..geometry import Pair, conv_output_size, pool_output_size


def conv_windows(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> list[list[tuple[int, int]]]:
    """For each output position along one axis, the (tap, pixel) pairs of its window.

    Raises ValueError when the window is larger than the padded input.
    """
    positions = range(conv_output_size(size, kernel, stride, padding, dilation))
    start = [p * stride - padding[0] for p in positions]
    return [[(i, s + i * dilation) for i in range(kernel) if 0 <= s + i * dilation < size] for s in start]


def pool_windows(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> list[list[int]]:
    """For each output position along one axis, the pixels of its window: at least one, by torch's rules.

    Raises ValueError when the window is larger than the padded input, or the padding than half of the window.
    """
    positions = range(pool_output_size(size, kernel, stride, padding, ceil_mode))
    start = [p * stride - padding for p in positions]
    return [[u for u in range(s, s + kernel) if 0 <= u < size] for s in start]


def group_channels(input_channels: int, filters: int, group_size: int, groups: int) -> list[slice]:
    """For each filter of a grouped convolution, the input channels that it reads.

    Raises ValueError when the channels or the filters do not divide into the groups.
    """
    if group_size * groups != input_channels or filters % groups:
        raise ValueError(
            f"{filters} filters of {group_size} channels in {groups} groups do not fit an input of "
            f"{input_channels} channels"
        )
    group = [f // (filters // groups) for f in range(filters)]
    return [slice(g * group_size, (g + 1) * group_size) for g in group]
