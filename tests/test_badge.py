"""The mark is there, legible, top right, in its box and nowhere else, on every kind of picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from f2fcam.frame import rgb_from_i420
from f2fcam.trust.badge import BACKGROUND, FOREGROUND, badge_box, stamp_i420, stamp_rgb
from f2fcam.trust.lettering import GLYPHS, draw_text
from f2fcam.trust.placeholder import placeholder_i420

SIZES = [(1280, 720), (1920, 1080), (640, 480), (360, 640), (320, 240), (3840, 2160)]


def grey_i420(width: int, height: int, level: int = 150) -> bytearray:
    return bytearray([level]) * (width * height) + bytearray([90, 170]) * (width * height // 4)


@given(st.integers(32, 2000), st.integers(24, 1200))
def test_box_lies_top_right_inside_the_picture(half_width: int, half_height: int):
    width, height = 2 * half_width, 2 * half_height
    x0, y0, x1, y1 = badge_box(width, height)
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert not any(side % 2 for side in (x0, y0, x1, y1))
    assert width - x1 <= x0 + width // 4 and y0 <= height - y1


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_only_the_box_changes(width: int, height: int):
    before = grey_i420(width, height)
    after = bytearray(before)
    stamp_i420(memoryview(after), width, height)
    x0, y0, x1, y1 = badge_box(width, height)
    changed = rgb_from_i420(before, width, height) != rgb_from_i420(after, width, height)
    assert changed[y0:y1, x0:x1].any(axis=2).mean() > 0.95
    changed[y0:y1, x0:x1] = False
    assert not changed.any()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_letters_stand_out(width: int, height: int):
    rgb = np.full((height, width, 3), 128, np.uint8)
    stamp_rgb(rgb)
    x0, y0, x1, y1 = badge_box(width, height)
    inside = rgb[y0:y1, x0:x1, 0]
    assert (inside == BACKGROUND).mean() > 0.6
    bright = inside > BACKGROUND + 0.7 * (FOREGROUND - BACKGROUND)
    assert 0.04 < bright.mean() < 0.3
    assert bright.any(axis=0).sum() > 0.4 * (x1 - x0), "the letters span the plate"


def test_both_kinds_show_the_same():
    width, height = 640, 360
    rgb = np.full((height, width, 3), 128, np.uint8)
    stamp_rgb(rgb)
    i420 = bytearray([16 + 128 * 219 // 255]) * (width * height) + bytearray([128]) * (width * height // 2)
    stamp_i420(i420, width, height)
    difference = rgb.astype(int) - rgb_from_i420(i420, width, height)
    assert np.abs(difference).max() <= 3


def test_stamping_twice_changes_nothing():
    once = grey_i420(640, 480)
    stamp_i420(once, 640, 480)
    twice = bytearray(once)
    stamp_i420(twice, 640, 480)
    assert once == twice


@pytest.mark.parametrize(("width", "height"), SIZES[:5])
def test_placeholder_is_a_legible_picture_with_the_badge(width: int, height: int):
    picture = placeholder_i420(width, height, "STARTING")
    assert len(picture) == width * height * 3 // 2
    stamped = bytearray(picture)
    stamp_i420(stamped, width, height)
    assert stamped == picture, "the badge is there already"
    luma = np.frombuffer(picture[: width * height], np.uint8).reshape(height, width)
    assert luma[height // 3 : height * 2 // 3, width // 4 : -width // 4].max() > 180
    assert picture != placeholder_i420(width, height, "RESTARTING")


@settings(max_examples=20)
@given(st.sampled_from(sorted(GLYPHS)), st.floats(8, 40))
@example("2", 8.375)
def test_strokes_of_a_glyph_are_as_thick_as_asked(letter: str, capital: float):
    drawn = draw_text(letter, capital, stroke=0.15)
    rows = np.array([list(row) for row in drawn.rows])
    nearest = math.sqrt(0.5)  # No point of a stroke is farther from a pixel's centre: a thin one need not hit any.
    assert rows.max() >= min(255, int(255 * (capital * 0.15 / 2 + 0.5 - nearest)))
    assert rows[0].max() < 255 and rows[-1].max() < 255, "a soft edge all around"
