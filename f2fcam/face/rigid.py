"""Rigid motion Phi (Face2Face, section 3): rotations as matrices, updates as rotation vectors in so(3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numba import njit


@dataclass(frozen=True, slots=True)
class RigidTransform:
    """`points_camera = rotation @ points_model + translation`, millimetres.

    The model's axes: x to the person's left, y up, z out of the face. The camera's (OpenCV): x right, y down, z forward.
    """

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]

    def apply(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Move points from model to camera space."""
        return points @ self.rotation.T + self.translation

    def inverse(self) -> RigidTransform:
        """The transform that undoes this one."""
        return RigidTransform(self.rotation.T.copy(), -self.rotation.T @ self.translation)

    def compose(self, first: RigidTransform) -> RigidTransform:
        """The transform that applies `first`, then this one."""
        return RigidTransform(self.rotation @ first.rotation, self.rotation @ first.translation + self.translation)

    def nudged(self, rotation_vector: np.ndarray, shift: np.ndarray) -> RigidTransform:
        """Left-multiplied small update in camera axes: R <- exp(w) R, t <- t + shift; re-orthonormalised."""
        out = np.empty((3, 3))
        nudged_rotation(
            np.ascontiguousarray(self.rotation, np.float64), np.ascontiguousarray(rotation_vector, np.float64), out
        )
        return RigidTransform(out, self.translation + shift)


def skew(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """The matrix of the cross product with `vector` from the left."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def so3_exp(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation matrix of a rotation vector in radians (Rodrigues), exact near zero."""
    vector = np.asarray(vector, dtype=np.float64)
    angle = float(np.linalg.norm(vector))
    k = skew(vector)
    if angle < 1e-4:
        a, b = 1.0 - angle**2 / 6.0, 0.5 - angle**2 / 24.0
    else:
        a, b = np.sin(angle) / angle, (1.0 - np.cos(angle)) / angle**2
    return np.eye(3) + a * k + b * (k @ k)


@njit("void(f8[:,::1], f8[::1], f8[:,::1])", nogil=True, cache=True)
def nudged_rotation(rotation, vector, out):
    """exp(vector) rotation into `out`, with Newton's step to the nearest orthonormal matrix: R (3 - R^T R) / 2."""
    x, y, z = vector[0], vector[1], vector[2]
    square = x * x + y * y + z * z
    angle = np.sqrt(square)
    if angle < 1e-4:
        a, b = 1.0 - square / 6.0, 0.5 - square / 24.0
    else:
        a, b = np.sin(angle) / angle, (1.0 - np.cos(angle)) / square
    turn, turned = np.empty((3, 3)), np.empty((3, 3))
    turn[0, 0], turn[0, 1], turn[0, 2] = 1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y
    turn[1, 0], turn[1, 1], turn[1, 2] = b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x
    turn[2, 0], turn[2, 1], turn[2, 2] = b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)
    for i in range(3):
        for j in range(3):
            turned[i, j] = turn[i, 0] * rotation[0, j] + turn[i, 1] * rotation[1, j] + turn[i, 2] * rotation[2, j]
    for i in range(3):
        for j in range(3):
            total = 1.5 * turned[i, j]
            for k in range(3):
                inner = turned[0, k] * turned[0, j] + turned[1, k] * turned[1, j] + turned[2, k] * turned[2, j]
                total -= 0.5 * turned[i, k] * inner
            out[i, j] = total


def so3_log(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    """Rotation vector in radians of a rotation matrix, of length at most pi; through the quaternion, stable everywhere."""
    return _log(np.ascontiguousarray(rotation, np.float64))


@njit("f8[::1](f8[:,::1])", nogil=True, cache=True)
def _log(m):
    q = np.empty((4, 4))
    q[0, 0] = 1.0 + m[0, 0] + m[1, 1] + m[2, 2]
    q[1, 1] = 1.0 + m[0, 0] - m[1, 1] - m[2, 2]
    q[2, 2] = 1.0 - m[0, 0] + m[1, 1] - m[2, 2]
    q[3, 3] = 1.0 - m[0, 0] - m[1, 1] + m[2, 2]
    q[0, 1] = q[1, 0] = m[2, 1] - m[1, 2]
    q[0, 2] = q[2, 0] = m[0, 2] - m[2, 0]
    q[0, 3] = q[3, 0] = m[1, 0] - m[0, 1]
    q[1, 2] = q[2, 1] = m[1, 0] + m[0, 1]
    q[1, 3] = q[3, 1] = m[0, 2] + m[2, 0]
    q[2, 3] = q[3, 2] = m[2, 1] + m[1, 2]
    largest = 0
    for k in range(1, 4):
        if q[k, k] > q[largest, largest]:
            largest = k
    quaternion = q[largest] / np.sqrt((q[largest] ** 2).sum())
    if quaternion[0] < 0:
        quaternion = -quaternion
    out = 2.0 * quaternion[1:]
    sine = np.sqrt((quaternion[1:] ** 2).sum())
    if sine >= 1e-9:
        out *= np.arctan2(sine, quaternion[0]) / sine
    return out
