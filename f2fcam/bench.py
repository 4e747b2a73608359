"""`f2fcam bench`: time per stage, frames a second, latency, memory and enrolment, beside what this machine can do at best.

Everything that is compared is measured in the same run, every measurement in a process of its own. No number here is a
promise: other programs' work is in it.
"""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from f2fcam.benchmark import scaling
from f2fcam.benchmark.child import Run, busy, run_child
from f2fcam.benchmark.jobs import about_machine, allowed_cores
from f2fcam.benchmark.live import SETTLING_S
from f2fcam.benchmark.report import write_report
from f2fcam.benchmark.source import FPS, PICTURES, source_pictures, to_and_fro, write_source
from f2fcam.benchmark.tables import summary
from f2fcam.benchmark.target import write_zoomed
from f2fcam.errors import F2FError
from f2fcam.face.morphable import load_face_model
from f2fcam.profile import Profile
from f2fcam.profile_store import open_profile
from f2fcam.progress import Progress, Silent
from f2fcam.publish.video import VideoWriter
from f2fcam.render.view import LEVEL
from f2fcam.track.fit import FitConfig

SIZES = ((640, 480), (1280, 720), (1920, 1080))
MAIN_SIZE = (1280, 720)
"""At which one core, a busy core, memory, enrolment and scaling are measured, if it is among the sizes."""
THROUGHPUT_FPS, LATENCY_FPS = 60.0, 30.0
"""Rates of the source from which frames per second and latency are taken."""
ADAPTING_S = 6.0
"""What an adaptive pass has more before anything counts: a level takes ten pictures to be found too slow."""
CORES = 2
"""As many as a measurement may use, unless it says otherwise."""


Pass = tuple[str, str, float, Sequence[Sequence[int]]]
"""A live pass: its size, its name, its source's rate, and (source_id, capture_ns, publish_ns) per picture."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        pictures: of the source. serial_pictures, allocated: of the serial passes for times and for allocations.
        live_s, settling_s: of a live pass. start_s: of `f2fcam start` itself, long enough to learn the actor; 0 leaves it out.
        starts: how often, the others shorter.
        cores: whether one core, and one beside a busy program, are measured too. enrolment_s: of clip; 0 leaves it out.
        lengths_s, samples: of the scaling tables; none leave them out. scaled: pictures for each.
    """

    pictures: int = PICTURES
    serial_pictures: int = 60
    allocated: int = 12
    live_s: float = 8.0
    settling_s: float = SETTLING_S
    start_s: float = 20.0
    starts: int = 3
    cores: bool = True
    enrolment_s: float = 3.0
    lengths_s: tuple[float, ...] = scaling.LENGTHS_S
    samples: tuple[int, ...] = scaling.SAMPLE_COUNTS
    scaled: int = 40


FULL = Effort()
QUICK = Effort(
    serial_pictures=20,
    allocated=4,
    live_s=4.0,
    start_s=1.0,
    starts=1,
    cores=False,
    enrolment_s=0.0,
    lengths_s=(),
    samples=(),
)


def run_bench(
    *,
    profile: str = "alice",
    profiles: Path | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    source: Path | None = None,
    log: Path | None = None,
    docs: Path | None = None,
    quick: bool = False,
    effort: Effort | None = None,
    run: Run = run_child,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure; what it answers is what `--json` prints. `log` gets a row per picture that reached the sink.

    `docs` is a folder whose `performance.md` gets tables and plots of it (`benchmark.report`). `source` drives, fitted into
    each size; without it the synthetic person does. Without `sizes` they are `SIZES`, or `MAIN_SIZE` where it is to be
    `quick`. `run` does each measurement.
    """
    progress = progress or Silent()
    cv2.setNumThreads(1)
    target = open_profile(profile, profiles)
    sizes, effort = sizes or ((MAIN_SIZE,) if quick else SIZES), effort or (QUICK if quick else FULL)
    main = MAIN_SIZE if MAIN_SIZE in sizes else sizes[0]
    with tempfile.TemporaryDirectory(prefix="f2fcam-bench-") as folder:
        bench = _Bench(target, source, effort, run, progress, Path(folder))
        chain = {f"{w}x{h}": bench.chain((w, h), main=(w, h) == main) for w, h in sizes}
        extra = bench.beside(main)
        if log is not None:
            write_log(log, bench.rows)
    kernels, at_main = chain[f"{main[0]}x{main[1]}"]["kernels"], chain[f"{main[0]}x{main[1]}"]
    result = {
        "summary": "",
        "chain": chain,
        "memory_mb": extra["start"]["memory_mb"] if extra["start"] else at_main["memory_mb"],
        "start_s": extra["start"] and extra["start"]["start_s"],
        "floors_ms": {name: one["floor_ms"] for name, one in kernels.items()},
        "yardsticks_ms": {name: one["yardstick_ms"] for name, one in kernels.items()},
        "kernels_ms": {name: one["kernel_ms"] for name, one in kernels.items()},
        "ratios": {name: one["ratio"] for name, one in kernels.items()},
        "enrolment": extra["enrolment"],
        "scaling": extra["scaling"],
        "machine": at_main["machine"] | about_machine(),
        "work": {
            "profile": profile, "source": source.name if source else "synthetic", "main_size": list(main),
            "configuration": configuration(), "quality": quality(),
        },
    }  # fmt: skip
    if docs is not None:
        write_report(result, ages_ms(bench.rows), docs)
    return result | {"summary": summary(result)}


def ages_ms(runs: Sequence[Pass]) -> dict[str, list[float]]:
    """Per size, how old pictures of the undisturbed pass at 30 a second were when they reached the sink."""
    return {size: [(out - at) / 1e6 for _, at, out in rows] for size, which, _, rows in runs if which == "30"}


class _Bench:
    """The measurements of one run; `rows` keeps size, pass and frames of the live ones."""

    def __init__(
        self, target: Profile, source: Path | None, effort: Effort, run: Run, progress: Progress, folder: Path
    ) -> None:
        self._target, self._source, self._effort = target, source, effort
        self._run, self._progress, self._folder = run, progress, folder
        self.rows: list[Pass] = []

    def chain(self, size: tuple[int, int], *, main: bool) -> dict[str, Any]:
        """One entry of `chain`."""
        name, effort = f"{size[0]}x{size[1]}", self._effort
        face_px = self._prepare(size)
        more = main and effort.cores and len(allowed_cores()) >= CORES
        report, steps = self._progress.stage(f"Measuring at {name}"), 6 if more else 3
        serial = self._run(
            "serial", self._job(size, count=effort.serial_pictures, allocated=effort.allocated), self._cores
        )
        report(1, steps)
        fast = self._live(size, "60", THROUGHPUT_FPS)
        report(2, steps)
        slow = self._live(size, "30", LATENCY_FPS)
        report(3, steps)
        entry = {
            "fps": fast["fps"],
            "latency_ms": slow["latency_ms"],
            **serial,
            "cpu_share_30": slow["cpu_share"],
            "memory_mb": slow["memory_mb"],
            "live": {"60": _without_rows(fast), "30": _without_rows(slow)},
            "source_size": list(size),
            "target_size": list(size),
            "face_px": face_px,
        }
        if more:
            entry["one_core"] = {}
            for number, (key, fps) in enumerate((("60", THROUGHPUT_FPS), ("30", LATENCY_FPS))):
                entry["one_core"][key] = _without_rows(
                    self._live(size, f"one core, {key}", fps, cores=allowed_cores()[:1])
                )
            report(4, steps)
            with busy(allowed_cores()[0]):
                for number, adapt in enumerate((False, True)):
                    which = "busy core, adaptive" if adapt else "busy core"
                    crowded = {
                        key: self._live(size, f"{which}, {key}", fps, adapt=adapt)
                        for key, fps in (("60", THROUGHPUT_FPS), ("30", LATENCY_FPS))
                    }
                    entry["busy_core_adaptive" if adapt else "busy_core"] = {
                        key: _without_rows(one) for key, one in crowded.items()
                    }
                    report(5 + number, steps)
        return entry

    def beside(self, size: tuple[int, int]) -> dict[str, Any]:
        """What is measured at one size only: the command's start and memory, enrolment, scaling; None where left out."""
        effort = self._effort
        parts = [effort.start_s > 0, effort.enrolment_s > 0, bool(effort.lengths_s)]
        if not any(parts):
            return {"start": None, "enrolment": None, "scaling": None}
        report = self._progress.stage("Start, enrolment, scaling")
        started = enrolled = scaled = None
        if parts[0]:
            job = self._job(size, seconds=effort.start_s, repeats=effort.starts)
            started = self._run("start", job, self._cores)
        report(1, 3)
        if parts[1]:
            enrolled = self._run("enrolment", self._enrolment(size), self._cores)
        report(2, 3)
        if parts[2]:
            job = self._job(size, lengths_s=list(effort.lengths_s), samples=list(effort.samples), count=effort.scaled)
            job["own_profiles"] = str(self._target.directory.parent)
            del job["size"]
            scaled = self._run("scale", job, self._cores)
        report(3, 3)
        return {"start": started, "enrolment": enrolled, "scaling": scaled}

    @property
    def _cores(self) -> list[int] | None:
        return allowed_cores()[:CORES] or None

    def _prepare(self, size: tuple[int, int]) -> list[int]:
        """The target and the source of a size, on disk; the face's width and height in the target."""
        name = f"{size[0]}x{size[1]}"
        report = self._progress.stage(f"Target of {name}")
        zoomed = write_zoomed(self._target, load_face_model(), size, self._place(size), report)
        report = self._progress.stage(f"Source of {name}")
        write_source(
            self._place(size) / "source.mp4", source_pictures(self._source, size, self._effort.pictures, report)
        )
        boxes = zoomed.frames.boxes
        return [int(side) for side in np.median(boxes[:, 2:] - boxes[:, :2], axis=0)]

    def _place(self, size: tuple[int, int]) -> Path:
        return self._folder / f"{size[0]}x{size[1]}"

    def _job(self, size: tuple[int, int], **more: Any) -> dict[str, Any]:
        place = self._place(size)
        paths = {"profiles": str(place), "source": str(place / "source.mp4")}
        return {**paths, "profile": self._target.name, "size": list(size), **more}

    def _live(
        self,
        size: tuple[int, int],
        which: str,
        fps: float,
        *,
        cores: list[int] | None = None,
        adapt: bool = False,
    ) -> dict[str, Any]:
        effort = self._effort
        job = self._job(
            size, fps=fps, seconds=effort.live_s, adapt=adapt,
            settling_s=effort.settling_s + (ADAPTING_S if adapt else 0.0),
        )  # fmt: skip
        outcome = self._run("live", job, cores or self._cores)
        self.rows.append((f"{size[0]}x{size[1]}", which, fps, outcome["rows"]))
        return outcome

    def _enrolment(self, size: tuple[int, int]) -> dict[str, Any]:
        """The source's own beginning, or the synthetic person's."""
        seconds, video = self._effort.enrolment_s, self._source
        if video is None:
            video = self._folder / "enrolled.mp4"
            pictures = source_pictures(None, size, self._effort.pictures, lambda done, total: None)
            with VideoWriter(video, size, FPS) as writer:
                for rgb in to_and_fro(pictures, round(seconds * FPS)):
                    writer.write(rgb)
        return {"video": str(video), "folder": str(self._folder / "enrolled"), "seconds": seconds}


def _without_rows(live: dict[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in live.items() if name != "rows"}, "pictures": len(live["rows"])}


def write_log(path: Path, runs: Sequence[Pass]) -> None:
    """A row per picture that reached the sink; the last columns say at which size and in which of the live passes."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["source_id", "capture_ns", "publish_ns", "source_fps", "size", "pass"])
            for size, which, fps, rows in runs:
                writer.writerows((*row, f"{fps:g}", size, which) for row in rows)
    except OSError as error:
        raise F2FError(f"{path} cannot be written ({error.strerror}).", hint="Give another --log FILE.csv.") from error


def quality() -> dict[str, Any]:
    """What the configuration's hash stands for, in words."""
    config = FitConfig()
    return {"level": LEVEL, "samples": config.samples, "gauss_newton_steps": sum(config.steps)}


def configuration() -> str:
    """A short hash of everything that trades fidelity for speed: equal hashes, equal work."""
    text = repr((sorted(asdict(FitConfig()).items()), LEVEL))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
