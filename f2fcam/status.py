"""What the running camera says about itself: the answer to `f2fcam status`, for the preview page and the metrics too."""

from __future__ import annotations

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

LAID_OUT = ("fps", "stages_ms", "drops", "busy")
"""Parts of the engine's report that have a place of their own."""


@dataclass(slots=True)
class Tally:
    """What went out.

    Attributes:
        sent: pictures, repeats and placeholders included.
        skipped: pictures of the engine that a newer one overtook.
        latency: from a picture's capture until it was handed to the device, in milliseconds.
    """

    sent: int = 0
    skipped: int = 0
    latency: Durations = field(default_factory=Durations)
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
        "sink_reasons": output.reasons,
        "logs": str(logs),
    }
