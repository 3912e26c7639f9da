"""Weights that do not change for a while: what is derived from them is made once, and goes when it should."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from minicnn import kernels, models
from minicnn.kernels import frozen

from .levels import needs_native


class Maker:
    """Makes an array, and counts how often."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self) -> np.ndarray:
        new = np.zeros(4, np.float32)
        self.made.append(weakref.ref(new))
        return new


def weights() -> np.ndarray:
    return np.ones((2, 3), np.float32)


def test_outside_the_block_nothing_is_kept() -> None:
    make = Maker()
    assert frozen.derived(weights(), "packed", make) is None and not make.made


def test_inside_it_is_made_once_for_each_weights_and_use() -> None:
    make, a, b = Maker(), weights(), weights()
    with kernels.frozen_weights():
        found = [frozen.derived(w, use, make) for w in (a, b) for use in ("packed", "flipped") for _ in range(3)]
    assert len(make.made) == 4 == len({id(array) for array in found})


def test_a_nested_block_goes_on_with_what_is_there_and_ends_nothing() -> None:
    make, w = Maker(), weights()
    with kernels.frozen_weights():
        first = frozen.derived(w, "packed", make)
        with kernels.frozen_weights():
            assert frozen.derived(w, "packed", make) is first
        assert frozen.derived(w, "packed", make) is first


@pytest.mark.parametrize("fails", [False, True])
def test_all_of_it_goes_with_the_outermost_block(fails: bool) -> None:
    """Though the weights live on, and whether or not the block ends well."""
    make, w = Maker(), weights()
    gc.disable()
    try:
        with kernels.frozen_weights():
            frozen.derived(w, "packed", make)
            if fails:
                raise KeyError
    except KeyError:
        pass
    finally:
        gc.enable()
    assert make.made[0]() is None
    with kernels.frozen_weights():
        frozen.derived(w, "packed", make)
    assert len(make.made) == 2


def test_what_was_made_goes_with_its_weights() -> None:
    """Another array may lie where they lay, and have the same id."""
    make, w = Maker(), weights()
    with kernels.frozen_weights():
        frozen.derived(w, "packed", make)
        del w
        assert make.made[0]() is None
        frozen.derived(weights(), "packed", make)
        assert len(make.made) == 2


def test_another_thread_does_not_see_it() -> None:
    make, w, found = Maker(), weights(), []
    with kernels.frozen_weights():
        frozen.derived(w, "packed", make)
        thread = threading.Thread(target=lambda: found.append(frozen.derived(w, "packed", make)))
        thread.start()
        thread.join()
    assert found == [None] and len(make.made) == 1


@needs_native
@pytest.mark.parametrize("name", ["lenet5", "alexnet_cifar", "resnet20"])
def test_the_bits_are_those_of_weights_that_may_change(name: str) -> None:
    net = models.build(name).eval()
    x = np.random.default_rng(0).random((2, *net.input_shape), np.float32)

    def run() -> tuple[np.ndarray, Any]:
        y = net.forward(x, remember="input")
        return y, net.backward(np.ones_like(y), need_dparams=False)

    with kernels.using("native"):
        expected = run()
        with kernels.frozen_weights():
            passes = [run(), run()]
        net.parameters()[0].value[...] *= 2
        changed = run()
        with kernels.frozen_weights():
            again = run()
    for found in passes:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    assert (changed[0] != expected[0]).any()
    np.testing.assert_array_equal(again[0], changed[0])  # nothing of the first block is left
    np.testing.assert_array_equal(again[1], changed[1])
