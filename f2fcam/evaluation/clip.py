"""A clip as the ruler sees it: all pictures (on disk, mapped), their landmarks and times; read and detected once."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from f2fcam.capture.video import VideoFile
from f2fcam.errors import InputError
from f2fcam.reenact import Output
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
        originals: per output picture, the target frame that it was drawn on; None: the target clip's.
    """

    clip: Clip
    source: Int[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]
    status: tuple[str, ...]
    masks: Pictures | None = None
    originals: Pictures | None = None


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


class Tap:
    """Keeps a renderer's pictures and masks as they are before the badge and the encoder."""

    def __init__(self) -> None:
        self._pictures, self._masks = PictureStore(), PictureStore()
        self._points: list[np.ndarray] = []
        self._frames: list[tuple[int, int, str]] = []
        self._detector = MediaPipeDetector()

    def observe(self, output: Output) -> None:
        """Take one picture over."""
        self._pictures.append(output.rgb)
        self._masks.append(output.mask)
        self._points.append(_points(self._detector, output.rgb))
        self._frames.append((output.source_index, output.target_index, str(output.status)))

    def rendering(self, driving: Clip, target: Clip, originals: Clip | None = None) -> Rendering:
        """All that was taken, as rows of the clips; `originals`: the target as the renderer reads it, when it differs."""
        self._detector.close()
        count = len(self._frames)
        clip = Clip(
            self._pictures.array(),
            np.array(self._points),
            np.arange(count),
            np.arange(count) / driving.fps,
            driving.fps,
        )
        source, shown, status = zip(*self._frames, strict=True) if count else ((), (), ())
        drawn_on = None if originals is None else Picked(originals.frames, rows_of(originals, shown))
        return Rendering(clip, rows_of(driving, source), rows_of(target, shown), status, self._masks.array(), drawn_on)


def rows_of(clip: Clip, numbers: Sequence[int]) -> Int[np.ndarray, " n"]:
    """Rows of a clip that hold the pictures with the given numbers in their file."""
    row = {int(number): place for place, number in enumerate(clip.index)}
    try:
        return np.array([row[int(number)] for number in numbers], int)
    except KeyError as error:
        raise InputError(
            f"The output names picture {error}, which is outside the range that was read.",
            hint="Evaluate with the ranges that were enrolled and rendered.",
        ) from error


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
