"""A shut mouth at rest: MakeHuman's base face leaves a slit between the lips."""

from __future__ import annotations

import numpy as np

from .regions import rings0, smoothstep, split_loop

REACH = 5  # rings over which the correction fades
OVERLAP_MM = 0.7


def closing_offset(points: np.ndarray, quads: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Displacements (skin, 3) that bring the lips of `points` (skin, 3) together, half of it from either side.

    The gap is measured in front view between the lower edge of the upper lip and the upper edge of the lower one; the
    corners stay.
    """
    rings = rings0(quads, lips, REACH)
    upper_ids, lower_ids = split_loop(lips, points)
    column = {int(v): k for k, v in enumerate(lips)}
    upper, lower = ([column[int(v)] for v in ids] for ids in (upper_ids, lower_ids))
    contact = np.stack(rings[:4])
    upper_y, lower_y = points[contact[:, upper], 1].min(0), points[contact[:, lower], 1].max(0)
    upper_x, lower_x = points[rings[2][upper], 0], points[rings[2][lower], 0]
    width = np.abs(points[lips, 0]).max()
    offset = np.zeros_like(points)
    for columns, x, sign in ((upper, upper_x, -1), (lower, lower_x, 1)):
        top = np.interp(x, *_by_x(upper_x, upper_y))
        bottom = np.interp(x, *_by_x(lower_x, lower_y))
        gap = (top - bottom + OVERLAP_MM) * smoothstep(1.0, 0.9, np.abs(x) / width)
        for k, ring in enumerate(rings[:-1]):
            offset[ring[columns], 1] = sign * np.maximum(gap, 0) / 2 * smoothstep(REACH, 2, np.array([float(k)]))
    return offset


def _by_x(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(x)
    return x[order], y[order]


def touching_lids(shape: np.ndarray, points: np.ndarray, quads: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """A blink (skin, 3) weakened, along the lid's length, to where the lids of `points` just overlap at full weight.

    MakeHuman's blink is made for its wide-eyed base face; on a mean face it would pass the lower lid by millimetres.
    """
    rings = np.stack(rings0(quads, loop, 3))
    column = {int(v): k for k, v in enumerate(loop)}
    upper, lower = ([column[int(v)] for v in ids] for ids in split_loop(loop, points))
    closed = points + shape
    edge = rings[closed[rings, 1].argmin(0), np.arange(len(loop))][upper]
    floor_x, floor_y = _by_x(closed[rings[2][lower], 0], closed[rings[:, lower], 1].max(0))
    passed = np.interp(closed[edge, 0], floor_x, floor_y) - closed[edge, 1]
    drop = np.maximum(-shape[edge, 1], 0.5)
    kept = np.clip(1 - np.maximum(passed - OVERLAP_MM, 0) / drop, 0.3, 1.0)
    x, factor = _by_x(points[rings[2][upper], 0], kept)
    factor = np.convolve(np.pad(factor, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return shape * np.interp(points[:, 0], x, factor)[:, None]
