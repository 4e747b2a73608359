"""Keeping the frame rate where the machine is too slow or busy: how much is spent on a picture, by what the last ones took.

A frame's way has two sides, in processes of their own: the actor's (`track`) and the target's (`retouch`, `render`). Each has
levels from full quality to a floor, which the stages define (`track.effort`, `render.detail`); here they are numbers and words.
A side goes down as soon as its slowest stage does not fit into a frame's time. Where there is room it goes up again on trial,
and a trial that fails makes the next one wait longer: near the border it seldom tries, and never swings.
Pure state with time as an argument; standard library only.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from f2fcam.metrics import percentile

log = logging.getLogger(__name__)

WINDOW = 10
"""Pictures of one level over which a stage's time is averaged: a third of a second of a camera's."""
TOO_LONG = 0.95
"""Mean share of a frame's time above which a stage loses pictures; what is missing to 1 is for what varies."""
FAR_TOO_LONG = 1.6
"""Above this a side goes down two levels at once."""
MOST_SHARE = 2.0
"""What one picture counts at most: one that had to wait for the system is no reason to go down."""
CALM = 0.85
"""Below this there may be room for a level that costs more; between it and `TOO_LONG` that is tried at the longest intervals."""
FIRST_WAIT_S, LONGEST_WAIT_S = 3.0, 60.0
"""How long it must be calm before the next trial: at first, and at most after trials that have failed."""
TRIAL_S = 60.0
"""A level that has held so long has stood its trial."""
FREER = 0.75
"""Below this share of the load at which the last trial failed the machine is another one, and waits are forgotten."""
GAPS = 31
"""Pictures of the source whose median distance is its frame time."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How much is spent on one picture: the level of each side, 0 being full. It travels with the picture."""

    tracking: int = 0
    picture: int = 0


FULL = Quality()

SIDES = {"track": "tracking", "retouch": "picture", "render": "picture"}
"""Stage -> the side that decides how long it takes."""


@dataclass(frozen=True, slots=True)
class Levels:
    """What each side's levels mean, in words, full first and the floor last."""

    tracking: tuple[str, ...] = ("full",)
    picture: tuple[str, ...] = ("full",)


@dataclass(frozen=True, slots=True)
class Load:
    """The slowest stage of a side, and the mean share of a frame's time that it takes."""

    stage: str
    share: float


class Side:
    """One side's level between 0 (full) and `floor`.

    Attributes:
        level: for the next picture.
        late: the floor is reached, and still too slow.
        cause: why it is not at full quality; None where it is.
    """

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.level, self.late = 0, False
        self.cause: Load | None = None
        self._shares: dict[str, deque[float]] = {}
        self._wait_s = FIRST_WAIT_S
        self._calm_since: float | None = None
        self._raised_at: float | None = None
        self._before_trial = self._failed_at = 0.0

    def add(self, stage: str, share: float, level: int, now: float) -> bool:
        """Count a picture that took `stage` a share of a frame's time at `level`; whether the level changes."""
        if level != self.level:  # begun before the last change
            return False
        shares = self._shares.setdefault(stage, deque(maxlen=WINDOW))
        shares.append(min(share, MOST_SHARE))
        if len(shares) < WINDOW:
            return False
        load = self._load()
        if self._raised_at is not None and now - self._raised_at >= TRIAL_S:
            self._raised_at, self._wait_s = None, FIRST_WAIT_S
        if load.share > TOO_LONG:
            return self._lower(load)
        self.late = self.late and load.share > CALM
        return self.level > 0 and self._rise(load.share, now)

    def _load(self) -> Load:
        means = {stage: sum(s) / len(s) for stage, s in self._shares.items() if len(s) == WINDOW}
        slowest = max(means, key=lambda stage: means[stage])
        return Load(slowest, means[slowest])

    def _lower(self, load: Load) -> bool:
        """Make room; at the floor there is none, which is told."""
        self._calm_since = None
        failed, self._raised_at = self._raised_at is not None, None
        if failed:
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
            self._failed_at = self._before_trial
        self.late = self.level == self.floor
        self.cause = load
        if self.late:
            return False
        self._go_to(self.level + (2 if load.share > FAR_TOO_LONG and not failed else 1))
        return True

    def _rise(self, share: float, now: float) -> bool:
        """Try the next better level once it has been calm for long enough."""
        if share < FREER * self._failed_at:
            self._wait_s, self._failed_at = FIRST_WAIT_S, 0.0
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < (self._wait_s if share < CALM else LONGEST_WAIT_S):
            return False
        self._before_trial, self._raised_at, self._calm_since = share, now, None
        self._go_to(self.level - 1)
        return True

    def _go_to(self, level: int) -> None:
        self.level = min(level, self.floor)
        self._shares.clear()
        if self.level == 0:
            self.cause = None


class Deadline:
    """Both sides against the frame's time of a source, or of an output of `fps` where that is slower. Safe from any thread."""

    def __init__(self, levels: Levels, fps: float) -> None:
        self._words = {"tracking": levels.tracking, "picture": levels.picture}
        self._sides = {name: Side(len(words) - 1) for name, words in self._words.items()}
        self._least_s = 1.0 / fps
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._last_ns: int | None = None
        self._lock = threading.Lock()

    @property
    def quality(self) -> Quality:
        """For the next picture."""
        with self._lock:
            return Quality(**{name: side.level for name, side in self._sides.items()})

    @property
    def budget_s(self) -> float:
        """A frame's time, seconds."""
        with self._lock:
            return self._budget_s()

    def arrived(self, timestamp_ns: int) -> None:
        """The source's next picture, taken at `timestamp_ns`."""
        with self._lock:
            if self._last_ns is not None and timestamp_ns > self._last_ns:
                self._gaps.append((timestamp_ns - self._last_ns) * 1e-9)
            self._last_ns = timestamp_ns

    def took(self, stage: str, seconds: float, quality: Quality, now: float) -> None:
        """A picture of `quality` was in `stage` for so long; other stages than those of `SIDES` do not count."""
        name = SIDES.get(stage)
        if name is None:
            return
        with self._lock:
            side, late = self._sides[name], self._sides[name].late
            changed = side.add(stage, seconds / self._budget_s(), getattr(quality, name), now)
            words = self._side(name)["summary"] if changed or side.late != late else ""
        if words:
            log.log(logging.WARNING if side.late else logging.INFO, "quality: %s", words)

    def report(self) -> dict[str, Any]:
        """For `status`: a `summary` in words, and each side's level, floor, words, cause and whether it is late."""
        with self._lock:
            sides = {name: self._side(name) for name in self._sides}
            budget_ms = round(1e3 * self._budget_s(), 1)
        reduced = [side["summary"] for side in sides.values() if side["level"] > 0 or side["late"]]
        return {"mode": "auto", "summary": "; ".join(reduced) or "full", "budget_ms": budget_ms, **sides}

    def _budget_s(self) -> float:
        return max(self._least_s, percentile(list(self._gaps), 0.5)) if self._gaps else self._least_s

    def _side(self, name: str) -> dict[str, Any]:
        side, words = self._sides[name], self._words[name][self._sides[name].level]
        because = _because(side.cause, self._budget_s())
        summary = f"{name} {side.level} of {side.floor} ({words})" if side.level else f"{name} full"
        if side.late:
            summary += f", its floor, and still too slow: {because}"
        elif because:
            summary += f", because {because}"
        return {
            "level": side.level, "floor": side.floor, "words": words, "because": because, "late": side.late,
            "summary": summary,
        }  # fmt: skip


def _because(cause: Load | None, budget_s: float) -> str:
    if cause is None:
        return ""
    took = f"{cause.stage} took {1e3 * cause.share * budget_s:.0f} ms"
    return f"{took}{' or more' if cause.share >= MOST_SHARE else ''} of {1e3 * budget_s:.0f} ms"


PINNED: dict[str, Any] = {"mode": "full", "summary": "full, whatever it takes"}
"""The report where nothing adapts."""
