"""The image engine: pictures by optimization. Objectives are {layer: gradient}, an experiment is five choices.

result = optimize(net, LogProbability(3) - 1e-4 * L2(), Pixels(start), optimizer=Adam(0.05), steps=200)
"""

from .engine import Callback, Interrupted, NotFinite, Result, Step, evaluate, optimize, path_of
from .fourier import Fourier
from .lbfgs import LBFGS
from .likeness import Diversity, Features, Gram, Guide, gram
from .objectives import (
    SCORES,
    Amplify,
    Channel,
    ClassScore,
    Direction,
    LogProbability,
    Objective,
    Sum,
    Unit,
)
from .optimizers import Adam, Evaluate, FirstOrder, GradientAscent, Optimizer, number
from .parametrizations import Parametrization, Pixels
from .projections import Ball, ClipSmall, Decay, GaussianBlur, Masked, Projection, ValidPixels
from .pyramid import Pyramid
from .registry import Example, register, registered
from .regularizers import L2, AlphaNorm, TotalVariation
from .resize import resize, resize_adjoint
from .transforms import (
    Affine,
    Blur,
    Colour,
    Crop,
    Jitter,
    Pad,
    RandomCrop,
    Resize,
    Roll,
    Rotate,
    Scale,
    Transform,
    robustness,
)

__all__ = [
    "L2",
    "LBFGS",
    "SCORES",
    "Adam",
    "Affine",
    "AlphaNorm",
    "Amplify",
    "Ball",
    "Blur",
    "Callback",
    "Channel",
    "ClassScore",
    "ClipSmall",
    "Colour",
    "Crop",
    "Decay",
    "Direction",
    "Diversity",
    "Evaluate",
    "Example",
    "Features",
    "FirstOrder",
    "Fourier",
    "GaussianBlur",
    "GradientAscent",
    "Gram",
    "Guide",
    "Interrupted",
    "Jitter",
    "LogProbability",
    "Masked",
    "NotFinite",
    "Objective",
    "Optimizer",
    "Pad",
    "Parametrization",
    "Pixels",
    "Projection",
    "Pyramid",
    "RandomCrop",
    "Resize",
    "Result",
    "Roll",
    "Rotate",
    "Scale",
    "Step",
    "Sum",
    "TotalVariation",
    "Transform",
    "Unit",
    "ValidPixels",
    "evaluate",
    "gram",
    "number",
    "optimize",
    "path_of",
    "register",
    "registered",
    "resize",
    "resize_adjoint",
    "robustness",
]
