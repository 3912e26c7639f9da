"""Convolutions of narrow pictures with few channels: whole rows in place of patches.

A row of the result depends on KH rows of the input, linearly: as a matrix of W·C inputs and OW·F outputs for each of
them, in which every filter stands once for each position, moved along (a band matrix). So the picture may be taken as
one pixel wide with W·C channels. There are more multiplications, by zeros, but far fewer runs of memory to copy: in the
first layer of LeNet-5 a patch is five runs of five numbers, and copying them takes longer than all products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array
from ..geometry import Padding2d, Pair, conv_output_size, tap_range

SHORT_RUN = 32  # numbers that lie together in a patch; more are copied quickly enough
MATRIX = 1 << 17  # entries: a larger matrix takes longer than the patches would
POSITIONS = 4096  # of the result: for fewer the matrix does not pay


class Band:
    """The horizontal half of a convolution's geometry."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        weight_shape: tuple[int, ...],
        stride: Pair,
        padding: Padding2d,
        dilation: Pair,
    ) -> None:
        _, _, self.W, self.C = input_shape
        self.F, _, self.KH, KW = weight_shape
        self.OW = conv_output_size(self.W, KW, stride[1], padding[1], dilation[1])
        reach = [tap_range(j * dilation[1], self.W, self.OW, stride[1], padding[1][0]) for j in range(KW)]
        self.taps = [(np.arange(self.OW)[out], np.arange(self.W)[pixels]) for out, pixels in reach]
        self.vertical: dict[str, Any] = {
            "stride": (stride[0], 1),
            "padding": (padding[0], (0, 0)),
            "dilation": (dilation[0], 1),
        }

    def pays(self, rows: int) -> bool:
        """Whether it is the quicker way for `rows` rows of the result, in all pictures."""
        run, entries = len(self.taps) * self.C, self.KH * self.W * self.C * self.OW * self.F
        return self.W > 1 and run <= SHORT_RUN and entries <= MATRIX and rows * self.OW >= POSITIONS

    def widen(self, w: Array) -> Array:
        """(F, C, KH, KW) -> (OW·F, W·C, KH, 1)."""
        wide = np.zeros((self.OW, self.F, self.W, self.C, self.KH), w.dtype)
        for j, (out, pixels) in enumerate(self.taps):
            wide[out, :, pixels] = w[..., j]
        return wide.reshape(self.OW * self.F, self.W * self.C, self.KH, 1)

    def narrow(self, wide: Array) -> Array:
        """The gradient of `widen`: (OW·F, W·C, KH, 1) -> (F, C, KH, KW)."""
        wide = wide.reshape(self.OW, self.F, self.W, self.C, self.KH)
        return np.stack([wide[out, :, pixels].sum(axis=0) for out, pixels in self.taps], axis=-1)
