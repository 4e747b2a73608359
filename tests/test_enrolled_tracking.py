"""Tracking in chunks: their bounds, and that they find what tracking from the first frame to the last finds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from f2fcam import enrolled_tracking
from f2fcam.capture.video import VideoFile
from f2fcam.enrolled_tracking import Chunk, Sighting, chunks, gathered, track_shot, usual_errors
from f2fcam.errors import InputError
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.track.landmarks import Landmarks, MediaPipeDetector
from f2fcam.track.person import estimate_person
from f2fcam.track.scan import scan
from f2fcam.track.tracker import Tracked, _box, _glance
from tests import enrolled


@pytest.mark.parametrize("count", [0, 1, 11, 12, 95, 96, 97, 500])
@pytest.mark.parametrize(("length", "warm_up"), [(96, 12), (10, 25), (1, 0)])
def test_chunks_keep_every_row_once(count: int, length: int, warm_up: int):
    parts = chunks(count, length, warm_up)
    assert [row for part in parts for row in range(part.first, part.stop)] == list(range(count))
    assert all(part.stop - part.first <= length and part.start == max(part.first - warm_up, 0) for part in parts)


def test_each_chunk_gets_its_rows_of_a_stream_that_is_read_once():
    for warm_up in (0, 3, 9):
        parts = chunks(23, 5, warm_up)
        found = list(gathered(iter(range(23)), parts))  # type: ignore[arg-type]
        assert found == [list(range(part.start, part.stop)) for part in parts]
    assert list(gathered(iter(range(4)), [Chunk(0, 0, 3), Chunk(1, 3, 6)])) == [[0, 1, 2], [1, 2, 3]]  # type: ignore[arg-type]


def test_a_hand_does_not_become_usual():
    frames = np.arange(0, 200, 10)
    errors = np.full((20, 2), 0.1)
    errors[8:12, 0] = 0.5  # covered for a fifth of the clip
    errors[:, 1] = np.nan
    errors[0, 1] = 0.2
    usual = usual_errors(frames, errors, 100)
    assert usual[0] == pytest.approx(0.1) and np.isnan(usual[1])
    assert usual_errors(frames, errors, 0)[1] == pytest.approx(0.2)


def test_a_sighting_is_put_where_it_was():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    xy = rng.uniform(40, 60, (478, 2)).astype(np.float32)
    seen = Sighting.of(rgb, Landmarks(xy, np.zeros(478, np.float32), np.ones(478, np.float32)))
    canvas = np.zeros_like(rgb)
    shown = seen.shown(canvas)
    assert np.array_equal(shown[34:66, 34:66], rgb[34:66, 34:66])
    assert not shown[:30].any()
    assert Sighting.of(rgb, None).landmarks is None


class Unwritten:
    """A writer that only counts."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, rgb: np.ndarray, timestamp_ns: int) -> None:
        self.count += 1


@lru_cache(maxsize=1)
def learnt():
    """The film's scan and person."""
    model, detector = load_face_model(), MediaPipeDetector()
    with VideoFile(enrolled.film(enrolled.TARGET)) as film:
        seen = scan(film, detector)
    detector.close()
    shot = seen.longest()
    assert shot is not None
    camera = Intrinsics.guess(*seen.size)
    return seen, shot, estimate_person(model, shot.observations, camera, config=enrolled.QUICK, threads=2)


def tracked(threads: int) -> list[Tracked]:
    seen, shot, estimate = learnt()
    rows, reports, writer = seen.seen[shot.start : shot.stop], [], Unwritten()
    with VideoFile(enrolled.film(enrolled.TARGET)) as film:
        found = track_shot(
            film, rows, shot, estimate, load_face_model(), writer, threads,  # type: ignore[arg-type]
            lambda done, total: reports.append(done / total),
        )  # fmt: skip
    assert len(found) == writer.count == len(rows)
    assert reports == sorted(reports) and reports[-1] == 1
    return found


def apart_mm(ours: list[Tracked], theirs: list[Tracked]) -> np.ndarray:
    """Root mean square over the vertices, per frame."""
    basis = load_face_model().expression_basis.reshape(-1, 76)
    out = []
    for one, other in zip(ours, theirs, strict=True):
        assert one.fit is not None and other.fit is not None and one.status == other.status
        moved = (basis @ (one.fit.performance.expression - other.fit.performance.expression)).reshape(-1, 3)
        out.append(np.sqrt((moved**2).sum(axis=1).mean()))
    return np.array(out)


def face_at(x: float, y: float) -> Landmarks:
    """Landmarks all over a square of 40 pixels."""
    xy = np.random.default_rng(1).uniform(-20, 20, (478, 2)) + np.array((x, y))
    return Landmarks(xy.astype(np.float32), np.zeros(478, np.float32), np.ones(478, np.float32))


@pytest.mark.parametrize(("x", "y"), [(60, 45), (4, 45), (60, 86), (118, 3)])
def test_what_was_shown_before_does_not_count_beside_a_face_that_is_cut_off(x: float, y: float):
    rgb = np.random.default_rng(2).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    landmarks = face_at(x, y)
    sighting, box = Sighting.of(rgb, landmarks), _box(rgb, landmarks.xy)
    glances = [_glance(sighting.shown(np.full_like(rgb, grey)), box) for grey in (0, 255)]
    np.testing.assert_array_equal(*glances)


@pytest.mark.parametrize(("x", "y"), [(-200, 45), (60, -90), (500, 45), (60, 300)])
def test_nothing_is_kept_of_a_face_outside_the_picture(x: float, y: float):
    crop = Sighting.of(np.zeros((90, 120, 3), np.uint8), face_at(x, y)).crop
    assert crop is not None and crop.rgb.size == 0


def test_chunks_find_what_the_whole_finds(monkeypatch: pytest.MonkeyPatch):
    """Within a tenth of a millimetre on the mean, which is a quarter of what fits of real film vary by."""
    whole = tracked(1)
    monkeypatch.setattr(enrolled_tracking.chunks, "__defaults__", (10, 8))
    parts = tracked(2)
    apart = apart_mm(parts, whole)
    assert not apart[:10].any()  # the first chunk is the whole's beginning
    assert apart.mean() < 0.1 and apart.max() < 0.5
    assert not apart_mm(tracked(3), parts).any()
    assert not apart_mm(tracked(1), parts).any()


def test_an_error_in_a_chunk_arrives_as_it_is(monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object):
        raise InputError("The picture is torn.", hint="Record it again.")

    monkeypatch.setattr(enrolled_tracking, "track_step", fails)
    with pytest.raises(InputError, match="torn") as raised:
        tracked(2)
    assert raised.value.hint == "Record it again."
