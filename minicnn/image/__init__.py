"""The image engine: pictures by optimization. Objectives are {layer: gradient}, an experiment is five choices.

result = optimize(net, LogProbability(3) - 1e-4 * L2(), Pixels(start), optimizer=Adam(0.05), steps=200)
"""

from .engine import Callback, Interrupted, NotFinite, Result, Step, evaluate, number, optimize, path_of
from .objectives import L2, SCORES, Channel, ClassScore, LogProbability, Objective, Sum, TotalVariation, Unit
from .optimizers import Adam, GradientAscent, Optimizer
from .parametrizations import Parametrization, Pixels
from .projections import ClipSmall, Decay, GaussianBlur, Projection, ValidPixels
from .registry import Example, register, registered
from .transforms import Blur, Jitter, Roll, Transform

__all__ = [
    "L2",
    "SCORES",
    "Adam",
    "Blur",
    "Callback",
    "Channel",
    "ClassScore",
    "ClipSmall",
    "Decay",
    "Example",
    "GaussianBlur",
    "GradientAscent",
    "Interrupted",
    "Jitter",
    "LogProbability",
    "NotFinite",
    "Objective",
    "Optimizer",
    "Parametrization",
    "Pixels",
    "Projection",
    "Result",
    "Roll",
    "Step",
    "Sum",
    "TotalVariation",
    "Transform",
    "Unit",
    "ValidPixels",
    "evaluate",
    "number",
    "optimize",
    "path_of",
    "register",
    "registered",
]
