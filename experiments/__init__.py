"""The techniques of the lectures, one file each: the function, and the command that calls it."""

from __future__ import annotations

import importlib
from typing import Any

_FUNCTIONS = {"saliency": "saliency"}  # name -> module


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
