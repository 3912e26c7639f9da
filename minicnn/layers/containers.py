"""Layers made of layers: one after another, beside a shortcut, side by side. Each has its own hand-written backward.

Two recursive methods carry everything, `trace` (forward, collecting activations on the way) and `inject` (backward,
adding gradients on the way); `forward` and `backward` are the two without anything collected or added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from .activations import ReLU
from .conv import Conv2d
from .fusion import ALONE, LONGEST, fusion_of, plain, separate
from .layer import Layer, Remember, Shape, add_gradients, channels_first
from .linear import Linear
from .norm import BatchNorm2d
from .pool import MaxPool2d
from .registry import Example, register

Grads = Mapping[str, Array]

RESERVED = ("input",)  # the pseudo-layer that is the picture itself


class Container(Layer):
    """A layer with named layers inside: `Sequential(conv1=Conv2d(3, 96, 11, stride=4), relu1=ReLU())`."""

    def __init__(self, **layers: Layer) -> None:
        self._children: dict[str, Layer] = {}
        for name, layer in layers.items():
            self.replace(name, layer)

    def replace(self, name: str, layer: Layer) -> None:
        """Put a layer in the place of the one called `name`, or behind the others. An optimizer must be made anew."""
        if not isinstance(layer, Layer):
            raise MinicnnError(f"{name}: expected a layer, got {type(layer).__name__}")
        if not name or name in RESERVED or "." in name:
            raise MinicnnError(f"a layer cannot be called {name!r}")
        self._children[name] = layer
        self.forget()
        self.name_paths(self.path + "." if self.path else "")

    def name_paths(self, prefix: str = "") -> None:
        """Tell every layer and parameter inside its path."""
        self.path = prefix.rstrip(".")
        seen: dict[int, str] = {id(self): self.path}
        for path, layer in self.layers():
            if id(layer) in seen:
                raise MinicnnError(f"{path} and {seen[id(layer)]} are the same object: each use needs its own memory")
            seen[id(layer)] = path
            layer.path = prefix + path
        for path, parameter in self.named_parameters().items():
            parameter.name = prefix + path

    def children(self) -> dict[str, Layer]:
        return self._children

    def forward(self, x: Array, *, remember: Remember = "all") -> Array:  # type: ignore[override]  # nothing fused
        y, _ = self.trace(x, {""}, remember)
        return y

    def backward(  # type: ignore[override]  # nothing fused
        self, dy: Array | None, *, need_dx: bool = True, need_dparams: bool = True
    ) -> Array | None:
        return self.inject(dy, {}, need_dx, need_dparams)

    def forget(self) -> None:
        for child in self._children.values():
            child.forget()

    def inputs(self, input_shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        """(child, the shape of its input) for an input of this container."""
        raise TypeError(f"{type(self).__name__} does not say what its layers get")

    def macs(self, input_shape: Shape) -> int:
        return sum(child.macs(shape) for child, shape in self.inputs(input_shape))

    def memory(self, input_shape: Shape) -> int:
        return sum(child.memory(shape) for child, shape in self.inputs(input_shape))

    def trace_child(
        self, name: str, x: Array, wanted: set[str], remember: Remember, need_y: bool = True, **fused: Any
    ) -> tuple[Array | None, dict[str, Array]]:
        """`trace` of one child; what is found is named relative to this container."""
        if not wanted:
            return self._children[name].trace(x, {""}, remember, **fused)
        inner = below(name, wanted)
        y, found = self._children[name].trace(x, inner | {""} if need_y or name in wanted else inner, remember, **fused)
        found = {f"{name}.{path}": activation for path, activation in found.items()}
        if name in wanted and y is not None:
            found[name] = y
        return y, found

    def inject_child(
        self, name: str, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool, **fused: Any
    ) -> Array | None:
        """`inject` into one child, with the gradients that are meant for it and for the layers inside it."""
        if not grads:
            return self._children[name].inject(dy, grads, need_dx, need_dparams, **fused)
        dy = self.added(name, dy, grads)
        inner = {path: grads[f"{name}.{path}"] for path in below(name, grads)}
        return self._children[name].inject(dy, inner, need_dx, need_dparams, **fused)

    def added(self, name: str, dy: Array | None, grads: Grads) -> Array | None:
        """dy and the gradient that is meant for the layer `name`."""
        extra = grads.get(name)
        if dy is not None and extra is not None and dy.shape != extra.shape:
            raise self._children[name].error(f"expected a gradient {tuple(dy.shape)}, got {tuple(extra.shape)}")
        return add_gradients(dy, extra)


def below(name: str, paths: set[str] | Grads) -> set[str]:
    """The paths that lie inside the layer `name`, relative to it."""
    start = name + "."
    return {path[len(start) :] for path in paths if path.startswith(start)} if paths else set()


class Chain(Container):
    """What Sequential and Residual share: layers that run one after another, some of them as one (fusion.py)."""

    of_a_pass = (*Container.of_a_pass, "_groups")
    _groups: tuple[tuple[str, ...], ...] = ()  # of the last forward pass, as far as it ran: layers that ran as one

    def chain(self) -> list[str]:
        """The names of those layers, in order."""
        return list(self._children)

    def end(self) -> tuple[str, Layer]:
        """A batch norm at the end can do more as it writes: add the shortcut, and what is behind this container."""
        name = self.chain()[-1] if self.chain() else ""
        plain_end = type(self) in (Sequential, Residual) and name and type(self._children[name]) is BatchNorm2d
        return (name, self._children[name]) if plain_end else ("", self)

    def separate(self) -> Array:
        return self.end()[1].separate()

    def forget(self) -> None:
        super().forget()
        self._groups = ()

    def trace_chain(
        self, x: Array, wanted: set[str], remember: Remember, need_y: bool, **at_end: Any
    ) -> tuple[Array | None, dict[str, Array]]:
        """`at_end`: what the last layer's kernel computes beside the layer."""
        names, found = self.chain(), {}
        wanted = wanted - {""}
        asked = [i for i, name in enumerate(names) if name in wanted or below(name, wanted)] if wanted else []
        depth = len(names) if need_y else 1 + max(asked, default=-1)  # run no deeper than the deepest layer asked for
        layers = [self._children[name] for name in names]
        for layer in layers:
            layer.forget()
        self._groups = ()
        y, done = x, 0
        while done < depth:
            fusion = fusion_of(layers[done : min(done + LONGEST, depth)], remember)
            if fusion.size > 1 and self.inside(names[done : done + fusion.size], wanted):
                fusion = ALONE
            start, done, group = done, done + fusion.size, tuple(names[done : done + fusion.size])
            fused = fusion.options if done < len(names) else {**fusion.options, **at_end}
            y, more = self.trace_child(
                group[0], y, wanted, remember, need_y or done < depth or fusion.size > 1, **fused
            )
            found.update(more)
            if fusion.size > 1 and y is not None:
                if group[-1] in wanted:
                    found[group[-1]] = y
                relu = layers[done - 1]
                if remember and isinstance(layers[start], Conv2d) and isinstance(relu, ReLU):
                    relu.rectified(y, remember)
            self._groups += (group,)
        return y, found

    def inside(self, group: Sequence[str], wanted: set[str] | Grads) -> bool:
        """Whether any of the names lies inside a group, where one kernel computes all of it: its end may be named."""
        if not wanted:
            return False
        ends = [f"{name}.{path}".rstrip(".") for name in group[:-1] for path in ("", self._children[name].end()[0])]
        return any(name in wanted for name in ends)

    def inject_chain(self, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool) -> Array | None:
        names = self.chain()
        first = 0 if need_dx else next((i for i, n in enumerate(names) if self._children[n].learns()), len(names))
        start = len(names)  # without dx, nothing before the first parameter needs a gradient
        ran = sum(len(group) for group in self._groups)
        for group in reversed((*self._groups, *((name,) for name in names[ran:]))):
            start -= len(group)
            if start < first:
                break
            dy, fused, together = self.behind(group, dy, grads, need_dparams)
            arrived = dy is not None
            dy = self.inject_child(group[0], dy, grads, need_dx or start > first, need_dparams, **fused)
            if arrived:
                for layer in together:
                    layer.used()
        return dy if need_dx else None

    def behind(
        self, group: tuple[str, ...], dy: Array | None, grads: Grads, need_dparams: bool
    ) -> tuple[Array | None, dict[str, Any], tuple[Layer, ...]]:
        """dy at the first layer of a group, its kernel's options, and the layers that this kernel goes back through.

        They are all behind the first, or none: where a gradient is meant for one, or one goes by a rule of its own.
        """
        if len(group) == 1:
            return dy, {}, ()
        behind = tuple(self._children[name] for name in group[1:])
        if all(map(plain, behind)) and not self.inside(group, grads):
            dy = self.added(group[-1], dy, grads)
            return dy, {} if dy is None else self.gate(group), behind
        self.separate_group(group)
        for name in reversed(group[1:]):
            dy = self.inject_child(name, dy, grads, True, need_dparams)
        return dy, {}, ()

    def gate(self, group: tuple[str, ...]) -> dict[str, Any]:
        """What a ReLU remembers, for the kernel of the convolution before it, which goes back through both."""
        _, head = self._children[group[0]].end()
        if len(group) > 2 or not isinstance(head, Conv2d):
            return {}  # that kernel remembers by itself
        return {"gate": self._children[group[1]].remembered().cache}

    def separate_group(self, group: tuple[str, ...]) -> None:
        """Give each layer of a group the memory that it would have, had it run by itself."""
        head, *behind = group
        _, last = self._children[head].end()
        if len(group) > 2 or not isinstance(last, Conv2d):  # a convolution and its ReLU have it anyway
            remember = last.remembered().remember
            y = self._children[head].separate()
            for name in behind:
                y = self._children[name].forward(y, remember=remember)
        at = self._groups.index(group)
        self._groups = (*self._groups[:at], *((name,) for name in group), *self._groups[at + 1 :])

    def output_shape(self, input_shape: Shape) -> Shape:
        for name in self.chain():
            input_shape = self._children[name].output_shape(input_shape)
        return input_shape

    def inputs(self, input_shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        for name in self.chain():
            yield self._children[name], input_shape
            input_shape = self._children[name].output_shape(input_shape)


@register(
    Example(lambda: {"conv1": Conv2d(2, 3, 3, padding=1), "relu1": ReLU(), "pool1": MaxPool2d(2)}, (2, 4, 6)),
    Example(lambda: {"inner": Sequential(fc1=Linear(5, 4), relu1=ReLU()), "fc2": Linear(4, 3)}, (5,)),
)
class Sequential(Chain):
    """y = layerₙ(… layer₁(x))."""

    def trace(
        self, x: Array, wanted: set[str], remember: Remember, **fused: Any
    ) -> tuple[Array | None, dict[str, Array]]:
        return self.trace_chain(x, wanted, remember, need_y="" in wanted, **fused)

    def inject(self, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool, **fused: Any) -> Array | None:
        return self.inject_chain(dy, grads, need_dx, need_dparams)


@register(
    Example(lambda: {"conv1": Conv2d(3, 3, 3, padding=1), "relu1": ReLU()}, (3, 4, 5)),
    Example(
        lambda: {"conv1": Conv2d(2, 4, 3, 2, 1), "norm1": BatchNorm2d(4), "shortcut": Conv2d(2, 4, 1, 2)}, (2, 6, 6)
    ),
)
class Residual(Chain):
    """y = layers(x) + shortcut(x) (He et al. 2015, equation 1); without a shortcut layer it is x itself."""

    of_a_pass = (*Chain.of_a_pass, "_straight")
    _straight: Array | None = None  # what the last layer's kernel added, in the last forward pass

    def chain(self) -> list[str]:
        return [name for name in self._children if name != "shortcut"]

    def trace(
        self, x: Array, wanted: set[str], remember: Remember, **fused: Any
    ) -> tuple[Array | None, dict[str, Array]]:
        self.forget()
        need_y, (end, _) = "" in wanted, self.end()
        found: dict[str, Array] = {}
        straight: Array | None = x
        if "shortcut" in self._children and (need_y or "shortcut" in wanted or below("shortcut", wanted)):
            straight, found = self.trace_child("shortcut", x, wanted, remember, need_y)
        if need_y and end and end not in wanted and not separate(remember, norm=True):
            self._straight = straight if remember else None
            y, more = self.trace_chain(x, wanted, remember, need_y, residual=straight, **fused)
            return y, found | more
        y, more = self.trace_chain(x, wanted, remember, need_y)
        if not need_y:
            return None, found | more
        assert y is not None and straight is not None
        if y.shape != straight.shape:
            raise self.error(f"the layers give {y.shape[1:]}, the shortcut {straight.shape[1:]}")
        return add_gradients(y, straight), found | more

    def inject(self, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool, **fused: Any) -> Array | None:
        end, norm = self.end()
        if end in grads and self._straight is not None:
            self.separate()
        along = self._straight is not None and dy is not None  # the norm's kernel makes the shortcut's gradient
        dx = self.inject_chain(dy, grads, need_dx or along, need_dparams)
        ours = None
        if along and isinstance(norm, BatchNorm2d):
            dy = ours = norm.take_residual_gradient()
            if norm._memory is None:  # it was kept for one backward pass
                self._straight = None
        if "shortcut" in self._children:
            dy = self.inject_child("shortcut", dy, grads, need_dx, need_dparams)
        return add_gradients(dx, dy, out=ours if dy is ours else None) if need_dx else None

    def separate(self) -> Array:
        straight, self._straight = self._straight, None
        return add_gradients(super().separate(), straight)

    def forget(self) -> None:
        super().forget()
        self._straight = None

    def inputs(self, input_shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        yield from super().inputs(input_shape)
        if "shortcut" in self._children:
            yield self._children["shortcut"], input_shape


@register(
    Example(
        lambda: {"branch1": Conv2d(2, 3, 1), "branch2": Sequential(conv=Conv2d(2, 1, 3, padding=1), relu=ReLU())},
        (2, 4, 5),
    ),
    Example(lambda: {"branch1": Linear(4, 2), "branch2": ReLU()}, (4,)),
)
class Concat(Container):
    """y = the results of all layers on the same x, side by side along the channels (Szegedy et al. 2014, figure 2)."""

    of_a_pass = (*Container.of_a_pass, "_widths")
    _widths: tuple[int, ...] | None = None

    def __init__(self, **layers: Layer) -> None:
        if not layers:
            raise self.error("expected at least one layer")
        super().__init__(**layers)

    def branches(self) -> list[str]:
        """The names of those layers, in order."""
        return list(self._children)

    def trace(  # type: ignore[override]  # nothing fused
        self, x: Array, wanted: set[str], remember: Remember
    ) -> tuple[Array | None, dict[str, Array]]:
        for name in self.branches():
            self._children[name].forget()
        self._widths = None
        need_y = "" in wanted
        parts: list[Array] = []
        found: dict[str, Array] = {}
        for name in self.branches():
            if need_y or name in wanted or below(name, wanted):
                y, more = self.trace_child(name, x, wanted, remember, need_y)
                found.update(more)
                parts += [] if y is None else [y]
        if not need_y:
            return None, found
        if len({part.shape[:1] + part.shape[2:] for part in parts}) > 1:
            shapes = ", ".join(str(part.shape[1:]) for part in parts)
            raise self.error(f"cannot join {shapes}: only the channels may differ")
        if remember is not None:
            self._widths = tuple(part.shape[1] for part in parts)
        xp = get_array_module(x)
        joined = xp.concatenate([xp.moveaxis(part, 1, -1) for part in parts], axis=-1)
        return channels_first(joined), found

    def inject(  # type: ignore[override]  # nothing fused
        self, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool
    ) -> Array | None:
        if dy is not None and self._widths is None:
            raise self.error("backward without a forward pass that remembers: call forward(x) first")
        if dy is not None and self._widths is not None and dy.shape[1] != sum(self._widths):
            raise self.error(f"backward: expected dy of {sum(self._widths)} channels, got {tuple(dy.shape)}")
        dx, start = None, 0
        for index, name in enumerate(self.branches()):
            part = None
            if dy is not None and self._widths is not None:
                part, start = dy[:, start : start + self._widths[index]], start + self._widths[index]
            dx = add_gradients(dx, self.inject_child(name, part, grads, need_dx, need_dparams))
        return dx

    def forget(self) -> None:
        super().forget()
        self._widths = None

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = [self._children[name].output_shape(input_shape) for name in self.branches()]
        return sum(shape[0] for shape in shapes), *shapes[0][1:]

    def inputs(self, input_shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        yield from ((self._children[name], input_shape) for name in self.branches())
