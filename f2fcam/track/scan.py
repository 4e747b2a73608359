"""The first look at a clip: landmarks of every picture, its shots, and crops of a few dozen candidates for keyframes.

Nothing but landmarks and crops is kept, so memory does not grow with the pictures. Each shot collects its own
candidates: every n-th picture with a face, where n doubles whenever they become too many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from f2fcam.frame import Frame
from f2fcam.overlap import read_ahead
from f2fcam.track.landmarks import LandmarkDetector, Landmarks
from f2fcam.track.person import Observation
from f2fcam.track.tracker import is_cut, thumbnail

MOST_OBSERVATIONS = 48
LONGEST_GAP_S = 0.4
"""A face that is missing for longer than this ends the shot."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of one picture."""

    index: int
    timestamp_ns: int
    landmarks: Landmarks | None
    cut: bool

    @property
    def time_s(self) -> float:
        """Seconds from the file's first picture."""
        return self.timestamp_ns * 1e-9


@dataclass(slots=True)
class Shot:
    """A run of pictures of one face without a cut.

    Attributes:
        start, stop: rows of the scan, half-open; the first and the last picture show the face.
        observations: evenly spread candidates for keyframes.
    """

    start: int
    stop: int
    observations: list[Observation] = field(default_factory=list)
    _stride: int = 1
    _faces: int = 0

    def add(self, row: int, frame: Frame, landmarks: Landmarks) -> None:
        """Take in a picture that shows the face."""
        self.stop = row + 1
        if self._faces % self._stride == 0:
            self.observations.append(Observation.crop(frame.rgb, landmarks, frame.index))
            if len(self.observations) > MOST_OBSERVATIONS:
                del self.observations[1::2]
                self._stride *= 2
        self._faces += 1


@dataclass(frozen=True, slots=True)
class Scan:
    """A clip after its first look.

    Attributes:
        seen: one entry per picture. shots: in order of time.
        size: of the pictures, in pixels. fps: pictures a second, as their times have it.
        most_faces: the largest number of faces in one picture.
    """

    seen: list[Seen]
    shots: list[Shot]
    size: tuple[int, int]
    most_faces: int

    @property
    def fps(self) -> float:
        """Median rate of the pictures."""
        times = np.array([s.timestamp_ns for s in self.seen]) * 1e-9
        return float(1.0 / np.median(np.diff(times))) if len(times) > 1 else 0.0

    def duration_s(self, shot: Shot) -> float:
        """Length of a shot, its last picture included."""
        first, last = self.seen[shot.start].time_s, self.seen[shot.stop - 1].time_s
        return last - first + (1.0 / self.fps if self.fps else 0.0)

    def longest(self) -> Shot | None:
        """The shot that lasts longest."""
        return max(self.shots, key=self.duration_s, default=None)

    def face_px(self, shot: Shot) -> float:
        """Median cheek-to-cheek width of the face in a shot."""
        found = (s.landmarks for s in self.seen[shot.start : shot.stop])
        return float(np.median([lm.box[2] - lm.box[0] for lm in found if lm is not None]))


def scan(
    frames: Iterable[Frame], detector: LandmarkDetector, *, progress: Callable[[int], None] = lambda done: None
) -> Scan:
    """Look at every picture once, while the next ones are being read. `progress` gets the number of pictures done."""
    with closing(read_ahead(frames)) as ahead:
        return _scan(ahead, detector, progress)


def _scan(frames: Iterable[Frame], detector: LandmarkDetector, progress: Callable[[int], None]) -> Scan:
    seen: list[Seen] = []
    shots: list[Shot] = []
    open_shot: Shot | None = None
    last, size, most_faces = None, (0, 0), 0
    for frame in frames:
        small = thumbnail(frame.rgb)
        cut = is_cut(last, small)
        last, size = small, frame.size
        if cut:
            detector.reset()
        landmarks = detector.detect(frame.rgb)
        most_faces = max(most_faces, detector.faces)
        row = len(seen)
        seen.append(Seen(frame.index, frame.timestamp_ns, landmarks, cut))
        if open_shot is not None and (cut or _gap_s(seen, open_shot) > LONGEST_GAP_S):
            open_shot = None
        if landmarks is not None:
            if open_shot is None:
                open_shot = Shot(row, row + 1)
                shots.append(open_shot)
                _forget_short(seen, shots)
            open_shot.add(row, frame, landmarks)
        progress(row + 1)
    return Scan(seen, shots, size, most_faces)


def _gap_s(seen: list[Seen], shot: Shot) -> float:
    return seen[-1].time_s - seen[shot.stop - 1].time_s


def _forget_short(seen: list[Seen], shots: list[Shot]) -> None:
    """Only the longest of the ended shots keeps its crops."""
    ended = shots[:-1]
    if not ended:
        return
    longest = max(ended, key=lambda shot: seen[shot.stop - 1].timestamp_ns - seen[shot.start].timestamp_ns)
    for shot in ended:
        if shot is not longest:
            shot.observations = []
