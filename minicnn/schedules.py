"""Learning-rate schedules: functions of the run so far, so that a resumed run needs no state of theirs.

A schedule is called with a `Clock` before each step and returns the factor for the base learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, pi
from typing import Any

from .errors import MinicnnError, nearest


@dataclass(frozen=True)
class Clock:
    """Where a run is: steps done, steps in all, steps an epoch, and the finished epochs' figures."""

    step: int
    steps: int
    epoch_steps: int
    history: Sequence[Mapping[str, float]] = field(default_factory=tuple)

    @property
    def progress(self) -> float:
        """From 0 at the first step to 1 at the end."""
        return self.step / max(1, self.steps)


Schedule = Callable[[Clock], float]


def constant() -> Schedule:
    """Always 1."""
    return lambda clock: 1.0


def step(milestones: Sequence[float], factor: float = 0.1) -> Schedule:
    """Multiplied by `factor` at each milestone, given as a share of the run: `step([0.5, 0.75])`."""
    if not isinstance(milestones, Sequence) or isinstance(milestones, str):
        raise MinicnnError(f"schedule 'step': milestones = {milestones!r}: expected a list of shares")
    _check_shares("step", factor=factor, **{f"milestones[{i}]": m for i, m in enumerate(milestones)})
    return lambda clock: factor ** sum(clock.progress >= m for m in milestones)


def cosine(warmup: float = 0.0, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 to `floor` (Loshchilov & Hutter 2017), after a linear rise over the share `warmup`."""
    _check_shares("cosine", warmup=warmup, floor=floor)

    def factor(clock: Clock) -> float:
        if clock.progress < warmup:
            return (clock.step + 1) / (warmup * clock.steps + 1)
        done = (clock.progress - warmup) / (1 - warmup)
        return floor + (1 - floor) * 0.5 * (1 + cos(pi * done))

    return factor


def one_cycle(peak: float = 0.3, start: float = 0.04, end: float = 1e-4) -> Schedule:
    """Up from `start` to 1 at the share `peak` of the run, then down to `end`, both along half cosines (Smith 2018)."""
    _check_shares("one_cycle", peak=peak, start=start, end=end)

    def factor(clock: Clock) -> float:
        rising = clock.progress < peak
        low = start if rising else end
        done = clock.progress / peak if rising else (1 - clock.progress) / (1 - peak)
        return low + (1 - low) * 0.5 * (1 - cos(pi * done))

    return factor


def plateau(patience: int = 3, factor: float = 0.1, key: str = "test_error") -> Schedule:
    """Multiplied by `factor` whenever `key` has not improved for more than `patience` epochs (He et al. 2015)."""
    _check_shares("plateau", factor=factor)
    if type(patience) is not int or patience < 0:
        raise MinicnnError(f"schedule 'plateau': patience = {patience!r}: expected 0, 1, 2, …")

    def current(clock: Clock) -> float:
        best, waited, drops = float("inf"), 0, 0
        for epoch in clock.history:
            if key not in epoch:
                raise MinicnnError(f"plateau schedule: the history has no {key!r}: give the run a test set")
            if epoch[key] < best:
                best, waited = epoch[key], 0
            else:
                waited += 1
            if waited > patience:
                waited, drops = 0, drops + 1
        return factor**drops

    return current


def _check_shares(schedule: str, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise MinicnnError(f"schedule {schedule!r}: {name} = {value!r}: expected a number from 0 to 1")


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "plateau": plateau,
}


def from_config(config: Mapping[str, Any]) -> Schedule:
    """{"name": "cosine", "warmup": 0.1} -> the schedule. Raises MinicnnError for unknown names and options."""
    options = dict(config)
    name = options.pop("name", "constant")
    if not isinstance(name, str) or name not in SCHEDULES:
        raise MinicnnError(f"schedule {name!r}{nearest(str(name), SCHEDULES)}")
    try:
        return SCHEDULES[name](**options)
    except TypeError as error:
        raise MinicnnError(f"schedule {name!r}: {error}") from None
