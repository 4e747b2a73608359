"""Signals, correlation, gain, concordance, lag, blinks and sides: known motion in, known numbers out."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.evaluation import signals
from f2fcam.evaluation.shape import Template
from tests.faces import EYES, flat_face, moved, performance


def wave(count: int, shift: float = 0.0) -> np.ndarray:
    """A smooth signal, which can be sampled anywhere."""
    t = np.arange(count) - shift
    return np.sin(t * 0.21) + 0.6 * np.sin(t * 0.37 + 1) + 0.3 * np.cos(t * 0.11)


def test_identical_signals_are_perfect():
    same = signals.fidelity(wave(200), wave(200))
    assert same.r == pytest.approx(1) and same.gain == pytest.approx(1) and same.ccc == pytest.approx(1)
    assert same.lag_frames == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("lag", [-5.0, -1.5, 0.2, 0.5, 1.0, 2.3, 6.0])
def test_lag_is_found_to_a_fraction(lag):
    """Positive when the output is late."""
    assert signals.lag_frames([(wave(200), wave(200, lag))]) == pytest.approx(lag, abs=0.03)


def test_gain_and_concordance():
    """Half the amplitude: correlation does not notice, gain and concordance do; so does an offset concordance."""
    damped = signals.fidelity(wave(300), 0.5 * wave(300))
    assert damped.r == pytest.approx(1) and damped.gain == pytest.approx(0.5)
    mean = wave(300).mean()
    variance = wave(300).var()
    expected = 2 * 0.5 * variance / (1.25 * variance + (0.5 * mean) ** 2)
    assert damped.ccc == pytest.approx(expected)
    offset = signals.fidelity(wave(300), wave(300) + 1)
    assert offset.r == pytest.approx(1) and offset.ccc == pytest.approx(2 * variance / (2 * variance + 1))


def test_freezing_is_no_answer():
    frozen = signals.fidelity(wave(200), np.zeros(200))
    assert frozen.r == 0 and frozen.gain == 0 and frozen.ccc == 0


def test_gaps_are_left_out():
    output = wave(200)
    output[50:60] = np.nan
    assert signals.fidelity(wave(200), output).r == pytest.approx(1)


def test_each_signal_answers_to_its_own_motion():
    """In units of the eye distance, and of the right sign."""
    face = flat_face()
    person = Template(face / EYES, face / EYES)

    def deviation(name: str, **motion: float) -> float:
        return float(signals.deviations(moved(face, **motion)[None], person)[name][0])

    assert deviation("mouth_opening", lower_lip=12) == pytest.approx(0.12, abs=1e-6)
    assert deviation("jaw_drop", lower_lip=12) == pytest.approx(0.12, abs=1e-6)
    assert deviation("mouth_width", widen=10) == pytest.approx(0.10, abs=5e-3)
    assert deviation("corner_lift", left_corner=8) == pytest.approx(0.04, abs=1e-3)
    assert deviation("brow_raise", brows=5) == pytest.approx(0.05, abs=1e-6)
    assert deviation("eye_opening_left", left_lid=1) == pytest.approx(-0.08 * 0.075 / 0.065, abs=1e-6)
    assert deviation("eye_opening_left", left_lid=-0.5) == pytest.approx(0.04, abs=1e-6)
    assert deviation("eye_opening_right", left_lid=1) == pytest.approx(0, abs=1e-9)


def test_identical_performances_of_two_sizes():
    """The same performance by a face twice as large, turned: perfect, no lag, no swap."""
    points, _ = performance(150)
    larger = 2 * points + (50, 80, 0)
    each, mean = signals.compare(
        signals.deviations(points, Template.of(points)), signals.deviations(larger, Template.of(larger))
    )
    assert min(one.r for one in each.values()) > 0.999
    assert mean["gain"] == pytest.approx(1, abs=1e-3) and mean["lips_ccc"] == pytest.approx(1, abs=1e-3)
    assert mean["lag_frames"] == pytest.approx(0, abs=0.01)


def lids(count: int, starts: list[int], depth: float = 0.07, length: int = 4) -> np.ndarray:
    opening = np.full(count, 0.08) + np.random.default_rng(0).normal(0, 0.001, count)
    for start in starts:
        opening[start : start + length] -= depth
    return opening


def test_blinks_are_found_where_they_are():
    assert signals.blinks(lids(200, [40, 120]), 25) == [(40, 43), (120, 123)]
    assert signals.blinks(lids(200, [40, 120], depth=0.02), 25) == []


def test_slowly_narrowing_eyes_are_no_blink():
    assert signals.blinks(np.linspace(0.09, 0.05, 300), 30) == []


def test_missed_and_false_blinks():
    score = signals.match_blinks([(40, 43), (80, 83), (150, 153)], [(42, 45), (110, 113), (151, 154)], 25)
    assert (score["missed"], score["false"]) == (1, 1)
    assert score["recall"] == pytest.approx(2 / 3) and score["precision"] == pytest.approx(2 / 3)


def test_one_long_closure_is_one_blink():
    """It cannot stand for two."""
    score = signals.match_blinks([(40, 43), (50, 53)], [(40, 54)], 25)
    assert (score["missed"], score["false"]) == (1, 0)


def test_no_blinks_no_ratio():
    score = signals.match_blinks([], [], 25)
    assert score["recall"] is None and score["precision"] is None


def test_swapped_sides_are_noticed():
    points, _ = performance(150)
    person = Template.of(points)
    shapes = person.shapes(points)
    other = person.shapes(np.stack([moved(flat_face(), left_corner=p) for p in np.linspace(0, 8, 150)]))
    flipped = person.shapes(np.stack([moved(flat_face(), left_corner=-p) for p in np.linspace(0, 8, 150)]))
    assert signals.left_right(shapes, shapes)["swapped"] is False
    assert signals.left_right(other, flipped)["swapped"] is True
    even = np.stack([moved(flat_face(), lower_lip=p) for p in np.linspace(0, 8, 150)])
    assert signals.left_right(person.shapes(even), shapes)["swapped"] is None
