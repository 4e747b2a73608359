"""A clip as the ruler sees it: all pictures (on disk, mapped), their landmarks and times; read and detected once."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from f2fcam.capture.video import VideoFile
from f2fcam.errors import InputError
from f2fcam.track.landmarks import LandmarkDetector, MediaPipeDetector

LONGEST_SIDE = 1280
"""Pictures are scaled down to this, as `enroll` does for the target."""


class Picked:
    """Some rows of other pictures, in any order, without copying them."""

    def __init__(self, pictures: np.ndarray | Picked, rows: Int[np.ndarray, " n"]) -> None:
        self._pictures = pictures
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._pictures[int(self._rows[row])]


Pictures = UInt8[np.ndarray, "n h w *c"] | Picked
"""Pictures (h, w, 3) or masks (h, w) of one size; a mapped array is one."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures with landmarks.

    Attributes:
        frames: sRGB-encoded; mapped from a temporary file that goes away with the last reference.
        points: landmarks in pixels with depth; NaN where there is no face.
        index: number of each picture in its file.
        time_s: from the first picture of the file.
        fps: pictures a second.
    """

    frames: Pictures
    points: Float32[np.ndarray, "n 478 3"]
    index: Int[np.ndarray, " n"]
    time_s: Float[np.ndarray, " n"]
    fps: float

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, start_s: float, end_s: float) -> Clip:
        """The half-open range in seconds, without reading again."""
        inside = np.flatnonzero((self.time_s >= start_s - 1e-6) & (self.time_s < end_s - 1e-6))
        if not len(inside):
            raise InputError(
                f"The range {start_s:g}:{end_s:g} s holds no picture.",
                hint=f"Give a range within 0:{self.time_s[-1]:.1f}.",
            )
        return self.picked(inside)

    def picked(self, rows: Int[np.ndarray, " n"]) -> Clip:
        """The clip of some of its rows, in the given order."""
        return Clip(Picked(self.frames, rows), self.points[rows], self.index[rows], self.time_s[rows], self.fps)


@dataclass(frozen=True, slots=True)
class Rendering:
    """An output clip and where each of its pictures comes from (`OUT.json`).

    Attributes:
        clip: the output.
        source: per output picture, its row in the driving clip.
        target: per output picture, its row in the target clip.
        status: tracked, held, occluded, idle or lost.
        masks: 255 where the picture may differ from the target frame; None when not known.
    """

    clip: Clip
    source: Int[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]
    status: tuple[str, ...]
    masks: Pictures | None = None


def read_clip(path: Path, range_s: tuple[float, float] | None = None, longest_side: int = LONGEST_SIDE) -> Clip:
    """Decode a range of a video file, scaled so that its longer side is at most `longest_side`, and detect its face."""
    frames, points, indices, times = PictureStore(), [], [], []
    detector = MediaPipeDetector()
    try:
        with VideoFile(path, range_s, max_side=longest_side) as source:
            for frame in source:
                frames.append(frame.rgb)
                points.append(_points(detector, frame.rgb))
                indices.append(frame.index)
                times.append(frame.timestamp_ns / 1e9)
            fps = source.fps
    finally:
        detector.close()
    if not indices:
        raise InputError(f"{path.name} has no picture in that range.", hint="Give a range inside the clip.")
    return Clip(frames.array(), np.array(points), np.array(indices), np.array(times), fps)


def detected_clip(
    pictures: Iterable[UInt8[np.ndarray, "h w 3"]],
    fps: float,
    detector: LandmarkDetector | None = None,
) -> Clip:
    """A clip of given pictures; without a detector, MediaPipe's."""
    frames, points = PictureStore(), []
    chosen = detector or MediaPipeDetector()
    try:
        for rgb in pictures:
            frames.append(rgb)
            points.append(_points(chosen, rgb))
    finally:
        if detector is None:
            chosen.close()
    count = len(points)
    return Clip(frames.array(), np.array(points), np.arange(count), np.arange(count) / fps, fps)


def _points(detector: LandmarkDetector, rgb: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "478 3"]:
    found = detector.detect(rgb)
    return np.full((478, 3), np.nan, np.float32) if found is None else found.points


class PictureStore:
    """Collects pictures of one size in a temporary file: a clip does not fit into memory, its face is needed at random."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the store; the mapping outlives it
        weakref.finalize(self, self._file.close)
        self._shape: tuple[int, ...] | None = None
        self._count = 0

    def append(self, picture: UInt8[np.ndarray, "h w *c"]) -> None:
        """Add one; every later one has the size of the first."""
        self._shape = self._shape or picture.shape
        if picture.shape != self._shape:
            raise InputError("The clip changes its picture size.", hint="Convert it to one size with another program.")
        self._file.write(np.ascontiguousarray(picture).tobytes())
        self._count += 1

    def array(self) -> UInt8[np.ndarray, "n h w *c"]:
        """All pictures, mapped."""
        self._file.flush()
        if self._shape is None:
            return np.zeros((0, 0, 0, 3), np.uint8)
        return np.memmap(self._file, np.uint8, "r", shape=(self._count, *self._shape))
