"""A deep learning framework from scratch, whose every backward pass is written by hand.

    import minicnn

    net = minicnn.models.build("lenet5")
    minicnn.check_gradients(net, net.input_shape)

Subpackages and public names are imported when they are first used, so that `import minicnn` itself takes no time.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_root = Path(__file__).resolve().parent.parent
if (_root / "setup.py").is_file() and (_root / "kernels").is_dir():
    # A checkout that is not installed, or that Python runs in: kernels, models and experiments lie beside this package.
    __path__.append(str(_root))

_NAMES: dict[str, tuple[str, ...]] = {
    "data": (),
    "experiments": (),
    "gradcheck": ("check_gradients",),
    "image": (),
    "kernels": (),
    "layers": (
        "AdaptiveAvgPool2d",
        "Aside",
        "AvgPool2d",
        "BatchNorm1d",
        "BatchNorm2d",
        "Concat",
        "Container",
        "Conv1d",
        "Conv2d",
        "Dropout",
        "Example",
        "Flatten",
        "GuidedReLU",
        "Layer",
        "LeakyReLU",
        "Linear",
        "LocalResponseNorm",
        "MaxPool2d",
        "Memory",
        "Normalize",
        "PadShortcut",
        "ReLU",
        "Rectifier",
        "Remember",
        "Residual",
        "Scale",
        "Sequential",
        "Shape",
        "Sigmoid",
        "Softmax",
        "Tanh",
        "ZeroPad2d",
        "accumulate",
        "backward_rule",
        "evaluating",
        "register",
        "registered",
        "unfused",
    ),
    "losses": ("SoftmaxCrossEntropy",),
    "models": (),
    "network": ("Network",),
    "optimizers": ("SGD", "Adam"),
    "training": ("train", "train_step"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from . import data, experiments, gradcheck, image, kernels, layers, losses, models, network, optimizers, training
    from .gradcheck import check_gradients
    from .layers import *
    from .losses import SoftmaxCrossEntropy
    from .network import Network
    from .optimizers import SGD, Adam
    from .training import train, train_step
else:

    def __getattr__(name: str) -> Any:
        if name in _NAMES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value  # found at once the next time
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, *_MODULE_OF})
