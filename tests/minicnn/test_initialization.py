"""How weights are drawn: the variances that the papers give."""

import numpy as np
import pytest

from minicnn.initialization import constant, fan_in_out, he_normal, lecun_normal, normal, xavier_uniform
from minicnn.layers import Conv2d

SHAPE = (64, 48, 5, 3)  # F, C, KH, KW
FAN_IN, FAN_OUT = 48 * 15, 64 * 15


def draw(init):
    return init(SHAPE, np.random.default_rng(0))


def test_fans_count_the_window():
    assert fan_in_out(SHAPE) == (FAN_IN, FAN_OUT)
    assert fan_in_out((10, 84)) == (84, 10)


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (he_normal, 2 / FAN_IN),  # He et al. 2015, equation 10
        (xavier_uniform, 2 / (FAN_IN + FAN_OUT)),  # Glorot & Bengio 2010, equation 12
        (lecun_normal, 1 / FAN_IN),  # LeCun et al. 1998, equation 16
        (normal(0.01), 1e-4),
    ],
)
def test_the_mean_is_0_and_the_variance_the_papers(init, variance):
    drawn = draw(init)
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 4 * np.sqrt(variance / drawn.size)
    assert drawn.var() == pytest.approx(variance, rel=0.03)


def test_uniform_weights_stay_within_their_bound():
    assert np.abs(draw(xavier_uniform)).max() <= np.sqrt(6 / (FAN_IN + FAN_OUT))


def test_a_layer_draws_by_the_rule_it_is_given_the_same_bits_for_a_seed():
    a, b = (Conv2d(48, 64, (5, 3), init=xavier_uniform).initialize(seed).weight.value for seed in (3, 3))
    assert np.array_equal(a, b)
    assert np.array_equal(Conv2d(2, 2, 1, init=constant(0.5)).initialize(0).weight.value, np.full((2, 2, 1, 1), 0.5))
