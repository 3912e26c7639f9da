"""A picture as a Laplacian pyramid (Burt & Adelson 1983): a sum of planes, each half as large as the one before.

    G_l = L_l + up(G_(l+1))        planes = G_0

L_l are the variables. A step moves coarse structure by as much as fine, and a coarse variable sums the gradient over
many pixels: what comes out is smoother than pixels alone. `up` is bilinear (resize.py), and the adjoint goes down the
same stairs: dL_l = dG_l, dG_(l+1) = upᵀ(dG_l).
"""

from __future__ import annotations

import numpy as np

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from .parametrizations import checked_pictures
from .registry import Example, register
from .resize import resize, resize_adjoint
from .squashed import Squashed


@register(
    Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (2, 3, 6, 7)), "levels": 3}),
    Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (1, 1, 5, 1)), "sd": 0.1}),
    Example(lambda: {"image": np.random.default_rng(0).uniform(0, 1, (2, 2, 3, 4)), "levels": 1}),
)
class Pyramid(Squashed):
    """Pictures (N, C, H, W) of any size by `levels` planes of 1, 1/2, 1/4, … of the size, the finest first.

    `value` is (N, variables of a picture): the levels one behind the other, C·H_l·W_l each.
    """

    def __init__(self, image: Array, levels: int = 4, *, sd: float = 0.0, seed: int = 0) -> None:
        if levels < 1:
            raise MinicnnError(f"Pyramid: {levels} levels: expected 1 or more")
        _, channels, height, width = checked_pictures(image).shape
        self.shapes = [(channels, -(-height >> level), -(-width >> level)) for level in range(levels)]
        super().__init__(image, sd=sd, seed=seed)

    def synthesis(self, value: Array) -> Array:
        *finer, planes = self._levels(value)
        for level in reversed(finer):
            planes = level + resize(planes, level.shape[2:])
        return planes

    def adjoint(self, d_planes: Array) -> Array:
        levels = [d_planes]
        for _, height, width in self.shapes[1:]:
            levels.append(resize_adjoint(levels[-1], (height, width)))
        return _joined(levels)

    def analysis(self, planes: Array) -> Array:
        levels = []
        for _, height, width in self.shapes[1:]:
            coarser = resize(planes, (height, width))
            levels.append(planes - resize(coarser, planes.shape[2:]))
            planes = coarser
        return _joined([*levels, planes])

    def _levels(self, value: Array) -> list[Array]:
        levels, start = [], 0
        for shape in self.shapes:
            end = start + np.prod(shape)
            levels.append(value[:, start:end].reshape(-1, *shape))
            start = end
        return levels


def _joined(levels: list[Array]) -> Array:
    return get_array_module(levels[0]).concatenate([level.reshape(len(level), -1) for level in levels], axis=1)
