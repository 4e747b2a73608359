"""All numbers of one rendering, and the baselines that are made from the same clips."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from f2fcam.evaluation import signals
from f2fcam.evaluation.clip import Clip, Rendering, detected_clip
from f2fcam.evaluation.pictures import (
    Crops,
    Flicker,
    background,
    bridge_shift_percent,
    changed,
    seam,
    sharpness,
    similarity,
)
from f2fcam.evaluation.puppet import puppet_frames
from f2fcam.evaluation.shape import INNER_FACE, MOUTH, Template, jitter, landmark_error_percent
from f2fcam.playback import Playback
from f2fcam.target_clip import Loop
from f2fcam.track.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, STABLE

_STABLE = np.array(STABLE)
SEAMS = 150
"""Seams are measured on about so many frames, evenly spaced."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A clip and the person in it."""

    clip: Clip
    person: Template

    @classmethod
    def of(cls, clip: Clip) -> Subject:
        """With the template from the clip itself."""
        return cls(clip, Template.of(clip.points))


@dataclass(frozen=True, slots=True)
class TargetLooks:
    """What the target clip's own pictures measure, once for all renderings.

    Attributes:
        crops: how its face is cut out.      flicker: median over consecutive frames.
        skin_sharpness, mouth_sharpness: per frame, NaN without a face.
        mouths: per frame the mouth's shape in the head's frame, flattened.
        jitter_mouth, jitter_face: in % of the eye distance.
    """

    crops: Crops
    flicker: float
    skin_sharpness: Float[np.ndarray, " n"]
    mouth_sharpness: Float[np.ndarray, " n"]
    mouths: Float[np.ndarray, "n m"]
    jitter_mouth: float
    jitter_face: float

    @classmethod
    def of(cls, target: Subject) -> TargetLooks:
        """Measure the target clip."""
        points = target.clip.points
        eyes = np.linalg.norm(points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER], axis=1)
        crops = Crops.of(target.person, float(np.nanmedian(eyes)))
        flicker, rows = Flicker(crops), []
        for row in range(len(target.clip)):
            rows.append(_crop_measures(target.clip, row, crops, flicker)[1:])
        steps, skin, mouth = np.array(rows).T
        shapes = target.person.shapes(points)
        return cls(
            crops,
            float(np.nanmedian(steps)),
            skin,
            mouth,
            shapes[:, MOUTH].reshape(len(shapes), -1),
            jitter(shapes, MOUTH),
            jitter(shapes, INNER_FACE),
        )


def _crop_measures(
    clip: Clip, row: int, crops: Crops, flicker: Flicker
) -> tuple[np.ndarray | None, float, float, float]:
    """The aligned crop, its flicker against the last one, the sharpness of its skin and mouth."""
    points = clip.points[row]
    if not np.isfinite(points).all():
        return None, flicker.step(None, points), float("nan"), float("nan")
    crop = crops.cut(np.asarray(clip.frames[row]), points)
    return crop, flicker.step(crop, points), sharpness(crop, crops.skin), sharpness(crop, crops.lips(points))


def measure(
    driving: Subject, rendering: Rendering, target: Subject, looks: TargetLooks, *, held_out: bool
) -> dict[str, Any]:
    """Every number of one rendering; `held_out` says that the driving pictures are the truth of the output's.

    Keys: `error` (held out only), `motion`, `picture`; units are in the keys, ratios are to the target clip's own.
    """
    truth = driving.clip.points[rendering.source]
    output = rendering.clip.points
    result: dict[str, Any] = {}
    if held_out:
        mouth = landmark_error_percent(output, truth, MOUTH)
        inner = landmark_error_percent(output, truth, INNER_FACE)
        result["error"] = {"mouth_percent": _mean(mouth), "inner_face_percent": _mean(inner)}
    result["motion"] = motion(truth, driving.person, output, target.person, rendering.clip.fps)
    pictures, alike = _pictures(driving.clip, rendering, target, looks, held_out=held_out)
    if held_out:
        result["error"] |= alike
    shapes = target.person.shapes(output)
    pictures |= jitter_ratios(shapes, looks)
    pictures["pose_shift_percent"] = pose_shift_percent(output, target.clip.points[rendering.target])
    result["picture"] = pictures
    result["frames"] = {
        "count": len(output),
        "without_face": int((~np.isfinite(output[:, 0, 0])).sum()),
        "status": dict(Counter(rendering.status)),
    }
    return result


def true_looks(driving: Subject, target: Subject, looks: TargetLooks) -> dict[str, float]:
    """What the true frames of a held-out part measure against the enrolled part: a perfect output's ratios."""
    flicker = Flicker(looks.crops)
    steps = [_crop_measures(driving.clip, row, looks.crops, flicker)[1] for row in range(len(driving.clip))]
    shapes = target.person.shapes(driving.clip.points)
    return {
        "flicker_ratio": float(np.nanmedian(steps)) / looks.flicker,
        **jitter_ratios(shapes, looks),
    }


def jitter_ratios(shapes: Float[np.ndarray, "n 478 3"], looks: TargetLooks) -> dict[str, float]:
    """The landmarks' frame-to-frame noise over the target clip's own, each in % of its person's eye distance."""
    return {
        "jitter_mouth_ratio": jitter(shapes, MOUTH) / looks.jitter_mouth,
        "jitter_face_ratio": jitter(shapes, INNER_FACE) / looks.jitter_face,
    }


def motion(
    source: Float[np.ndarray, "n 478 3"],
    source_person: Template,
    output: Float[np.ndarray, "n 478 3"],
    target_person: Template,
    fps: float,
) -> dict[str, Any]:
    """How the output's face follows the source's: `signals`, their `mean`, `blinks`, `left_right`."""
    each, mean = signals.compare(signals.deviations(source, source_person), signals.deviations(output, target_person))
    shapes = source_person.shapes(source), target_person.shapes(output)
    lids = [signals.measure(shape) for shape in shapes]
    closings = [signals.blinks((lid["eye_opening_left"] + lid["eye_opening_right"]) / 2, fps) for lid in lids]
    return {
        "signals": {name: asdict(value) for name, value in each.items()},
        "mean": mean,
        "blinks": signals.match_blinks(closings[0], closings[1], fps),
        "left_right": signals.left_right(*shapes),
    }


def pose_shift_percent(output: Float[np.ndarray, "n 478 3"], target: Float[np.ndarray, "n 478 3"]) -> float:
    """How far the head moved in the picture against the target frame, in % of the eye distance; median over frames.

    The middle of the stable points: each moves a little with the expression and with the detector, the head moves all.
    """
    shift = (output[:, _STABLE, :2] - target[:, _STABLE, :2]).mean(axis=1)
    eyes = np.linalg.norm(target[:, LEFT_EYE_OUTER] - target[:, RIGHT_EYE_OUTER], axis=1)
    return float(np.nanmedian(100 * np.linalg.norm(shift, axis=1) / eyes))


def _pictures(
    driving: Clip, rendering: Rendering, target: Subject, looks: TargetLooks, *, held_out: bool
) -> tuple[dict[str, float | None], dict[str, float]]:
    """Flicker, sharpness, seam and background against the target's own; and the likeness to the truth when held out."""
    clip, flicker = rendering.clip, Flicker(looks.crops)
    mouths = target.person.shapes(clip.points)[:, MOUTH].reshape(len(clip), -1)
    steps, skin, mouth, alike = [], [], [], []
    for row in range(len(clip)):
        crop, step, skin_now, mouth_now = _crop_measures(clip, row, looks.crops, flicker)
        steps.append(step)
        skin.append(skin_now / looks.skin_sharpness[rendering.target[row]])
        mouth.append(mouth_now / _sharpness_of_like_mouths(mouths[row], looks))
        truth = driving.points[rendering.source[row]]
        if held_out and crop is not None and np.isfinite(truth).all():
            true_crop = looks.crops.cut(np.asarray(driving.frames[int(rendering.source[row])]), truth)
            alike.append(similarity(crop, true_crop, looks.crops))
    numbers: dict[str, float | None] = {
        "flicker_ratio": float(np.nanmedian(steps)) / looks.flicker,
        "sharpness_skin_ratio": _mean(skin),
        "sharpness_mouth_ratio": _mean(mouth),
    }
    numbers |= _outside(rendering, target.clip)
    return numbers, {key: _mean([each[key] for each in alike]) for key in (alike[0] if alike else {})}


def _outside(rendering: Rendering, target: Clip) -> dict[str, float | None]:
    """Against the target frame itself: the head's place, the mask's edge and what lies beyond it.

    A renderer that declares no mask gets a found one, and no background.
    """
    stride = max(1, len(rendering.clip) // SEAMS)
    seams, outside, shifts = [], [], []
    for row in range(0, len(rendering.clip), 1 if rendering.masks is not None else stride):
        picture = np.asarray(rendering.clip.frames[row])
        original = np.asarray(
            target.frames[int(rendering.target[row])] if rendering.originals is None else rendering.originals[row]
        )
        mask = changed(picture, original) if rendering.masks is None else np.asarray(rendering.masks[row])
        if row % stride == 0:
            seams.append(seam(picture, original, mask))
            points = _scaled(target.points[rendering.target[row]], np.asarray(target.frames[0]).shape, original.shape)
            if np.isfinite(points).all():
                shifts.append(bridge_shift_percent(picture, original, points))
        if rendering.masks is not None:
            outside.append(background(picture, original, mask))
    return {
        "bridge_shift_percent": float(np.nanmedian(shifts)) if shifts else None,
        "seam_ratio": _mean(seams),
        "background_psnr_db": min(db for db, _ in outside) if outside else None,
        "background_unequal_pixels": float(sum(count for _, count in outside)) if outside else None,
    }


def _scaled(points: np.ndarray, of: tuple[int, ...], to: tuple[int, ...]) -> np.ndarray:
    """Landmarks in a picture of another size."""
    return points if of[:2] == to[:2] else points * (to[1] / of[1])


def _sharpness_of_like_mouths(mouth: Float[np.ndarray, " m"], looks: TargetLooks, count: int = 5) -> float:
    """Mean sharpness of the target's own mouths of the likest shapes: open ones show teeth and are sharper."""
    distance = np.linalg.norm(looks.mouths - mouth, axis=1)
    if not np.isfinite(distance).any():
        return float("nan")
    return float(np.nanmean(looks.mouth_sharpness[np.argsort(distance)[:count]]))


def _mean(values: Any) -> float:
    """Mean of the known values."""
    array = np.asarray(values, np.float64)
    known = array[np.isfinite(array)]
    return float(known.mean()) if len(known) else float("nan")


def unmodified(rendering: Rendering, target: Clip) -> Rendering:
    """The target frames as they are."""
    return Rendering(target.picked(rendering.target), rendering.source, rendering.target, rendering.status)


def nearest_mouth(driving: Subject, rendering: Rendering, target: Subject) -> Rendering:
    """Per output frame, the target frame whose mouth deviates from neutral most like the source's."""
    wanted = driving.person.shapes(driving.clip.points[rendering.source])[:, MOUTH] - driving.person.neutral[MOUTH]
    have = target.person.shapes(target.clip.points)[:, MOUTH] - target.person.neutral[MOUTH]
    have = np.where(np.isfinite(have), have, 1e3)
    rows = np.array(
        [
            int(np.argmin(((have - mouth) ** 2).sum(axis=(1, 2)))) if np.isfinite(mouth).all() else row
            for mouth, row in zip(wanted, rendering.target, strict=True)
        ]
    )
    return Rendering(target.clip.picked(rows), rendering.source, rows, rendering.status)


def puppet(driving: Subject, rendering: Rendering, target: Subject) -> Rendering:
    """The naive 2D puppet on the same target frames."""
    pictures = puppet_frames(
        driving.clip, rendering.source, driving.person, target.clip, rendering.target, target.person
    )
    clip = detected_clip(pictures, rendering.clip.fps)
    return Rendering(clip, rendering.source, rendering.target, rendering.status)


def looped(driving: Clip, target: Clip) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows of the driving and of the target clip, played to and fro in a loop."""
    loop = Loop(Playback.to_and_fro(target.time_s))
    rows = [loop.row(float(time - driving.time_s[0])) for time in driving.time_s]
    return np.arange(len(driving)), np.array(rows)
