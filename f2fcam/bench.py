"""`f2fcam bench`: time per stage, frames a second, latency, memory and enrolment, beside what this machine can do at best.

Everything that is compared is measured in the same run. No number here is a promise: other programs' work is in it.
"""

from __future__ import annotations

import csv
import hashlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from f2fcam.benchmark import yardsticks
from f2fcam.benchmark.chain import Live, Pictures, Serial, Stages, run_live, spread, to_and_fro
from f2fcam.benchmark.yardsticks import Measured
from f2fcam.capture import open_source
from f2fcam.engine import fit
from f2fcam.enroll import enroll_video
from f2fcam.errors import F2FError, InputError
from f2fcam.face.morphable import load_face_model
from f2fcam.profile import Profile
from f2fcam.profile_store import open_profile
from f2fcam.progress import Progress, Silent
from f2fcam.publish.video import VideoWriter
from f2fcam.render.view import LEVEL
from f2fcam.synthetic.acting import Script
from f2fcam.synthetic.clip import SyntheticClip
from f2fcam.synthetic.person import SyntheticPerson
from f2fcam.synthetic.scene import Camera
from f2fcam.track.fit import FitConfig
from f2fcam.trust.consent import self_consent

PICTURES = 75
"""Source pictures that are kept in memory and acted to and fro."""
SYNTHETIC_PICTURES = 30
"""Drawing one takes longer than acting it."""
SYNTHETIC_FPS = 25
SERIAL_PICTURES = 60
LIVE_S = 5.0
THROUGHPUT_FPS, LATENCY_FPS = 60.0, 30.0
"""Rates of the source from which frames per second and latency are taken."""
ENROLMENT_CLIP_S = 3.0


def run_bench(
    *,
    profile: str = "alice",
    profiles: Path | None = None,
    size: tuple[int, int] = (1280, 720),
    source: Path | None = None,
    log: Path | None = None,
    pictures: int = PICTURES,
    serial_pictures: int = SERIAL_PICTURES,
    live_s: float = LIVE_S,
    enrolment_s: float = ENROLMENT_CLIP_S,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure; what it answers is what `--json` prints. `log` gets a row per picture that reached the sink.

    `source` drives, fitted into `size`; without it the synthetic person does. `enrolment_s` 0 leaves enrolment out.
    """
    progress = progress or Silent()
    cv2.setNumThreads(1)
    model, target = load_face_model(), open_profile(profile, profiles)
    acted = source_pictures(source, size, pictures, progress.stage("Reading the source"))
    report = progress.stage("Measuring")
    serial = Serial(model, target, size, size)
    try:
        stages = serial.run(acted, serial_pictures)
        report(1, 4)
        kernels = measure_kernels(serial, stages, size)
    finally:
        serial.close()
    report(2, 4)
    fast = run_live(model, target, acted, size, THROUGHPUT_FPS, live_s)
    slow = run_live(model, target, acted, size, LATENCY_FPS, live_s)
    report(3, 4)
    if log is not None:
        write_log(log, {THROUGHPUT_FPS: fast, LATENCY_FPS: slow})
    memory_mb = peak_memory_mb()
    result = {
        "summary": "",
        "chain": {f"{size[0]}x{size[1]}": chain_result(stages, fast, slow, target, size)},
        "memory_mb": memory_mb,
        "floors_ms": {name: round(one.floor_ms, 4) for name, one in kernels.items()},
        "kernels_ms": {name: round(one.kernel_ms, 4) for name, one in kernels.items()},
        "ratios": {name: round(one.ratio, 2) for name, one in kernels.items()},
        "kernel_megabytes": {name: round(one.megabytes, 2) for name, one in kernels.items()},
        "enrolment": measure_enrolment(source, acted, enrolment_s) if enrolment_s > 0 else None,
        "machine": {name: round(value, 2) for name, value in yardsticks.machine().items()} | about_machine(),
        "work": {
            "profile": profile,
            "source": source.name if source else "synthetic",
            "configuration": configuration(),
        },
    }
    report(4, 4)
    return result | {"summary": summary(result)}


def source_pictures(
    source: Path | None, size: tuple[int, int], count: int, report: Callable[[int, int], None]
) -> Pictures:
    """The first pictures of a video fitted into `size`, or of the synthetic person."""
    if source is None:
        count = min(count, SYNTHETIC_PICTURES)
        clip = SyntheticClip(SyntheticPerson.held_out(0), Script(seed=0), Camera.facing(*size), noise=1.5)
        return [_reported(clip.frame(k / SYNTHETIC_FPS), k, count, report) for k in range(count)]
    video = open_source(f"video:{source}", size)
    pictures: Pictures = []
    try:
        while len(pictures) < count and (frame := video.read()) is not None:
            canvas = np.zeros((size[1], size[0], 3), np.uint8)
            fit(frame.rgb, canvas)
            pictures.append(_reported(canvas, len(pictures), count, report))
    finally:
        video.close()
    if not pictures:
        raise InputError(f"{source.name} has no picture.", hint="Choose another --source.")
    return pictures


def _reported(picture: np.ndarray, number: int, count: int, report: Callable[[int, int], None]) -> np.ndarray:
    report(number + 1, count)
    return picture


def measure_kernels(serial: Serial, stages: Stages, size: tuple[int, int]) -> dict[str, Measured]:
    """The hot kernels beside their yardsticks, on the last frame that was shown."""
    memory, target = serial.render.memory, stages.target
    assert target is not None
    measured = {
        "solver_product": yardsticks.solver_product(),
        "model": yardsticks.model_evaluation(target.view, memory),
        "i420": yardsticks.colour_conversion(size),
    }
    if "composite" in stages.arguments:  # the actor was tracked, so that something was drawn
        measured["rasteriser"] = yardsticks.rasteriser(memory, stages.arguments["rasterize"])
        measured["composite"] = yardsticks.compositing(stages.arguments["composite"])
    return measured


def chain_result(stages: Stages, fast: Live, slow: Live, target: Profile, size: tuple[int, int]) -> dict[str, Any]:
    """One entry of `chain`."""
    serial_ms = [sum(times) for times in zip(*stages.wall_ms.values(), strict=True)]
    return {
        "fps": round(fast.fps, 2),
        "latency_ms": slow.latency_ms,
        "stages_ms": stages.summary(),
        "serial_ms": spread(serial_ms),
        "serial_cpu_ms": spread(stages.cpu_ms),
        "source_size": list(size),
        "target_size": list(target.manifest.size),
        "pictures": {"serial": len(stages.cpu_ms), "live": len(fast.rows), "live_30": len(slow.rows)},
        "tracked": round(stages.statuses.count("tracked") / max(len(stages.statuses), 1), 3),
        "live_statuses": fast.statuses,
    }


def measure_enrolment(source: Path | None, pictures: Pictures, clip_s: float) -> dict[str, Any]:
    """Enrol a short clip into a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="f2fcam-bench-") as folder:
        video, range_s = source, (0.0, clip_s)
        if video is None:
            height, width = pictures[0].shape[:2]
            video = Path(folder) / "clip.mp4"
            with VideoWriter(video, (width, height), SYNTHETIC_FPS) as writer:
                for rgb in to_and_fro(pictures, round(clip_s * SYNTHETIC_FPS)):
                    writer.write(rgb)
        start, cpu = time.monotonic(), time.process_time()
        try:
            made = enroll_video(video, "bench", self_consent(), Path(folder) / "profiles", range_s)
        except F2FError as error:
            return {"failed": str(error)}
        seconds, cpu_s = time.monotonic() - start, time.process_time() - cpu
        length = len(made.frames) / float(made.manifest.rate)
    return {
        "clip_s": round(length, 2),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_s, 2),
        "seconds_per_clip_second": round(seconds / max(length, 1e-6), 2),
    }


def write_log(path: Path, runs: dict[float, Live]) -> None:
    """A row per picture that reached the sink; `source_fps` says in which of the two passes."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["source_id", "capture_ns", "publish_ns", "source_fps"])
            for fps, live in runs.items():
                writer.writerows((row.source_id, row.capture_ns, row.publish_ns, f"{fps:g}") for row in live.rows)
    except OSError as error:
        raise F2FError(f"{path} cannot be written ({error.strerror}).", hint="Give another --log FILE.csv.") from error


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def about_machine() -> dict[str, Any]:
    """What else the numbers depend on."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cores": allowed, "load": load and round(load, 2), "python": platform.python_version()}


def configuration() -> str:
    """A short hash of everything that trades fidelity for speed: equal hashes, equal work."""
    text = repr((sorted(asdict(FitConfig()).items()), LEVEL))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def summary(result: dict[str, Any]) -> str:
    """One line."""
    parts = []
    for size, chain in result["chain"].items():
        latency = chain["latency_ms"]
        parts.append(f"{size}: {chain['fps']:.1f} fps, latency {latency['p50']:.0f} ms (p95 {latency['p95']:.0f})")
    if result["memory_mb"] is not None:
        parts.append(f"{result['memory_mb']:.0f} MB")
    enrolment = result["enrolment"]
    if enrolment and "seconds" in enrolment:
        parts.append(f"enrolment {enrolment['seconds_per_clip_second']:.1f} s per second of clip")
    return "; ".join(parts)
