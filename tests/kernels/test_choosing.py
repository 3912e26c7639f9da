"""The tables that choose kernels: every case has a rule, every rule a reason, the fast ones get what they are for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minicnn import kernels
from minicnn.kernels import choosing
from minicnn.kernels.choosing import CONV_RULES, FAMILY_RULES, GRADIENT_RULES, Window, choose_conv, choose_family

from ..strict import strict


def window(C: int, F: int, kernel: int, out: int, *, images: int = 8, stride: int = 1, dilation: int = 1) -> Window:
    values: dict[str, Any] = {
        "images": images,
        "channels": C,
        "filters": F,
        "kernel": (kernel, kernel),
        "stride": (stride, stride),
        "dilation": (dilation, dilation),
        "output": (out, out),
        "lanes": 16,
    }
    return Window(**{name: values[name] for name in Window._fields})


@pytest.mark.parametrize(
    ("layer", "made", "expected"),
    [
        ("LeNet's first", window(1, 6, 5, 28), "narrow"),
        ("the same of a batch", window(1, 6, 5, 28, images=64), "pictures"),
        ("LeNet's second", window(6, 16, 5, 10), "direct"),
        ("ResNet's first", window(3, 16, 3, 32), "direct"),
        ("ResNet's blocks", window(16, 16, 3, 32), "winograd"),
        ("ResNet's strided ones", window(16, 32, 3, 16, stride=2), "direct"),
        ("dilated", window(32, 32, 3, 16, dilation=2), "direct"),
        ("AlexNet's first", window(3, 64, 11, 55, stride=4), "direct"),
        ("VGG's middle", window(256, 256, 3, 28, images=1), "winograd"),
        ("the gradient of a picture", window(64, 3, 3, 224, images=1), "narrow"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_convolution_gets_the_kernel_that_is_made_for_it(layer: str, made: Window, expected: str) -> None:
    assert choose_conv(made) == expected


@pytest.mark.parametrize("rules", [FAMILY_RULES, CONV_RULES, GRADIENT_RULES], ids=["family", "conv", "gradient"])
def test_every_rule_has_a_reason_and_the_last_one_holds_always(rules: Any) -> None:
    assert all(rule.why for rule in rules)
    nothing = window(1, 1, 1, 1) if rules is not FAMILY_RULES else np.zeros(1, np.float32)
    assert rules[-1].holds(nothing)


class Device(np.ndarray):
    """An array of another library, as far as the table knows."""


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(3, np.float32), "native"),
        (np.zeros(3), "array"),
        (np.zeros(3, np.float16), "array"),
        (np.zeros(3, np.float32).view(Device), "array"),
        (strict.asarray(np.zeros(3, np.float32)), "array"),
    ],
    ids=["float32", "float64", "float16", "a subclass", "a device"],
)
def test_the_native_kernels_get_float32_on_processors_alone(array: Any, expected: str) -> None:
    assert choose_family(array) == expected


def test_arrays_of_2_to_the_31_elements_go_to_the_array_kernels() -> None:
    at_most = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (choosing.MOST_ELEMENTS - 1,), (0,))
    too_large = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (choosing.MOST_ELEMENTS,), (0,))
    assert [choose_family(a) for a in (at_most, too_large)] == ["native", "array"]


def test_a_module_of_ones_own_is_used_and_what_it_lacks_comes_from_the_array_kernels() -> None:
    own: Any = SimpleNamespace(__name__="own", relu_forward=lambda x, remember="all": (x + 1, None))
    with kernels.using(own):
        assert kernels.relu_forward(np.zeros(1))[0] == 1
        assert kernels.choose("tanh_forward") is kernels.family("array")
    with kernels.using("reference"), kernels.using("array"):
        assert kernels.choose("relu_forward") is kernels.family("array")
    assert kernels.choose("relu_forward", np.zeros(1)) is kernels.family("array")


def test_the_backward_pass_runs_in_the_family_of_the_forward_pass() -> None:
    x = np.array([[-1.0, 2.0]], np.float32)
    with kernels.using("reference"):
        _, cache = kernels.relu_forward(x)
    assert cache.family is kernels.family("reference")
    np.testing.assert_array_equal(kernels.relu_backward(np.ones_like(x), cache), [[0, 1]])
