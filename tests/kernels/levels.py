"""The native kernels compiled for one kind of processor, beside those that this one would choose."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest

from minicnn.kernels import array
from minicnn.kernels.native import library


def missing() -> str:
    """Why there are no native kernels here, or nothing."""
    try:
        library.library()
    except library.Unavailable as reason:
        return str(reason)
    return ""


needs_native = pytest.mark.skipif(bool(missing()), reason=f"no native kernels: {missing()}")


@lru_cache
def kernels_at(level: str, way: str = "") -> ModuleType:
    """The native family with a level's library, as a copy of the package. Skips where this processor cannot run it.

    way: every convolution takes it ("direct", "pictures", …), in place of what choosing.py says; the gradient of
    its filters takes "direct" where that way has none.
    """
    if missing() or not library.file(level).is_file() or not library.supports(level):
        pytest.skip(missing() or f"no native kernels for {level} here")
    folder = Path(library.__file__).parent
    name = f"{library.__package__}_{level}_{way}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with mock.patch.dict("os.environ", MINICNN_NATIVE_LEVEL=level):
        assert module.library.library().level == level
    if way:
        gradient = way if way in module.conv.GRADIENTS else "direct"
        module.conv.choose_conv = lambda window, rules=None: way if rules is None else gradient
    return module


class Native:
    """The native family for tests that compute in float64: rounded on the way in, widened on the way out.

    What it lacks comes from the array kernels, in float64. Arrays that are float32 already are handed on as they are.
    """

    __all__ = array.__all__

    def __getattr__(self, op: str) -> Any:
        native = importlib.import_module("minicnn.kernels.native")
        if not hasattr(native, op):
            return getattr(array, op)
        kernel = getattr(native, op)

        def call(*args: Any, **options: Any) -> Any:
            out = options.pop("out", ())
            given = [*args, *options.values(), *out]
            rounded = [a.astype(np.float32) if double(a) else a for a in given]
            named = dict(zip(options, rounded[len(args) :], strict=False))
            places = {"out": tuple(rounded[len(args) + len(options) :])} if out else {}
            result = kernel(*rounded[: len(args)], **named, **places)
            for a, b in zip(given, rounded, strict=True):
                if double(a) and (a.astype(np.float32) != b).any():
                    a[...] = b
            if not any(map(double, given)):
                return result
            return tuple(map(widened, result)) if type(result) is tuple else widened(result)

        return call


def double(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype == np.float64


def widened(a: Any) -> Any:
    return a.astype(np.float64) if isinstance(a, (np.ndarray, np.float32)) and a.dtype == np.float32 else a
