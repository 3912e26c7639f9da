"""Rectifiers, and the rules by which a ReLU can send a gradient back.

    y = max(x, 0)

The derivative is 1 where x > 0 and 0 where x < 0; at 0, where there is none, 0 is taken. With f = x the forward input
and R = dy what comes from above, the rules let R pass where

    gradient    f > 0                   dx = 1[f > 0] · R, the derivative
    deconvnet   R > 0                   Zeiler & Fergus 2014, section 2.1
    guided      f > 0 and R > 0         Springenberg et al. 2014, section 3.4

and `redirected` is the gradient, except for a picture where that is zero everywhere, which an ascent could never
leave: there R passes where it does not push a blocked input further down (f > 0 or R > 0), R being the direction of
ascent. After Olah, Mordvintsev, Schubert 2017, whose code lets gradients through blocked ReLUs at the start.

The leaky rectifier (Maas, Hannun, Ng 2013, section 2) has a small slope a on the other side, and at 0:

    y = x where x > 0, a·x elsewhere        dx = dy where x > 0, a·dy elsewhere
"""

from __future__ import annotations

from typing import Any

import numpy as np

PASSES = {
    "gradient": lambda f, R: f > 0,
    "deconvnet": lambda f, R: R > 0,
    "guided": lambda f, R: f > 0 and R > 0,
    "redirected": lambda f, R: f > 0 or R > 0,  # in a picture without any gradient
}


def relu_forward(x: np.ndarray, *, rectified: bool = False, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """x of any shape -> y, cache. rectified: x is y already, and only the cache is made."""
    y = x if rectified else np.zeros_like(x)
    for at in np.ndindex(x.shape):
        y[at] = max(x[at], 0)
    return y, None if remember is None else x


def relu_backward(dy: np.ndarray, cache: Any, *, rule: str = "gradient") -> np.ndarray:
    """dy -> dx by the rule. Raises ValueError for a rule that there is not."""
    if rule not in PASSES:
        raise ValueError(f"rule {rule!r}: there is {', '.join(PASSES)}")
    x = cache
    dx = pass_where("gradient" if rule == "redirected" else rule, x, dy)
    if rule == "redirected":
        for n in range(len(dx)):
            if not dx[n].any():
                dx[n] = pass_where("redirected", x[n], dy[n])
    return dx


def leaky_relu_forward(x: np.ndarray, *, slope: float = 0.01, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """x of any shape -> y, cache."""
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        y[at] = x[at] if x[at] > 0 else slope * x[at]
    return y, None if remember is None else (x, slope)


def leaky_relu_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx."""
    x, slope = cache
    dx = np.zeros_like(dy)
    for at in np.ndindex(x.shape):
        dx[at] = dy[at] if x[at] > 0 else slope * dy[at]
    return dx


def pass_where(rule: str, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dy where the rule lets it pass, 0 elsewhere."""
    dx = np.zeros_like(dy)
    for at in np.ndindex(dy.shape):
        if PASSES[rule](x[at], dy[at]):
            dx[at] = dy[at]
    return dx
