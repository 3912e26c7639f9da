"""torch's modules with the weights of ours: the oracle for whole networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn import layers
from minicnn.layers import Layer


def twin(torch: Any, layer: Layer) -> Any:
    """A torch.nn.Module that computes what `layer` computes, in float64, with copies of its weights.

    The parameters have the names that they have here.
    """
    module = make(torch, layer)
    own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    values: dict[str, Any] = {**layer.own_parameters(), **layer.own_buffers()}
    for name in values.keys() & own.keys():
        own[name].data = torch.tensor(np.asarray(values[name].value, np.float64))
    return module.double().train(layer.training)


def make(torch: Any, layer: Layer) -> Any:
    nn = torch.nn
    if isinstance(layer, layers.Container):
        return containers(torch)[next(kind for kind in KINDS if isinstance(layer, kind))](layer)
    if isinstance(layer, layers.Normalize):
        return normalize(torch, layer)
    plain: dict[type[Layer], Callable[[Any], Any]] = {
        layers.Linear: lambda la: nn.Linear(la.in_features, la.out_features, bias=la.bias is not None),
        layers.MaxPool2d: lambda la: nn.MaxPool2d(la.kernel_size, la.stride, la.padding, ceil_mode=la.ceil_mode),
        layers.AvgPool2d: lambda la: nn.AvgPool2d(
            la.kernel_size, la.stride, la.padding, la.ceil_mode, la.count_include_pad
        ),
        layers.AdaptiveAvgPool2d: lambda la: nn.AdaptiveAvgPool2d(la.output_size),
        layers.ReLU: lambda la: nn.ReLU(),
        layers.LeakyReLU: lambda la: nn.LeakyReLU(la.negative_slope),
        layers.Sigmoid: lambda la: nn.Sigmoid(),
        layers.Softmax: lambda la: nn.Softmax(1),
        layers.Flatten: lambda la: nn.Flatten(),
        layers.Dropout: lambda la: nn.Dropout(la.p),
        layers.BatchNorm2d: lambda la: nn.BatchNorm2d(la.num_features, la.eps, la.momentum, la.weight is not None),
        layers.BatchNorm1d: lambda la: nn.BatchNorm1d(la.num_features, la.eps, la.momentum, la.weight is not None),
        layers.LocalResponseNorm: lambda la: nn.LocalResponseNorm(la.size, la.alpha, la.beta, la.k),
        layers.Tanh: lambda la: function(torch, lambda x: la.gain * torch.tanh(la.slope * x)),
        layers.ZeroPad2d: lambda la: nn.ZeroPad2d((*la.padding[1], *la.padding[0])),
        layers.PadShortcut: lambda la: pad_shortcut(torch, la),
        layers.Scale: lambda la: scale(torch, la),
    }
    if isinstance(layer, layers.Conv2d | layers.Conv1d):
        return convolution(torch, layer)
    return plain[type(layer)](layer)


def convolution(torch: Any, layer: layers.Conv2d | layers.Conv1d) -> Any:
    """Also with another border on each side. Where a table says what is connected, the other weights are 0 here."""
    borders = [*layer.padding[1], *layer.padding[0]] if isinstance(layer, layers.Conv2d) else list(layer.padding)
    conv = (torch.nn.Conv2d if isinstance(layer, layers.Conv2d) else torch.nn.Conv1d)(
        layer.in_channels,
        layer.out_channels,
        layer.weight.shape[2:],
        layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    conv.register_forward_pre_hook(lambda _module, inputs: (torch.nn.functional.pad(inputs[0], borders),))
    return conv


def function(torch: Any, compute: Callable[[Any], Any]) -> Any:
    """A module without parameters."""

    class Function(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return compute(x)

    return Function()


def normalize(torch: Any, layer: layers.Normalize) -> Any:
    mean, std, factor = (torch.tensor(np.asarray(b.value, np.float64)) for b in (layer.mean, layer.std, layer.scale))

    def compute(x: Any) -> Any:
        if layer.bgr:
            x = x.flip(1)
        return (factor * x - mean[:, None, None]) / std[:, None, None]

    return function(torch, compute)


def pad_shortcut(torch: Any, layer: layers.PadShortcut) -> Any:
    more = layer.out_channels - layer.in_channels

    def compute(x: Any) -> Any:
        x = x[:, :, :: layer.stride, :: layer.stride]
        return torch.nn.functional.pad(x, (0, 0, 0, 0, more // 2, more - more // 2))

    return function(torch, compute)


def scale(torch: Any, layer: layers.Scale) -> Any:
    class Scale(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(layer.num_features))
            self.bias = torch.nn.Parameter(torch.zeros(layer.num_features))

        def forward(self, x: Any) -> Any:
            shape = (-1, *(1,) * (x.ndim - 2))
            return self.weight.view(shape) * x + self.bias.view(shape)

    return Scale()


KINDS = (layers.Aside, layers.Residual, layers.Concat, layers.Sequential)


def containers(torch: Any) -> dict[type[Layer], Callable[[Any], Any]]:
    class Children(torch.nn.Module):
        def __init__(self, layer: layers.Container) -> None:
            super().__init__()
            for name, child in layer.children().items():
                self.add_module(name, twin(torch, child))

    class Sequential(Children):
        def forward(self, x: Any) -> Any:
            for child in self.children():
                x = child(x)
            return x

    class Residual(Children):
        def forward(self, x: Any) -> Any:
            y = x
            for name, child in self.named_children():
                y = y if name == "shortcut" else child(y)
            return y + (self.shortcut(x) if hasattr(self, "shortcut") else x)

    class Concat(Children):
        def forward(self, x: Any) -> Any:
            return torch.cat([child(x) for child in self.children()], dim=1)

    class Aside(Children):
        def forward(self, x: Any) -> Any:
            y = x
            for child in self.children():
                y = child(y)
            return x

    return {layers.Aside: Aside, layers.Sequential: Sequential, layers.Residual: Residual, layers.Concat: Concat}


def activations(module: Any, x: Any, names: list[str]) -> tuple[Any, dict[str, Any]]:
    """(the result, the outputs of the modules with these names), all in one graph."""
    found: dict[str, Any] = {}
    modules = dict(module.named_modules())
    hooks = [modules[n].register_forward_hook(lambda _m, _i, y, n=n: found.__setitem__(n, y)) for n in names]
    try:
        return module(x), found
    finally:
        for hook in hooks:
            hook.remove()
