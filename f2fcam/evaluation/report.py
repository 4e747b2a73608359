"""The contact sheet with the curves, and the summary line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from f2fcam.evaluation import signals
from f2fcam.evaluation.clip import Clip, Rendering
from f2fcam.evaluation.measure import Subject
from f2fcam.evaluation.pictures import Crops
from f2fcam.track.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

COLUMNS, THUMB_WIDTH, LABEL_WIDTH, CURVE_HEIGHT = 10, 150, 120, 110
SOURCE_COLOUR, COLOURS = (150, 150, 150), ((225, 90, 20), (40, 110, 220))
"""Curves: the source's, then the renderings' in their order."""


def contact_sheet(driving: Subject, renderings: dict[str, Rendering], target: Subject) -> UInt8[np.ndarray, "h w 3"]:
    """Faces of the same moments side by side (source, target frame, every rendering), then every signal over time."""
    first = next(iter(renderings.values()))
    count = len(first.clip)
    moments = np.unique(np.concatenate([np.linspace(0, count - 1, COLUMNS - 4).astype(int), _extremes(driving, first)]))
    if len(moments) > COLUMNS:
        moments = moments[np.linspace(0, len(moments) - 1, COLUMNS).astype(int)]
    rows = [
        _strip("source", driving.clip, first.source[moments], driving),
        _strip("target frame", target.clip, first.target[moments], target),
    ]
    for name, rendering in renderings.items():
        if name != "unmodified":  # it is the row above
            rows.append(_strip(name.replace("_", " "), rendering.clip, moments, target))
    return np.vstack([*rows, _curves(driving, renderings, target)])


def _extremes(driving: Subject, rendering: Rendering) -> np.ndarray:
    """Output frames of the source's widest open, widest, narrowest mouth and most closed lids."""
    values = signals.deviations(driving.clip.points[rendering.source], driving.person)
    lids = values["eye_opening_left"] + values["eye_opening_right"]
    chosen = (values["mouth_opening"], values["mouth_width"], -values["mouth_width"], -lids)
    return np.array([int(np.nanargmax(v)) for v in chosen if np.isfinite(v).any()], int)


def _strip(name: str, clip: Clip, rows: np.ndarray, subject: Subject) -> UInt8[np.ndarray, "h w 3"]:
    """Aligned faces of some frames in a row, with a label."""
    points = clip.points
    eyes = float(np.nanmedian(np.linalg.norm(points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER], axis=1)))
    crops = Crops.of(subject.person, eyes if np.isfinite(eyes) else 100.0)
    height = round(THUMB_WIDTH * crops.size[1] / crops.size[0])
    out = np.full((height, LABEL_WIDTH + COLUMNS * THUMB_WIDTH, 3), 24, np.uint8)
    _write(out, name, (6, height // 2), (230, 230, 230))
    for column, row in enumerate(rows):
        picture = np.asarray(clip.frames[int(row)])
        if np.isfinite(points[row]).all():
            face = crops.cut(picture, points[row])
        else:
            face = picture[: picture.shape[0] // 2]
        thumb = cv2.resize(face, (THUMB_WIDTH, height), interpolation=cv2.INTER_AREA)
        left = LABEL_WIDTH + column * THUMB_WIDTH
        out[:, left : left + THUMB_WIDTH] = thumb
        _write(out, str(row), (left + 4, height - 6), (255, 255, 255))
    return out


def _curves(driving: Subject, renderings: dict[str, Rendering], target: Subject) -> UInt8[np.ndarray, "h w 3"]:
    """Every signal's deviation from neutral over the frames: source grey, the first two renderings coloured."""
    shown = list(renderings.items())[: len(COLOURS)]
    first = shown[0][1]
    source = signals.deviations(driving.clip.points[first.source], driving.person)
    outputs = [signals.deviations(rendering.clip.points, target.person) for _, rendering in shown]
    legend = np.full((26, LABEL_WIDTH + COLUMNS * THUMB_WIDTH, 3), 255, np.uint8)
    for position, (text, colour) in enumerate(
        [("source", SOURCE_COLOUR), *((name, COLOURS[i]) for i, (name, _) in enumerate(shown))]
    ):
        _write(legend, text, (LABEL_WIDTH + 180 * position, 18), colour)
    panels = [legend]
    for name in signals.NAMES:
        panel = np.full((CURVE_HEIGHT, LABEL_WIDTH + COLUMNS * THUMB_WIDTH, 3), 255, np.uint8)
        lines = [source[name], *(output[name] for output in outputs)]
        known = np.concatenate([line[np.isfinite(line)] for line in lines])
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        for line, colour in reversed(list(zip(lines, (SOURCE_COLOUR, *COLOURS), strict=False))):
            _plot(panel, line, low, high, colour)
        for part, words in enumerate(name.split("_", 1)):
            _write(panel, words.replace("_", " "), (6, 45 + 18 * part), (40, 40, 40))
        _write(panel, f"{high:.2f}", (LABEL_WIDTH - 38, 14), (120, 120, 120))
        _write(panel, f"{low:.2f}", (LABEL_WIDTH - 38, CURVE_HEIGHT - 6), (120, 120, 120))
        panels.append(panel)
    return np.vstack(panels)


def _plot(
    panel: np.ndarray, line: Float[np.ndarray, " n"], low: float, high: float, colour: tuple[int, int, int]
) -> None:
    """One curve over the panel's width; gaps where it is not known."""
    span = max(high - low, 1e-6)
    x = LABEL_WIDTH + np.arange(len(line)) * (COLUMNS * THUMB_WIDTH - 1) / max(len(line) - 1, 1)
    y = 6 + (high - line) / span * (CURVE_HEIGHT - 12)
    known = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.r_[False, known, False].astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        track = np.round(np.column_stack([x, y])[start:end] * 8).astype(np.int32)
        cv2.polylines(panel, [track], False, colour, 1, cv2.LINE_AA, shift=3)


def _write(picture: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def save_picture(path: Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a PNG."""
    cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))


def summary_line(result: dict[str, Any]) -> str:
    """The result in one line of text."""
    own = result["renderings"]["f2fcam"] if "f2fcam" in result["renderings"] else result["renderings"]["puppet"]
    parts = []
    if "ratio_to_unmodified" in result:
        mouth = result["ratio_to_unmodified"]
        parts.append(f"mouth error {mouth['mouth_error']:.2f} x unmodified (puppet {mouth['puppet_mouth_error']:.2f})")
        parts.append(f"mouth PSNR {own['error']['mouth_psnr_db']:.1f} dB")
    mean, blinks, picture = own["motion"]["mean"], own["motion"]["blinks"], own["picture"]
    opening = own["motion"]["signals"]["mouth_opening"]["r"]
    parts.append(
        f"r {mean['r']:.2f} (opening {opening:.2f}), gain {mean['gain']:.2f}, lag {mean['lag_frames']:+.2f} frames"
    )
    parts.append(
        f"blinks {blinks['source_count'] - blinks['missed']}/{blinks['source_count']}, {blinks['false']} false"
    )
    parts.append(
        f"flicker {picture['flicker_ratio']:.2f}, seam {picture['seam_ratio']:.2f}, "
        f"sharpness {picture['sharpness_skin_ratio']:.2f}/{picture['sharpness_mouth_ratio']:.2f}, "
        f"jitter {picture['jitter_mouth_ratio']:.2f}"
    )
    if picture["background_unequal_pixels"] is not None:
        parts.append(f"background {picture['background_psnr_db']:.1f} dB")
    return "; ".join(parts)
