"""Sound between its samples: windowed-sinc interpolation at any position, for rates within a few per cent of one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

HALF = 16
"""Samples on each side of a position."""
PHASES = 512
KAISER = 8.0
CUTOFF = 0.92
"""Of half the rate: up to 20 kHz passes, and what would fold back at a rate of 1.01 does not."""


def interpolated(
    ring: Float[np.ndarray, " size"], positions: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The signal in the ring buffer `ring` (float32) at `positions` (float64, in samples).

    Reads `HALF` samples before and after each position.
    """
    table = _kernels()
    whole = np.floor(positions)
    phase = (positions - whole) * PHASES
    row = phase.astype(np.int64)
    share = (phase - row).astype(np.float32)[:, None]
    taps = (whole.astype(np.int64)[:, None] + np.arange(1 - HALF, HALF + 1)) % len(ring)
    around = ring[taps]
    low = np.einsum("nt,nt->n", around, table[row])
    high = np.einsum("nt,nt->n", around, table[row + 1])
    return low + share[:, 0] * (high - low)


@lru_cache(maxsize=1)
def _kernels() -> Float[np.ndarray, "phases+1 taps"]:
    """One kernel per phase, each of sum one, float32."""
    offsets = np.arange(1 - HALF, HALF + 1)[None, :] - np.arange(PHASES + 1)[:, None] / PHASES
    window = np.i0(KAISER * np.sqrt(np.clip(1 - (offsets / HALF) ** 2, 0, None))) / np.i0(KAISER)
    kernels = CUTOFF * np.sinc(CUTOFF * offsets) * window
    return (kernels / kernels.sum(axis=1, keepdims=True)).astype(np.float32)
