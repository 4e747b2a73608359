"""The Gauss-Newton step within bounds (Face2Face, section 5), whose matrix need not be formed.

`(J^T J) x = -J^T F` with expression weights that may not leave [0, 1.2]. Blendshapes are strongly coupled: to solve without
the bounds and to clip what leaves them is no step downhill (lips stayed nine millimetres open that the landmarks had
shut). So the bounded problem itself is solved, for a formed matrix (`BoundedSolver`); of a matrix that is not formed, a
rough one gives the direction and the curvature along it how far to go (`exact_share`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from scipy.linalg import lapack

Vector = Float[np.ndarray, " n"]

SWEEPS = 200
"""Most coordinate-descent passes over the bounded unknowns; twenty are the rule."""
SETTLED = 1e-4
"""A pass that changes less than this, in deviations of the unknowns, is the last."""


class BoundedSolver:
    """Minimises x^T M x / 2 + g^T x while the unknowns with the numbers `bounded` stay within their bounds.

    The others are eliminated: in the Cholesky factor of M with the bounded unknowns last, the last block is the factor of
    their Schur complement. On that goes coordinate descent, `SWEEPS` passes at most: within half a percent of the least
    energy where rows are as much alike as 1 : 100. Raises LinAlgError when M is not positive definite.
    """

    def __init__(self, matrix: Float[np.ndarray, "n n"], bounded: Int[np.ndarray, " b"]) -> None:
        rest = np.delete(np.arange(len(matrix)), bounded)
        self._order = np.concatenate([rest, bounded]).astype(np.int64)
        lower = _lower(np.ascontiguousarray(matrix, np.float64), self._order)
        factor, fault = lapack.dpotrf(lower.T, lower=True, clean=False, overwrite_a=True)
        if fault != 0:
            raise np.linalg.LinAlgError("the normal matrix is not positive definite")
        count = len(rest)
        self._factor = factor
        self._head, self._below = np.asfortranarray(factor[:count, :count]), factor[count:, :count]
        self._schur = np.ascontiguousarray(factor[count:, count:] @ factor[count:, count:].T)

    def solve(self, gradient: Vector, lower: Float[np.ndarray, " b"], upper: Float[np.ndarray, " b"]) -> Vector:
        """The minimiser for a gradient g and bounds of the bounded unknowns."""
        count = len(self._head)
        x = -lapack.dpotrs(self._factor, gradient[self._order], lower=True)[0]
        free = x[count:]
        held = np.clip(free, lower, upper)
        if (held != free).any():
            _descend(self._schur, -(self._schur @ free), lower, upper, held)
            if count:
                x[:count] -= lapack.dtrtrs(self._head, self._below.T @ (held - free), lower=True, trans=1)[0]
            x[count:] = held
        out = np.empty_like(x)
        out[self._order] = x
        return out


@njit("f8[:,::1](f8[:,::1], i8[::1])", nogil=True, cache=True)
def _lower(matrix, order):
    """A symmetric matrix in another order, its upper triangle nought; transposed, as LAPACK has it, the lower one is."""
    out = np.zeros_like(matrix)
    for i in range(len(order)):
        for j in range(i, len(order)):
            out[i, j] = matrix[order[i], order[j]]
    return out


@njit("void(f8[:,::1], f8[::1], f8[::1], f8[::1], f8[::1])", nogil=True, cache=True)
def _descend(matrix, gradient, lower, upper, x):
    """Coordinate descent within bounds from x, in place."""
    count = len(x)
    slope = gradient.copy()
    for j in range(count):
        if x[j] != 0:
            for i in range(count):
                slope[i] += matrix[j, i] * x[j]
    for _ in range(SWEEPS):
        largest = 0.0
        for j in range(count):
            moved = min(max(x[j] - slope[j] / matrix[j, j], lower[j]), upper[j])
            step = moved - x[j]
            if step != 0:
                x[j] = moved
                for i in range(count):
                    slope[i] += matrix[j, i] * step
                largest = max(largest, abs(step))
        if largest < SETTLED:
            break


def exact_share(slope: float, curvature: float, floor: float = 1e-12) -> float:
    """How far along a direction d, 1 at most, x^T A x / 2 + g^T x is least, for slope = g^T d and curvature = d^T A d.

    A direction from a rough matrix overshoots where that is too small; this way the energy never rises.
    """
    return min(max(-slope / max(curvature, floor), 0.0), 1.0)
