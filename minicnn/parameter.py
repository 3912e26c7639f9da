"""What a network learns (`Parameter`), what it keeps beside that (`Buffer`), and the one array that holds all of it.

All parameters of a network lie in one flat array and all their gradients in another, each starting on a 64-byte
boundary: an optimizer step is then one pass over memory, and a gradient exchange between processes one message.
`Parameter.value` and `.grad` are views into the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .errors import MinicnnError
from .kernels.backend import Array, get_array_module

Init = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]

ALIGNMENT = 64  # bytes


class Parameter:
    """One learned array: `name` (its path in the network), `value`, `grad`; float32 unless the network is converted.

    The values are drawn by `init(shape, generator)` when they are first needed, so that a network which is only
    summarized, or whose weights are loaded, draws nothing: at random, unless `initialize(seed)` of the layer or the
    network came first. `decay` says whether weight decay applies to it.
    """

    def __init__(self, shape: Sequence[int], init: Init, *, decay: bool = True) -> None:
        self.name = ""
        self.shape = tuple(shape)
        self.size = prod(self.shape)
        self.decay = decay
        self.init = init
        self.flat: Flat | None = None
        self.offset = 0
        self._value: Array | None = None
        self._grad: Array | None = None
        self._stale = False  # what _grad holds counts as zeros

    @property
    def value(self) -> Array:
        if self._value is None:
            self.initialize(np.random.default_rng())
        return self._value

    @value.setter
    def value(self, new: Array) -> None:
        if tuple(new.shape) != self.shape:
            raise MinicnnError(f"{self.name or 'parameter'}: expected shape {self.shape}, got {tuple(new.shape)}")
        if self._value is None:
            self._value = get_array_module(new).array(new)
        elif self._value is not new:  # `p.value *= 2` has already written
            self._value[...] = new

    @property
    def grad(self) -> Array:
        if self._grad is None:
            self._grad = get_array_module(self.value).zeros(self.shape, self.value.dtype)
        if self._stale:
            self._grad[...] = 0
            self._stale = False
        return self._grad

    @grad.setter
    def grad(self, new: Array) -> None:
        if self.grad is not new:
            self.grad[...] = new

    def zero_grad(self) -> None:
        """Set the gradient to 0. The array is left as it is until somebody looks at it, or a kernel writes over it."""
        self._stale = self._grad is not None

    @property
    def blank_grad(self) -> Array | None:
        """The gradient's array where it counts as zero and holds nothing that matters, for `accumulate`; else None."""
        return self._grad if self._stale else None

    def accumulate(self, gradient: Array) -> None:
        """Add to the gradient. Nothing is to be added where a kernel has written the sum into `blank_grad`."""
        if self._stale and gradient is self._grad:
            self._stale = False
        else:
            self.grad += gradient

    @property
    def initialized(self) -> bool:
        return self._value is not None

    def initialize(self, generator: np.random.Generator) -> None:
        """Draw the values anew."""
        drawn = self.init(self.shape, generator)
        if self._value is None:
            self._value = drawn.astype(np.float32, copy=False)
        else:
            self._value[...] = get_array_module(self._value).asarray(drawn.astype(self._value.dtype, copy=False))

    def bind(self, flat: Flat, offset: int) -> None:
        """Move the values and the gradient into a flat array, where they stay."""
        value = flat.value[offset : offset + self.size].reshape(self.shape)
        grad = flat.grad[offset : offset + self.size].reshape(self.shape)
        if self._value is not None:
            value[...] = transfer(self._value, like=value)
        if self._grad is not None:
            grad[...] = transfer(self.grad, like=grad)
        self.flat, self.offset, self._value, self._grad = flat, offset, value, grad

    def __getstate__(self) -> dict[str, Any]:
        """For copies: they have arrays of their own, outside the flat ones, until `pack`."""
        return vars(self) | {"flat": None, "offset": 0}

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.shape})"


class Buffer:
    """State that is not learned by gradients but belongs to the weights: running averages, the mean of the pixels."""

    def __init__(self, value: np.ndarray) -> None:
        self.value: Array = value
        self.shape = tuple(value.shape)


class Flat:
    """The two flat arrays of a network, and which parameters lie in them."""

    def __init__(self, size: int, xp: Any, dtype: Any) -> None:
        self.value = aligned_zeros(size, xp, dtype)
        self.grad = aligned_zeros(size, xp, dtype)


def aligned_zeros(size: int, xp: Any, dtype: Any) -> Array:
    """Zeros that begin on a 64-byte boundary, as device memory does by itself and NumPy's by chance."""
    if xp is not np:
        return xp.zeros(size, dtype)
    length = size * np.dtype(dtype).itemsize
    memory = np.zeros(length + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + length].view(dtype)


def pack(parameters: Sequence[Parameter], *, xp: Any = None, dtype: Any = None) -> None:
    """Put parameters into one pair of flat arrays, in order; nothing happens when they are in one already.

    xp and dtype move them to another device or precision. Values that were not drawn yet are drawn first.
    """
    if not parameters:
        return
    flat, first = parameters[0].flat, parameters[0].value
    xp, dtype = xp or get_array_module(first), np.dtype(dtype or first.dtype)
    together = flat is not None and all(p.flat is flat for p in parameters)
    in_order = all(p.offset < q.offset for p, q in pairwise(parameters))
    if flat is not None and together and in_order and flat.value.dtype == dtype and get_array_module(flat.value) is xp:
        return
    offsets, end = [], 0
    for parameter in parameters:
        parameter.value  # noqa: B018  draws what was not drawn yet
        offsets.append(end)
        end += padded_size(parameter, dtype)
    flat = Flat(end, xp, dtype)
    for parameter, offset in zip(parameters, offsets, strict=True):
        parameter.bind(flat, offset)


def padded_size(parameter: Parameter, dtype: np.dtype) -> int:
    """Elements that a parameter takes in a flat array, up to the next 64-byte boundary."""
    step = ALIGNMENT // dtype.itemsize
    return -(-parameter.size // step) * step


class Stretch(NamedTuple):
    """Neighbours in the flat arrays that are treated alike: where they lie, and their weight decay."""

    flat: Flat
    where: slice
    decay: float

    @property
    def value(self) -> Array:
        return self.flat.value[self.where]

    @property
    def grad(self) -> Array:
        return self.flat.grad[self.where]


def stretches(parameters: Iterable[Parameter], decay: float = 0.0, *, decay_all: bool = False) -> list[Stretch]:
    """The parameters as few long stretches of the flat arrays (the gaps between them hold zeros, and stay zero).

    One decays by `decay` where its `decay` says so, or all do.
    """
    found: list[Stretch] = []
    for parameter in parameters:
        flat, own = parameter.flat, decay if parameter.decay or decay_all else 0.0
        assert flat is not None, "pack() comes first"
        start, end = parameter.offset, parameter.offset + padded_size(parameter, flat.value.dtype)
        last = found[-1] if found else None
        if last and last.flat is flat and last.decay == own and last.where.stop == start:
            start = found.pop().where.start
        found.append(Stretch(flat, slice(start, end), own))
    return found


def transfer(a: Array, *, like: Array) -> Array:
    """`a` as an array of `like`'s library and dtype. With `to_host` the only place where one changes its device."""
    source, target = get_array_module(a), get_array_module(like)
    if source is not target:
        a = target.asarray(source.asnumpy(a) if source is not np else a)
    return a.astype(like.dtype, copy=False)


def to_host(a: Array) -> np.ndarray:
    """An array of any device, or a NumPy number, as a contiguous NumPy array."""
    xp = get_array_module(a)
    return np.asarray(a if xp is np else xp.asnumpy(a), order="C")
