"""Head pose from landmarks alone: where Gauss-Newton starts when there is no last frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from f2fcam.face.camera import Intrinsics
from f2fcam.face.rigid import RigidTransform


def similarity(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], weight: Float[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Scale, rotation and translation that carry `source` onto `target` in weighted least squares (Umeyama 1991)."""
    share = (weight / weight.sum())[:, None]
    source_mean, target_mean = (share * source).sum(axis=0), (share * target).sum(axis=0)
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd((share * b).T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / max((share * a * a).sum(), 1e-12))
    return scale, rotation, target_mean - scale * rotation @ source_mean


def similarity_2d(source: Float[np.ndarray, "n 2"], goal: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """The turn, scale and shift of the plane that take `source` to `goal` in least squares."""
    middle, goal_middle = source.mean(axis=0), goal.mean(axis=0)
    a, b = (source - middle) @ np.array([1, 1j]), (goal - goal_middle) @ np.array([1, 1j])
    turn = (a.conj() @ b) / max((a.conj() @ a).real, 1e-12)
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([matrix, goal_middle - matrix @ middle])


def pose_from_landmarks(
    points_model: Float[np.ndarray, "l 3"],
    xy: Float[np.ndarray, "l 2"],
    z: Float[np.ndarray, " l"],
    weight: Float[np.ndarray, " l"],
    intrinsics: Intrinsics,
) -> RigidTransform:
    """Pose that carries the model's landmarks onto detected ones with relative depth `z`, in pixels, larger is farther.

    The detector's picture is scaled orthographic; the similarity's scale gives the depth, the centroid's ray the shift.
    """
    image = np.column_stack([xy - (intrinsics.center_x, intrinsics.center_y), z]).astype(np.float64)
    scale, rotation, shift = similarity(points_model.astype(np.float64), image, weight.astype(np.float64))
    depth = intrinsics.focal / scale
    return RigidTransform(rotation, np.array([shift[0] / scale, shift[1] / scale, depth]))
