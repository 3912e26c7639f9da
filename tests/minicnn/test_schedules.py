"""Schedules against torch's, or against their closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.schedules import Clock, Schedule, constant, cosine, from_config, one_cycle, plateau, step

STEPS = 50


def factors(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [schedule(Clock(i, steps, 10)) for i in range(steps)]


def of_torch(torch: Any, make: Callable[[Any], Any], steps: int = STEPS) -> list[float]:
    """The learning rates of torch's scheduler for a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_torch_anneals_along_the_same_cosine(torch: Any, floor: float) -> None:
    expected = of_torch(torch, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, floor))
    np.testing.assert_allclose(factors(cosine(floor=floor)), expected, rtol=0, atol=1e-12)


def test_the_cosine_rises_in_a_line_first() -> None:
    found = factors(cosine(warmup=0.2))
    np.testing.assert_allclose(found[:11], np.arange(1, 12) / 11, rtol=1e-12)  # 10 steps, then the whole
    np.testing.assert_allclose(found[10:], 0.5 * (1 + np.cos(np.pi * np.arange(40) / 40)), rtol=0, atol=1e-12)


def test_torch_steps_at_the_same_milestones(torch: Any) -> None:
    expected = of_torch(torch, lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [15, 35, 45], 0.2))
    np.testing.assert_allclose(factors(step([0.3, 0.7, 0.9], 0.2)), expected, rtol=1e-12)


@pytest.mark.parametrize("peak", [0.3, 0.5])
def test_torch_cycles_the_same_way(torch: Any, peak: float) -> None:
    """torch puts the peak and the end on the last step of their part, one step before ours: hence the + 1."""
    expected = of_torch(
        torch,
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=STEPS + 1,
            pct_start=(peak * STEPS + 1) / (STEPS + 1),
            div_factor=1 / 0.04,
            final_div_factor=0.04 / 1e-4,
            cycle_momentum=False,
        ),
    )
    np.testing.assert_allclose(factors(one_cycle(peak)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("patience", [0, 2])
def test_torch_drops_on_the_same_plateaus(torch: Any, patience: int) -> None:
    errors = [0.5, 0.4, 0.4, 0.41, 0.39, 0.42, 0.43, 0.44, 0.45, 0.38, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=patience, threshold=0, eps=0)
    ours, history = plateau(patience), []
    for error in errors:
        theirs.step(error)
        history.append({"test_error": error})
        assert ours(Clock(0, 100, 10, history)) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_a_schedule_needs_no_state_to_go_on() -> None:
    schedule = one_cycle()
    assert schedule(Clock(31, STEPS, 10)) == one_cycle()(Clock(31, STEPS, 10)) == factors(schedule)[31]
    assert factors(constant()) == [1.0] * STEPS


def test_a_plateau_without_a_test_set_says_so() -> None:
    with pytest.raises(MinicnnError, match="no 'test_error': give the run a test set"):
        plateau()(Clock(10, 100, 10, [{"train_loss": 1.0}]))


def test_schedules_are_made_from_a_recipe() -> None:
    assert factors(from_config({"name": "step", "milestones": [0.5], "factor": 0.5})) == [1.0] * 25 + [0.5] * 25
    assert factors(from_config({})) == [1.0] * STEPS
    with pytest.raises(MinicnnError, match="schedule 'cosin'; did you mean 'cosine'"):
        from_config({"name": "cosin"})
    with pytest.raises(MinicnnError, match=r"schedule 'cosine': .*warm"):
        from_config({"name": "cosine", "warm": 1})
