"""What a child process of the benchmark does: one measurement, plain values in and out.

A job imports what it needs, so that a live one holds no more than the engine that `start` runs.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import cv2

from f2fcam.errors import F2FError


def serial(*, profiles: str, profile: str, source: str, size: list[int], count: int, allocated: int) -> dict[str, Any]:
    """The chain in one thread: times of `count` pictures, then allocations of `allocated`, then the kernels."""
    from f2fcam.benchmark.chain import Serial, allocations, spread
    from f2fcam.benchmark.source import read_pictures
    from f2fcam.benchmark.stages import kernel_table, measure_kernels, stage_table, stage_work
    from f2fcam.benchmark.yardsticks import measure_machine
    from f2fcam.face.morphable import load_face_model
    from f2fcam.profile_store import open_profile

    picture_size, pictures = (size[0], size[1]), read_pictures(Path(source))
    chain = Serial(load_face_model(), open_profile(profile, Path(profiles)), picture_size, picture_size)
    try:
        stages = chain.run(pictures, count)
        machine, kernels = measure_machine(), measure_kernels(chain, stages, picture_size)
        work = stage_work(chain, stages, kernels, pictures[0])
        kilobytes = allocations(chain, pictures, allocated) if allocated else {}
    finally:
        chain.close()
    return {
        "stages_ms": stages.summary(),
        "serial_ms": spread(stages.whole()),
        "serial_cpu_ms": spread(stages.cpu_ms),
        "stages": stage_table(stages, work, machine, kilobytes),
        "kernels": kernel_table(kernels, machine),
        "machine": {name: round(value, 2) for name, value in asdict(machine).items()},
        "tracked": round(stages.statuses.count("tracked") / max(len(stages.statuses), 1), 3),
        "pictures": len(stages.statuses),
    }


def live(
    *,
    profiles: str,
    profile: str,
    source: str,
    size: list[int],
    fps: float,
    seconds: float,
    adapt: bool = False,
    settling_s: float,
) -> dict[str, Any]:
    """The engine's threads: rate, delay, use of the processor, and the memory of both processes at the end."""
    from f2fcam.benchmark.live import run_live
    from f2fcam.profile_store import open_profile

    outcome = run_live(
        lambda: open_profile(profile, Path(profiles)), Path(source), (size[0], size[1]), fps, seconds,
        adapt=adapt, settling_s=settling_s,
    )  # fmt: skip
    return {
        "fps": round(outcome.fps, 2),
        "latency_ms": outcome.latency_ms,
        "latency_growth_ms": round(outcome.growth_ms, 2),
        "cpu_share": round(outcome.cpu_share, 3),
        "statuses": outcome.statuses,
        "levels": outcome.levels,
        "memory_mb": outcome.memory_mb and round(outcome.memory_mb, 1),
        "rows": [[row.source_id, row.capture_ns, row.publish_ns] for row in outcome.rows],
    }


def start(*, profiles: str, profile: str, source: str, size: list[int], seconds: float, repeats: int) -> dict[str, Any]:
    """The command itself: once for `seconds`, for memory, and again for how soon it shows what; medians of the times."""
    from f2fcam.benchmark.start import TOLD, run_start

    runs = [
        run_start(profile, Path(profiles), Path(source), (size[0], size[1]), seconds if first else min(1.0, seconds))
        for first in (True, *[False] * (repeats - 1))
    ]
    return {
        "memory_mb": runs[0].memory_mb and round(runs[0].memory_mb, 1),
        "start_s": {name: round(median(run.after_s[name] for run in runs), 2) for name in TOLD.values()},
    }


def enrolment(*, video: str, folder: str, seconds: float) -> dict[str, Any]:
    """Enrol the beginning of a clip into a folder that is thrown away."""
    from f2fcam.benchmark.live import peak_memory_mb
    from f2fcam.enroll import enroll_video
    from f2fcam.trust.consent import self_consent

    start, cpu = time.monotonic(), time.process_time()
    try:
        made = enroll_video(Path(video), "bench", self_consent(), Path(folder), (0.0, seconds))
    except F2FError as error:
        return {"failed": str(error)}
    passed, cpu_s = time.monotonic() - start, time.process_time() - cpu
    length = len(made.frames) / float(made.manifest.rate)
    return {
        "clip_s": round(length, 2),
        "size": list(made.manifest.size),
        "seconds": round(passed, 2),
        "cpu_seconds": round(cpu_s, 2),
        "seconds_per_clip_second": round(passed / max(length, 1e-6), 2),
        "memory_mb": peak_memory_mb(),
    }


def scale(
    *,
    profiles: str,
    profile: str,
    source: str,
    own_profiles: str,
    lengths_s: list[float],
    samples: list[int],
    count: int,
) -> dict[str, Any]:
    """The scaling tables; clip lengths of the profile as it was enrolled, in `own_profiles`.

    Enlarged crops would fill enrolment's budget with fewer mouths, and hide what many cost.
    """
    from f2fcam.benchmark import scaling
    from f2fcam.benchmark.source import read_pictures
    from f2fcam.face.morphable import load_face_model
    from f2fcam.profile_store import open_profile

    model, target = load_face_model(), open_profile(profile, Path(profiles))
    own = open_profile(profile, Path(own_profiles))
    return {
        "clip_length": scaling.clip_lengths(own, model, lengths_s, 4 * count),
        "samples": scaling.sample_counts(target, model, read_pictures(Path(source)), samples, count),
        "vertices": scaling.vertex_counts(target, model),
    }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "serial": serial, "live": live, "start": start, "enrolment": enrolment, "scale": scale,
}  # fmt: skip


def do(job: str, values: dict[str, Any]) -> dict[str, Any]:
    """One job, in this process."""
    cv2.setNumThreads(1)
    return JOBS[job](**values)


def about_machine() -> dict[str, Any]:
    """What else the numbers depend on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cores": len(allowed_cores()) or os.cpu_count(), "load": load and round(load, 2), "processor": _processor(),
            "python": platform.python_version()}  # fmt: skip


def allowed_cores() -> list[int]:
    """The processor's cores that this process may use; none where the system cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
