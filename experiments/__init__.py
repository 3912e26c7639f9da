"""The techniques of the lectures, one file each: the function, and the command that calls it.

`minicnn.experiments.saliency` is the function, whose file has the same name.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_FUNCTIONS = {  # name -> file
    "activations": "activations",
    "axioms": "axioms",
    "bim": "attacks",
    "compare": "compare",
    "decision_slice": "decision_slice",
    "deconvnet": "deconvnet",
    "deepfool": "attacks",
    "deeplift": "deeplift",
    "demo": "demo",
    "embedding": "embedding",
    "fgsm": "attacks",
    "filters": "filters",
    "fool": "fool",
    "gallery": "gallery",
    "gradcam": "gradcam",
    "gradient_times_input": "compare",
    "guided": "guided",
    "guided_gradcam": "gradcam",
    "handmade": "handmade",
    "integrated_gradients": "integrated_gradients",
    "learned": "learned",
    "neighbours": "neighbours",
    "occlusion": "occlusion",
    "patches": "patches",
    "pgd": "attacks",
    "saliency": "saliency",
    "segment": "segment",
    "smoothgrad": "smoothgrad",
    "style_transfer": "style",
    "visualize": "visualize",
}


class _Techniques(ModuleType):
    """This package. Python gives a package every module that is imported from it as an attribute, and would so hide a
    function behind the file of the same name: here the function wins."""

    def __getattr__(self, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _FUNCTIONS):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_FUNCTIONS})


sys.modules[__name__].__class__ = _Techniques
