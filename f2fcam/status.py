"""What the running camera says about itself: the answer to `f2fcam status`, for the preview page and the metrics too."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from f2fcam.channel import Message
from f2fcam.engine_process import EngineProcess
from f2fcam.metrics import Durations, Rate
from f2fcam.output import Output
from f2fcam.trust.badge import TEXT

if TYPE_CHECKING:
    from f2fcam.config import StartConfig

COLD = 30
"""Pictures that come later than the rest will: code is compiled, buffers and caches fill."""
BREAK_S = 2.0
"""After so long without a new picture an engine has started or woken."""
LAID_OUT = ("fps", "stages_ms", "drops", "busy")
"""Parts of the engine's report that have a place of their own."""


class Lateness:
    """How late the actor is seen, in milliseconds: a picture's age when it is sent, and half of the time that it stays.

    The sound is held back by it. The first `COLD` pictures of an engine that starts or wakes do not count, so that the sound
    does not run after them.
    """

    def __init__(self) -> None:
        self._ages, self._gaps = Durations(), Durations()
        self._sent_s, self._cold = -math.inf, COLD

    def add(self, age_ms: float, now: float) -> None:
        """A new picture was sent at `now` (seconds)."""
        gap_s, self._sent_s = now - self._sent_s, now
        if gap_s > BREAK_S:
            self._cold = COLD
        if self._cold:
            self._cold -= 1
            return
        self._ages.add(age_ms)
        self._gaps.add(gap_s * 1e3)

    def recent(self) -> float | None:
        """Of the last pictures; None before the first that counts."""
        age_ms, gap_ms = self._ages.recent(), self._gaps.recent()
        return None if age_ms is None or gap_ms is None else age_ms + gap_ms / 2


@dataclass(slots=True)
class Tally:
    """What went out.

    Attributes:
        sent: pictures, repeats and placeholders included.
        skipped: pictures of the engine that a newer one overtook.
        latency: from a picture's capture until it was handed to the device, in milliseconds.
        lateness: what the sound is held back by.
    """

    sent: int = 0
    skipped: int = 0
    latency: Durations = field(default_factory=Durations)
    lateness: Lateness = field(default_factory=Lateness)
    rate: Rate = field(default_factory=Rate)


def status_message(
    config: StartConfig,
    engine: EngineProcess,
    output: Output,
    tally: Tally,
    *,
    sound: Message,
    metrics: str | None,
    logs: Path,
    state: str,
    profile: str,
    uptime_s: float,
    now: float,
) -> Message:
    """Everything that is known, in plain values."""
    report = engine.report
    return {
        "state": state,
        "pid": os.getpid(),
        "engine_pid": engine.pid,
        "uptime_s": round(uptime_s, 1),
        "profile": profile,
        "profiles": str(config.profiles) if config.profiles else None,
        "source": config.source,
        "sink": config.sink,
        "device": output.device,
        "readers": output.readers,
        "always_on": config.always_on or output.readers is None,
        "size": list(output.size),
        "badge": TEXT,
        "metrics": metrics,
        "fps": {"output": tally.rate.per_second(now), "engine": report.get("fps", 0.0)},
        "frames": tally.sent,
        "latency_ms": tally.latency.summary(),
        "stages_ms": report.get("stages_ms", {}),
        "drops": {**report.get("drops", {}), "output": tally.skipped},
        **{key: value for key, value in report.items() if key not in LAID_OUT},
        "sound": sound,
        "restarts": engine.restart_count,
        "reasons": [{"time": when, "reason": why} for when, why in engine.restarts],
        "sink_losses": output.losses,
        "sink_reasons": [{"time": when, "reason": why} for when, why in output.reasons],
        "logs": str(logs),
    }
