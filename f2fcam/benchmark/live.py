"""The chain through the engine's own threads: how many distinct source pictures a second reach the sink, and how old."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from f2fcam.benchmark.chain import spread
from f2fcam.benchmark.source import Replay
from f2fcam.deadline import FULL, Deadline, Quality
from f2fcam.engine import Engine, Picture, fit
from f2fcam.face.camera import Intrinsics
from f2fcam.frame import i420_from_rgb
from f2fcam.live import LivePipeline
from f2fcam.memory import shared_out_mb
from f2fcam.profile import Profile
from f2fcam.source_person import nobody
from f2fcam.source_process import start_tracker
from f2fcam.source_side import Casting

SETTLING_S = 2.0
"""Before anything counts: kernels load, the face is found, the edges between the stages fill."""
OUTPUT_FPS = 30.0
"""What an adaptive pass aims at, as `f2fcam start` does unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Row:
    """A picture that reached the sink."""

    source_id: int
    capture_ns: int
    publish_ns: int
    quality: Quality = FULL


@dataclass(frozen=True, slots=True)
class Live:
    """Outcome of a live pass, after what settles it.

    Attributes:
        rows: of pictures. statuses: how many there were of each. cpu_s: both processes' time between first and last row.
        memory_mb: of both processes at the end, what they share counted once; None where the system does not tell.
    """

    rows: list[Row]
    statuses: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    memory_mb: float | None = None

    @property
    def elapsed_s(self) -> float:
        """From the first row to the last."""
        return (self.rows[-1].publish_ns - self.rows[0].publish_ns) / 1e9 if len(self.rows) > 1 else 0.0

    @property
    def fps(self) -> float:
        """Distinct source pictures that reached the sink, per second."""
        elapsed = self.elapsed_s
        return (len({row.source_id for row in self.rows}) - 1) / elapsed if elapsed > 0 else 0.0

    @property
    def latency_ms(self) -> dict[str, float]:
        """From a picture's moment (it is decoded after it) to its end as I420."""
        return spread(self._ages())

    @property
    def cpu_share(self) -> float:
        """Of one core: 2 would be two cores full."""
        return self.cpu_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def levels(self) -> dict[str, float]:
        """Mean level of each side; 0 is full quality."""
        sides = [(row.quality.tracking, row.quality.picture) for row in self.rows] or [(0, 0)]
        tracking, picture = np.mean(sides, axis=0)
        return {"tracking": round(float(tracking), 2), "picture": round(float(picture), 2)}

    @property
    def growth_ms(self) -> float:
        """How much later pictures of the last third come than those of the first, medians: whether delay piles up."""
        ages, third = self._ages(), len(self.rows) // 3
        return float(np.median(ages[-third:]) - np.median(ages[:third])) if third else 0.0

    def _ages(self) -> list[float]:
        return [(row.publish_ns - row.capture_ns) / 1e6 for row in self.rows]


def run_live(
    open_profile: Callable[[], Profile], source: Path, size: tuple[int, int], fps: float, duration_s: float,
    *, adapt: bool = False, settling_s: float = SETTLING_S,
) -> Live:  # fmt: skip
    """The engine's threads over a film given out at `fps`, publishing I420 of `size` into memory.

    The actor is taken as known, so that learning them does not come and go. All pictures are at full quality; with `adapt`
    they give way to the pace.
    """
    width, height = size
    tracker = start_tracker(Path(os.devnull))
    profile = open_profile()
    tracker.cast(Casting.of(profile, actor=nobody(Intrinsics.guess(width, height)), size=size))
    pipeline = LivePipeline(profile, tracker)
    del profile  # as the engine, which keeps of it what the pipeline keeps
    canvas = np.zeros((height, width, 3), np.uint8)
    planes = np.empty((height * 3 // 2, width), np.uint8)
    rows: list[tuple[Row, str, float]] = []

    def publish(picture: Picture) -> None:
        rgb = picture.rgb
        if rgb.shape != canvas.shape:
            fit(rgb, canvas)
            rgb = canvas
        i420_from_rgb(rgb, planes)
        row = Row(picture.source_index, picture.captured_ns, time.monotonic_ns(), picture.quality)
        rows.append((row, picture.status, time.process_time() + cpu_of(tracker.pid)))

    deadline = Deadline(pipeline.levels, OUTPUT_FPS) if adapt else None
    engine = Engine(
        lambda: Replay(source, fps, settling_s + duration_s), pipeline, publish, loop=False, deadline=deadline
    )
    try:
        engine.run()
        held = shared_out_mb((os.getpid(), tracker.pid))
    finally:
        pipeline.close()
    return replace(settled(rows, settling_s), memory_mb=held)


def cpu_of(pid: int) -> float:
    """Processor seconds that a process has used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    user, system = (int(fields[k]) for k in (11, 12))
    return (user + system) / os.sysconf("SC_CLK_TCK")


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far; None where the system does not tell.

    Linux counts what a process inherits from its parent's start in `ru_maxrss`, but not in `VmHWM`.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def settled(rows: list[tuple[Row, str, float]], settling_s: float) -> Live:
    """Of rows, each with its status and the process's time, what comes `settling_s` after the first; all where nothing does."""
    kept = [row for row in rows if row[0].publish_ns - rows[0][0].publish_ns > settling_s * 1e9] or rows
    statuses: dict[str, int] = defaultdict(int)
    for _, status, _ in kept:
        statuses[status] += 1
    return Live([row for row, _, _ in kept], dict(statuses), kept[-1][2] - kept[0][2] if kept else 0.0)
