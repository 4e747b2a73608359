"""`f2fcam render`: one video acts, an enrolled target's video comes out, frame for frame, with the source's sound.

A first pass learns the actor; the second runs the same step as the live engine over every frame. Without the first
(`causal`) the actor is learnt on the way, as before a camera.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from f2fcam.capture.video import VideoFile
from f2fcam.errors import ConfigError
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.live import LivePipeline
from f2fcam.profile import Profile
from f2fcam.profile_store import explained
from f2fcam.progress import Progress, Silent
from f2fcam.publish.video import VideoWriter
from f2fcam.reenact import Output
from f2fcam.render.shade import Appearance
from f2fcam.source_person import estimate_source
from f2fcam.source_side import Casting, SourceSide
from f2fcam.target_clip import TargetFrames
from f2fcam.track.bundle import BundleConfig
from f2fcam.track.landmarks import FakeDetector, LandmarkDetector, MediaPipeDetector
from f2fcam.track.scan import Scan, scan
from f2fcam.trust.badge import stamp_rgb
from f2fcam.trust.verify import LABEL

LONGEST_SIDE = 1280
"""Pixels to which the source is reduced: a larger face is not tracked better."""


@dataclass(frozen=True, slots=True)
class RenderedVideo:
    """What was written: `statuses` counts the frames of each status."""

    frames: int
    fps: float
    statuses: dict[str, int]


def render_video(
    profile: Profile,
    source: str | Path,
    output: str | Path,
    range_s: tuple[float, float] | None = None,
    target_frames: TargetFrames = "loop",
    appearance: Appearance = "video",
    progress: Progress | None = None,
    *,
    model: FaceModel | None = None,
    detector: LandmarkDetector | None = None,
    bundling: BundleConfig | None = None,
    causal: bool = False,
    on_output: Callable[[Output], None] | None = None,
) -> RenderedVideo:
    """Write `output` and, beside it, the list of its frames as JSON.

    `causal` gives every frame what a camera would have given it, knowing nothing of the frames to come. `on_output` sees
    each picture with its mask before the badge is put on; the arrays are valid during the call only.
    """
    source, output = Path(source), Path(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise ConfigError(f"{output} is the source itself.", hint="Name another file with --output.")
    model, progress = model or load_face_model(), progress or Silent()
    with VideoFile(source, range_s, max_side=LONGEST_SIDE) as video:
        with VideoWriter(output, profile.manifest.size, video.info.rate, source, range_s, comment=LABEL) as writer:
            person = None
            if not causal:
                seen = _scan(video, detector, progress)
                learning = progress.stage("Learning the actor")
                person = estimate_source(model, seen, source.name, bundling=bundling, progress=learning).person
                detector = FakeDetector([s.landmarks for s in seen.seen])
                video.rewind()
            casting = Casting.of(profile, actor=person, learn_at_once=True)
            actor = SourceSide(model, detector or MediaPipeDetector(), casting)
            pipeline = LivePipeline(profile, actor, model=model, target_frames=target_frames, appearance=appearance)
            try:
                frames = _render(video, pipeline, writer, progress, on_output)
            finally:
                pipeline.close()
        fps = video.fps
    _write_list(output.with_suffix(".json"), fps, frames)
    return RenderedVideo(len(frames), fps, dict(Counter(frame["status"] for frame in frames)))


def _scan(video: VideoFile, detector: LandmarkDetector | None, progress: Progress) -> Scan:
    report = progress.stage("Finding the actor")
    found = detector or MediaPipeDetector()
    try:
        return scan(video, found, progress=lambda done: report(done, len(video)))
    finally:
        if detector is None:
            found.close()


def _render(
    video: VideoFile,
    pipeline: LivePipeline,
    writer: VideoWriter,
    progress: Progress,
    on_output: Callable[[Output], None] | None,
) -> list[dict[str, Any]]:
    """Every frame of the source; the entries of the list."""
    report = progress.stage("Rendering")
    frames: list[dict[str, Any]] = []
    for frame in video:
        shown = pipeline.render(pipeline.retouch(pipeline.track(frame)))
        if on_output is not None:
            on_output(shown)
        rgb = shown.rgb.copy()
        stamp_rgb(rgb)
        writer.write(rgb, frame.timestamp_ns)
        frames.append(
            {
                "source_frame": shown.source_index,
                "target_frame": shown.target_index,
                "time_s": round(frame.timestamp_ns * 1e-9, 6),
                "status": shown.status,
            }
        )
        report(len(frames), len(video))
    return frames


def _write_list(path: Path, fps: float, frames: list[dict[str, Any]]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with explained(path):
        try:
            partial.write_text(json.dumps({"fps": fps, "frames": frames}, indent=1) + "\n", encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
