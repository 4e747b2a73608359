"""A naive 2D puppet, the baseline that a face model has to beat.

Landmark displacements from the source's neutral, scaled by the eye distance, are added to the target's neutral; the target
frame is warped there triangle by triangle (Delaunay), and the mouth's inside is pasted from the source.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial import Delaunay

from f2fcam.evaluation.clip import Clip
from f2fcam.evaluation.shape import Template, align
from f2fcam.track import landmarks as lm

SKIN = 468
_ANCHORS = 1.45
"""The warp fades to nothing at the face oval, widened by this."""


def puppet_frames(
    driving: Clip,
    source: Int[np.ndarray, " n"],
    source_person: Template,
    target: Clip,
    frames: Int[np.ndarray, " n"],
    target_person: Template,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The puppet's picture for every output frame; the target frame where either face is missing."""
    shapes = source_person.shapes(driving.points[source])
    goals = target_person.neutral + (shapes - source_person.neutral)
    placed = place(goals, target.points[frames])
    for row in range(len(source)):
        picture = np.array(target.frames[frames[row]])
        if np.isfinite(placed[row]).all():
            old, new = target.points[frames[row], :, :2], placed[row, :, :2]
            picture = _warped(picture, old, new)
            picture = _with_mouth(picture, new, driving.frames[source[row]], driving.points[source[row], :, :2])
        yield picture


def place(shapes: Float[np.ndarray, "n 478 3"], onto: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n 478 3"]:
    """Shapes in the head's frame moved onto a picture's landmarks, by the points that expressions hardly move."""
    return align(shapes, onto[:, list(lm.STABLE)])


def _warped(
    picture: UInt8[np.ndarray, "h w 3"], old: Float[np.ndarray, "478 2"], new: Float[np.ndarray, "478 2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with its landmarks moved from `old` to `new`; nothing changes beyond the anchors."""
    oval = old[list(lm.FACE_OVAL)]
    middle = oval.mean(axis=0)
    anchors = middle + (oval - middle) * _ANCHORS
    moved_oval = new[list(lm.FACE_OVAL)]
    outside = np.linalg.norm(anchors - middle, axis=1) > np.linalg.norm(moved_oval - middle, axis=1) * 1.1
    anchors = anchors[outside]
    return _redrawn(picture, picture, np.vstack([old[:SKIN], anchors]), np.vstack([new[:SKIN], anchors]), feather=0.0)


def _with_mouth(
    picture: UInt8[np.ndarray, "h w 3"],
    new: Float[np.ndarray, "478 2"],
    source: UInt8[np.ndarray, "h w 3"],
    source_points: Float[np.ndarray, "478 2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """The source's mouth opening pasted into the inner lip line."""
    loop = list(lm.INNER_LIPS)
    if cv2.contourArea(new[loop].astype(np.float32)) < 8.0:
        return picture
    feather = 0.012 * float(np.linalg.norm(new[lm.LEFT_EYE_OUTER] - new[lm.RIGHT_EYE_OUTER]))
    return _redrawn(picture, source, source_points[loop], new[loop], feather, outline=new[loop])


def _redrawn(
    canvas: UInt8[np.ndarray, "h w 3"],
    texture: UInt8[np.ndarray, "h2 w2 3"],
    texture_points: Float[np.ndarray, "p 2"],
    canvas_points: Float[np.ndarray, "p 2"],
    feather: float,
    outline: Float[np.ndarray, "k 2"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """`texture` drawn over `canvas`, piecewise affine over the Delaunay triangles of `canvas_points`.

    Only within `outline`, when there is one, its edge softened by `feather` pixels.
    """
    height, width = canvas.shape[:2]
    x0, y0 = np.clip(np.floor(canvas_points.min(axis=0)).astype(int) - 2, 0, (width, height))
    x1, y1 = np.clip(np.ceil(canvas_points.max(axis=0)).astype(int) + 3, 0, (width, height))
    if x1 <= x0 or y1 <= y0:
        return canvas
    mesh = Delaunay(canvas_points)
    at = np.stack(np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5), axis=-1)
    triangle = mesh.find_simplex(at.reshape(-1, 2))
    moves = texture_points - canvas_points
    where = mesh.transform[triangle]
    inner = np.einsum("pij,pj->pi", where[:, :2], at.reshape(-1, 2) - where[:, 2])
    weights = np.column_stack([inner, 1 - inner.sum(axis=1)])
    shift = np.einsum("pk,pkd->pd", weights, moves[mesh.simplices[triangle]])
    covered = (triangle >= 0) & np.isfinite(shift).all(axis=1)
    sample = (at.reshape(-1, 2) + np.where(covered[:, None], shift, 0) - 0.5).astype(np.float32)
    sample = sample.reshape(*at.shape)
    drawn = cv2.remap(
        np.ascontiguousarray(texture), sample[..., 0], sample[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = covered.reshape(at.shape[:2]).astype(np.float32)
    if outline is not None:
        inside = np.zeros(alpha.shape, np.uint8)
        cv2.fillPoly(inside, [np.round((outline - (x0, y0) - 0.5) * 16).astype(np.int32)], (1,), shift=4)
        alpha = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(feather, 0.5)) * alpha
    out = canvas.copy()
    region = out[y0:y1, x0:x1]
    region[:] = np.rint(region + alpha[..., None] * (drawn.astype(np.float32) - region)).astype(np.uint8)
    return out
