"""The chain stage by stage in one thread: where the time goes, and what memory each stage asks for."""

from __future__ import annotations

import time
import tracemalloc
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from f2fcam.benchmark.source import Pictures, to_and_fro
from f2fcam.benchmark.spans import Allocations, Spans
from f2fcam.engine import fit
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.frame import Frame, i420_from_rgb
from f2fcam.metrics import percentile
from f2fcam.profile import Profile
from f2fcam.reenact import ActorWorkspace, Output, RenderState, RenderWorkspace, TargetFrame, act, draw, retouch
from f2fcam.render import view
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.source_person import nobody
from f2fcam.target_clip import TargetClip, playback_of
from f2fcam.track import actor as acting
from f2fcam.track.actor import ActorState, make_actor
from f2fcam.track.landmarks import MediaPipeDetector

STAGES = ("landmarks", "track", "transfer", "target_frame", "mouth_eyes", "render", "composite", "i420")
SETTLING_FRAMES = 16
"""Pictures before anything counts: kernels load, the tracker finds the face, the regions' usual errors are learnt."""
PICTURE_NS = 33_333_333
DECODED_AHEAD_S = 0.05
"""Where allocations are counted: until then the target's next picture is decoded, in whose thread they would fall anywhere."""


@dataclass(slots=True)
class Stages:
    """Outcome of a serial pass.

    Attributes:
        values: stage -> of each picture, milliseconds or kilobytes. cpu_ms: the process's own time for each picture.
        statuses: of each picture. target: the target's last frame. output: the last picture made of it, a copy.
        arguments: positional and named, of the last call of what `Spans` had replaced.
    """

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: list[float] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    target: TargetFrame | None = None
    output: UInt8[np.ndarray, "h w 3"] | None = None
    arguments: dict[str, tuple[tuple, dict[str, Any]]] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, float]]:
        """Stage -> p50 and p95."""
        return {name: spread(values) for name, values in self.values.items()}

    def whole(self) -> list[float]:
        """Of each picture the sum over its stages."""
        return [sum(values) for values in zip(*self.values.values(), strict=True)]


def spread(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {"p50": round(percentile(values, 0.5), 3), "p95": round(percentile(values, 0.95), 3)}


class Serial:
    """The chain in one thread; every `run` goes on where the last one ended."""

    def __init__(self, model: FaceModel, profile: Profile, source_size: tuple[int, int], size: tuple[int, int]) -> None:
        self.clip = TargetClip(profile)
        self._playback = playback_of(self.clip, "loop")
        self._detector = MediaPipeDetector()
        actor = make_actor(model, nobody(Intrinsics.guess(*source_size)), profile.person)
        self.actor = actor
        self._actor = ActorWorkspace(self._detector, actor)
        self.render = RenderWorkspace(model, profile, "video", CpuRasterizer())
        self._canvas = np.zeros((size[1], size[0], 3), np.uint8)
        self._planes = np.empty((size[1] * 3 // 2, size[0]), np.uint8)
        self._acting, self._showing = ActorState(), RenderState()
        self._number = 0

    def run(self, pictures: Pictures, count: int, spans: Spans | None = None) -> Stages:
        """Every stage of `count` pictures, after those that settle it at first."""
        stages, spans = Stages(), spans or Spans()
        settling = SETTLING_FRAMES if self._number == 0 else 0
        with spans.replacing(
            (self._detector, "detect", "landmarks"),
            (acting, "follow", "follow"),
            (acting, "transfer", "transfer"),
            (view, "composite", "composite"),
            (view, "_surfaces", "model"),
            (self.render.memory.rasterizer, "rasterize", "rasterize"),
        ):
            for number, rgb in enumerate(to_and_fro(pictures, settling + count)):
                spans.clear()
                cpu = time.process_time()
                output, target = self._picture(rgb, spans)
                if number < settling:
                    continue
                stages.cpu_ms.append((time.process_time() - cpu) * 1e3)
                for stage, value in _parts(spans).items():
                    stages.values[stage].append(value)
                stages.statuses.append(output.status)
                if number == settling + count - 1:
                    stages.target, stages.output = target, output.rgb.copy()
        stages.arguments = dict(spans.arguments)
        return stages

    def _picture(self, rgb: UInt8[np.ndarray, "h w 3"], spans: Spans) -> tuple[Output, TargetFrame]:
        time_ns = self._number * PICTURE_NS
        self._acting, acted, times = act(self._acting, Frame(rgb, self._number, time_ns), self._actor)
        row = self._playback.row(time_ns * 1e-9, acted.pose, acted.source, acted.expression)
        target = spans.timed("target_frame", self.clip.frame)(row)
        self.clip.expect(self._playback.expected())
        if isinstance(spans, Allocations):
            time.sleep(DECODED_AHEAD_S)
        openings, retouched = spans.timed("mouth_eyes", retouch)(
            self._showing.retouch, acted, target, self.render, times
        )
        light, output = spans.timed("draw", draw)(self._showing.light, retouched, self.render)
        self._showing = RenderState(openings, light)
        spans.timed("i420", self._to_i420)(output.rgb)
        self._number += 1
        return output, target

    def _to_i420(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        if rgb.shape != self._canvas.shape:
            fit(rgb, self._canvas)
            rgb = self._canvas
        i420_from_rgb(rgb, self._planes)

    def close(self) -> None:
        """Free the detector and the clip."""
        self._detector.close()
        self.clip.close()


def _parts(spans: Spans) -> dict[str, float]:
    """What was measured, per stage: what lies inside another one taken off it."""
    got = spans.values
    parts = {
        "landmarks": got["landmarks"],
        "track": got["follow"] - got["transfer"],
        "transfer": got["transfer"],
        "target_frame": got["target_frame"],
        "mouth_eyes": got["mouth_eyes"],
        "render": got["draw"] - got["composite"],
        "composite": got["composite"],
        "i420": got["i420"],
    }
    return {stage: max(value, 0.0) for stage, value in parts.items()}


def allocations(serial: Serial, pictures: Pictures, count: int) -> dict[str, dict[str, float]]:
    """Stage -> median and 95th percentile of the kilobytes that it holds at once, once it has settled.

    Transfer counts as tracking, compositing as rendering: a stage inside another has no peak of its own.
    """
    tracemalloc.start()
    try:
        stages = serial.run(pictures, count, Allocations())
    finally:
        tracemalloc.stop()
    return {name: spread(values) for name, values in stages.values.items() if name not in ("transfer", "composite")}
