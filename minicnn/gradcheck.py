"""Gradient checks: the hand-written backward pass against differences of the forward pass, in float64.

Take a random direction v of a tensor t and a random cotangent dy. With f(t) = ⟨dy, layer(t)⟩ the backward pass claims
f'(t)·v = ⟨dt, v⟩, and differences say so without it. One direction weighs every element at once, so an error in any
of them shows; correct code agrees to about 1e-11, a gradient that is wrong by 0.1 % differs by 5e-4. The bound is 1e-7.

The difference is Richardson's, (4·D(h) − D(2h))/3 with D(h) = (f(t + hv) − f(t − hv))/2h, whose error falls as h⁴.
ReLUs and max pools have kinks, across which no difference means anything: each says on which side it is (the mask, the
switches), and h shrinks until no side changes between t − 2hv and t + 2hv. Where it cannot, the element on the edge is
named. A short step leaves fewer digits: differences are held to what rounding leaves them, never to more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np

from .device import device_module
from .errors import MinicnnError
from .kernels.backend import Array, get_array_module
from .layers import Container, Layer, Shape, unfused
from .parameter import pack

BOUND = 1e-7
STEPS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
ROUNDINGS = 64  # that an output may go through, which limits the digits of a difference; up to 8 measured in AlexNet
FEW = 32  # elements that are tried one by one

Progress = Callable[[int, int, str], None]  # (done, total, what was checked last)


@dataclass
class Check:
    """One tensor of one layer: the two derivatives along the random direction, and where to look if they differ."""

    layer: str
    tensor: str
    analytic: float
    numeric: float
    scale: float
    kink: str = ""  # the kink that no step was short enough to stay clear of
    note: str = ""

    @property
    def error(self) -> float:
        """|analytic − numeric| relative to the size of the terms that were summed, 0 … about 1."""
        error = abs(self.analytic - self.numeric) / max(self.scale, 1e-300)
        return error if isfinite(error) else float("inf")

    @property
    def ok(self) -> bool:
        return self.error <= BOUND


@dataclass
class Report:
    """The checks of a layer or a network. True when every one passed."""

    checks: list[Check] = field(default_factory=list)

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((check.error for check in self.checks), default=0.0)

    def __bool__(self) -> bool:
        return not self.failures


def check_gradients(
    layer: Layer,
    input_shape: Shape,
    *,
    batch: int = 3,
    seed: int = 0,
    training: bool = True,
    device: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check dx and every parameter's gradient of a layer or a network on a random input (batch, *input_shape).

    A network is checked layer by layer, each on the input that it gets there, and then as a whole, from the picture to
    the scores. Its weights, gradients, running averages and random states are afterwards what they were; its memory of
    an earlier forward pass is gone. A batch of two would hide the gradient of a batch norm behind it: two values are
    always 1 and −1 after it. Raises MinicnnError when the input does not fit.
    """
    generator = np.random.default_rng(seed)
    report = Report()
    with in_float64(layer, training, device) as xp:
        if isinstance(layer, Container):
            x = xp.asarray(generator.uniform(0, 1, (batch, *input_shape)))  # as a picture
            todo = [*leaf_inputs(layer, x), ("whole", layer, x)]
        else:
            x = xp.asarray(generator.standard_normal((batch, *input_shape)))
            todo = [(type(layer).__name__, layer, x)]
        total = sum(1 + len(part.parameters()) for _, part, _ in todo)
        for name, part, inputs in todo:
            look_closer = part is not layer or not report.failures  # else the layer inside has been looked at
            for check in check_layer(part, inputs, name, generator, look_closer):
                report.checks.append(check)
                if progress:
                    progress(len(report.checks), total, f"{name} {check.tensor}")
    return report


@contextmanager
def in_float64(layer: Layer, training: bool, device: str | None) -> Iterator[Any]:
    """Within the block the layer computes in float64, on a device; gives the array module. Then it is as it was."""
    parameters, buffers, nodes = layer.parameters(), layer.named_buffers().values(), [la for _, la in layer.nodes()]
    pack(parameters)
    places = [(p, p.flat, p.offset, p.grad.copy()) for p in parameters]
    averages = [(b, b.value, b.value.copy()) for b in buffers]
    modes, random = [(la, la.training) for la in nodes], layer.random_states()
    try:
        layer.train(training).to(device, dtype=np.float64)
        first = [p.value for p in parameters[:1]]
        yield device_module(device) if device else get_array_module(*first) if first else np
    finally:
        for parameter, flat, offset, grad in places:
            assert flat is not None, "pack() came first"
            parameter.bind(flat, offset)
            parameter.grad = grad
        for buffer, value, kept in averages:
            value[...] = kept
            buffer.value = value
        for node, mode in modes:
            node.training = mode
            node.forget()
        layer.load_random_states(random)


def leaf_inputs(net: Container, x: Array) -> list[tuple[str, Layer, Array]]:
    """(path, layer, an input like the one it gets) of every layer without layers inside, for one forward pass on x.

    A tenth of noise is added: behind a ReLU many values are exactly 0, and a max pool would stand on the kink where
    they tie.
    """
    leaves = [(path, layer) for path, layer in net.layers() if not layer.children()]
    noise, xp = np.random.default_rng(1), get_array_module(x)
    with watching(leaves) as inputs:
        net.trace(x, {"", *(path for path, _ in leaves)}, "all")  # also what no forward pass runs, beside the network
    found = []
    for path, layer in leaves:
        size = 0.1 * (float(inputs[path].std()) or 1.0)
        found.append((path, layer, inputs[path] + xp.asarray(size * noise.standard_normal(inputs[path].shape))))
    return found


@contextmanager
def watching(layers: Sequence[tuple[str, Layer]]) -> Iterator[dict[str, Array]]:
    """Within the block each layer runs by itself, and what it gets as its input lies in the dictionary yielded."""
    inputs: dict[str, Array] = {}

    def spy(path: str, forward: Callable[..., Array]) -> Callable[..., Array]:
        def forward_and_tell(x: Array, **options: Any) -> Array:
            inputs[path] = x
            return forward(x, **options)

        return forward_and_tell

    for path, layer in layers:
        vars(layer)["forward"] = spy(path, layer.forward)
    try:
        with unfused():
            yield inputs
    finally:
        for _, layer in layers:
            del vars(layer)["forward"]


def check_layer(
    layer: Layer, x: Array, name: str, generator: np.random.Generator, look_closer: bool = True
) -> Iterator[Check]:
    """Check dx and each parameter's gradient of one layer (or network) at x, both in float64."""
    function = Function(layer, x)
    dy = function.draw(generator, function().shape)
    for tensor, gradient in function.gradients(dy).items():
        direction = function.draw(generator, gradient.shape)
        yield check_tensor(function, name, tensor, gradient, direction, dy, look_closer)


class Function:
    """A layer's forward pass as a function of the input and the parameters, any one of them moved along a direction."""

    def __init__(self, layer: Layer, x: Array) -> None:
        self.layer, self.x, self.xp = layer, x, get_array_module(x)
        self.tensors = {"x": x} | {n: p.value for n, p in layer.named_parameters().items()}
        self.random = layer.random_states()
        self.buffers = {name: b.value.copy() for name, b in layer.named_buffers().items()}
        self.kinked = [(path, la) for path, la in layer.nodes() if la.sides(x[:0]) is not None]

    def __call__(self, h: float = 0.0, tensor: str = "x", direction: Array | float = 0.0) -> Array:
        """y with `tensor` moved by h·direction; the same dropout and the same running averages every time."""
        self.layer.load_random_states(self.random)
        for name, buffer in self.layer.named_buffers().items():
            buffer.value[...] = self.buffers[name]
        if tensor == "x":
            return self.layer.forward(self.x + h * direction)
        target = self.tensors[tensor]
        kept = target.copy()
        target += h * direction
        try:
            return self.layer.forward(self.x)
        finally:
            target[...] = kept

    def draw(self, generator: np.random.Generator, shape: Shape) -> Array:
        """Normal random numbers beside x."""
        return self.xp.asarray(generator.standard_normal(shape))

    def gradients(self, dy: Array) -> dict[str, Array]:
        """What the backward pass gives for each tensor at the point itself."""
        self()
        for parameter in self.layer.parameters():
            parameter.grad = self.xp.zeros_like(parameter.grad)
        dx = self.layer.backward(dy)
        if dx is None or dx.shape != self.x.shape:
            got = "None" if dx is None else f"shape {dx.shape}"
            raise MinicnnError(f"{type(self.layer).__name__}: backward gave {got}, expected dx of shape {self.x.shape}")
        return {"x": dx} | {n: p.grad.copy() for n, p in self.layer.named_parameters().items()}

    def difference(self, tensor: str, direction: Array, dy: Array, h: float) -> tuple[float, float]:
        """(the derivative of ⟨dy, y⟩ along the direction, the precision that rounding leaves it)."""
        y = {k: self(k * h, tensor, direction) for k in (2, 1, -1, -2)}
        near = float(self.xp.vdot(dy, y[1] - y[-1])) / (2 * h)
        far = float(self.xp.vdot(dy, y[2] - y[-2])) / (4 * h)
        unit = ROUNDINGS * np.finfo(np.float64).eps
        return (4 * near - far) / 3, unit * float(self.xp.linalg.norm(dy * y[1])) / h

    def crossed(self, tensor: str, direction: Array, reach: float) -> str:
        """A kink between the point and reach·direction to either side, "relu1 (0, 3, 1, 1)"; "" where there is none."""
        for h in (reach, -reach) if self.kinked else ():
            for path, there in self.sides(h, tensor, direction).items():
                changed = there != self.own_sides[path]
                if changed.any():
                    where = np.unravel_index(int(changed.argmax()), changed.shape)
                    return f"{path or 'the layer'} {place(where)}"
        return ""

    def sides(self, h: float, tensor: str, direction: Array | float) -> dict[str, Array]:
        """On which side of its kinks each layer is that has any, and that runs."""
        with watching(self.kinked) as inputs:
            self(h, tensor, direction)
        return {path: layer.sides(inputs[path]) for path, layer in self.kinked if path in inputs}

    @cached_property
    def own_sides(self) -> dict[str, Array]:
        """`sides` at the point itself."""
        return self.sides(0.0, "x", 0.0)


def check_tensor(
    function: Function, name: str, tensor: str, gradient: Array, direction: Array, dy: Array, look_closer: bool
) -> Check:
    """Compare ⟨gradient, direction⟩ with the difference along the direction; look closer where they differ."""
    for h in STEPS:
        kink = function.crossed(tensor, direction, 2 * h)
        if not kink:
            break
    numeric, precision = function.difference(tensor, direction, dy, h)
    analytic = float(function.xp.vdot(gradient, direction))
    scale = float(function.xp.linalg.norm(gradient * direction))  # of the terms summed: their sum may cancel
    check = Check(name, tensor, analytic, numeric, max(scale, precision / BOUND), kink)
    if not check.ok and not look_closer:
        check.note = "a layer inside is wrong already"
    elif not check.ok:
        kink = f"a kink at {kink} lies within {2 * h:g}" if kink else ""
        check.note = "; ".join(filter(None, [kink, wrong_element(function, tensor, gradient, dy, h)]))
    return check


def wrong_element(function: Function, tensor: str, gradient: Array, dy: Array, h: float) -> str:
    """Find an element where the backward pass is wrong, and say what it gives there and what the difference gives.

    The half of the tensor that disagrees more is halved again and again; the last few elements are tried one by one.
    That takes 200 forward passes even for the 38 million weights of a layer of AlexNet.
    """
    direction = function.draw(np.random.default_rng(0), gradient.shape).ravel()
    flat = gradient.ravel()

    def difference(start: int, stop: int, along: Array) -> tuple[float, Array]:
        part = function.xp.zeros_like(flat)
        part[start:stop] = along
        part = part.reshape(gradient.shape)
        return function.difference(tensor, part, dy, h)[0], part

    def disagreement(part: tuple[int, int]) -> float:
        along = direction[slice(*part)]
        return abs(difference(*part, along)[0] - float(flat[slice(*part)] @ along))

    start, stop = 0, gradient.size
    while stop - start > FEW:
        middle = (start + stop) // 2
        start, stop = max((start, middle), (middle, stop), key=disagreement)
    found = {index: difference(index, index + 1, 1.0) for index in range(start, stop)}
    index = max(found, key=lambda i: abs(found[i][0] - float(flat[i])))
    numeric, part = found[index]
    kink = function.crossed(tensor, part, 2 * h)
    where = place(np.unravel_index(index, gradient.shape))
    text = f"at {tensor}{where}: backward {float(flat[index]):.6g}, difference {numeric:.6g}, "
    return text + (f"within {2 * h:g} of a kink at {kink}" if kink else f"no kink within {2 * h:g}")


def place(index: Sequence[Any]) -> str:
    """(0, 3, 1, 1), with plain integers."""
    return "(" + ", ".join(str(int(i)) for i in index) + ")"
