"""Times and rates of a running camera, over the last seconds; standard library only, for the supervisor has them too."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WINDOW = 300
"""Samples that a percentile looks back on: ten seconds at 30 frames a second."""

RECENT = 60
"""Samples of what a value is now."""


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie (nearest rank); NaN without values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Durations:
    """The last durations of one thing, in milliseconds."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=WINDOW)

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self._values.append(milliseconds)

    def recent(self) -> float | None:
        """The median of the last `RECENT`; None before the first."""
        return percentile(list(self._values)[-RECENT:], 0.5) if self._values else None

    def summary(self) -> dict[str, float | None]:
        """`p50`, `p95`; None before the first."""
        values = list(self._values)
        if not values:
            return {"p50": None, "p95": None}
        return {"p50": round(percentile(values, 0.5), 2), "p95": round(percentile(values, 0.95), 2)}


class Rate:
    """Events per second over the last `window_s` seconds; time comes in as an argument."""

    def __init__(self, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        """Count one event at `now` (seconds, monotonic)."""
        self._times.append(now)
        self._forget(now)

    def per_second(self, now: float) -> float:
        """Events per second until `now`."""
        self._forget(now)
        if len(self._times) < 2:
            return 0.0
        return round((len(self._times) - 1) / max(now - self._times[0], 1e-9), 2)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] < now - self._window_s:
            self._times.popleft()


class Stages:
    """What each stage thread costs, and for how long it has been at its current item (the watchdog's question)."""

    def __init__(self, names: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._durations = {name: Durations() for name in names}
        self._busy_since: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time one item of the stage `name`."""
        start = self._clock()
        with self._lock:
            self._busy_since[name] = start
        try:
            yield
        finally:
            with self._lock:
                del self._busy_since[name]
                self._durations[name].add((self._clock() - start) * 1e3)

    def add(self, name: str, milliseconds: float) -> None:
        """Count a part's duration that was measured elsewhere."""
        with self._lock:
            self._durations.setdefault(name, Durations()).add(milliseconds)

    def busy(self) -> tuple[str, float]:
        """The stage that has been at one item for longest, and for how many seconds."""
        now = self._clock()
        with self._lock:
            name, since = min(self._busy_since.items(), key=lambda item: item[1], default=("", now))
        return name, now - since

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Stage -> `p50`, `p95` in milliseconds."""
        with self._lock:
            return {name: durations.summary() for name, durations in self._durations.items()}
