"""The tests' time code: it can be read back, wrong readings are known, and nothing else of the picture changes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from f2fcam.publish.barcode import COLUMNS, ROWS, code_of, read_barcode, square_side, stamp_barcode, wall_clock_ms
from f2fcam.trust.badge import badge_box

SIZES = [(640, 480), (1280, 720), (320, 240), (360, 640), (64, 48)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_time_is_read_back(width: int, height: int):
    picture = bytearray([100]) * (width * height * 3 // 2)
    stamp_barcode(picture, width, height, 1_700_000_012_345)
    assert read_barcode(picture, width, height) == code_of(1_700_000_012_345)
    assert code_of(1_700_000_012_345) >> 4 == 1_700_000_012_345 % 65536


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_only_the_corner_changes(width: int, height: int):
    before = bytearray(np.random.default_rng(1).integers(60, 180, width * height * 3 // 2, np.uint8).tobytes())
    after = bytearray(before)
    stamp_barcode(after, width, height, 4321)
    assert len(after) == len(before)
    changed = (np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))[: width * height]
    changed = changed.reshape(height, width)
    side = square_side(width, height)
    corner = changed[height - ROWS * side :, : COLUMNS * side]
    assert corner.all() and changed.sum() == corner.sum()


def test_a_tiny_picture_stays_as_it_is():
    picture = bytearray(16 * 16 * 3 // 2)
    stamp_barcode(picture, 16, 16, 4321)
    assert not any(picture)


@pytest.mark.parametrize(("width", "height"), SIZES[:4])
def test_badge_is_left_alone(width: int, height: int):
    x0, _, _, y1 = badge_box(width, height)
    side = square_side(width, height)
    assert y1 <= height - ROWS * side or x0 >= COLUMNS * side


@given(st.integers(0, 65535), st.integers(0, 19))
def test_one_wrong_square_is_noticed(time_ms: int, bit: int):
    wrong = code_of(time_ms) ^ 1 << bit
    assert code_of(wrong >> 4) != wrong


def test_wall_clock():
    assert abs(wall_clock_ms(time.monotonic_ns()) - time.time() * 1000) < 1000
