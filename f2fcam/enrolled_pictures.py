"""The pictures of a profile: texture, preview and report page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from f2fcam.capture.video import VideoFile
from f2fcam.enrolled_clip import EnrolledClip
from f2fcam.face.morphable import FaceModel
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Performance
from f2fcam.mouth.coverage import clip_coverage
from f2fcam.overlay import fit_picture, texture_picture
from f2fcam.playback import Playback
from f2fcam.profile import PREVIEW, REPORT, STATUSES, TARGET, TEXTURE, TrackedFrames
from f2fcam.report import Curve, Picture, Report, jpeg, page, png
from f2fcam.track.person import PersonEstimate
from f2fcam.track.scan import Scan, Shot

PREVIEW_PX = 640
UPRIGHT = np.diag([1.0, -1.0, -1.0])


def write_pictures(
    folder: Path,
    name: str,
    model: FaceModel,
    clip: EnrolledClip,
    seen: Scan,
    shot: Shot,
    estimate: PersonEstimate,
    source: VideoFile,
    playback: Playback,
) -> None:
    """`texture.png`, `preview.jpg` and `report.html`, from the clip stored in `folder`."""
    albedo = clip.person.vertex_albedo
    texture = texture_picture(
        model, model.vertex_albedo(clip.person.albedo) if albedo is None else albedo, estimate.texture_confidence
    )
    (folder / TEXTURE).write_bytes(png(texture))
    row = calm_row(clip.frames, clip.person.neutral, clip.usable)
    with VideoFile(folder / TARGET) as stored:
        rgb = stored.frame_at(row).rgb
    factor = min(1.0, PREVIEW_PX / max(rgb.shape[:2]))
    (folder / PREVIEW).write_bytes(jpeg(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), 90))
    report = Report(
        name=name,
        facts=_facts(clip, seen, shot, source),
        keyframes=_keyframes(model, clip, shot, estimate),
        portraits=_portraits(model, clip, rgb, row, texture),
        times_s=clip.frames.time_s,
        statuses=[_word(code) for code in clip.frames.status],
        curves=_curves(clip),
        mouths=clip_coverage(clip.frames.landmarks, clip.depth, clip.usable),
        rejected=_rejected(clip, seen, shot),
        playback=_played(playback),
        transitions=_transitions(playback),
    )
    (folder / REPORT).write_text(page(report), encoding="utf-8")


def calm_row(frames: TrackedFrames, neutral: np.ndarray, usable: np.ndarray) -> int:
    """The frame that looks most like the neutral face, from the front."""
    apart = np.linalg.norm(frames.expressions - neutral, axis=1)
    turned = np.linalg.norm(frames.rotations - UPRIGHT, axis=(1, 2))
    return int(np.argmin(np.where(usable, apart + turned, np.inf)))


def _word(code: int) -> str:
    return next(word for word, number in STATUSES.items() if number == code)


def _facts(clip: EnrolledClip, seen: Scan, shot: Shot, source: VideoFile) -> dict[str, str]:
    width, height = seen.size
    first, last = seen.seen[shot.start].time_s, seen.seen[shot.stop - 1].time_s
    return {
        "Video": source.path.name,
        "Part": f"{first:.2f} to {last:.2f} s",
        "Frames": f"{len(clip.frames)} at {source.fps:.3g} fps, {int(clip.usable.sum())} usable",
        "Stored size": f"{width} x {height}",
        "Face": f"{seen.face_px(shot):.0f} px wide",
        "Focal length": f"{clip.person.intrinsics.focal:.0f} px",
        "Colour error": f"{255 * float(np.median(clip.frames.residual[clip.usable])):.1f} grey levels",
    }


def _keyframes(model: FaceModel, clip: EnrolledClip, shot: Shot, estimate: PersonEstimate) -> list[Picture]:
    pictures = []
    for number, performance in zip(estimate.keyframes, estimate.performances, strict=True):
        seen = shot.observations[number]
        camera = seen.intrinsics(clip.person.intrinsics)
        pictures.append(Picture(fit_picture(model, clip.person, performance, seen.rgb, camera), f"Frame {seen.index}"))
    return pictures


def _portraits(model: FaceModel, clip: EnrolledClip, rgb: np.ndarray, row: int, texture: np.ndarray) -> list[Picture]:
    x0, y0, x1, y1 = clip.frames.boxes[row]
    margin = 0.35 * max(x1 - x0, y1 - y0)
    left, top = int(max(x0 - margin, 0)), int(max(y0 - margin, 0))
    crop = rgb[top : int(y1 + margin), left : int(x1 + margin)]
    camera = clip.person.intrinsics
    performance = clip.frames.performance(row)
    pose = RigidTransform(UPRIGHT, np.array([0.0, 0.0, 700.0]))
    neutral = Performance(clip.person.neutral, pose, performance.lighting)
    blank = np.full((420, 420, 3), 40, np.uint8)
    front = type(camera)(1000.0, 210.0, 210.0, 420, 420)
    portrait = np.ascontiguousarray(fit_picture(model, clip.person, neutral, blank, front)[:, 840:])
    shown = (texture[..., :3] * (0.25 + 0.75 * texture[..., 3:] / 255)).astype(np.uint8)
    return [
        Picture(np.ascontiguousarray(crop), f"Frame {clip.frames.index[row]}, nearest to the neutral face"),
        Picture(portrait, "The estimated neutral face, from the front"),
        Picture(shown, "Personal texture; dark where no keyframe saw the skin"),
    ]


def _curves(clip: EnrolledClip) -> list[Curve]:
    error = np.where(np.isfinite(clip.landmark_error), clip.landmark_error, np.nan)
    colour = np.where(clip.usable, 255.0 * clip.frames.residual, np.nan)
    turn = np.degrees(np.arccos(np.clip(clip.frames.rotations[:, 2, 2] * -1, -1, 1)))
    return [
        Curve("Colour error", "grey levels", colour, "how far the fitted model is from the picture"),
        Curve("Landmark error", "deviations", error, "1 is what the landmarks' own spread explains"),
        Curve("Head turn", "degrees", np.where(clip.usable, turn, np.nan), "away from the camera"),
    ]


def _played(playback: Playback) -> str:
    """How the clip goes on for ever, in a sentence or two."""
    first, last = (float(playback.time_s[row]) for row in playback.idle)
    idle = f"Its idle stretch is {first:.2f} to {last:.2f} s."
    if playback.forwards:
        return f"The clip plays {playback.words} that nobody sees. {idle}"
    why = "The clip has no cuts by which it could go on forwards for ever without a visible jump"
    return f"{why}: it falls back to playing {playback.words}. {idle}"


def _transitions(playback: Playback) -> list[tuple[str, str, str, str]]:
    """The report's rows: kind, from and to in seconds, and the change against its limit."""
    found, time_s = playback.transitions, playback.time_s
    arrow = {1: "", -1: ", backwards"}
    rows = []
    for k in np.lexsort((found.end, found.start)):
        kind = "turn" if found.turns[k] else "cut"
        first = f"{time_s[found.start[k]]:.2f} s{arrow[int(found.start_way[k])]}"
        second = f"{time_s[found.end[k]]:.2f} s{arrow[int(found.end_way[k])]}"
        rows.append((kind, first, second, f"{100 * found.size[k]:.0f} %"))
    return rows


def _rejected(clip: EnrolledClip, seen: Scan, shot: Shot) -> list[tuple[str, str]]:
    """Parts that were not used, in words."""
    lines = []
    for other in seen.shots:
        if other is not shot:
            first, last = seen.seen[other.start].time_s, seen.seen[other.stop - 1].time_s
            lines.append((f"{first:.2f} to {last:.2f} s", "another, shorter shot: the longest one was enrolled"))
    faceless = sum(s.landmarks is None for s in seen.seen)
    if faceless:
        lines.append((f"{faceless} frames", "no face was found in them"))
    edges = np.flatnonzero(np.diff(np.concatenate([[True], clip.usable, [True]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2):
        why = {"occluded": "something covers part of the face", "lost": "the face could not be followed"}
        numbers = f"frames {clip.frames.index[start]} to {clip.frames.index[stop - 1]}"
        lines.append((numbers, why.get(_word(clip.frames.status[start]), "the fit is not to be trusted")))
    if seen.most_faces > 1:
        lines.append(("other faces", f"up to {seen.most_faces} were seen at once; the largest one was followed"))
    return lines
