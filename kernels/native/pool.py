"""Max and average pooling: see max_pool.c and avg_pool.c."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .. import array
from ..geometry import Pair, pool_output_size
from .arguments import empty, floats, pointer
from .library import function

_max_forward = function("max_pool_forward", "ppp" + 12 * "n" + "i")
_max_backward = function("max_pool_backward", "ppp" + 12 * "n")
_avg_forward = function("avg_pool_forward", "pp" + 12 * "n" + "i")
_avg_backward = function("avg_pool_backward", "pp" + 12 * "n" + "i")


def max_pool2d_forward(
    x: np.ndarray,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    relu: bool = False,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache. relu: then max(y, 0).

    Windows of more than 255 pixels go to the array kernel.
    """
    if kernel_size[0] * kernel_size[1] > 255:
        y, content = array.max_pool2d_forward(
            x,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            relu=relu,
            remember=remember,
        )
        return y, None if content is None else (None, content)
    x = floats(x)
    sizes = windows(x.shape, kernel_size, stride, padding, ceil_mode)
    y = empty((sizes[0], sizes[4], sizes[5], sizes[3]))
    switches = np.empty(y.shape, np.uint8) if remember else None
    _max_forward(pointer(x), pointer(y), pointer(switches), *sizes, relu)
    return y, None if switches is None else (switches, sizes)


def max_pool2d_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    switches, sizes = cache
    if switches is None:
        return array.max_pool2d_backward(dy, sizes)
    dy, dx = floats(dy, switches.shape), empty(sizes[:4])
    _max_backward(pointer(dy), pointer(switches), pointer(dx), *sizes)
    return dx


def avg_pool2d_forward(
    x: np.ndarray,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache."""
    x = floats(x)
    sizes = windows(x.shape, kernel_size, stride, padding, ceil_mode)
    y = empty((sizes[0], sizes[4], sizes[5], sizes[3]))
    _avg_forward(pointer(x), pointer(y), *sizes, count_include_pad)
    return y, None if remember is None else (sizes, count_include_pad)


def avg_pool2d_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    sizes, count_include_pad = cache
    dy, dx = floats(dy, (sizes[0], sizes[4], sizes[5], sizes[3])), empty(sizes[:4])
    _avg_backward(pointer(dy), pointer(dx), *sizes, count_include_pad)
    return dx


def adaptive_avg_pool2d_forward(
    x: np.ndarray, *, output_size: Pair, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache. Windows of unequal sizes go to the array kernel."""
    (_, H, W, _), (OH, OW) = x.shape, output_size
    if H % OH or W % OW or not H or not W:
        y, content = array.adaptive_avg_pool2d_forward(x, output_size=output_size, remember=remember)
        return y, None if content is None else (None, content)
    window = (H // OH, W // OW)
    return avg_pool2d_forward(x, kernel_size=window, stride=window, remember=remember)


def adaptive_avg_pool2d_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    return array.adaptive_avg_pool2d_backward(dy, cache[1]) if cache[0] is None else avg_pool2d_backward(dy, cache)


@lru_cache(maxsize=256)
def windows(shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool) -> tuple[int, ...]:
    """What the C functions want to know, in their order: N, H, W, C, OH, OW, KH, KW, and stride and padding of both."""
    N, H, W, C = shape
    if min(*kernel, *stride) < 1 or min(padding) < 0:
        raise ValueError(f"window {kernel}, stride {stride}, padding {padding}: expected 1 or more, 0 or more")
    OH = pool_output_size(H, kernel[0], stride[0], padding[0], ceil_mode)
    OW = pool_output_size(W, kernel[1], stride[1], padding[1], ceil_mode)
    return N, H, W, C, OH, OW, *kernel, *stride, *padding
