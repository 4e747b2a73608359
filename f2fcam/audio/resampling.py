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
    table, steps = _kernels()
    whole = np.floor(positions)
    phase = (positions - whole) * PHASES
    row = phase.astype(np.int64)
    place = whole.astype(np.int64) + (1 - HALF)
    first = int(place.min())
    around = np.take(ring, np.arange(first, int(place.max()) + 2 * HALF), mode="wrap")
    taps = np.lib.stride_tricks.sliding_window_view(around, 2 * HALF)[place - first]
    share = (phase - row).astype(np.float32)
    return np.einsum("nt,nt->n", taps, table[row]) + share * np.einsum("nt,nt->n", taps, steps[row])


@lru_cache(maxsize=1)
def _kernels() -> tuple[Float[np.ndarray, "phases taps"], Float[np.ndarray, "phases taps"]]:
    """One kernel per phase, each of sum one, and what leads to the next; float32."""
    offsets = np.arange(1 - HALF, HALF + 1)[None, :] - np.arange(PHASES + 1)[:, None] / PHASES
    window = np.i0(KAISER * np.sqrt(np.clip(1 - (offsets / HALF) ** 2, 0, None))) / np.i0(KAISER)
    kernels = CUTOFF * np.sinc(CUTOFF * offsets) * window
    kernels /= kernels.sum(axis=1, keepdims=True)
    return kernels[:-1].astype(np.float32), np.diff(kernels, axis=0).astype(np.float32)
