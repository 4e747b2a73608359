"""Preconditioned conjugate gradients for the Gauss-Newton step (Face2Face, section 5), on an operator that is never formed.

`(J^T J) x = -J^T F` is solved for the free unknowns only; unknowns at a bound with the energy pushing outward stay put.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Vector = Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Solve:
    """Result of a linear solve: the step, and the preconditioned residual's size relative to its start."""

    step: Vector
    relative_residual: float
    steps: int


def pcg(
    apply: Callable[[Vector], Vector],
    rhs: Vector,
    precondition: Callable[[Vector], Vector],
    *,
    steps: int,
    free: Bool[np.ndarray, " n"] | None = None,
    tolerance: float = 1e-3,
) -> Solve:
    """Solve `apply(x) = rhs` for symmetric positive definite `apply`, from zero, in at most `steps` steps."""
    mask = 1.0 if free is None else free.astype(rhs.dtype)
    residual = rhs * mask
    x = np.zeros_like(rhs)
    z = precondition(residual) * mask
    direction = z.copy()
    rho = first = float(residual @ z)
    if first <= 0.0 or not np.isfinite(first):
        return Solve(x, 0.0, 0)
    taken = 0
    for taken in range(1, steps + 1):
        q = apply(direction) * mask
        curvature = float(direction @ q)
        if curvature <= 0.0 or not np.isfinite(curvature):
            break
        alpha = rho / curvature
        x += alpha * direction
        residual = residual - alpha * q
        z = precondition(residual) * mask
        rho, previous = float(residual @ z), rho
        if rho <= tolerance**2 * first:
            break
        direction = z + (rho / previous) * direction
    return Solve(x, float(np.sqrt(max(rho, 0.0) / first)), taken)


def free_unknowns(
    value: Vector, gradient: Vector, lower: Vector, upper: Vector, *, margin: float = 1e-6
) -> Bool[np.ndarray, " n"]:
    """Unknowns that may move: not at a bound with the descent direction `-gradient` pointing out of it."""
    stuck_low = (value <= lower + margin) & (gradient > 0)
    stuck_high = (value >= upper - margin) & (gradient < 0)
    return ~(stuck_low | stuck_high)
