"""When a device's samples are: its sample count against the system's clock, without the jitter of the reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

SETTLED_S = 15.0
"""Time constant of the filter, once settled. PipeWire's reports of a playing stream wander by 4 ms within seconds while the
sound itself does not (docs/sound.md); a crystal changes over minutes."""
FIRST_S = 0.5
CLIPPED_S = 0.003
"""A report farther off than this is a late wake-up: it counts as this far off."""
MOVED_S = 0.008
MOVED_REPORTS = 50
"""So many reports in a row with a median farther off than `MOVED_S`: the device's own delay has changed."""
LOST_S = 0.03
"""So far: samples were lost."""
MOST_DRIFT = 2e-3
"""Of a rate from what it says; real devices stay within a tenth of it."""


@dataclass(slots=True)
class SampleClock:
    """A delay-locked loop of second order (Adriaensen, "Using a DLL to filter time", 2005).

    `update` takes reports of the kind "sample number `count` is, was or will be at `time_s`".

    Attributes:
        period_s: between two samples, as measured.
        losses: how often samples were lost.
    """

    rate: float
    period_s: float = 0.0
    losses: int = 0
    _count: float = 0.0
    _time_s: float = 0.0
    _began_s: float = math.nan
    _errors: list[float] = field(default_factory=list)

    def update(self, count: int, time_s: float) -> None:
        """Take one report; counts grow."""
        if not self.known:
            self._count, self._time_s, self._began_s, self.period_s = count, time_s, time_s, 1 / self.rate
            return
        step = count - self._count
        if step <= 0:
            return
        predicted = self._time_s + step * self.period_s
        error = time_s - predicted
        elapsed_s = max(predicted - self._began_s, 0.0)
        omega = min(step * self.period_s / min(SETTLED_S, FIRST_S + elapsed_s / 2), 0.5)
        self._count = count
        self._time_s = predicted + math.sqrt(2) * omega * min(max(error, -CLIPPED_S), CLIPPED_S)
        self._bend(omega * omega * min(max(error, -CLIPPED_S), CLIPPED_S) / step)
        self._errors.append(error)
        if len(self._errors) == MOVED_REPORTS:
            moved = median(self._errors)
            self._errors.clear()
            if abs(moved) > MOVED_S:
                self._time_s += moved
                self.losses += abs(moved) > LOST_S

    def time_of(self, count: float) -> float:
        """When sample number `count` is."""
        return self._time_s + (count - self._count) * self.period_s

    def count_at(self, time_s: float) -> float:
        """The sample number at `time_s`, with its fraction."""
        return self._count + (time_s - self._time_s) / self.period_s

    @property
    def known(self) -> bool:
        """There has been a report."""
        return not math.isnan(self._began_s)

    def _bend(self, change_s: float) -> None:
        nominal = 1 / self.rate
        self.period_s = min(max(self.period_s + change_s, nominal * (1 - MOST_DRIFT)), nominal * (1 + MOST_DRIFT))
