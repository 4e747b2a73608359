"""Displacement around the face: a membrane stretched from the face's outline to zero at the mask's edge.

It carries neck, hair and background along with the chin, on a coarse grid; a neck band reaches further down.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from f2fcam.render.scratch import Scratch

NECK_REACH = 2.0
"""Downwards the reach is this many times longer: the neck band."""

SWEEPS = (30, 15, 8)
"""Relaxation passes over the membrane at a quarter, half and the whole of the coarse grid's resolution."""

FREE, FACE, OUTSIDE = 0, 1, 2
"""States of a coarse cell: free membrane, held at the face's displacement, held at zero."""


def stretch(
    shift: Float32[np.ndarray, "h w 2"],
    face: Float32[np.ndarray, "h w"],
    opening: UInt8[np.ndarray, "h w"],
    cell: int,
    reach: float,
    scratch: Scratch,
) -> Float32[np.ndarray, "r c 2"]:
    """Displacement of each cell of `cell` x `cell` pixels, zero from `reach` cells off the face's outlines on.

    Held on the face at its mean displacement; solved coarse to fine, so that few sweeps settle it.
    """
    shapes = [(-(-face.shape[0] // cell), -(-face.shape[1] // cell))]
    for _ in SWEEPS[1:]:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    values = [scratch.take(f"value{k}", (*shape, 2)) for k, shape in enumerate(shapes)]
    states = [scratch.take(f"state{k}", shape, np.uint8) for k, shape in enumerate(shapes)]
    weight, distance = scratch.take("weight", shapes[0]), scratch.take("distance", shapes[0])
    _hold_cells(shift, face, opening, cell, values[0], weight, states[0])
    _close_far_cells(distance, states[0], values[0], reach)
    for k in range(1, len(shapes)):
        _coarsen(values[k - 1], states[k - 1], values[k], states[k])
    for k in reversed(range(len(shapes))):
        if k + 1 < len(shapes):
            _refine(values[k + 1], values[k], states[k])
        _relax(values[k], states[k], SWEEPS[len(shapes) - 1 - k])
    return values[0]


@njit("void(f4[:,:,::1], f4[:,::1], u1[:,::1], i8, f4[:,:,::1], f4[:,::1], u1[:,::1])", nogil=True, cache=True)
def _hold_cells(shift, face, opening, cell, value, weight, state):
    """Cells that the face covers are held at its mean displacement; where it comes from counts as outline too."""
    rows, columns = state.shape
    for r in range(rows):
        for c in range(columns):
            value[r, c, 0] = value[r, c, 1] = weight[r, c] = 0.0
            state[r, c] = OUTSIDE
    per_pixel = np.float32(1.0 / cell)
    for y in range(face.shape[0]):
        r = y // cell
        for c in range(columns):
            for x in range(c * cell, min((c + 1) * cell, face.shape[1])):
                k = face[y, x]
                if k <= 0 or opening[y, x] > 0:
                    continue
                value[r, c, 0] += k * shift[y, x, 0]
                value[r, c, 1] += k * shift[y, x, 1]
                weight[r, c] += k
                if (x + y) % 4 == 0 and k > np.float32(0.5):
                    old_r = int((y + np.float32(0.5) + shift[y, x, 1]) * per_pixel)
                    old_c = int((x + np.float32(0.5) + shift[y, x, 0]) * per_pixel)
                    if 0 <= old_r < rows and 0 <= old_c < columns:
                        state[old_r, old_c] = FREE
    for r in range(rows):
        for c in range(columns):
            if weight[r, c] > 0.25 * cell * cell:
                value[r, c, 0] /= weight[r, c]
                value[r, c, 1] /= weight[r, c]
                state[r, c] = FACE
            else:
                value[r, c, 0] = value[r, c, 1] = 0.0
                if weight[r, c] > 0:
                    state[r, c] = FREE


@njit("void(f4[:,::1], u1[:,::1], f4[:,:,::1], f8)", nogil=True, cache=True, fastmath=True)
def _close_far_cells(distance, state, value, reach):
    """Free the cells within `reach` cells of the face's outlines, further downwards; hold the picture's border at zero."""
    rows, columns = state.shape
    down = np.float32(1.0 / NECK_REACH)
    side, diagonal = np.float32(1.0), np.float32(1.4)
    for r in range(rows):
        for c in range(columns):
            d = np.float32(0.0) if state[r, c] != OUTSIDE else np.float32(1e6)
            if r > 0:
                d = min(d, distance[r - 1, c] + down)
                if c > 0:
                    d = min(d, distance[r - 1, c - 1] + side)
                if c + 1 < columns:
                    d = min(d, distance[r - 1, c + 1] + side)
            if c > 0:
                d = min(d, distance[r, c - 1] + side)
            distance[r, c] = d
    for r in range(rows - 1, -1, -1):
        for c in range(columns - 1, -1, -1):
            d = distance[r, c]
            if c + 1 < columns:
                d = min(d, distance[r, c + 1] + side)
            if r + 1 < rows:
                d = min(d, distance[r + 1, c] + side)
                if c > 0:
                    d = min(d, distance[r + 1, c - 1] + diagonal)
                if c + 1 < columns:
                    d = min(d, distance[r + 1, c + 1] + diagonal)
            distance[r, c] = d
    for r in range(rows):
        for c in range(columns):
            if state[r, c] != FACE:
                inside = 0 < r < rows - 1 and 0 < c < columns - 1
                state[r, c] = FREE if distance[r, c] < reach and inside else OUTSIDE


@njit("void(f4[:,:,::1], u1[:,::1], f4[:,:,::1], u1[:,::1])", nogil=True, cache=True, fastmath=True)
def _coarsen(value, state, coarse_value, coarse_state):
    """Half the resolution; a cell is held where one of its four children is, at their mean."""
    rows, columns = state.shape
    for r in range(coarse_state.shape[0]):
        for c in range(coarse_state.shape[1]):
            held, far = 0, 0
            x = y = np.float32(0)
            for dr in range(2):
                for dc in range(2):
                    rr, cc = min(2 * r + dr, rows - 1), min(2 * c + dc, columns - 1)
                    if state[rr, cc] == FACE:
                        held += 1
                        x += value[rr, cc, 0]
                        y += value[rr, cc, 1]
                    far += state[rr, cc] == OUTSIDE
            coarse_state[r, c] = FACE if held > 0 else (OUTSIDE if far > 0 else FREE)
            coarse_value[r, c, 0] = x / max(held, 1)
            coarse_value[r, c, 1] = y / max(held, 1)


@njit("void(f4[:,:,::1], f4[:,:,::1], u1[:,::1])", nogil=True, cache=True, fastmath=True)
def _refine(coarse, value, state):
    for r in range(state.shape[0]):
        for c in range(state.shape[1]):
            if state[r, c] == FREE:
                value[r, c, 0] = coarse[r // 2, c // 2, 0]
                value[r, c, 1] = coarse[r // 2, c // 2, 1]


@njit("void(f4[:,:,::1], u1[:,::1], i8)", nogil=True, cache=True, fastmath=True)
def _relax(value, state, sweeps):
    """Gauss-Seidel on Laplace's equation; held cells stay. Border cells are never free."""
    rows, columns = state.shape
    for _ in range(sweeps):
        for r in range(1, rows - 1):
            for c in range(1, columns - 1):
                if state[r, c] != FREE:
                    continue
                for k in range(2):
                    value[r, c, k] = np.float32(0.25) * (
                        value[r - 1, c, k] + value[r + 1, c, k] + value[r, c - 1, k] + value[r, c + 1, k]
                    )
