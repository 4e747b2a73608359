"""What drives a measurement: a short film of the wanted size, decoded like any other source, given out as a camera does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from f2fcam.capture import SourceInfo
from f2fcam.capture.video import VideoFile
from f2fcam.engine import fit
from f2fcam.errors import InputError
from f2fcam.frame import Undeveloped
from f2fcam.publish.video import VideoWriter

Pictures = list[UInt8[np.ndarray, "h w 3"]]
Report = Callable[[int, int], None]

PICTURES = 75
"""Pictures of a video that are acted to and fro."""
SYNTHETIC_PICTURES = 30
"""Drawing one takes longer than acting it."""
FPS = 25


def source_pictures(source: Path | None, size: tuple[int, int], count: int, report: Report) -> Pictures:
    """The first pictures of a video fitted into `size`, or of the synthetic person."""
    if source is None:
        # here, so that a live pass does not hold them
        from f2fcam.synthetic.acting import Script
        from f2fcam.synthetic.clip import SyntheticClip
        from f2fcam.synthetic.person import SyntheticPerson
        from f2fcam.synthetic.scene import Camera

        count = min(count, SYNTHETIC_PICTURES)
        clip = SyntheticClip(SyntheticPerson.held_out(0), Script(seed=0), Camera.facing(*size), noise=1.5)
        return [_reported(clip.frame(k / FPS), k, count, report) for k in range(count)]
    pictures: Pictures = []
    with VideoFile(source) as video:
        while len(pictures) < count and (frame := video.read()) is not None:
            canvas = np.zeros((size[1], size[0], 3), np.uint8)
            fit(frame.rgb, canvas)
            pictures.append(_reported(canvas, len(pictures), count, report))
    if not pictures:
        raise InputError(f"{source.name} has no picture.", hint="Choose another --source.")
    return pictures


def _reported(picture: np.ndarray, number: int, count: int, report: Report) -> np.ndarray:
    report(number + 1, count)
    return picture


def to_and_fro(pictures: Pictures, count: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """`count` pictures without a cut, however few there are."""
    period = max(2 * len(pictures) - 2, 1)
    for number in range(count):
        at = number % period
        yield pictures[min(at, period - at)]


def write_source(path: Path, pictures: Pictures) -> None:
    """A film that begins where it ends, so that it can be repeated without a cut."""
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, (width, height), FPS, preset="veryfast") as writer:
        for rgb in to_and_fro(pictures, max(2 * len(pictures) - 2, 1)):
            writer.write(rgb)


def read_pictures(path: Path) -> Pictures:
    """All pictures of such a film."""
    with VideoFile(path) as video:
        return [frame.rgb.copy() for frame in video]


class Replay:
    """A film as a camera gives it: pictures at their own moments, whatever the film's rate; lost where nobody takes them.

    A picture is decoded after its moment has come, as a camera's is, so that decoding counts as work and as delay; the film
    is repeated. Pictures are numbered by their moments: what nobody was waiting for leaves a gap.
    """

    def __init__(self, path: Path, fps: float, duration_s: float) -> None:
        self._video = VideoFile(path)
        self._rate = Fraction(fps).limit_denominator(1001)
        self._count = round(fps * duration_s)
        self._start_ns: int | None = None
        self._next = 0

    @property
    def info(self) -> SourceInfo:
        """A live source."""
        return SourceInfo("replay", self._video.size, self._rate)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self._video.size

    @property
    def fps(self) -> float:
        """Pictures per second."""
        return float(self._rate)

    def due_ns(self, number: int) -> int:
        """The moment of a picture."""
        return (self._start_ns or 0) + int(number * 1_000_000_000 / self._rate)

    def grab(self) -> Undeveloped | None:
        """Wait for the next picture's moment; the newest one where that has passed."""
        now_ns = time.monotonic_ns()
        if self._start_ns is None:
            self._start_ns = now_ns
        number = max(self._next, int((now_ns - self._start_ns) * self._rate / 1_000_000_000))
        if number >= self._count:
            return None
        time.sleep(max(self.due_ns(number) - time.monotonic_ns(), 0) / 1e9)
        picture = self._video.grab()
        if picture is None:
            self._video.rewind()
            picture = self._video.grab()
            assert picture is not None, "the film had a picture before"
        self._next = number + 1
        return replace(picture, index=number, timestamp_ns=self.due_ns(number))

    def close(self) -> None:
        """Close the film."""
        self._video.close()
