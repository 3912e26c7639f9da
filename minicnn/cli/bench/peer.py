"""The same networks and steps in torch, as one writes them there. Only ever imported in a process of its own.

What speeds torch up is taken: ReLUs in place, the fused optimizer, inference mode. Pictures come normalized, as torch's
data loaders give them, so this side has no `Normalize` to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from minicnn import layers, models
from minicnn.errors import MinicnnError
from minicnn.layers import Layer

from .workloads import LR, MOMENTUM, PICTURE_LAYER, Prepared, Workload

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def prepare(work: Workload, memory_format: str, threads: int) -> Prepared:
    """torch's side in one of its memory formats: network, optimizer and pictures in memory."""
    torch.set_num_threads(threads)
    net = models.architecture(work.model)
    module = convert(net).to(memory_format=FORMATS[memory_format])
    x = torch.from_numpy(work.inputs()).contiguous(memory_format=FORMATS[memory_format])
    if work.kind == "predict":
        return Prepared(predict_step(module.eval(), x), "torch")
    if work.kind == "picture":
        names = list(net.children())
        return Prepared(picture_step(module[: names.index(PICTURE_LAYER) + 1], x), "torch")
    y = torch.from_numpy(work.labels(net.output_shape(net.input_shape)[0]))
    return Prepared(train_step(module, x, y), "torch", optimizer_bytes=2 * 4 * net.num_parameters())


def train_step(module: Any, x: Any, y: Any) -> Callable[[], Any]:
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(module.parameters(), lr=LR, momentum=MOMENTUM, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()

    return step


def predict_step(module: Any, x: Any) -> Callable[[], Any]:
    def step() -> None:
        with torch.inference_mode():
            module(x)

    return step


def picture_step(module: Any, x: Any) -> Callable[[], Any]:
    module.requires_grad_(False)
    x.requires_grad_(True)

    def step() -> None:
        y = module(x)
        torch.autograd.grad(y, x, y.detach())

    return step


class Residual(nn.Module):
    """y = layers(x) + shortcut(x)."""

    def __init__(self, chain: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.chain, self.shortcut = chain, shortcut

    def forward(self, x: Any) -> Any:
        y = self.chain(x)
        y += self.shortcut(x)
        return y


class PadShortcut(nn.Module):
    """Every second row and column, and zero channels on both sides."""

    def __init__(self, stride: int, before: int, behind: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, (0, 0, 0, 0, before, behind)

    def forward(self, x: Any) -> Any:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], self.channels)


CONVERSIONS: dict[type[Layer], Callable[[Any], Any]] = {
    layers.Conv2d: lambda la: nn.Conv2d(
        la.in_channels,
        la.out_channels,
        la.weight.shape[2:],
        la.stride,
        (la.padding[0][0], la.padding[1][0]),
        la.dilation,
        la.groups,
        bias=la.bias is not None,
    ),
    layers.Linear: lambda la: nn.Linear(la.in_features, la.out_features, bias=la.bias is not None),
    layers.BatchNorm2d: lambda la: nn.BatchNorm2d(la.num_features, la.eps, la.momentum),
    layers.LocalResponseNorm: lambda la: nn.LocalResponseNorm(la.size, la.alpha, la.beta, la.k),
    layers.ReLU: lambda la: nn.ReLU(inplace=True),
    layers.MaxPool2d: lambda la: nn.MaxPool2d(la.kernel_size, la.stride, la.padding, ceil_mode=la.ceil_mode),
    layers.AvgPool2d: lambda la: nn.AvgPool2d(la.kernel_size, la.stride, la.padding, la.ceil_mode),
    layers.AdaptiveAvgPool2d: lambda la: nn.AdaptiveAvgPool2d(la.output_size),
    layers.Flatten: lambda la: nn.Flatten(),
    layers.Dropout: lambda la: nn.Dropout(la.p),
    layers.Normalize: lambda la: nn.Identity(),
    layers.PadShortcut: lambda la: PadShortcut(la.stride, la.place.start, la.out_channels - la.place.stop),
}


def convert(layer: Layer) -> Any:
    """torch's module for a layer, with torch's own fresh weights. Raises MinicnnError where there is none."""
    if isinstance(layer, layers.Residual):
        chain = [child for name, child in layer.children().items() if name != "shortcut"]
        shortcut = layer.children().get("shortcut")
        return Residual(nn.Sequential(*map(convert, chain)), nn.Identity() if shortcut is None else convert(shortcut))
    if isinstance(layer, layers.Sequential):
        return nn.Sequential(*map(convert, layer.children().values()))
    if type(layer) not in CONVERSIONS:
        raise MinicnnError(f"{layer.path}: a {type(layer).__name__} has no counterpart in torch here")
    return CONVERSIONS[type(layer)](layer)
