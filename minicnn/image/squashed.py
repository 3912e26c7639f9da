"""Pictures that never leave [0, 1], made of variables that have no bounds."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..kernels.backend import Array, get_array_module
from ..parameter import transfer
from .parametrizations import Parametrization
from .transforms import Colour

# The square root of the correlations of the colours of ImageNet's pictures: R, G, B of three colours that are not
# correlated, brightness the first, as published with Olah et al. 2017 (lucid, optvis/param/color.py).
CORRELATION = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
CORRELATION /= np.linalg.norm(CORRELATION, axis=0).max()

BLACK = 0.5 / 255  # half a step of 8 bits: what is blacker, or whiter than 1 − BLACK, has no logit of a useful size


class Squashed(Parametrization):
    """image = sigmoid(M·S(value)): S a linear map to three planes, M the colours that they stand for.

    Subclasses say what S is, by three methods. The mixing M is that of decorrelated colours (Olah et al. 2017) where
    there are three channels; else each channel stands for itself.
    """

    def __init__(self, image: Array, *, sd: float = 0.0, seed: int = 0) -> None:
        """Start from pictures (N, C, H, W), clipped to what 8 bits can show, plus noise of this deviation in `value`.

        A grey picture and the paper's sd 0.01 make a start from next to nothing.
        """
        xp = get_array_module(image)
        bounded = xp.clip(image, BLACK, 1 - BLACK)
        self.value = self.analysis(_mixed(xp.log(bounded / (1 - bounded)), np.linalg.inv(CORRELATION)))
        if sd:
            noise = np.random.default_rng(seed).standard_normal(self.value.shape)
            self.value = self.value + transfer(sd * noise, like=self.value)

    def synthesis(self, value: Array) -> Array:
        """S: the variables (N, …) -> planes (N, C, H, W)."""
        raise TypeError(f"{type(self).__name__} does not say how it makes planes")

    def adjoint(self, d_planes: Array) -> Array:
        """Sᵀ: the gradient at the planes -> the gradient at the variables."""
        raise TypeError(f"{type(self).__name__} does not say how it goes back")

    def analysis(self, planes: Array) -> Array:
        """Variables of which S makes these planes."""
        raise TypeError(f"{type(self).__name__} does not say how to start from a picture")

    def image(self) -> Array:
        return kernels.sigmoid_forward(self._logits(), remember=None)[0]

    def pullback(self, d_image: Array) -> Array:
        _, cache = kernels.sigmoid_forward(self._logits())
        return self.adjoint(_mixed(kernels.sigmoid_backward(d_image, cache), CORRELATION.T))

    def _logits(self) -> Array:
        return _mixed(self.synthesis(self.value), CORRELATION)


def _mixed(planes: Array, matrix: np.ndarray) -> Array:
    """Three planes mixed by a matrix; other numbers of planes as they are."""
    return Colour(tuple(map(tuple, matrix.tolist()))).apply(planes) if planes.shape[1] == 3 else planes
