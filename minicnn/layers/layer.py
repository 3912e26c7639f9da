"""The layer: a kernel that remembers. It holds parameters, and what `backward` needs between the two passes.

A layer of one's own writes two methods, `compute` and `pullback`, on channels-last arrays; this class does the rest:
the border between (N, C, H, W) and channels last, the memory, the checks, and the walk over parameters and buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np

from .. import kernels
from ..errors import MinicnnError, nearest
from ..kernels.backend import Array, get_array_module
from ..parameter import Buffer, Parameter, pack, to_host, transfer

Remember = Literal["all", "once", "input"] | None
Shape = tuple[int, ...]
L = TypeVar("L", bound="Layer")


class Memory(NamedTuple):
    """What a forward pass left for the backward pass."""

    remember: Remember
    cache: Any
    input_shape: Shape
    output_shape: Shape
    dtype: np.dtype


class Layer:
    """Base of all layers. Arrays are (N, C, H, W), (N, C, L) or (N, D), float32 or float64.

    `forward(x, remember=)` keeps what `backward` needs: "all"; "once", the same until `backward` has used it; "input",
    only what the gradient at the input needs; None, nothing. `backward(dy)` returns dx and adds to each parameter's
    `grad`. It may be called again with another dy until the next forward. A dy of None means zero and costs nothing.
    """

    ndim: ClassVar[int | None] = None  # dimensions that the input must have, the batch included
    path = ""  # the layer's name in its network, set by the container
    training = True
    auxiliary: Mapping[str, float] = MappingProxyType({})  # scores inside that learn along, and their share of the loss
    _memory: Memory | None = None
    of_a_pass: ClassVar[tuple[str, ...]] = ("_memory",)  # what a pass leaves, which no copy of the layer takes along
    _seen: Any = None  # the kind of input that was checked last, and was right

    # What a new layer writes ------------------------------------------------------------------------------------

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        """x channels last -> y channels last, and whatever `pullback` needs (dropped when `remember` is None)."""
        raise TypeError(f"{type(self).__name__} does not say how it computes")

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        """dy channels last -> dx channels last; adds the parameters' gradients by `accumulate`."""
        raise TypeError(f"{type(self).__name__} does not say how it goes back")

    def output_shape(self, input_shape: Shape) -> Shape:
        """(C, H, W) -> (C, H, W), both without the batch. Raises MinicnnError for a shape the layer cannot take."""
        return input_shape

    def macs(self, input_shape: Shape) -> int:
        """Multiply-adds of a forward pass over one picture (0 where an operation is not a multiply-add)."""
        return 0

    def memory(self, input_shape: Shape) -> int:
        """Bytes kept for one float32 picture between forward and backward (remember="all")."""
        return 0

    def sides(self, x: Array) -> Array | None:
        """On which side of its kinks each element of the input lies, for gradient checks; None for a smooth layer."""
        return None

    # The two passes ---------------------------------------------------------------------------------------------

    def forward(self, x: Array, *, remember: Remember = "all", **fused: Any) -> Array:
        """x (N, …) -> y (N, …). Raises MinicnnError that names the layer for a wrong shape or dtype.

        `fused`: options of `compute`, for what the same kernel computes behind the layer (fusion.py).
        """
        self.forget()
        self.check_input(x)
        y, cache = self.compute(channels_last(x), "all" if remember == "once" else remember, **fused)
        y = channels_first(y)
        if remember is not None:
            self._memory = Memory(remember, cache, x.shape, y.shape, x.dtype)
        return y

    def backward(
        self, dy: Array | None, *, need_dx: bool = True, need_dparams: bool = True, **fused: Any
    ) -> Array | None:
        """dy, the shape of y -> dx, the shape of x (None when not needed); adds to the parameters' `grad`.

        `fused`: options of `pullback`, for a dy behind what `forward` computed along.
        """
        if dy is None:
            return None
        memory = self.remembered()
        if need_dparams and memory.remember == "input":
            if self.own_parameters():
                raise self.error('parameter gradients need forward(x, remember="all"), not remember="input"')
            need_dparams = False
        if tuple(dy.shape) != memory.output_shape or dy.dtype != memory.dtype:
            raise self.error(
                f"backward: expected dy {memory.output_shape} {memory.dtype}, got {tuple(dy.shape)} {dy.dtype}"
            )
        dx = self.pullback(channels_last(dy), memory.cache, need_dx, need_dparams, **fused)
        self.used()
        return channels_first(dx) if need_dx and dx is not None else None

    def remembered(self) -> Memory:
        """What was kept for the backward pass. Raises MinicnnError where that is nothing."""
        if self._memory is None:
            raise self.error(
                "backward without a forward pass that remembers: call forward(x) first "
                '(remember="once" serves one backward pass)'
            )
        return self._memory

    def forget(self) -> None:
        """Drop what was kept for the backward pass."""
        self._memory = None

    def used(self) -> None:
        """The memory has done its work: what was kept for one backward pass goes."""
        if self._memory is not None and self._memory.remember == "once":
            self.forget()

    def check_input(self, x: Array) -> None:
        """Raise MinicnnError when x is not an array that this layer can take."""
        own = next((value.value for value in vars(self).values() if type(value) is Parameter), x)
        like = type(x), getattr(x, "dtype", None), getattr(x, "shape", ()), type(own), own.dtype
        if like == self._seen:
            return
        self._seen = None
        xp = get_array_module(x)  # TypeError for what is no array
        if self.ndim and x.ndim != self.ndim:
            raise self.error(f"expected {self.ndim} dimensions, got {tuple(x.shape)}")
        if x.ndim < 2 or 0 in x.shape[1:]:
            raise self.error(f"expected (N, C, …), none but N of them 0, got {tuple(x.shape)}")
        if x.dtype != own.dtype or x.dtype.kind != "f":
            raise self.error(f"expected {own.dtype if own.dtype.kind == 'f' else 'float32'}, got {x.dtype}")
        if get_array_module(own) is not xp:
            raise self.error(f"its weights are {get_array_module(own).__name__} arrays, got one of {xp.__name__}")
        self.output_shape(tuple(x.shape[1:]))
        self._seen = like

    def error(self, text: str) -> MinicnnError:
        """An error that says which layer it happened in."""
        return MinicnnError(f"{self.path or 'layer'} ({type(self).__name__}): {text}")

    # A tree of one (containers override these three) ------------------------------------------------------------

    def children(self) -> dict[str, Layer]:
        """The layers inside, by name."""
        return {}

    def trace(
        self, x: Array, wanted: set[str], remember: Remember, **fused: Any
    ) -> tuple[Array | None, dict[str, Array]]:
        """-> y and the wanted activations, by path relative to this layer ("" is y itself)."""
        return self.forward(x, remember=remember, **fused), {}

    def inject(
        self, dy: Array | None, grads: Mapping[str, Array], need_dx: bool, need_dparams: bool, **fused: Any
    ) -> Array | None:
        """`backward` from dy and from further gradients at layers inside, by relative path."""
        return self.backward(dy, need_dx=need_dx, need_dparams=need_dparams, **fused)

    def end(self) -> tuple[str, Layer]:
        """The path and the layer whose kernel writes this layer's output, for layers behind it to be computed along."""
        return "", self

    def separate(self) -> Array:
        """The output without what was computed along in the last forward pass; the memory becomes the one for that."""
        raise TypeError(f"{type(self).__name__} computes nothing along")

    # Walks --------------------------------------------------------------------------------------------------------

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """(path, layer) of every layer inside, containers before their children; the path is relative to this one."""
        for name, child in self.children().items():
            yield name, child
            for path, layer in child.layers():
                yield f"{name}.{path}", layer

    def nodes(self) -> Iterator[tuple[str, Layer]]:
        """This layer itself, with the path "", and then `layers()`."""
        yield "", self
        yield from self.layers()

    def layer(self, path: str) -> Layer:
        """The layer at a path. Raises MinicnnError with the nearest names."""
        known = dict(self.layers())
        if path not in known:
            raise MinicnnError(f"no layer {path!r}{nearest(path, known)}")
        return known[path]

    def own_parameters(self) -> dict[str, Parameter]:
        """This layer's own parameters by attribute name, without those of layers inside."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Parameter)}

    def own_buffers(self) -> dict[str, Buffer]:
        """This layer's own buffers by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Buffer)}

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter by its path, "conv1.weight"."""
        return self._collect(Layer.own_parameters)

    def named_buffers(self) -> dict[str, Buffer]:
        """Every buffer by its path, "bn1.running_mean"."""
        return self._collect(Layer.own_buffers)

    def _collect(self, own: Callable[[Layer], dict[str, Any]]) -> dict[str, Any]:
        return {
            f"{path}.{name}".lstrip("."): value for path, layer in self.nodes() for name, value in own(layer).items()
        }

    def parameters(self) -> list[Parameter]:
        """Every parameter in the order of the layers."""
        return list(self.named_parameters().values())

    def learns(self) -> bool:
        """Whether there is a parameter in this layer, or in one inside."""
        return any(isinstance(value, Parameter) for value in vars(self).values()) or any(
            child.learns() for child in self.children().values()
        )

    def num_parameters(self) -> int:
        """How many numbers the layer, with the layers inside, learns."""
        return sum(p.size for p in self.own_parameters().values()) + sum(
            c.num_parameters() for c in self.children().values()
        )

    # State ----------------------------------------------------------------------------------------------------------

    def train(self: L, mode: bool = True) -> L:
        """Training mode: dropout drops, batch norm uses the batch's own moments."""
        for _, layer in self.nodes():
            layer.training = mode
        return self

    def eval(self: L) -> L:
        """Evaluation mode: every picture's result depends on that picture alone."""
        return self.train(False)

    def initialize(self: L, seed: int) -> L:
        """Draw all parameters anew: the same seed gives the same bits."""
        generator = np.random.default_rng(seed)
        for parameter in self.parameters():
            parameter.initialize(generator)
        for index, (_, layer) in enumerate(self.nodes()):
            if hasattr(layer, "random_state"):
                layer.random_state = (seed + index, 0)
        pack(self.parameters())
        return self

    def random_states(self) -> dict[str, tuple[int, int]]:
        """The states of the layers that draw random numbers (dropout), by path."""
        return {path: tuple(la.random_state) for path, la in self.nodes() if hasattr(la, "random_state")}

    def load_random_states(self, states: Mapping[str, tuple[int, int]]) -> None:
        """Go on drawing where `random_states` was taken."""
        nodes = dict(self.nodes())
        for path, state in states.items():
            vars(nodes[path])["random_state"] = tuple(state)

    def to(self: L, device: str | None = None, *, dtype: Any = None) -> L:
        """Move parameters and buffers to "cpu" or "cuda", or convert them to another dtype. Forgets activations."""
        from ..device import device_module

        xp = device_module(device) if device else None
        pack(self.parameters(), xp=xp, dtype=dtype)
        for buffer in self.named_buffers().values():
            target = xp or get_array_module(buffer.value)
            buffer.value = transfer(buffer.value, like=target.empty(0, dtype or buffer.value.dtype))
        for _, layer in self.nodes():
            layer.forget()
        return self

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers by path."""
        state = {name: p.value.copy() for name, p in self.named_parameters().items()}
        return state | {name: b.value.copy() for name, b in self.named_buffers().items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Write arrays into parameters and buffers; every one must be there, none may be left over.

        Raises MinicnnError that names the tensor which is missing, extra or of another shape. Nothing is changed then.
        """
        targets: dict[str, Parameter | Buffer] = {**self.named_parameters(), **self.named_buffers()}
        for name, target in targets.items():
            if name not in state:
                raise MinicnnError(
                    f"weights: {name} {target.shape} is missing{nearest(name, set(state) - set(targets))}"
                )
            if tuple(state[name].shape) != target.shape:
                raise MinicnnError(f"weights: {name} has shape {tuple(state[name].shape)}, expected {target.shape}")
            if state[name].dtype.kind != "f":
                raise MinicnnError(f"weights: {name} is {state[name].dtype}, expected floats")
        extra = sorted(set(state) - set(targets))
        if extra:
            raise MinicnnError(f"weights: {extra[0]} is not in the network{nearest(extra[0], targets)}")
        for name, target in targets.items():
            if isinstance(target, Parameter) and not target.initialized:
                target.value = to_host(state[name]).astype(np.float32)
            else:
                target.value[...] = transfer(state[name], like=target.value)
        pack(self.parameters())
        for _, layer in self.nodes():
            layer.after_loading()

    def after_loading(self) -> None:
        """Called when new values were loaded, for layers that derive something from them."""

    def __getstate__(self) -> dict[str, Any]:
        """For copies: a forward pass can be gone back through where it was made, and nowhere else."""
        return {name: value for name, value in vars(self).items() if name not in self.of_a_pass}

    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def describe(self) -> str:
        """The settings, as the summary and error messages show them."""
        return ""


@contextmanager
def evaluating(net: Layer) -> Iterator[None]:
    """Within the block every layer is in evaluation mode; afterwards each is in the mode that it was in."""
    modes = [(layer, layer.training) for _, layer in net.nodes()]
    net.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def places(*parameters: Parameter | None) -> tuple[Array | None, ...]:
    """Where a kernel may write the gradients of parameters at once, in place of an array that is added afterwards."""
    return tuple(None if parameter is None else parameter.blank_grad for parameter in parameters)


def accumulate(parameter: Parameter | None, gradient: Array | None) -> None:
    """Add to a parameter's gradient (nothing, where either is None)."""
    if parameter is not None and gradient is not None:
        parameter.accumulate(gradient)


_TO_LAST = {ndim: (0, *range(2, ndim), 1) for ndim in range(3, 65)}
_TO_FIRST = {ndim: (0, ndim - 1, *range(1, ndim - 1)) for ndim in range(3, 65)}


def channels_last(x: Array) -> Array:
    """(N, C, H, W) -> contiguous (N, H, W, C); free where the memory already lies so, as it does between layers."""
    axes = _TO_LAST.get(x.ndim)
    y = x if axes is None else x.transpose(axes)
    if y.flags.c_contiguous:
        return y
    if x.flags.c_contiguous:
        return kernels.turn(x.reshape(*x.shape[:2], prod(x.shape[2:]))).reshape(y.shape)
    return get_array_module(x).ascontiguousarray(y)


def channels_first(y: Array) -> Array:
    """(N, H, W, C) -> (N, C, H, W), a view."""
    axes = _TO_FIRST.get(y.ndim)
    return y if axes is None else y.transpose(axes)


def own_copy(a: Array) -> Array:
    """A copy that lies in memory as `a` does: channels last."""
    return channels_first(channels_last(a).copy())


def add_gradients(a: Array | None, b: Array | None, *, out: Array | None = None) -> Array | None:
    """Their sum, where None means zero. out: one of the two, where nobody else has it: the sum takes its place."""
    if a is None or b is None:
        return b if a is None else a
    place = None if out is None else channels_last(out)
    return channels_first(kernels.add(channels_last(a), channels_last(b), out=place))
