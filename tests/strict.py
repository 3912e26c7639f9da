"""A stand-in for CuPy on machines without a GPU: NumPy arrays that forget that they lie in the host's memory.

`strict` has the functions of NumPy that CuPy 14 has too (those that anybody here may need), and its arrays refuse

- to meet a host array: in arithmetic, in an assignment, as an index, as the argument of a function;
- to become a host value where nobody asked for one: float(), int(), bool(), item(), iteration, np.asarray. CuPy allows
  some of these and waits for the device each time; here only `a.get()` and `strict.asnumpy(a)` bring values back;
- an assignment to an index that occurs twice, whose result a GPU leaves open, and an index that is out of bounds, which
  a GPU does not notice.

As in CuPy, a reduction to one number stays a 0-dimensional array, an elementwise result is C-contiguous whatever its
operands were, and `empty` holds rubbish. `strict.counters` counts what a GPU would have been asked to do.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.kernels.backend import register_array_type


@dataclass
class Counters:
    """Since the last `reset`: operations on the device, waits for it, and copies in both directions."""

    launches: int = 0
    synchronizations: int = 0
    uploads: int = 0
    downloads: int = 0

    def reset(self) -> None:
        self.launches = self.synchronizations = self.uploads = self.downloads = 0


counters = Counters()

SCALARS = (bool, int, float, complex, np.generic)
PROPERTIES = ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags")
REDUCTIONS = ("sum", "prod", "max", "min", "mean", "var", "std", "any", "all", "argmax", "argmin", "cumsum", "argsort")
VIEWS = ("reshape", "transpose", "swapaxes", "squeeze", "ravel", "view", "diagonal")
BINARY = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"),
    *("lt", "le", "eq", "ne", "gt", "ge"),
)
IMPLICIT = ("float", "int", "bool", "index", "complex", "iter", "contains", "array", "array_function")


class StrictArray:
    """An array "on the device"."""

    __array_ufunc__ = None  # so that a host array leaves arithmetic with this one to this one
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, on_host: np.ndarray) -> None:
        self._a = on_host

    @property
    def T(self) -> StrictArray:
        return StrictArray(self._a.T)

    def get(self) -> np.ndarray:
        """A host copy: the one way back."""
        counters.downloads += 1
        counters.synchronizations += 1
        return self._a.copy()

    def copy(self, order: str = "C") -> StrictArray:
        return launched(self._a.copy(order))  # type: ignore[arg-type]

    def astype(self, dtype: Any, *, order: str = "K", copy: bool = True) -> StrictArray:
        converted = self._a.astype(dtype, order=order, copy=copy)  # type: ignore[call-overload]
        return self if converted is self._a else launched(converted)

    def fill(self, value: Any) -> None:
        launched(self._a)
        self._a.fill(unwrapped(value))

    def __getitem__(self, index: Any) -> StrictArray:
        index, gathers = checked_index(index)
        if gathers:
            return launched(self._a[index])
        if not any(part is Ellipsis for part in index):
            index = (*index, Ellipsis)  # a view, also of a single element
        return StrictArray(self._a[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        index, gathers = checked_index(index)
        if gathers:
            written = np.arange(self._a.size).reshape(self._a.shape)[index]
            if len(np.unique(written)) < written.size:
                raise IndexError("assignment to an index that occurs twice: a GPU leaves open which value stays")
        launched(self._a)
        self._a[index] = unwrapped(value)

    def __len__(self) -> int:
        return len(self._a)

    def __neg__(self) -> StrictArray:
        return launched(-self._a)

    def __invert__(self) -> StrictArray:
        return launched(~self._a)

    def __abs__(self) -> StrictArray:
        return launched(abs(self._a))

    def __repr__(self) -> str:
        return f"<strict {self._a.dtype} {self._a.shape}>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"CuPy's arrays have no {name!r}, or it is not in the lists of tests/strict.py")


def launched(result: Any) -> StrictArray:
    """What an operation on the device gives: C-contiguous."""
    counters.launches += 1
    return StrictArray(np.asarray(result, order="C"))


def viewed(result: np.ndarray, of: Any) -> StrictArray:
    """What a change of shape gives: a view, or a copy where the memory does not lie so."""
    return StrictArray(result) if np.may_share_memory(result, of) else launched(result)


def unwrapped(value: Any) -> Any:
    """The host array inside a device array; scalars as they are. Raises TypeError for a host array."""
    if isinstance(value, StrictArray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError(f"a host array {value.dtype} {value.shape} meets a device array: upload it by asarray()")
    if isinstance(value, (list, tuple)):
        return type(value)(unwrapped(part) for part in value)
    return value


def checked_index(index: Any) -> tuple[tuple[Any, ...], bool]:
    """(the index as NumPy takes it, whether arrays are in it). Raises TypeError for host arrays and lists."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, (list, np.ndarray)):
            raise TypeError("an index on the host into an array on the device: upload it by asarray()")
        if isinstance(part, StrictArray) and part.dtype == bool:
            counters.synchronizations += 1  # how much a mask selects is known only afterwards
    return tuple(unwrapped(part) for part in parts), any(isinstance(part, StrictArray) for part in parts)


def binary(name: str, swapped: bool) -> Callable[[StrictArray, Any], Any]:
    compute = getattr(operator, {"and": "and_", "or": "or_"}.get(name, name))

    def method(self: StrictArray, other: Any) -> Any:
        if not isinstance(other, (StrictArray, *SCALARS)):
            unwrapped(other)  # raises its own error for a host array
            return NotImplemented
        a, b = self._a, unwrapped(other)
        return launched(compute(b, a) if swapped else compute(a, b))

    return method


def in_place(name: str) -> Callable[[StrictArray, Any], StrictArray]:
    compute = getattr(operator, {"and": "iand", "or": "ior"}.get(name, f"i{name}"))

    def method(self: StrictArray, other: Any) -> StrictArray:
        counters.launches += 1
        self._a = compute(self._a, unwrapped(other))
        return self

    return method


def refusing(name: str) -> Callable[..., Any]:
    def method(self: StrictArray, *_: Any) -> Any:
        raise TypeError(f"{name}() of an array on the device: ask for its values by get()")

    return method


def reduction(name: str) -> Callable[..., StrictArray]:
    def method(self: StrictArray, **options: Any) -> StrictArray:
        check_options(name, options, ("axis", "dtype", "keepdims"))
        return launched(getattr(self._a, name)(**options))

    return method


def view(name: str) -> Callable[..., StrictArray]:
    def method(self: StrictArray, *args: Any) -> StrictArray:
        return viewed(getattr(self._a, name)(*args), self._a)

    return method


def check_options(name: str, options: dict[str, Any], known: tuple[str, ...] | None) -> None:
    for option in options:
        if known is not None and option not in known:
            raise TypeError(f"CuPy's {name} has no option {option!r}")


for name in PROPERTIES:
    setattr(StrictArray, name, property(operator.attrgetter(f"_a.{name}")))
for name in REDUCTIONS:
    setattr(StrictArray, name, reduction(name))
for name in VIEWS:
    setattr(StrictArray, name, view(name))
for name in BINARY:
    setattr(StrictArray, f"__{name}__", binary(name, swapped=False))
    if name not in ("lt", "le", "eq", "ne", "gt", "ge"):
        setattr(StrictArray, f"__r{name}__", binary(name, swapped=True))
        if name != "matmul":  # CuPy has no `@=`
            setattr(StrictArray, f"__i{name}__", in_place(name))
for name in IMPLICIT:
    setattr(StrictArray, f"__{name}__", refusing(name))
for name in ("item", "tolist", "tobytes"):
    setattr(StrictArray, name, refusing(name))


# The functions ------------------------------------------------------------------------------------------------------

ELEMENTWISE = """
    abs absolute add arctan arctan2 bitwise_and bitwise_or ceil clip conj cos cosh divide equal exp expm1 floor
    floor_divide fmax fmin greater greater_equal hypot imag invert isfinite isinf isnan less less_equal log log10 log1p
    log2 logaddexp logical_and logical_not logical_or logical_xor maximum minimum mod multiply negative not_equal power
    real reciprocal remainder rint round sign sin sinh sqrt square subtract tan tanh true_divide trunc
"""
OTHERS = """
    all amax amin any argmax argmin argsort bincount concatenate count_nonzero cumsum diag dot einsum fft.irfft2
    fft.rfft2 flip interp linalg.norm matmul max mean median min outer packbits pad percentile prod repeat roll sort
    stack std sum take take_along_axis tensordot tile trace tril triu unpackbits unravel_index var vdot
"""
VIEW_FUNCTIONS = """
    atleast_1d atleast_2d broadcast_to expand_dims lib.stride_tricks.as_strided moveaxis ravel reshape rollaxis squeeze
    swapaxes transpose
"""
CREATION = "arange eye full indices linspace ones zeros"
CONSTANTS = """
    bool_ e float16 float32 float64 floating generic inf int16 int32 int64 int8 integer nan newaxis pi uint16 uint32
    uint64 uint8 dtype finfo iinfo issubdtype promote_types result_type
"""
OPTIONS = {  # of functions whose options differ from NumPy's
    **dict.fromkeys(ELEMENTWISE.split(), ("out", "dtype")),
    **dict.fromkeys(REDUCTIONS, ("axis", "dtype", "out", "keepdims")),
    **dict.fromkeys(("packbits", "unpackbits"), ("axis", "bitorder")),
    "matmul": ("out",),
    "argsort": ("axis",),
}


def function_of(name: str, gives_view: bool = False) -> Callable[..., Any]:
    compute = operator.attrgetter(name)(np)

    def function(*args: Any, **options: Any) -> Any:
        check_options(name, options, OPTIONS.get(name))
        host_args = unwrapped(args)
        computed = compute(*host_args, **{key: unwrapped(value) for key, value in options.items()})
        if gives_view:
            return viewed(computed, host_args[0])
        if options.get("out") is None:
            return launched(computed)
        counters.launches += 1
        return options["out"]

    return function


def asarray(a: Any, dtype: Any = None) -> StrictArray:
    if isinstance(a, StrictArray):
        return a if dtype is None else a.astype(dtype, copy=False)
    counters.uploads += 1
    return StrictArray(np.array(a, dtype))


def array(a: Any, dtype: Any = None) -> StrictArray:
    return launched(a._a.astype(dtype or a.dtype)) if isinstance(a, StrictArray) else asarray(a, dtype)


def asnumpy(a: StrictArray) -> np.ndarray:
    return a.get()


def ascontiguousarray(a: StrictArray) -> StrictArray:
    return a if unwrapped(a).flags.c_contiguous else launched(unwrapped(a))


def empty(shape: Any, dtype: Any = float) -> StrictArray:
    """Rubbish: not a number, or the largest one."""
    dtype = np.dtype(dtype)
    rubbish = np.nan if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max
    return StrictArray(np.full(shape, rubbish, dtype))


def like(create: Callable[..., StrictArray]) -> Callable[..., StrictArray]:
    def function(a: StrictArray, dtype: Any = None) -> StrictArray:
        return create(unwrapped(a).shape, dtype=dtype or a.dtype)

    return function


def where(condition: StrictArray, x: Any, y: Any) -> StrictArray:
    return launched(np.where(*unwrapped((condition, x, y))))


def copyto(dst: StrictArray, src: Any, where: StrictArray | None = None) -> None:
    counters.launches += 1
    np.copyto(unwrapped(dst), unwrapped(src), where=True if where is None else unwrapped(where))


def make_module() -> Any:
    """The module that `get_array_module` gives for a strict array."""
    module = types.ModuleType("strict")
    module.fft, module.lib, module.linalg = (types.SimpleNamespace() for _ in range(3))  # type: ignore[attr-defined]
    module.lib.stride_tricks = types.SimpleNamespace()
    functions: dict[str, Any] = {name: getattr(np, name) for name in CONSTANTS.split()}
    functions |= {name: function_of(name) for name in (ELEMENTWISE + OTHERS + CREATION).split()}
    functions |= {name: function_of(name, gives_view=True) for name in VIEW_FUNCTIONS.split()}
    functions |= {f.__name__: f for f in (asarray, array, asnumpy, ascontiguousarray, empty, where, copyto)}
    functions |= {f"{name}_like": like(functions[name]) for name in ("empty", "ones", "zeros")}
    for name, value in functions.items():
        place, _, last = name.rpartition(".")
        setattr(operator.attrgetter(place)(module) if place else module, last, value)
    return module


strict: Any = make_module()
strict.ndarray, strict.counters = StrictArray, counters
register_array_type(StrictArray, strict)
