"""One-dimensional convolution: the two-dimensional one on pictures that are one row high."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..geometry import Pair
from .conv import conv2d_backward, conv2d_forward


def conv1d_forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: int = 1,
    padding: Pair = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (N, L, C), w (F, C/groups, K), b (F,) or None -> y (N, OL, F), cache."""
    y, cache = conv2d_forward(
        x[:, None],  # (N, 1, L, C)
        w[:, :, None],  # (F, C/groups, 1, K)
        b,
        stride=(1, stride),
        padding=((0, 0), padding),
        dilation=(1, dilation),
        groups=groups,
        remember=remember,
    )
    return y[:, 0], cache


def conv1d_backward(
    dy: Array, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, OL, F) -> dx (N, L, C), dw (F, C/groups, K), db (F,); None for what is not needed."""
    dx, dw, db = conv2d_backward(dy[:, None], cache, need_dx=need_dx, need_dparams=need_dparams)
    return None if dx is None else dx[:, 0], None if dw is None else dw[:, :, 0], db
