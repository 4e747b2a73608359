"""The normal equations of bundling, with the reflectance that belongs to a single surface sample eliminated in closed form.

A sample's own three log reflectances touch only its own rows, so that their Schur complement is a division. What is left
is solved directly: the elimination takes most of what the rows say about shape (a texture explains it as well), and
conjugate gradients, preconditioned by anything that ignores this, stall in the flat valley that remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from numba import njit

from f2fcam.overlap import in_order
from f2fcam.track.solver import BoundedSolver

SHARED, OWN = 161, 109
"""Unknowns: shared ones, then per keyframe `[rotation 3, translation 3, expression 76, lighting 27]`."""
STRIP = 2400
"""Rows that are multiplied at once: fixed, so that sums do not depend on the number of threads."""


@dataclass(slots=True)
class Block:
    """One keyframe's weighted rows: photometric (3p), then landmarks (2l).

    Attributes:
        jacobian: derivatives by the shared unknowns and the keyframe's own. residual: the rows' values.
        reflectance: derivatives of the photometric rows by the sample's own log reflectance.
    """

    jacobian: Float32[np.ndarray, "n 270"]
    residual: Float32[np.ndarray, " n"]
    reflectance: Float32[np.ndarray, " q"]

    @classmethod
    def empty(cls, samples: int, landmarks: int) -> Block:
        """Zeros for so many samples and landmarks."""
        lines = 3 * samples + 2 * landmarks
        return cls(*(np.zeros(shape, np.float32) for shape in ((lines, SHARED + OWN), lines, 3 * samples)))


@dataclass(frozen=True, slots=True)
class System:
    """The reduced normal equations, and what brings the samples' own reflectance back.

    Attributes:
        normal, gradient: of the shared unknowns and all keyframes' own.
        root: square root of the own reflectances' precision, q = 3p of them.
        coupling, pull: derivatives by the other unknowns and gradient of the own reflectances, both divided by `root`.
    """

    normal: Float[np.ndarray, "u u"]
    gradient: Float[np.ndarray, " u"]
    root: Float32[np.ndarray, " q"]
    coupling: Float32[np.ndarray, "q u"]
    pull: Float32[np.ndarray, " q"]

    def step(
        self,
        bounded: Int[np.ndarray, " b"],
        lower: Float[np.ndarray, " b"],
        upper: Float[np.ndarray, " b"],
        damping: float,
    ) -> Float[np.ndarray, " u"]:
        """Gauss-Newton step within bounds, the diagonal `damping` heavier; raises LinAlgError when indefinite."""
        normal = self.normal.copy()
        normal[np.diag_indices_from(normal)] *= 1.0 + damping
        return BoundedSolver(normal, bounded).solve(self.gradient, lower, upper)

    def own_step(self, step: Float[np.ndarray, " u"]) -> Float32[np.ndarray, " q"]:
        """The own reflectances' move that goes with `step` of the other unknowns."""
        return -(self.pull + self.coupling @ step.astype(np.float32)) / self.root


def reduced_system(
    blocks: Sequence[Block],
    prior: Float[np.ndarray, "u u"],
    value: Float[np.ndarray, " u"],
    own_prior: Float32[np.ndarray, " q"],
    own_value: Float32[np.ndarray, " q"],
    *,
    threads: int = 1,
) -> System:
    """Normal equations of `blocks` and of quadratic priors that pull the values to zero, own reflectances eliminated."""
    count = len(own_prior)
    root = np.sqrt(own_prior + sum(block.reflectance**2 for block in blocks))
    pull = (own_prior * own_value + sum(block.reflectance * block.residual[:count] for block in blocks)) / root
    normal, gradient = prior.copy(), prior @ value
    for f, (square, slope) in enumerate(in_order(_products, blocks, threads)):
        own = slice(SHARED + OWN * f, SHARED + OWN * (f + 1))
        normal[:SHARED, :SHARED] += square[:SHARED, :SHARED]
        normal[own, own] += square[SHARED:, SHARED:]
        normal[:SHARED, own] += square[:SHARED, SHARED:]
        normal[own, :SHARED] += square[SHARED:, :SHARED]
        gradient[:SHARED] += slope[:SHARED]
        gradient[own] += slope[SHARED:]
    coupling = np.empty((count, SHARED + OWN * len(blocks)), np.float32)
    strips = [slice(k, min(k + STRIP, count)) for k in range(0, count, STRIP)]
    for square, slope in in_order(lambda rows: _eliminated(blocks, root, pull, rows, coupling[rows]), strips, threads):
        normal -= square
        gradient -= slope
    return System(normal, gradient, root, coupling, pull)


def _products(block: Block) -> tuple[Float32[np.ndarray, "270 270"], Float32[np.ndarray, " 270"]]:
    """J^T J and J^T r of one keyframe."""
    return block.jacobian.T @ block.jacobian, block.jacobian.T @ block.residual


def _eliminated(
    blocks: Sequence[Block],
    root: Float32[np.ndarray, " q"],
    pull: Float32[np.ndarray, " q"],
    rows: slice,
    out: Float32[np.ndarray, "s u"],
) -> tuple[Float32[np.ndarray, "u u"], Float32[np.ndarray, " u"]]:
    """What the own reflectances of some rows take from the normal equations; their `System.coupling` into `out`."""
    out[:, :SHARED] = 0
    for f, block in enumerate(blocks):
        _couple(block.jacobian[rows], block.reflectance[rows], root[rows], SHARED + OWN * f, out)
    return out.T @ out, out.T @ pull[rows]


@njit("void(f4[:,::1], f4[::1], f4[::1], i8, f4[:,::1])", nogil=True, cache=True)
def _couple(jacobian, reflectance, root, start, out):
    """Add one keyframe's columns: the shared ones to those of the others, its own from `start`."""
    for i in range(len(root)):
        share = reflectance[i] / root[i]
        for k in range(SHARED):
            out[i, k] += share * jacobian[i, k]
        for k in range(OWN):
            out[i, start + k] = share * jacobian[i, SHARED + k]
