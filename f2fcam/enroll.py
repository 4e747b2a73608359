"""From a video to a profile: scan, person, tracked clip, mouths and eyes, playback, pictures (Face2Face, sections 5 to 8).

Two decoding passes: the first keeps landmarks and a few crops, the second tracks every frame of the chosen shot and writes
the stored clip; what follows reads that one. Memory grows with the clip by landmarks and coefficients only.
"""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from f2fcam.capture.video import VideoFile
from f2fcam.enrolled_clip import EnrolledClip, track_clip
from f2fcam.enrolled_complexion import ComplexionBuilder
from f2fcam.enrolled_pictures import write_pictures
from f2fcam.errors import InputError
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.frame import Frame
from f2fcam.memory import give_back
from f2fcam.mouth.build import DatabaseBuilder, TrackedClip
from f2fcam.overlap import in_order, workers
from f2fcam.playback import Playback, build_playback
from f2fcam.profile import TARGET, Profile
from f2fcam.profile_search import checked_name, user_profiles
from f2fcam.profile_store import ProfileDraft
from f2fcam.progress import Progress, Silent
from f2fcam.source_person import SMALLEST_FACE_PX
from f2fcam.track.bundle import BundleConfig
from f2fcam.track.landmarks import LIPS, STABLE, LandmarkDetector, Landmarks, MediaPipeDetector
from f2fcam.track.neutral import lip_gap
from f2fcam.track.person import MIN_CANDIDATES, PersonEstimate, estimate_person
from f2fcam.track.scan import Scan, Shot, scan
from f2fcam.transitions import PICTURE_PX, Looks, look_at
from f2fcam.trust.consent import Consent

LONGEST_SIDE = 1280
"""Pixels of the stored clip (`DECISIONS` 21)."""
SHORTEST_SHOT_S = 2.0
HEAD = (*STABLE, 10, 127, 356)
"""Landmarks that tell where the head is: those that expressions hardly move, the forehead's middle and the temples."""


def enroll_video(
    video: str | Path,
    name: str,
    consent: Consent,
    profiles: Path | None = None,
    range_s: tuple[float, float] | None = None,
    progress: Progress | None = None,
    *,
    detector: LandmarkDetector | None = None,
    model: FaceModel | None = None,
    bundling: BundleConfig | None = None,
    threads: int | None = None,
) -> Profile:
    """Enrol the longest usable shot of a video (within `range_s`) as profile `name`.

    `InputError` says why a video cannot be used. What was stored under that name stays until the new one is complete.
    `threads` (default: as many as there are cores) changes how long it takes and nothing else.
    """
    threads = threads or workers()
    checked_name(name)
    consent.require_valid()
    model, progress = model or load_face_model(), progress or Silent()
    with (
        VideoFile(video, range_s, max_side=LONGEST_SIDE) as source,
        ProfileDraft(profiles or user_profiles(), name) as draft,
    ):
        found = detector or MediaPipeDetector()
        try:
            report = progress.stage("Finding the face")
            seen = scan(source, found, progress=lambda done: report(done, len(source)))
        finally:
            if detector is None:
                found.close()
        shot = usable_shot(seen, source.path.name)
        _tell(seen, shot, progress)
        estimate = estimate_person(
            model,
            shot.observations,
            Intrinsics.guess(*seen.size),
            config=bundling,
            threads=threads,
            progress=progress.stage("Learning the person"),
        )
        clip = track_clip(source, seen, shot, estimate, model, draft.folder / TARGET, progress, threads)
        give_back()  # a long clip's crops
        learned, looks = _databases(model, clip, draft.folder / TARGET, progress, threads)
        mouth = learned["mouth"]
        report = progress.stage("Storing")
        report(0, 1)
        playback = _playback(clip, looks)
        if not playback.forwards:
            progress.note(f"The clip has no way to go on forwards for ever unseen: it plays {playback.words}.")
        write_pictures(draft.folder, name, model, clip, seen, shot, estimate, source, playback)
        profile = draft.finish(
            clip.person, clip.frames, consent, model_hash=model.hash,
            detector=getattr(found, "version", type(found).__name__), source=source.path.name,
            rate=Fraction(source.info.rate), size=seen.size, counts=_counts(clip, estimate, mouth, playback),
            **learned, playback=playback.to_arrays(), enrolment=_learned(clip, estimate),
        )  # fmt: skip
        report(1, 1)
        return profile


def usable_shot(seen: Scan, name: str) -> Shot:
    """The longest shot, if its face is large and its length long enough."""
    shot = seen.longest()
    if shot is None or len(shot.observations) < MIN_CANDIDATES:
        raise InputError(
            f"No face was found in {name}.", hint="Enrol a video that shows one person's face from the front."
        )
    length = seen.duration_s(shot)
    if length < SHORTEST_SHOT_S - 1e-6:
        raise InputError(
            f"The longest shot with a face in {name} lasts {length:.1f} s, at least {SHORTEST_SHOT_S:.0f} s are needed.",
            hint="Enrol a video without cuts in which the face stays in view, or give another --range.",
        )
    width = seen.face_px(shot)
    if width < SMALLEST_FACE_PX:
        raise InputError(
            f"The face in {name} is {width:.0f} px wide, at least {SMALLEST_FACE_PX:.0f} px are needed.",
            hint="Enrol a video that shows the face larger.",
        )
    return shot


def _tell(seen: Scan, shot: Shot, progress: Progress) -> None:
    """Say which part is enrolled, where that is not all of it."""
    if len(seen.shots) > 1 or seen.duration_s(shot) < 0.9 * len(seen.seen) / max(seen.fps, 1e-6):
        first, last = seen.seen[shot.start].time_s, seen.seen[shot.stop - 1].time_s
        progress.note(f"Enrolling the longest usable shot, {first:.1f} to {last:.1f} s.")
    if seen.most_faces > 1:
        progress.note(f"Up to {seen.most_faces} faces are in the picture; the largest one is followed.")


def _databases(
    model: FaceModel, clip: EnrolledClip, path: Path, progress: Progress, threads: int
) -> tuple[dict[str, dict[str, np.ndarray]], Looks]:
    """Groups of arrays from the stored clip's pictures, and what playback compares.

    "mouth" has mouths and eyes as `<opening>/<field>`, "complexion" is empty for a short clip.
    """
    count = len(clip.frames)
    report = progress.stage("Collecting mouths and eyes")
    report(0, count)
    skin = ComplexionBuilder(model, clip.person, clip.frames, clip.usable)
    performances = [clip.frames.performance(row) for row in range(count)]
    openings = DatabaseBuilder(
        model, clip.person, TrackedClip(performances, clip.frames.landmarks, clip.depth, clip.usable), threads
    )
    pictures, sharpness = np.empty((count, PICTURE_PX, PICTURE_PX, 3), np.uint8), np.empty(count, np.float32)

    def seen(item: tuple[int, Frame]):
        row, frame = item
        skin.add(row, frame.rgb)
        return look_at(frame.rgb, mouth_box(clip.frames.landmarks[row])), openings.look(row, frame.rgb)

    with VideoFile(path) as stored, closing(in_order(seen, enumerate(stored), threads, ahead=threads)) as found:
        for row, (look, glances) in enumerate(found):
            pictures[row], sharpness[row] = look
            openings.add(glances)
            report(row + 1, count)
    complexion = skin.build()
    del skin, seen  # each fills memory while it learns: one after the other
    give_back()
    databases = openings.build()
    del openings
    arrays = {f"{name}/{key}": array for name, db in databases.items() for key, array in db.to_arrays().items()}
    learned = {"mouth": arrays, "complexion": {} if complexion is None else complexion.to_arrays()}
    heads = clip.frames.landmarks[:, list(HEAD)]
    return learned, Looks(clip.frames.time_s, pictures, heads, sharpness, clip.usable)


def mouth_box(xy: Float32[np.ndarray, "478 2"]) -> tuple[int, int, int, int]:
    """The mouth and half its size around it, where talking shows."""
    lips = xy[list(LIPS)]
    low, high = lips.min(axis=0), lips.max(axis=0)
    margin = 0.5 * (high - low)
    (x0, y0), (x1, y1) = low - margin, high + margin
    return int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1))


def _playback(clip: EnrolledClip, looks: Looks) -> Playback:
    """How to play the clip for ever."""
    gaps = np.array([lip_gap(Landmarks(xy, z, np.ones(len(z), np.float32)))
                     for xy, z in zip(clip.frames.landmarks, clip.depth, strict=True)])  # fmt: skip
    return build_playback(looks, clip.frames.rotations, gaps)


def _counts(
    clip: EnrolledClip, estimate: PersonEstimate, mouth: dict[str, np.ndarray], playback: Playback
) -> dict[str, int]:
    return {
        "usable_frames": int(clip.usable.sum()),
        "keyframes": len(estimate.keyframes),
        "mouths": len(mouth.get("mouth/frames", ())),
        "mouth_clusters": len(mouth.get("mouth/medoids", ())),
        "cuts": int((~playback.transitions.turns).sum()),
        "turns": int(playback.transitions.turns.sum()),
    }


def _learned(clip: EnrolledClip, estimate: PersonEstimate) -> dict[str, np.ndarray]:
    """What later stages may want beside the fit."""
    known = clip.frames.expressions[clip.usable]
    return {
        "usable": clip.usable,
        "landmark_depth": clip.depth.astype(np.float32),
        "landmark_error": np.nan_to_num(clip.landmark_error, posinf=99.0).astype(np.float32),
        "texture_confidence": estimate.texture_confidence,
        "lowest_expression": np.quantile(known, 0.02, axis=0).astype(np.float32),
        "highest_expression": np.quantile(known, 0.98, axis=0).astype(np.float32),
    }
