"""The layers. Names and default values are torch's where torch has the layer."""

from .activations import GuidedReLU, LeakyReLU, Rectifier, ReLU, Sigmoid, Softmax, Tanh, backward_rule
from .aside import Aside
from .containers import Concat, Container, Residual, Sequential
from .conv import Conv1d, Conv2d
from .fusion import unfused
from .layer import Layer, Memory, Remember, Shape, accumulate, evaluating
from .linear import Flatten, Linear
from .norm import BatchNorm1d, BatchNorm2d, LocalResponseNorm, Normalize, Scale
from .pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from .registry import Example, register, registered
from .shape import Dropout, PadShortcut, ZeroPad2d

__all__ = [
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
]
