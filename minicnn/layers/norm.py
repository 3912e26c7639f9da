"""Normalizing layers: batch norm, local response norm, one factor a channel, and the preprocessing of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .. import kernels
from ..initialization import ones, zeros
from ..kernels.backend import Array, get_array_module
from ..parameter import Buffer, Init, Parameter, to_host
from .layer import Layer, Remember, Shape, accumulate, channels_first, channels_last
from .registry import Example, register


class BatchNorm(Layer):
    """Batch normalization over all axes but the channels (kernels/array/batch_norm.py). weight γ (C,), bias β (C,).

    In training mode by the batch's own mean and variance, which move the running averages:
    running ← (1 − momentum)·running + momentum·batch, with the unbiased variance, as torch does. In evaluation mode by
    the running averages. `affine=False`: γ = 1, β = 0.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        if num_features < 1:
            raise self.error(f"{num_features} features: expected 1 or more")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter((num_features,), ones, decay=False) if affine else None
        self.bias = Parameter((num_features,), zeros, decay=False) if affine else None
        self.running_mean = Buffer(np.zeros(num_features, np.float32))
        self.running_var = Buffer(np.ones(num_features, np.float32))

    _residual_gradient: Array | None = None  # of the last backward pass, where the kernel had added a residual
    _fused_pass: tuple[Array, Array, Array, bool] | None = None
    of_a_pass = (*Layer.of_a_pass, "_residual_gradient", "_fused_pass")

    def compute(self, x: Array, remember: Remember, **fused: Any) -> tuple[Array, Any]:
        """`fused`: residual (N, C, H, W) and relu of the kernel, and the pool behind that."""
        residual = fused.get("residual")
        if residual is not None:
            fused["residual"] = residual = channels_last(residual)
            if residual.shape != x.shape:
                raise self.error(
                    f"the layers give {channels_first(x).shape[1:]}, the shortcut {channels_first(residual).shape[1:]}"
                )
        if "pool" in fused:
            fused.pop("pool").check_input(channels_first(x))
            fused["pool"] = True
        if self.training:
            count = x.size // self.num_features
            if count < 2:
                raise self.error("training needs more than one value a channel: enlarge the batch, or call eval()")
            mean, var = kernels.batch_moments(x)
            self.update_running_averages(mean, var, count)
        else:
            mean, var = (b.value.astype(x.dtype, copy=False) for b in (self.running_mean, self.running_var))
        if fused and remember:
            self._fused_pass = x, mean, var, self.training
        return self.normalize(x, mean, var, self.training, remember, **fused)

    def normalize(
        self, x: Array, mean: Array, var: Array, from_batch: bool, remember: Remember, **fused: Any
    ) -> tuple[Array, Any]:
        """The kernel, with this layer's factors."""
        xp = get_array_module(x)
        gamma = xp.ones(self.num_features, x.dtype) if self.weight is None else self.weight.value
        beta = xp.zeros(self.num_features, x.dtype) if self.bias is None else self.bias.value
        return kernels.batch_norm_forward(
            x, mean, var, gamma, beta, eps=self.eps, from_batch=from_batch, remember=remember, **fused
        )

    def separate(self) -> Array:
        memory = self.remembered()
        assert self._fused_pass is not None
        y, cache = self.normalize(*self._fused_pass, "all" if memory.remember == "once" else memory.remember)
        y = channels_first(y)
        self._memory = memory._replace(cache=cache, output_shape=y.shape)
        return y

    def take_residual_gradient(self) -> Array | None:
        """The gradient at the residual, (N, C, H, W), from the last backward pass; it is the caller's from then on."""
        taken, self._residual_gradient = self._residual_gradient, None
        return taken

    def forget(self) -> None:
        super().forget()
        self._fused_pass = None

    def update_running_averages(self, mean: Array, var: Array, count: int) -> None:
        for buffer, new in ((self.running_mean, mean), (self.running_var, var * (count / (count - 1)))):
            buffer.value[...] = (1 - self.momentum) * buffer.value + self.momentum * new

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        dx, dgamma, dbeta, residual = kernels.batch_norm_backward(dy, cache, need_dx=need_dx, need_dparams=need_dparams)
        self._residual_gradient = None if residual is None else channels_first(residual)
        accumulate(self.weight, dgamma)
        accumulate(self.bias, dbeta)
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[0] != self.num_features:
            raise self.error(f"expected {self.num_features} channels, got {input_shape[0]} in {input_shape}")
        return input_shape

    def memory(self, input_shape: Shape) -> int:
        return 4 * prod(input_shape)  # the input

    def describe(self) -> str:
        return f"{self.num_features}"


@register(Example({"num_features": 3}, (3, 4, 4)), Example({"num_features": 2, "affine": False}, (2, 3, 5)))
class BatchNorm2d(BatchNorm):
    __doc__ = "(N, C, H, W) -> the same shape. " + (BatchNorm.__doc__ or "")
    ndim = 4


@register(Example({"num_features": 5}, (5,)), Example({"num_features": 3, "eps": 1e-3}, (3, 6)))
class BatchNorm1d(BatchNorm):
    __doc__ = "(N, C) or (N, C, L) -> the same shape. " + (BatchNorm.__doc__ or "")

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) > 2:
            raise self.error(f"expected (N, C) or (N, C, L), got {len(input_shape) + 1} dimensions")
        return super().output_shape(input_shape)


@register(
    Example({"size": 5, "alpha": 0.5, "k": 2.0}, (7, 4, 4)),
    Example({"size": 4, "alpha": 0.7, "beta": 0.6}, (3, 2, 5)),
)
class LocalResponseNorm(Layer):
    """Each value divided by a power of the energy of its neighbouring channels; torch's parameters.

    y_c = x_c/(k + (alpha/size)·Σ x²)^beta over `size` channels (Krizhevsky, Sutskever, Hinton 2012, section 3.3).
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        if size < 1:
            raise self.error(f"size {size}: expected 1 or more channels")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.local_response_norm_forward(
            x, size=self.size, alpha=self.alpha, beta=self.beta, k=self.k, remember=remember
        )

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.local_response_norm_backward(dy, cache)

    def memory(self, input_shape: Shape) -> int:
        return 8 * prod(input_shape)  # the input and the sums

    def describe(self) -> str:
        return f"size {self.size}"


@register(Example({"num_features": 3}, (3, 4, 5)), Example({"num_features": 4}, (4,)))
class Scale(Layer):
    """y = weight·x + bias, one pair a channel, any shape: after average pooling, the trainable subsampling of 1998."""

    def __init__(self, num_features: int, *, init: Init = ones) -> None:
        if num_features < 1:
            raise self.error(f"{num_features} features: expected 1 or more")
        self.num_features = num_features
        self.weight = Parameter((num_features,), init, decay=False)
        self.bias = Parameter((num_features,), zeros, decay=False)

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.scale_forward(x, self.weight.value, self.bias.value, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        dx, dgamma, dbeta = kernels.scale_backward(dy, cache, need_dx=need_dx, need_dparams=need_dparams)
        accumulate(self.weight, dgamma)
        accumulate(self.bias, dbeta)
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[0] != self.num_features:
            raise self.error(f"expected {self.num_features} channels, got {input_shape[0]} in {input_shape}")
        return input_shape

    def macs(self, input_shape: Shape) -> int:
        return prod(input_shape)

    def memory(self, input_shape: Shape) -> int:
        return 4 * prod(input_shape)

    def describe(self) -> str:
        return f"{self.num_features}"


@register(
    Example({"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}, (3, 4, 5)),
    Example({"mean": (104.0, 117.0, 123.0), "std": (1.0, 1.0, 1.0), "scale": 255.0, "bgr": True}, (3, 2, 3)),
    Example({"mean": (0.1,), "std": (0.3,)}, (1, 3, 3)),
)
class Normalize(Layer):
    """The first layer of a network: pictures in [0, 1] to what the weights were trained on, with its own backward.

    y_c = (scale·x_c − mean_c)/std_c; `bgr` turns red, green, blue round first, and mean and std are then in that order.
    Mean, std, scale and order are buffers: they are saved and loaded with the weights they belong to.
    """

    ndim = 4

    def __init__(
        self, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), *, scale: float = 1.0, bgr: bool = False
    ) -> None:
        self.mean, self.std = (Buffer(np.asarray(v, np.float32)) for v in (mean, std))
        self.scale = Buffer(np.asarray(scale, np.float32))
        self.order = Buffer(np.arange(len(mean), dtype=np.float32)[:: -1 if bgr else 1].copy())
        self.bgr = bgr
        if self.mean.shape != self.std.shape or not np.all(self.std.value):
            raise self.error(f"mean {tuple(mean)}, std {tuple(std)}: expected as many, and no std of 0")

    def after_loading(self) -> None:
        self.bgr = bool(to_host(self.order.value)[0] > 0)  # read here: in a forward pass it would wait for the device

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        factor = (self.scale.value / self.std.value).astype(x.dtype)
        offset = (-self.mean.value / self.std.value).astype(x.dtype)
        if self.bgr:
            x = x[..., ::-1]
        return kernels.scale_forward(x, factor, offset, remember=None if remember is None else "input")

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        dx = kernels.scale_backward(dy, cache, need_dx=need_dx, need_dparams=False)[0]
        return dx if dx is None or not self.bgr else get_array_module(dx).ascontiguousarray(dx[..., ::-1])

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[0] != self.mean.shape[0]:
            colours = {1: "1 (grey)", 3: "3 (red, green, blue)"}.get(self.mean.shape[0], str(self.mean.shape[0]))
            raise self.error(f"expected {colours} channels, got {input_shape[0]} in {input_shape}")
        return input_shape

    def describe(self) -> str:
        return "BGR" if self.bgr else ""
