"""Vectors in kernels: each operation against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from f2fcam.render.sampling import ACROSS, CATMULL_ROM, PHASES
from f2fcam.simd import (
    bicubic,
    colour,
    lane,
    lanes4,
    lanes8,
    low4,
    mix,
    nothing4,
    nothing8,
    plus,
    put8,
    put_colour,
    relit,
    scaled,
    times,
)

NUMBERS = np.random.default_rng(0).normal(0, 3, 40).astype(np.float32)


@njit
def arithmetic(numbers, at, share, out):
    one, other = lanes8(numbers, at), lanes8(numbers, at + 8)
    put8(mix(one, other, share), out, 0)
    put8(plus(one, nothing8()), out, 8)
    put8(plus(one, scaled(other, share)), out, 16)
    put8(times(one, other), out, 24)


def test_arithmetic_is_lane_by_lane_from_any_index() -> None:
    out = np.empty(32, np.float32)
    arithmetic(NUMBERS, 3, np.float32(0.3), out)
    one, other = NUMBERS[3:11], NUMBERS[11:19]
    expected = [one + 0.3 * (other - one), one, one + 0.3 * other, one * other]
    np.testing.assert_allclose(out.reshape(4, 8), expected, rtol=1e-5, atol=1e-5)


@njit
def colours(numbers, offset, out):
    four = plus(low4(lanes8(numbers, 1)), nothing4())
    lit = relit(four, lanes4(numbers, 9), offset)
    made = colour(numbers[0], numbers[1], numbers[2])
    out[0], out[1], out[2], out[3] = lane(lit, 0), lane(lit, 1), lane(lit, 2), lane(lit, 3)
    out[4], out[5], out[6] = lane(made, 0), lane(made, 1), lane(made, 2)


def test_colours_are_taken_apart_and_put_together() -> None:
    out = np.empty(7, np.float32)
    colours(NUMBERS, np.float32(2.5), out)
    np.testing.assert_allclose(out[:4], (NUMBERS[1:5] + 2.5) * NUMBERS[9:13] - 2.5, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(out[4:], NUMBERS[:3])


@njit
def rounded(red, green, blue, out):
    put_colour(colour(red, green, blue), out, 3)


CODES = st.floats(-1e4, 1e4, width=32)


@settings(deadline=None)  # the first one compiles
@given(CODES, CODES, CODES)
def test_a_colour_is_rounded_into_its_range_and_touches_three_bytes(red: float, green: float, blue: float) -> None:
    out = np.full((1, 3, 3), 7, np.uint8)
    rounded(np.float32(red), np.float32(green), np.float32(blue), out)
    expected = np.floor(np.clip(np.float32([red, green, blue]) + np.float32(0.5), 0, 255))
    np.testing.assert_array_equal(out[0, 1], expected)
    np.testing.assert_array_equal(out[0, [0, 2]], 7)


@njit
def sampled(picture, x, y, across_phase, down_phase, out):
    row = 3 * picture.shape[1]
    found = bicubic(picture, (y - 1) * row + 3 * (x - 1), row, CATMULL_ROM, ACROSS, down_phase, across_phase)
    out[0], out[1], out[2] = lane(found, 0), lane(found, 1), lane(found, 2)


@settings(deadline=None)  # the first one compiles
@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, PHASES - 1), st.integers(0, PHASES - 1), st.integers(0, 9))
def test_bicubic_weighs_four_by_four_pixels(x: int, y: int, across: int, down: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    out = np.empty(3, np.float32)
    sampled(picture, x, y, across, down, out)
    taps = picture[y - 1 : y + 3, x - 1 : x + 3].astype(np.float64)
    expected = np.einsum("j,i,jic->c", CATMULL_ROM[down], CATMULL_ROM[across], taps)
    np.testing.assert_allclose(out, expected, atol=2e-3)
