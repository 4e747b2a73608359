"""The ruler's floor: zero where the detector does not depend on the pose, and what the pose adds where it does."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.evaluation.clip import Clip, Rendering
from f2fcam.evaluation.floor import same_mouth_percent
from f2fcam.evaluation.shape import MOUTH
from f2fcam.face.rigid import so3_exp
from f2fcam.track.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

FRAMES = 120


def turn(start_s: float, k: int | np.ndarray) -> float | np.ndarray:
    return 0.25 * np.sin(2 * np.pi * k / 60 + start_s)


def clip(start_s: float, bias: float) -> Clip:
    """A head that turns to and fro while the mouth opens and shuts; `bias`: how far turning moves the detected mouth."""
    random = np.random.default_rng(3)
    face = random.normal(0, 40, (478, 3))
    face[RIGHT_EYE_OUTER], face[LEFT_EYE_OUTER] = (-45, 0, 0), (45, 0, 0)
    opening = random.normal(0, 4, (len(MOUTH), 3))
    points = []
    for k in range(FRAMES):
        yaw = turn(start_s, k)
        shape = face.copy()
        shape[MOUTH] += opening * np.sin(2 * np.pi * k / 15) + (bias * yaw, 0, 0)
        points.append(shape @ so3_exp(np.array([0, yaw, 0])).T + (300, 300, 0))
    time_s = start_s + np.arange(FRAMES) / 25
    frames = np.zeros((FRAMES, 4, 4, 3), np.uint8)
    return Clip(frames, np.array(points, np.float32), np.arange(FRAMES), time_s, 25.0)


@pytest.mark.parametrize("bias", [0.0, 40.0])
def test_floor_is_what_the_pose_does_to_the_detector(bias: float) -> None:
    driving, target = clip(10.0, bias), clip(0.0, bias)
    rows = np.arange(FRAMES)
    rendering = Rendering(target, rows, rows[::-1], ("tracked",) * FRAMES)
    floor = same_mouth_percent(driving, rendering, target)
    expected = 100 * bias * np.abs(turn(10.0, rows) - turn(0.0, rows[::-1])).mean() / 90
    assert 0.5 * expected <= floor <= 1.2 * expected + 0.3
