"""Facial signals over time, and how faithfully one face's follow another's.

A signal is measured in the head's frame in units of the person's outer-eye-corner distance and as a deviation from the
person's own neutral, so that two people can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from f2fcam.evaluation.shape import Template
from f2fcam.track import landmarks as lm

NAMES = (
    "mouth_opening",
    "mouth_width",
    "corner_lift",
    "jaw_drop",
    "brow_raise",
    "eye_opening_left",
    "eye_opening_right",
)
LIDS = ("eye_opening_left", "eye_opening_right")
CLOSED_LIDS, MEAN_LIDS = 0.015, 0.075
"""What the detector finds of shut lids, and the way from there to a mean neutral opening, in eye distances."""
LONGEST_LAG = 8
"""Frames searched to either side."""
QUIET = 0.004
"""Below this deviation (eye distances) a signal of the source is the detector's noise and cannot be scored."""


def measure(shapes: Float[np.ndarray, "n 478 3"]) -> dict[str, Float[np.ndarray, " n"]]:
    """All signals of shapes in the head's frame (y down), absolute."""

    def gap(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
        upper, lower = np.array(pairs).T
        return np.linalg.norm(shapes[:, upper] - shapes[:, lower], axis=2).mean(axis=1)

    corners = shapes[:, [lm.RIGHT_MOUTH_CORNER, lm.LEFT_MOUTH_CORNER]]
    brows = shapes[:, list(lm.RIGHT_BROW + lm.LEFT_BROW), 1].mean(axis=1)
    return {
        "mouth_opening": gap(lm.INNER_LIP_PAIRS[3:6]),
        "mouth_width": np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1),
        "corner_lift": -corners[..., 1].mean(axis=1),
        "jaw_drop": shapes[:, lm.CHIN, 1],
        "brow_raise": shapes[:, list(lm.EYE_CORNERS), 1].mean(axis=1) - brows,
        "eye_opening_left": gap(lm.LEFT_LID_PAIRS[1:-1]),
        "eye_opening_right": gap(lm.RIGHT_LID_PAIRS[1:-1]),
    }


def deviations(points: Float[np.ndarray, "n 478 3"], person: Template) -> dict[str, Float[np.ndarray, " n"]]:
    """Signals of landmarks (pixels) relative to the person's neutral.

    Lids that close count by the share of the person's own neutral opening: shut is shut, and narrow eyes have less way to go.
    """
    neutral = measure(person.neutral[None])
    found = {name: values - neutral[name][0] for name, values in measure(person.shapes(points)).items()}
    for name in LIDS:
        whole = max(float(neutral[name][0]) - CLOSED_LIDS, CLOSED_LIDS)
        found[name] = np.where(found[name] < 0, found[name] * MEAN_LIDS / whole, found[name])
    return found


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How one signal of the output follows the source's.

    Attributes:
        r: Pearson correlation at no lag.      gain: slope of the output over the source.
        ccc: Lin's concordance of the deviations from neutral.      lag_frames: by speeds; positive when the output is late.
        source_deviation: spread of the source's signal in eye distances.
    """

    r: float
    gain: float
    ccc: float
    lag_frames: float
    source_deviation: float


def fidelity(source: Float[np.ndarray, " n"], output: Float[np.ndarray, " n"]) -> Fidelity:
    """Compare two signals on the frames that have both."""
    known = np.isfinite(source) & np.isfinite(output)
    a, b = source[known], output[known]
    if len(a) < 3 or a.std() < 1e-9:
        unknown = float("nan")
        return Fidelity(unknown, unknown, unknown, unknown, float(a.std()) if len(a) else 0.0)
    covariance = float(((a - a.mean()) * (b - b.mean())).mean())
    r = covariance / (a.std() * b.std()) if b.std() > 1e-9 else 0.0
    ccc = 2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    return Fidelity(float(r), covariance / float(a.var()), float(ccc), lag_frames([(source, output)]), float(a.std()))


def lag_frames(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The lag at which the mean correlation of the (source, output) pairs' speeds is highest, in frames, to a fraction.

    Of speeds, since slow signals say little of timing and what the target's own frames leave in the output is slow: a puppet
    that pastes the detector's points, and has no lag, reads -0.40 and +0.66 by positions where it reads -0.11 and +0.28 by
    speeds. Both are interpolated (cubic) to tenths of a frame around the best whole lag, on equal spans.
    """
    pairs = [(np.gradient(source), np.gradient(output)) for source, output in pairs if len(source) > 1]
    if not pairs:
        return float("nan")
    scores = []
    for lag in range(-LONGEST_LAG, LONGEST_LAG + 1):
        scores.append(np.mean([_correlation(source, output, float(lag)) for source, output in pairs]))
    if not np.isfinite(scores).any():
        return float("nan")
    best = int(np.nanargmax(scores)) - LONGEST_LAG
    if abs(best) == LONGEST_LAG:
        return float(best)
    fine = best + np.arange(-10, 11) / 10
    values = [np.mean([_correlation(source, output, lag) for source, output in pairs]) for lag in fine]
    top = int(np.clip(np.argmax(values), 1, len(fine) - 2))
    left, middle, right = values[top - 1 : top + 2]
    bend = left - 2 * middle + right
    return float(fine[top] + (0.05 * (left - right) / bend if bend < -1e-15 else 0.0))


def _correlation(source: np.ndarray, output: np.ndarray, lag: float) -> float:
    """Pearson correlation of source(t) with output(t + lag) over the frames that any searched lag leaves inside."""
    inner = np.arange(LONGEST_LAG, len(source) - LONGEST_LAG)
    if len(inner) < 8:
        return float("nan")
    half = lag / 2  # half the shift on either side: interpolation smooths both alike
    a, b = _sample(source, inner - half), _sample(output, inner + half)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 8 or a.std() < 1e-9 or b.std() < 1e-9:
        return float("nan")
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))


def _sample(signal: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Catmull-Rom interpolation at fractional frames; NaN spreads to its neighbours."""
    base = np.floor(at).astype(int)
    t = at - base
    p0, p1, p2, p3 = (signal[np.clip(base + k, 0, len(signal) - 1)] for k in (-1, 0, 1, 2))
    slope1, slope2 = (p2 - p0) / 2, (p3 - p1) / 2
    blend = p1 + t * (slope1 + t * (3 * (p2 - p1) - 2 * slope1 - slope2 + t * (2 * (p1 - p2) + slope1 + slope2)))
    return np.where(t == 0, p1, blend)


def compare(
    source: dict[str, Float[np.ndarray, " n"]], output: dict[str, Float[np.ndarray, " n"]]
) -> tuple[dict[str, Fidelity], dict[str, float]]:
    """Every signal's fidelity, and the means over those that the source really moves.

    The means: r, gain, ccc, lips_ccc (opening and width), lag_frames (of all signals together).
    """
    each = {name: fidelity(source[name], output[name]) for name in NAMES}
    scored = [name for name in NAMES if each[name].source_deviation > QUIET]
    lips = [each[name].ccc for name in ("mouth_opening", "mouth_width")]
    lag = lag_frames([(source[name], output[name]) for name in scored]) if scored else float("nan")

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    return each, {
        "r": mean([each[name].r for name in scored]),
        "gain": mean([each[name].gain for name in scored]),
        "ccc": mean([each[name].ccc for name in scored]),
        "lips_ccc": mean(lips),
        "lag_frames": lag,
    }


def blinks(opening: Float[np.ndarray, " n"], fps: float) -> list[tuple[int, int]]:
    """First and last frame of every blink: the lids close by 60 % of the way from open to shut, until 40 % open again.

    "Open" is the 80th percentile of the three seconds around.
    """
    half = max(3, round(1.5 * fps))
    filled = np.where(np.isfinite(opening), opening, np.nanmedian(opening))
    open_level = np.array([np.percentile(filled[max(0, i - half) : i + half + 1], 80) for i in range(len(filled))])
    closure = (open_level - filled) / np.maximum(open_level - CLOSED_LIDS, 1e-6)
    found: list[tuple[int, int]] = []
    start: int | None = None
    for i, value in enumerate(closure):
        if start is None and value > 0.6:
            start = i
        elif start is not None and value < 0.4:
            found.append((start, i - 1))
            start = None
    if start is not None:
        found.append((start, len(closure) - 1))
    return found


def match_blinks(
    source: list[tuple[int, int]], output: list[tuple[int, int]], fps: float, tolerance_s: float = 0.1
) -> dict[str, float | int | None]:
    """Recall and precision of the output's blinks, one to one; two match when they overlap, widened by the tolerance."""
    reach = tolerance_s * fps

    def meets(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a[0] - reach <= b[1] and b[0] - reach <= a[1]

    free, hit = list(output), 0
    for blink in source:
        partner = next((other for other in free if meets(blink, other)), None)
        if partner is not None:
            free.remove(partner)
            hit += 1
    return {
        "source_count": len(source),
        "output_count": len(output),
        "missed": len(source) - hit,
        "false": len(free),
        "recall": hit / len(source) if source else None,
        "precision": hit / len(output) if output else None,
    }


def left_right(
    source: Float[np.ndarray, "n 478 3"], output: Float[np.ndarray, "n 478 3"]
) -> dict[str, float | bool | None]:
    """Whether the output's asymmetry is the source's or its mirror image, from shapes in the heads' frames.

    Correlation of left-minus-right differences (lids, corners of the mouth, brows); `swapped` is None when too small to say.
    """
    a, b = _asymmetry(source), _asymmetry(output)
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    a, b = a[known], b[known]
    if len(a) < 8:
        return {"r": None, "swapped": None}
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if np.sqrt((a**2).mean()) < QUIET or norm < 1e-12:
        return {"r": None, "swapped": None}
    r = float((a * b).sum()) / norm
    return {"r": r, "swapped": None if -0.5 < r < 0.3 else r < 0}


def _asymmetry(shapes: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n 4"]:
    signals = measure(shapes)
    left, right = shapes[:, lm.LEFT_MOUTH_CORNER], shapes[:, lm.RIGHT_MOUTH_CORNER]
    brow = shapes[:, list(lm.LEFT_BROW), 1].mean(axis=1) - shapes[:, list(lm.RIGHT_BROW), 1].mean(axis=1)
    lids = signals["eye_opening_left"] - signals["eye_opening_right"]
    return np.stack([lids, left[:, 1] - right[:, 1], left[:, 0] + right[:, 0], brow], axis=1)
