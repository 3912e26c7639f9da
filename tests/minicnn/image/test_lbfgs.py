"""L-BFGS against torch's, SciPy's and known minima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from minicnn.errors import MinicnnError
from minicnn.image import LBFGS
from minicnn.image.lbfgs import line_search
from minicnn.schedules import Clock

CLOCK = Clock(0, 10, 10)


def rosenbrock(x: Any) -> Any:
    """Of torch tensors and of arrays."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def climb(x: np.ndarray) -> tuple[Any, Any]:
    """−rosenbrock of a picture (1, 1, 1, W), and its gradient."""
    v = x.reshape(-1)
    d = v[1:] - v[:-1] ** 2
    gradient = np.zeros_like(v)
    gradient[1:] += 200 * d
    gradient[:-1] += -400 * v[:-1] * d - 2 * (1 - v[:-1])
    return -rosenbrock(v), -gradient.reshape(x.shape)


def start(width: int = 12) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.5, 1.5, (1, 1, 1, width))


def test_the_steps_are_torchs() -> None:
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x = torch.tensor(start().reshape(-1), requires_grad=True)
    theirs = torch.optim.LBFGS(
        [x], max_iter=1, max_eval=26, history_size=5, tolerance_grad=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        theirs.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    value, state = start(), None
    for step in range(30):
        theirs.step(closure)
        value, state = LBFGS(memory=5).step(value, climb, state, CLOCK)
        np.testing.assert_allclose(value.reshape(-1), x.detach().numpy(), rtol=1e-6, atol=1e-9, err_msg=f"step {step}")


def test_a_valley_is_followed_to_its_end() -> None:
    value, state = start(), None
    for _ in range(120):
        value, state = LBFGS().step(value, climb, state, CLOCK)
    np.testing.assert_allclose(value, 1, atol=1e-6)


@pytest.mark.parametrize("bounds", [(-2.0, 0.5), (-0.3, 0.9), (1.2, 3.0)])
def test_within_bounds_the_minimum_is_scipys(bounds: tuple[float, float]) -> None:
    value, state = np.clip(start(), *bounds), None
    theirs = minimize(
        lambda x: [-part for part in (lambda f, g: (f, g.reshape(-1)))(*climb(x.reshape(1, 1, 1, -1)))],  # type: ignore[attr-defined, operator]
        value.reshape(-1),
        jac=True,
        method="L-BFGS-B",
        bounds=[bounds] * value.size,
        options={"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-10},
    )
    for _ in range(200):
        value, state = LBFGS(bounds=bounds).step(value, climb, state, CLOCK)
        assert (value >= bounds[0]).all() and (value <= bounds[1]).all()
    assert -climb(value)[0] == pytest.approx(theirs.fun, rel=1e-6, abs=1e-9)


def test_every_step_goes_down_and_meets_the_wolfe_conditions() -> None:
    value, state = start(), None
    for _ in range(40):
        new, state = LBFGS().step(value, climb, state, CLOCK)
        (f0, g0), (f1, g1) = climb(value), climb(new)
        moved = new - value
        assert f1 >= f0 + 1e-4 * np.vdot(g0, moved)
        assert abs(np.vdot(g1, moved)) <= 0.9 * abs(np.vdot(g0, moved))
        value = new


def test_a_step_into_the_void_is_taken_back() -> None:
    """Beyond 1 there is nothing but NaN: the maximum of log(1 − x) + 3x, at 2/3, is found all the same."""

    def evaluate(x: np.ndarray) -> tuple[Any, Any]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (np.log(1 - x) + 3 * x).sum(), 3 - 1 / (1 - x)

    value, state = np.zeros((1, 1, 1, 1)), None
    for _ in range(20):
        value, state = LBFGS().step(value, evaluate, state, CLOCK)
    assert value[0, 0, 0, 0] == pytest.approx(2 / 3)


def test_the_memory_is_bounded() -> None:
    value, state = start(), None
    for _ in range(9):
        value, state = LBFGS(memory=3).step(value, climb, state, CLOCK)
    assert len(state) == 3  # type: ignore[arg-type]


def test_a_search_that_finds_nothing_ends() -> None:
    from minicnn.image.lbfgs import EVALUATIONS, Point

    tries = []

    def at(t: float) -> Point:
        tries.append(t)
        return Point(t, -t, -1.0, np.zeros(1), np.zeros(1))  # a slope without end

    line_search(at, Point(0.0, 0.0, -1.0, np.zeros(1), np.zeros(1)), 1.0, 1e-9)
    assert len(tries) == EVALUATIONS


@pytest.mark.parametrize(
    ("options", "message"),
    [({"memory": 0}, "memory 0: expected 1 or more"), ({"bounds": (1, 0)}, "expected the smaller first")],
)
def test_a_setting_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        LBFGS(**options)
