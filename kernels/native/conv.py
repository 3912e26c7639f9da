"""Two-dimensional convolution, float32 on processors. kernels/array/conv.py has the formulas.

Everything comes down to two calls in C, on parts of arrays: a convolution, and the gradient of its filters. Groups are
one call each, on their slices of the channels. dx is a convolution of dy with the filters flipped, in and out
exchanged; with stride s it is s² of them, each of which makes every s-th pixel of dx from every s-th tap.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

from ..backend import Array, workspace
from ..choosing import GRADIENT_RULES, Window, choose_conv
from ..frozen import derived
from ..geometry import Padding2d, Pair, conv_output_size
from .arguments import address, empty, floats, place
from .library import function, lanes
from .relu import bits_of


def longs(*names: str) -> list[tuple[str, type]]:
    """Fields of a C structure."""
    return [(name, ctypes.c_long) for name in names]


class Conv(ctypes.Structure):
    """`Conv` of conv.h."""

    _fields_ = [
        ("x", ctypes.c_void_p),
        ("gate", ctypes.c_void_p),
        *longs("start", "n", "h", "w", "c", "xn", "xy", "xx"),
        *longs("kh", "kw", "sh", "sw", "dh", "dw", "top", "left"),
        ("y", ctypes.c_void_p),
        *longs("oh", "ow", "f", "yn", "yy", "yx"),
        ("relu", ctypes.c_int),
    ]


class Filters(ctypes.Structure):
    """`Filters` of conv.h."""

    _fields_ = [
        ("w", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        *longs("outputs", "inputs", "kh", "kw", "wo", "wi", "wa", "wb"),
    ]


conv_direct = function("conv_direct", "pp")
conv_points = function("conv_points", "pp")
conv_narrow = function("conv_narrow", "pp")
conv_pictures = function("conv_pictures", "pp")
conv_winograd = function("conv_winograd", "ppp")
pack_filters = function("pack_filters", "pp")
winograd_make = function("winograd_make", "pp")
packed_size = function("packed_size", "nnn", "n")
GRADIENTS = {
    "direct": function("conv_gradient", "ppp"),
    "narrow": function("conv_gradient_narrow", "ppp"),
    "points": function("conv_gradient_points", "ppp"),
    "winograd": function("conv_winograd_gradient", "ppp"),
}


class Part(NamedTuple):
    """One call in C: which kernel, its sizes and steps, and how many floats into each array it begins."""

    kernel: str
    conv: Conv
    filters: Filters
    x: int = 0
    y: int = 0
    w: int = 0
    bias: int = 0


class Plan(NamedTuple):
    """All calls of a convolution with arrays of given sizes."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    forward: list[Part]
    backward: list[Part]
    gradient: list[Part]
    complete: bool  # dx has no pixel that no window reads


def conv2d_forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding2d = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    relu: bool = False,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (N, H, W, C), w (F, C/groups, KH, KW), b (F,) or None -> y (N, OH, OW, F), cache."""
    x, w = floats(x), floats(w)
    b = None if b is None else floats(b, w.shape[:1])
    plan = planned(x.shape, w.shape, stride, padding, dilation, groups, lanes())
    y = empty(plan.output_shape)
    for part in plan.forward if len(x) else ():
        convolve(part, x, None, w, b, y, relu)
    return y, None if remember is None else (x if remember == "all" else None, w, b is not None, plan)


def conv2d_backward(
    dy: Array,
    cache: Any,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
    out: tuple[Array | None, Array | None] = (None, None),
    gate: Array | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, OH, OW, F) -> dx (N, H, W, C), dw (F, C/groups, KH, KW), db (F,); None for what is not needed.

    gate: the cache of relu_forward for the output; dy is then the gradient behind that ReLU.
    """
    x, w, has_bias, plan = cache
    dy = floats(dy, plan.output_shape)
    if gate is not None and gate.size != bits_of(dy.size):
        raise ValueError(f"gate: expected that of an output {dy.shape}")
    dx = dw = db = None
    if need_dparams:
        dw, db = place(out[0], w.shape), place(out[1], w.shape[:1]) if has_bias else None
        if not len(dy):
            dw[...] = 0
            if db is not None:
                db[...] = 0
        for part in plan.gradient if len(dy) else ():
            conv = Conv.from_buffer_copy(part.conv)
            conv.x, conv.y, conv.gate, conv.start = at(x, part.x), at(dy, part.y), address(gate), part.y
            GRADIENTS[part.kernel](ctypes.addressof(conv), at(dw, part.w), at(db, part.bias))
    if need_dx:
        dx = empty(plan.input_shape)
        if not plan.complete:
            dx[...] = 0
        for part in plan.backward if len(dy) else ():
            convolve(part, dy, gate, w, None, dx, False)
    return dx, dw, db


def convolve(part: Part, x: Array, gate: Array | None, w: Array, b: Array | None, y: Array, relu: bool) -> None:
    """One convolution from x to y: a part of the forward pass, or of dx, where x is dy and may have a gate."""
    conv, filters = Conv.from_buffer_copy(part.conv), Filters.from_buffer_copy(part.filters)
    conv.x, conv.y, conv.relu = at(x, part.x), at(y, part.y), relu
    conv.gate, conv.start = address(gate), part.x
    filters.w, filters.bias = at(w, part.w), at(b, part.bias)
    place, which = ctypes.addressof(conv), ctypes.addressof(filters)
    use = (part.kernel == "winograd", part.w, bytes(part.filters))  # of w: as it lies or flipped, and which group
    if part.kernel == "narrow":
        conv_narrow(place, which)
    elif part.kernel == "pictures":
        conv_pictures(place, which)
    elif part.kernel == "winograd":
        transformed = derived(w, use, lambda: prepared(winograd_make, 36 * conv.c * conv.f, which))
        conv_winograd(place, which, address(transformed))
    else:
        size = packed_size(conv.f, conv.c, conv.kh * conv.kw)
        packed = derived(w, use, lambda: prepared(pack_filters, size, which))
        if packed is None:
            packed = workspace("packed filters", (size,), y)
            pack_filters(which, address(packed))
        (conv_points if part.kernel == "points" else conv_direct)(place, address(packed))


def prepared(make: Callable[..., int], size: int, filters: int) -> Array:
    """Filters as a kernel reads them, in an array of their own."""
    array = empty((size,))
    make(filters, address(array))
    return array


def at(a: Array | None, start: int) -> int | None:
    """The address of element `start` of a float32 array."""
    place = address(a)
    return None if place is None else place + 4 * start


# Plans ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def planned(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Pair,
    padding: Padding2d,
    dilation: Pair,
    groups: int,
    lanes: int,
) -> Plan:
    """The plan for arrays of these shapes. Raises ValueError where they do not fit."""
    (N, H, W, C), (F, Cg, KH, KW), Fg = x, w, w[0] // groups
    if not (C and F and KH and KW):
        raise ValueError(f"a convolution without channels or taps: input {x}, weights {w}")
    if min(*stride, *dilation) < 1 or min(*padding[0], *padding[1]) < 0:
        raise ValueError(f"stride {stride}, dilation {dilation}, padding {padding}: expected 1 or more, 0 or more")
    if Cg * groups != C or F % groups:
        raise ValueError(f"weights {w} in {groups} groups do not fit an input of {C} channels")
    OH, OW = (conv_output_size(*axis) for axis in zip((H, W), (KH, KW), stride, padding, dilation, strict=True))
    window = Window(N, Cg, Fg, (KH, KW), stride, dilation, (OH, OW), lanes)
    plan = Plan(
        x,
        (N, OH, OW, F),
        [],
        [],
        [],
        all(s // gcd(s, d) <= k and gcd(s, d) == 1 for s, k, d in zip(stride, (KH, KW), dilation, strict=True)),
    )
    conv = Conv(
        n=N, h=H, w=W, c=Cg, xn=H * W * C, xy=W * C, xx=C,
        kh=KH, kw=KW, sh=stride[0], sw=stride[1], dh=dilation[0], dw=dilation[1], top=padding[0][0], left=padding[1][0],
        oh=OH, ow=OW, f=Fg, yn=OH * OW * F, yy=OW * F, yx=F,
    )  # fmt: skip
    filters = Filters(outputs=Fg, inputs=Cg, kh=KH, kw=KW, wo=Cg * KH * KW, wi=KH * KW, wa=KW, wb=1)
    for g in range(groups):
        starts = {"x": g * Cg, "y": g * Fg, "w": g * Fg * Cg * KH * KW, "bias": g * Fg}
        plan.forward.append(Part(choose_conv(window), conv, filters, **starts))
        plan.gradient.append(Part(choose_conv(window, GRADIENT_RULES), conv, filters, **starts))
        for rows in phases(H, OH, KH, stride[0], padding[0][0], dilation[0]):
            for columns in phases(W, OW, KW, stride[1], padding[1][0], dilation[1]):
                plan.backward.append(transposed(conv, filters, rows, columns, g, lanes))
    return plan


class Phase(NamedTuple):
    """Along one axis, the pixels first, first + step, … of dx: a convolution of dy, stride 1, with some of the taps."""

    first: int
    step: int
    pixels: int
    tap: int  # the last tap that reaches them: the filter is flipped
    taps: int
    spacing: int  # of the taps
    dilation: int
    border: int


def phases(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Phase]:
    """How dx is put together along one axis of `size` pixels.

    Pixel h is read at output p by tap i where h + padding = p·stride + i·dilation. For stride 1 the taps that reach
    a pixel are all of them, and p = h + padding − i·dilation. For stride s they are every s-th: with dilation 1 and
    h + padding = s·u + a they are i = a + s·k, and p = u − k. For dilation d, each remainder a that some tap's i·d
    leaves is reached by every (s/g)-th, g = gcd(s, d): i = j + (s/g)·k, and p = u + (a − j·d)/s − (d/g)·k.
    """
    spacing, dilated = stride // gcd(stride, dilation), dilation // gcd(stride, dilation)
    found = []
    for j in range(min(spacing, kernel)):  # the first tap of each phase
        a = j * dilation % stride
        taps = -(-(kernel - j) // spacing)
        u = max(0, -((a - padding) // stride))  # of the first pixel: a − padding + s·u ≥ 0
        first = a - padding + stride * u
        count = -(-(size - first) // stride)
        border = dilated * (taps - 1) + (j * dilation - a) // stride - u
        if count > 0:
            found.append(Phase(first, stride, count, j + (taps - 1) * spacing, taps, spacing, dilated, border))
    return found


def transposed(conv: Conv, filters: Filters, rows: Phase, columns: Phase, group: int, lanes: int) -> Part:
    """The part of dx in one phase of rows and columns: dy is the input, in and out of the filters change places."""
    Cg, Fg, KH, KW = conv.c, conv.f, conv.kh, conv.kw
    back = Conv(
        n=conv.n, h=conv.oh, w=conv.ow, c=Fg, xn=conv.yn, xy=conv.yy, xx=conv.yx,
        kh=rows.taps, kw=columns.taps, sh=1, sw=1, dh=rows.dilation, dw=columns.dilation,
        top=rows.border, left=columns.border,
        oh=rows.pixels, ow=columns.pixels, f=Cg, yn=conv.xn, yy=conv.xy * rows.step, yx=conv.xx * columns.step,
    )  # fmt: skip
    flipped = Filters(
        outputs=Cg, inputs=Fg, kh=rows.taps, kw=columns.taps,
        wo=filters.wi, wi=filters.wo, wa=-filters.wa * rows.spacing, wb=-filters.wb * columns.spacing,
    )  # fmt: skip
    taps, dilation = (rows.taps, columns.taps), (rows.dilation, columns.dilation)
    window = Window(conv.n, Fg, Cg, taps, (1, 1), dilation, (rows.pixels, columns.pixels), lanes)
    return Part(
        choose_conv(window),
        back,
        flipped,
        x=group * Fg,
        y=rows.first * conv.xy + columns.first * conv.xx + group * Cg,
        w=group * Fg * Cg * KH * KW + rows.tap * KW + columns.tap,
    )
