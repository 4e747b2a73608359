"""The chain over real work: stage by stage in one thread, then whole through the live threads.

The serial pass says where the time goes; the live pass says how many distinct source pictures a second reach the sink, and
how old they are when they do.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from f2fcam.capture import SourceInfo
from f2fcam.engine import Engine, Picture, fit
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.frame import Frame, i420_from_rgb
from f2fcam.live import LivePipeline
from f2fcam.metrics import percentile
from f2fcam.profile import Profile
from f2fcam.reenact import ActorWorkspace, RenderState, RenderWorkspace, act, show
from f2fcam.render import view
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.source_person import nobody
from f2fcam.source_process import SourceProcess
from f2fcam.source_side import Casting
from f2fcam.target_clip import TargetClip, TargetFrame, playback_of
from f2fcam.track import actor as acting
from f2fcam.track.actor import ActorState, make_actor
from f2fcam.track.landmarks import MediaPipeDetector

Pictures = list[UInt8[np.ndarray, "h w 3"]]

SETTLING_FRAMES = 16
"""Pictures before anything counts: kernels load, the tracker finds the face, the regions' usual errors are learnt."""
SETTLING_S = 1.0
"""The same in the live pass."""


class Spans:
    """Times functions of other modules while they are replaced, and keeps their last arguments."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = defaultdict(float)
        self.arguments: dict[str, tuple] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, adding to `ms[name]`."""

        def measured(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            answer = function(*arguments, **named)
            self.ms[name] += (time.perf_counter() - start) * 1e3
            self.arguments[name] = arguments
            return answer

        return measured

    @contextmanager
    def replacing(self, *places: tuple[Any, str, str]) -> Iterator[None]:
        """Time `place.attribute` as `name` inside the block."""
        kept = [(place, attribute, getattr(place, attribute)) for place, attribute, _ in places]
        for (place, attribute, name), (_, _, function) in zip(places, kept, strict=True):
            setattr(place, attribute, self.timed(name, function))
        try:
            yield
        finally:
            for place, attribute, function in kept:
                setattr(place, attribute, function)


@dataclass(slots=True)
class Stages:
    """Outcome of the serial pass.

    Attributes:
        wall_ms: stage -> milliseconds of each picture. cpu_ms: the process's own time for the whole of each picture.
        statuses: of each picture. target: the last frame of the target. arguments: of the last draw and composite.
    """

    wall_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: list[float] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    target: TargetFrame | None = None
    arguments: dict[str, tuple] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, float]]:
        """Stage -> p50 and p95."""
        return {name: spread(values) for name, values in self.wall_ms.items()}


def spread(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {"p50": round(percentile(values, 0.5), 3), "p95": round(percentile(values, 0.95), 3)}


class Serial:
    """The chain in one thread."""

    def __init__(self, model: FaceModel, profile: Profile, source_size: tuple[int, int], size: tuple[int, int]) -> None:
        self.clip = TargetClip(profile)
        self._playback = playback_of(self.clip, "loop")
        self._detector = MediaPipeDetector()
        actor = make_actor(model, nobody(Intrinsics.guess(*source_size)), profile.person)
        self._actor = ActorWorkspace(self._detector, actor)
        self._spans = Spans()
        self.render = RenderWorkspace(model, profile, "video", CpuRasterizer())
        self._canvas = np.zeros((size[1], size[0], 3), np.uint8)
        self._planes = np.empty((size[1] * 3 // 2, size[0]), np.uint8)

    def run(self, pictures: Pictures, count: int) -> Stages:
        """Every stage of `count` pictures after those that settle it."""
        stages, state, showing = Stages(), ActorState(), RenderState()
        rasterizer = self.render.memory.rasterizer
        places = (
            (acting, "transfer", "transfer"), (view, "composite", "composite"), (rasterizer, "rasterize", "rasterize")
        )  # fmt: skip
        with self._spans.replacing(*places):
            for number, rgb in enumerate(to_and_fro(pictures, SETTLING_FRAMES + count)):
                self._spans.ms.clear()
                cpu, time_ns = time.process_time(), number * 33_333_333
                state, acted, times = act(state, Frame(rgb, number, time_ns), self._actor)
                start = time.perf_counter()
                target = self.clip.frame(self._playback.row(time_ns * 1e-9, acted.pose, acted.source, acted.expression))
                decoded = time.perf_counter()
                showing, output = show(showing, acted, target, self.render, times)
                shown = time.perf_counter()
                self._to_i420(output.rgb)
                if number < SETTLING_FRAMES:
                    continue
                times = {**output.timings, "target_frame": (decoded - start) * 1e3}
                times["i420"] = (time.perf_counter() - shown) * 1e3
                self._count(stages, times)
                stages.cpu_ms.append((time.process_time() - cpu) * 1e3)
                stages.statuses.append(output.status)
                stages.target = target
        stages.arguments = dict(self._spans.arguments)
        return stages

    def _count(self, stages: Stages, times: dict[str, float]) -> None:
        spans = self._spans.ms
        parts = {
            "landmarks": times["landmarks"],
            "track": times["track"] - spans["transfer"],
            "transfer": spans["transfer"],
            "target_frame": times["target_frame"],
            "mouth_eyes": times.get("mouth", 0.0),
            "render": times["render"] - spans["composite"],
            "composite": spans["composite"],
            "i420": times["i420"],
        }
        for name, value in parts.items():
            stages.wall_ms[name].append(value)

    def _to_i420(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        if rgb.shape != self._canvas.shape:
            fit(rgb, self._canvas)
            rgb = self._canvas
        i420_from_rgb(rgb, self._planes)

    def close(self) -> None:
        """Free the detector and the clip."""
        self._detector.close()
        self.clip.close()


def to_and_fro(pictures: Pictures, count: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """`count` pictures without a cut, however few there are."""
    period = max(2 * len(pictures) - 2, 1)
    for number in range(count):
        at = number % period
        yield pictures[min(at, period - at)]


class Replay:
    """Pictures in memory as a camera gives them: at their own time, lost when nobody takes them."""

    def __init__(self, pictures: Pictures, fps: float, duration_s: float) -> None:
        self._pictures = to_and_fro(pictures, round(fps * duration_s))
        self._rate = Fraction(fps).limit_denominator(1001)
        self._size = (pictures[0].shape[1], pictures[0].shape[0])
        self._start_ns, self._number = time.monotonic_ns(), 0

    @property
    def info(self) -> SourceInfo:
        """A live source."""
        return SourceInfo("replay", self._size, self._rate)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self._size

    @property
    def fps(self) -> float:
        """Pictures per second."""
        return float(self._rate)

    def read(self) -> Frame | None:
        """Wait for the next picture's moment."""
        rgb = next(self._pictures, None)
        if rgb is None:
            return None
        due_ns = self._start_ns + int(self._number * 1_000_000_000 / self._rate)
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
        self._number += 1
        return Frame(rgb, self._number - 1, max(due_ns, self._start_ns))

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True, slots=True)
class Row:
    """A picture that reached the sink."""

    source_id: int
    capture_ns: int
    publish_ns: int


@dataclass(frozen=True, slots=True)
class Live:
    """Outcome of a live pass: a row per picture, after those that settle it, and what became of them."""

    rows: list[Row]
    statuses: dict[str, int]

    @property
    def fps(self) -> float:
        """Distinct source pictures that reached the sink, per second."""
        if len(self.rows) < 2:
            return 0.0
        elapsed = (self.rows[-1].publish_ns - self.rows[0].publish_ns) / 1e9
        return (len({row.source_id for row in self.rows}) - 1) / elapsed

    @property
    def latency_ms(self) -> dict[str, float]:
        """From a picture's capture to its end as I420."""
        return spread([(row.publish_ns - row.capture_ns) / 1e6 for row in self.rows])


def run_live(
    model: FaceModel, profile: Profile, pictures: Pictures, size: tuple[int, int], fps: float, duration_s: float
) -> Live:
    """The engine's own threads over `pictures` at `fps`, publishing I420 of `size` into memory."""
    height, width = pictures[0].shape[:2]
    person = nobody(Intrinsics.guess(width, height))
    tracker = SourceProcess(Casting.of(profile, actor=person), Path(os.devnull))
    pipeline = LivePipeline(profile, tracker, model=model)
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    planes = np.empty((size[1] * 3 // 2, size[0]), np.uint8)
    rows: list[Row] = []
    statuses: dict[str, int] = defaultdict(int)

    def publish(picture: Picture) -> None:
        rgb = picture.rgb
        if rgb.shape != canvas.shape:
            fit(rgb, canvas)
            rgb = canvas
        i420_from_rgb(rgb, planes)
        statuses[picture.status] += 1
        rows.append(Row(picture.source_index, picture.captured_ns, time.monotonic_ns()))

    engine = Engine(lambda: Replay(pictures, fps, SETTLING_S + duration_s), pipeline, publish, loop=False)
    try:
        engine.run()
    finally:
        pipeline.close()
    settled = [row for row in rows if row.publish_ns - rows[0].publish_ns > SETTLING_S * 1e9]
    return Live(settled or rows, dict(statuses))
