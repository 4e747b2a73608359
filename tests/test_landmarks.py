"""The detector behind its protocol, the fake, and the names of the points."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from f2fcam.track import landmarks as lm
from f2fcam.track.landmarks import FakeDetector, Landmarks, MediaPipeDetector, _confidence, _painted_face


@pytest.fixture(scope="module")
def detector():
    found = MediaPipeDetector()
    yield found
    found.close()


def scene(*faces: tuple[int, int, int]) -> np.ndarray:
    """A grey picture with painted faces of (left, top, size)."""
    picture = np.full((480, 640, 3), 90, np.uint8)
    for left, top, size in faces:
        picture[top : top + size, left : left + size] = cv2.resize(_painted_face(), (size, size))
    return picture


def test_names_of_points():
    left = {*lm.LEFT_EYE, *lm.LEFT_BROW, *lm.LEFT_IRIS}
    right = {*lm.RIGHT_EYE, *lm.RIGHT_BROW, *lm.RIGHT_IRIS}
    assert len(left) == len(right) == 16 + 10 + 5
    assert not left & right
    assert len(lm.FACE_OVAL) == len(set(lm.FACE_OVAL)) == 36
    assert len(lm.INNER_LIPS) == len(set(lm.INNER_LIPS)) == 20
    assert len(lm.OUTER_LIPS) == len(set(lm.OUTER_LIPS)) == 20
    assert len(lm.LIPS) == 40
    assert (13, 14) in lm.INNER_LIP_PAIRS
    assert (159, 145) in lm.RIGHT_LID_PAIRS
    assert (386, 374) in lm.LEFT_LID_PAIRS


def test_left_is_the_persons_left(detector):
    """On an unmirrored frontal picture the person's left lies at larger x."""
    detector.reset()
    found = detector.detect(scene((200, 100, 256)))
    assert found is not None
    for left, right in (
        (lm.LEFT_EYE, lm.RIGHT_EYE),
        (lm.LEFT_BROW, lm.RIGHT_BROW),
        (lm.LEFT_IRIS, lm.RIGHT_IRIS),
        ([lm.LEFT_MOUTH_CORNER], [lm.RIGHT_MOUTH_CORNER]),
    ):
        assert found.xy[list(left), 0].mean() > found.xy[list(right), 0].mean() + 20
    assert found.xy[lm.CHIN, 1] > found.xy[lm.NOSE_TIP, 1] > found.xy[lm.LEFT_BROW[0], 1]


def test_pixels_and_confidence(detector):
    """The painted eyes are where they were painted; what turns away counts less."""
    detector.reset()
    found = detector.detect(scene((200, 100, 256)))
    assert found.xy.shape == (478, 2) and found.z.shape == (478,) and found.xy.dtype == np.float32
    assert np.abs(found.xy[473] - (200 + 154, 100 + 112)).max() < 12
    assert found.confidence[lm.NOSE_TIP] == 1.0
    assert 0 < found.confidence[234] < found.confidence[lm.NOSE_TIP]
    assert 60 < found.eye_distance < 130


def test_outside_the_picture_counts_nothing(detector):
    detector.reset()
    points = detector.detect(scene((200, 100, 256))).points - np.array([330, 0, 0], np.float32)
    confidence = _confidence(points, 640, 480)
    outside = points[:, 0] < 0
    assert 50 < outside.sum() < 428
    assert (confidence[outside] == 0).all() and (confidence[~outside] > 0).all()


def test_reset_forgets(detector):
    """After a reset the result is a fresh detector's, bit for bit."""
    first, moved = scene((200, 100, 256)), scene((210, 104, 256))
    detector.reset()
    fresh = detector.detect(first).points
    detector.detect(moved)
    detector.reset()
    assert np.array_equal(detector.detect(first).points, fresh)


def test_no_face(detector):
    detector.reset()
    assert detector.detect(scene()) is None
    assert detector.faces == 0


def test_actor_is_the_largest_near_the_last():
    """The largest of two is chosen, and kept when the other becomes a little larger."""
    detector = MediaPipeDetector(static=True)
    found = detector.detect(scene((20, 100, 230), (380, 120, 200)))
    assert detector.faces == 2
    assert found.xy[:, 0].mean() < 300
    found = detector.detect(scene((20, 100, 210), (370, 100, 235)))
    assert found.xy[:, 0].mean() < 300
    detector.reset()
    found = detector.detect(scene((20, 100, 190), (350, 90, 260)))
    assert found.xy[:, 0].mean() > 300
    detector.close()


def test_a_face_that_comes_later_is_found_within_a_second():
    """While the actor is followed, others are looked for now and then; what was found stays the same."""
    detector = MediaPipeDetector()
    alone, both = scene((20, 100, 230)), scene((20, 100, 230), (380, 120, 200))
    for _ in range(3):
        expected = detector.detect(alone)
    assert expected is not None and detector.faces == 1
    counts = []
    for _ in range(lm.LOOK_EVERY):
        found = detector.detect(both)
        assert found is not None and np.abs(found.xy - expected.xy).max() < 1.0
        counts.append(detector.faces)
    assert counts[0] == 1 and counts[-1] == 2
    detector.close()


def test_an_actor_who_jumps_is_found_in_the_same_picture():
    detector = MediaPipeDetector()
    for _ in range(3):
        assert detector.detect(scene((20, 100, 230))) is not None
    found = detector.detect(scene((380, 120, 200)))
    assert found is not None and found.xy[:, 0].mean() > 400
    detector.close()


def test_says_nothing_on_standard_error():
    code = (
        "import numpy as np; from f2fcam.track.landmarks import MediaPipeDetector, _painted_face as face;"
        "d = MediaPipeDetector(); assert d.detect(face()); d.reset(); assert d.detect(face()); d.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout == ""


def test_fake_plays_back():
    one = Landmarks(np.zeros((478, 2), np.float32), np.zeros(478, np.float32), np.ones(478, np.float32))
    fake = FakeDetector([one, None])
    picture = np.zeros((4, 4, 3), np.uint8)
    assert fake.detect(picture) is one and fake.faces == 1
    assert fake.detect(picture) is None and fake.faces == 0
    assert fake.detect(picture) is None


def test_jitter_under_noise_and_shift(clips, detector):
    """A noisy copy of a photograph, shifted by a pixel, moves the points by that pixel and little more."""
    picture = cv2.imread(str(clips / "astronaut.png"))[..., ::-1]
    detector.reset()
    before = detector.detect(picture)
    noise = np.random.default_rng(0).normal(0, 2.5, picture.shape)
    shifted = np.clip(np.roll(picture, (1, 1), axis=(0, 1)) + noise, 0, 255).astype(np.uint8)
    detector.reset()
    after = detector.detect(shifted)
    offset = after.xy - before.xy
    assert np.abs(np.median(offset, axis=0) - 1).max() < 0.5
    assert np.sqrt(((offset - offset.mean(axis=0)) ** 2).sum(axis=1).mean()) < 0.02 * before.eye_distance


GRAPH = """
import sys
{first}
from f2fcam.track import landmarks
landmarks._without_its_start()
from mediapipe.python._framework_bindings import calculator_graph

class Told(calculator_graph.CalculatorGraph):
    def __init__(self, graph_config):
        print(str(graph_config))
        super().__init__(graph_config=graph_config)

calculator_graph.CalculatorGraph = Told
landmarks.MediaPipeDetector().close()
print(*[name for name in ("matplotlib", "PIL", "jax", "sounddevice") if name in sys.modules])
"""


def test_the_graph_is_that_of_the_whole_library_without_loading_it():
    """Options whose messages were not imported would be lost silently, the sigmoid of the face's presence for one."""
    whole, lean = (
        subprocess.run(
            [sys.executable, "-c", GRAPH.format(first=first)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for first in ("import mediapipe", "")
    )
    assert len(lean) > 500
    assert lean[:-1] == whole[:-1]
    assert lean[-1] == ""
