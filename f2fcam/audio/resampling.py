"""Sound between its samples: windowed-sinc interpolation at any position, for rates within a few per cent of one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

HALF = 16
"""Samples on each side of a position."""
KAISER = 8.0
CUTOFF = 0.92
"""Of half the rate: up to 20 kHz passes, and what would fold back at a rate of 1.02 does not."""
DEGREE = 7
"""Of the polynomials that stand for the kernel between two samples; tests hold them to what a voice needs and more."""


def interpolated(ring: Float[np.ndarray, " size"], positions: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The signal in the ring buffer `ring` (float32) at `positions` (float64, in samples, near each other).

    Reads `HALF` samples before and after each position. A kernel whose taps are polynomials of the fraction (Farrow, 1988) is
    one product of matrices for the block, which costs a third of gathering one kernel per sample.
    """
    whole = np.floor(positions)
    place = whole.astype(np.int64)
    first, last = int(place.min()), int(place.max())
    around = np.take(ring, np.arange(first + 1 - HALF, last + 1 + HALF), mode="wrap")
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * HALF).copy()
    powers = (_kernels() @ windows.T)[:, place - first]
    away = (positions - whole - 0.5).astype(np.float32)
    sound = powers[0]
    for lower in powers[1:]:
        sound = sound * away + lower
    return sound


def prepare() -> None:
    """Make the kernels, which takes longer than a block lasts."""
    _kernels()


@lru_cache(maxsize=1)
def _kernels() -> Float[np.ndarray, "powers taps"]:
    """The coefficients of each tap, highest power of (fraction - 1/2) first; float32."""
    fractions = (np.arange(256) + 0.5) / 256
    offsets = np.arange(1 - HALF, HALF + 1)[None, :] - fractions[:, None]
    window = np.i0(KAISER * np.sqrt(np.clip(1 - (offsets / HALF) ** 2, 0, None))) / np.i0(KAISER)
    kernels = CUTOFF * np.sinc(CUTOFF * offsets) * window
    kernels /= kernels.sum(axis=1, keepdims=True)
    powers = np.polynomial.polynomial.polyvander(fractions - 0.5, DEGREE)
    coefficients = np.linalg.lstsq(powers, kernels, rcond=None)[0]
    return np.ascontiguousarray(coefficients[::-1], np.float32)
