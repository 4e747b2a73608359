"""When a device's samples are: its sample count against the system's clock, without the jitter of the reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

SETTLED_S = 4.0
"""Time constant of the filter, once settled: a hundred reports a second jitter by a millisecond; servers move their delay within seconds."""
FIRST_S = 0.5
CLIPPED_S = 0.003
"""A report farther off than this is a late wake-up: it counts as this far off."""
LOST_S = 0.03
LOST_REPORTS = 8
"""So many reports in a row, all farther off than `LOST_S` on the same side: samples were lost, and the count starts anew."""
MOST_DRIFT = 2e-3
"""Of a rate from what it says; real devices stay within a tenth of it."""


@dataclass(slots=True)
class SampleClock:
    """A delay-locked loop of second order (Adriaensen, "Using a DLL to filter time", 2005).

    `update` takes reports of the kind "sample number `count` is, was or will be at `time_s`".

    Attributes:
        period_s: between two samples, as measured.
        restarts: how often the count had to start anew.
    """

    rate: float
    period_s: float = 0.0
    restarts: int = 0
    _count: float = 0.0
    _time_s: float = 0.0
    _began_s: float = math.nan
    _lost: int = 0

    def update(self, count: int, time_s: float) -> None:
        """Take one report; counts grow."""
        if math.isnan(self._began_s):
            self._begin(count, time_s)
            return
        step = count - self._count
        if step <= 0:
            return
        predicted = self._time_s + step * self.period_s
        error = time_s - predicted
        same_side = self._lost == 0 or (self._lost > 0) == (error > 0)
        self._lost = (self._lost + (1 if error > 0 else -1)) if abs(error) > LOST_S and same_side else 0
        if abs(self._lost) >= LOST_REPORTS:
            self.restarts += 1
            self._begin(count, time_s)
            return
        elapsed_s = max(predicted - self._began_s, 0.0)
        settling = elapsed_s < 1.0
        if not settling:
            error = min(max(error, -CLIPPED_S), CLIPPED_S)
        omega = step * self.period_s / min(SETTLED_S, FIRST_S + elapsed_s / 2)
        omega = min(omega, 0.5)
        self._time_s, self._count = predicted + math.sqrt(2) * omega * error, count
        nominal = 1 / self.rate
        period = self.period_s + (0.0 if settling else omega * omega * error / step)
        self.period_s = min(max(period, nominal * (1 - MOST_DRIFT)), nominal * (1 + MOST_DRIFT))

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

    def _begin(self, count: int, time_s: float) -> None:
        self._count, self._time_s, self._began_s, self._lost = count, time_s, time_s, 0
        self.period_s = self.period_s or 1 / self.rate
