"""How good is the output? Held out (one part of a clip enrols, another drives) or against another clip that drives.

`evaluate_video` enrols, renders, measures, and beside it measures the baselines on the same frames: the unmodified target
frame, the enrolled frame with the most similar mouth, a naive 2D puppet. The result is a dictionary:

- `kind`: "held_out" or "cross"; `target`, `source`: file name and range in seconds; `target_frames`, `causal`.
- `renderings`: "f2fcam", "puppet", "nearest_mouth", "unmodified" -> the groups below.
- `ratio_to_unmodified` (held out): mouth and inner-face error of f2fcam and of the puppet over the unmodified frame's.
- `truth` (held out): `flicker_ratio`, `jitter_mouth_ratio`, `jitter_face_ratio` of the true frames themselves: a livelier part of
  a clip flickers more than the enrolled one, and so does a perfect output.
- `driver` (cross): `jitter_mouth_ratio`, `jitter_face_ratio` of the driving clip itself: an output that follows a restless face
  or a noisy camera is as restless.
- `floor` (held out): `same_mouth_percent`, the mouth error between true frames that show the same lips, one of them in
  the target frame's pose; `reencoded_mouth_percent`, of the true frames encoded again.
- `repeatability`: the driving clip against its own noisy copy shifted by a pixel, as `error` and `motion` below: the floor of
  the detector.
- `summary`: one line.

Groups of a rendering:

- `frames`: `count`, `without_face` (nothing detected in the output), `status` (how many of each).
- `error` (held out): `mouth_percent`, `inner_face_percent`: 3D landmark distance to the true frame, head pose removed, in % of
  the outer-eye-corner distance; `mouth_ssim`, `mouth_psnr_db`, `face_ssim`, `face_psnr_db` after similarity alignment.
- `motion`: `signals` (each: `r`, `gain`, `ccc`, `lag_frames`, `source_deviation` in eye distances), `mean` (over the signals
  that the source moves; `lips_ccc`: opening and width), `blinks`, `left_right` (`swapped`: null when the source is too
  symmetric to say).
- `picture`, ratios to the target clip's own: `flicker_ratio`, `sharpness_skin_ratio`, `sharpness_mouth_ratio`, `seam_ratio`,
  `jitter_mouth_ratio`, `jitter_face_ratio`; `pose_shift_percent` of the eye distance by the detector, whose points follow the
  expression too, and `bridge_shift_percent`, by the pictures of the nose's bridge; outside the declared mask
  `background_psnr_db` (worst frame) and `background_unequal_pixels`, null where no mask is declared.

Correlation alone rewards no amplitude and jitter alone rewards freezing: read gain, concordance and ratios on both sides of 1.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from f2fcam.errors import ConfigError, InputError
from f2fcam.evaluation.clip import Clip, PictureStore, Rendering, Tap, detected_clip, read_clip, rows_of
from f2fcam.evaluation.floor import reencoded_mouth_percent, same_mouth_percent
from f2fcam.evaluation.measure import (
    Subject,
    TargetLooks,
    jitter_ratios,
    looped,
    measure,
    motion,
    nearest_mouth,
    puppet,
    true_looks,
    unmodified,
)
from f2fcam.evaluation.report import contact_sheet, save_picture, summary_line
from f2fcam.evaluation.shape import INNER_FACE, MOUTH, landmark_error_percent
from f2fcam.profile import Profile
from f2fcam.render.shade import Appearance
from f2fcam.target_clip import TargetFrames
from f2fcam.trust.consent import self_consent

Range = tuple[float, float]
Renderer = Callable[[Subject, Subject], Rendering]
"""Renders the driving subject's performance onto the target: (driving, target) -> output."""

SHORTEST_S = 2.0


def evaluate_video(
    video: Path,
    enroll_range: Range | None = None,
    test_range: Range | None = None,
    *,
    source: Path | None = None,
    target_frames: TargetFrames = "loop",
    appearance: Appearance = "video",
    causal: bool = False,
    renderer: Renderer | None = None,
    folder: Path | None = None,
    repeatability: bool = True,
) -> dict[str, Any]:
    """Enrol `video` on one range and drive it with another, or with `source`; writes into `folder` when there is one.

    Without ranges the first half enrols and the second drives; with `source`, all of `video` enrols and all of it drives.
    `causal`: the actor is not learnt beforehand. `renderer` stands in for the product (for baselines and tests). Files:
    `evaluation.json`, `evaluation.png`.
    """
    target_clip, driving_clip = _clips(video, enroll_range, test_range, source)
    held_out = source is None
    target = Subject.of(target_clip)
    # The same person: one neutral for both, so that only the rendering is measured.
    driving = Subject(driving_clip, target.person) if held_out else Subject.of(driving_clip)
    rendering = (renderer or product_renderer(video, source or video, target_frames, appearance, causal))(
        driving, target
    )
    renderings = {
        "f2fcam": rendering,
        "puppet": puppet(driving, rendering, target),
        "nearest_mouth": nearest_mouth(driving, rendering, target),
        "unmodified": unmodified(rendering, target_clip),
    }
    result: dict[str, Any] = {
        "kind": "held_out" if held_out else "cross",
        "target": _named(video, target_clip),
        "source": _named(source or video, driving_clip),
        "target_frames": target_frames,
        "causal": causal,
    }
    result |= compare(driving, renderings, target, held_out=held_out)
    if repeatability:
        result["repeatability"] = repeat(driving)
        if held_out:
            result["floor"] = {
                "same_mouth_percent": same_mouth_percent(driving_clip, rendering, target_clip),
                "reencoded_mouth_percent": reencoded_mouth_percent(driving_clip),
            }
    result["summary"] = summary_line(result)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps(plain(result), indent=1) + "\n", encoding="utf-8")
        save_picture(folder / "evaluation.png", contact_sheet(driving, renderings, target))
    return plain(result)


def compare(driving: Subject, renderings: dict[str, Rendering], target: Subject, *, held_out: bool) -> dict[str, Any]:
    """Measure several renderings of one performance; the `renderings` and `ratio_to_unmodified` of the result."""
    looks = TargetLooks.of(target)
    numbers = {
        name: measure(driving, rendering, target, looks, held_out=held_out) for name, rendering in renderings.items()
    }
    result: dict[str, Any] = {"renderings": numbers}
    if held_out and "unmodified" in numbers:
        own = numbers["f2fcam"]["error"]
        naive, plain_frame = numbers["puppet"]["error"], numbers["unmodified"]["error"]
        result["ratio_to_unmodified"] = {
            "mouth_error": own["mouth_percent"] / plain_frame["mouth_percent"],
            "inner_face_error": own["inner_face_percent"] / plain_frame["inner_face_percent"],
            "puppet_mouth_error": naive["mouth_percent"] / plain_frame["mouth_percent"],
            "puppet_inner_face_error": naive["inner_face_percent"] / plain_frame["inner_face_percent"],
        }
        result["truth"] = true_looks(driving, target, looks)
    elif not held_out:
        result["driver"] = jitter_ratios(driving.person.shapes(driving.clip.points), looks)
    return result


def repeat(driving: Subject) -> dict[str, Any]:
    """The ruler's own limit: error and motion of the driving clip measured on a copy with noise, shifted by a pixel."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 2.5, (*np.asarray(driving.clip.frames[0]).shape,)).astype(np.float32)

    def copies() -> Any:
        for row in range(len(driving.clip)):
            shifted = np.roll(np.asarray(driving.clip.frames[row]), (1, 1), axis=(0, 1)).astype(np.float32)
            grain = np.roll(noise, random.integers(0, 64, 2), axis=(0, 1))
            yield np.clip(np.rint(shifted + grain), 0, 255).astype(np.uint8)

    copy = detected_clip(copies(), driving.clip.fps)
    points = driving.clip.points
    return {
        "mouth_percent": float(np.nanmean(landmark_error_percent(copy.points, points, MOUTH))),
        "inner_face_percent": float(np.nanmean(landmark_error_percent(copy.points, points, INNER_FACE))),
        **motion(points, driving.person, copy.points, driving.person, driving.clip.fps),
    }


def puppet_renderer(driving: Subject, target: Subject) -> Rendering:
    """The naive puppet in the product's place, on a looped target."""
    source, rows = looped(driving.clip, target.clip)
    # Only the mapping of this one is used.
    plan = Rendering(target.clip.picked(rows), source, rows, ("tracked",) * len(rows))
    return puppet(driving, plan, target)


def product_renderer(
    target_video: Path, source_video: Path, target_frames: TargetFrames, appearance: Appearance, causal: bool
) -> Renderer:
    """f2fcam itself: enrols the target's range into a temporary profile and renders the driving range.

    Pictures are taken before the badge and the encoder, and compared with the stored clip's that they were drawn on.
    """

    def render(driving: Subject, target: Subject) -> Rendering:
        from f2fcam.enroll import enroll_video
        from f2fcam.render_file import render_video

        with tempfile.TemporaryDirectory() as name:
            folder, tap = Path(name), Tap()
            # Measured here and thrown away: nothing is published, so nobody else's consent is asked for.
            profile = enroll_video(target_video, "evaluated", self_consent(), folder / "profiles", _range(target.clip))
            render_video(
                profile,
                source_video,
                folder / "output.mp4",
                _range(driving.clip),
                target_frames,
                appearance,
                causal=causal,
                on_output=tap.observe,
            )
            return tap.rendering(driving.clip, target.clip, _stored(profile))

    return render


def _stored(profile: Profile) -> Clip:
    """The pictures of a profile's clip under their numbers in the enrolled file; without landmarks."""
    frames = PictureStore()
    with profile.open_target() as video:
        for frame in video:
            frames.append(frame.rgb)
    unknown = np.full((len(profile.frames), 478, 3), np.nan, np.float32)
    return Clip(frames.array(), unknown, profile.frames.index, profile.frames.time_s, float(profile.manifest.rate))


def mapped(output: Clip, frames: list[dict[str, Any]], driving: Clip, target: Clip) -> Rendering:
    """An output clip with the frames of its `OUT.json`, whose numbers count in the clip files, as rows of the clips."""
    if len(frames) != len(output):
        raise InputError(
            f"The output has {len(output)} pictures, its list {len(frames)}.", hint="Render it again: f2fcam render."
        )
    source_rows = rows_of(driving, [frame["source_frame"] for frame in frames])
    target_rows = rows_of(target, [frame["target_frame"] for frame in frames])
    return Rendering(output, source_rows, target_rows, tuple(frame["status"] for frame in frames))


def plain(value: Any) -> Any:
    """The same for JSON: no numpy scalars, and null for what is not a number."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _clips(video: Path, enroll_range: Range | None, test_range: Range | None, source: Path | None) -> tuple[Clip, Clip]:
    """The target's and the driving clip; a held-out file is decoded once."""
    if source is not None:
        target, driving = read_clip(video, enroll_range), read_clip(source, test_range)
    else:
        spans = [span for span in (enroll_range, test_range) if span is not None]
        both = (min(span[0] for span in spans), max(span[1] for span in spans)) if len(spans) == 2 else None
        clip = read_clip(video, both)
        end = float(clip.time_s[-1]) + 1 / clip.fps
        enroll_range, test_range = enroll_range or (0.0, end / 2), test_range or (end / 2, end)
        if enroll_range[0] < test_range[1] and test_range[0] < enroll_range[1]:
            raise ConfigError(
                "The ranges for enrolment and test overlap, so nothing is held out.",
                hint="Give ranges that do not overlap: --enroll 0:10 --test 10:20.",
            )
        target, driving = clip.part(*enroll_range), clip.part(*test_range)
    for path, clip in ((video, target), (source or video, driving)):
        if np.isfinite(clip.points[:, 0, 0]).sum() < SHORTEST_S * clip.fps:
            raise InputError(
                f"{path.name} shows a face for less than {SHORTEST_S:g} s of the range.",
                hint="Choose a range in which one face is visible: --enroll A:B --test A:B.",
            )
    return target, driving


def _range(clip: Clip) -> Range:
    """The half-open range in seconds that the clip covers in its file."""
    return float(clip.time_s[0]), float(clip.time_s[-1] + 0.5 / clip.fps)


def _named(path: Path, clip: Clip) -> dict[str, Any]:
    return {"file": path.name, "range_s": [round(second, 3) for second in _range(clip)], "frames": len(clip)}
