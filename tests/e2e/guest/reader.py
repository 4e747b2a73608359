"""A foreign program that reads the camera, and what it got: ffmpeg's pictures as they come. Standard library only."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from f2fcam.publish.barcode import CHECK_BITS, COLUMNS, ROWS, TIME_BITS, code_of, square_side, wall_clock_ms
from f2fcam.ring import i420_bytes
from f2fcam.trust.placeholder import placeholder_i420

BLACK = 20
"""Mean luma below which a picture is black; black itself is 16."""
CAPTIONS = ("STARTING", "RESTARTING", "NO WEBCAM")


@dataclass(frozen=True, slots=True)
class Picture:
    """One that the reader got.

    Attributes:
        at: when, in monotonic seconds.
        shows: the placeholder's caption, `engine`, or `nothing known`.
        time_ms: the engine's time code.
        age_ms: by that, which begins anew after a minute.
    """

    at: float
    mean: float
    shows: str
    time_ms: int | None
    age_ms: int

    @staticmethod
    def of(i420: bytes, width: int, height: int) -> Picture:
        """Look at the planes of one picture."""
        time_ms = read_time(i420, width, height)
        shows = "engine" if time_ms is not None else "nothing known"
        for caption in CAPTIONS:
            if placeholder_i420(width, height, caption) == i420:
                shows = caption
        luma = i420[: width * height : 5]
        age_ms = (wall_clock_ms(time.monotonic_ns()) - (time_ms or 0)) % (1 << TIME_BITS)
        return Picture(time.monotonic(), sum(luma) / len(luma), shows, time_ms, age_ms)

    def made_after(self, since: float) -> bool:
        """It is the engine's, and was begun after `since` (monotonic seconds), not half a minute ago or more."""
        return self.time_ms is not None and self.age_ms < min((self.at - since) * 1000, 30_000)


def read_time(luma: bytes, width: int, height: int) -> int | None:
    """The time code of a picture of our size, None if there is none."""
    side, code = square_side(width, height), 0
    for row in range(ROWS):
        for column in range(COLUMNS):
            code = code << 1 | (
                luma[(height - (ROWS - row) * side + side // 2) * width + column * side + side // 2] > 128
            )
    return code >> CHECK_BITS if code_of(code >> CHECK_BITS) == code else None


class Reader:
    """A running ffmpeg.

    Attributes:
        pictures: what came so far.
    """

    def __init__(self, path: str, size: tuple[int, int], log: Path) -> None:
        self.pictures: list[Picture] = []
        self._size, self._log = size, log
        line = ["ffmpeg", "-nostdin", "-v", "error", "-f", "v4l2", "-i", path, "-fps_mode", "drop"]
        with log.open("wb") as errors:
            self._ffmpeg = subprocess.Popen(
                [*line, "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"], stdout=subprocess.PIPE, stderr=errors
            )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._ffmpeg.stdout is not None
        count = i420_bytes(*self._size)
        while len(i420 := self._ffmpeg.stdout.read(count)) == count:
            self.pictures.append(Picture.of(i420, *self._size))

    def complaints(self) -> str:
        """What it did not like; empty when all is well and it reads on."""
        ended = self._ffmpeg.poll()
        return self._log.read_text(errors="replace") + (f"[ffmpeg has ended: {ended}]" if ended is not None else "")

    def story(self) -> list[str]:
        """What the pictures showed, in order, equal ones once."""
        shown = [picture.shows for picture in list(self.pictures)]
        return [what for index, what in enumerate(shown) if index == 0 or shown[index - 1] != what]

    def darkest(self) -> float:
        """The least mean luma of all pictures."""
        return min(picture.mean for picture in self.pictures)

    def close(self) -> None:
        """End it."""
        self._ffmpeg.kill()
        self._ffmpeg.wait()
        self._thread.join()


@contextlib.contextmanager
def reading(path: str, size: tuple[int, int], log: Path) -> Iterator[Reader]:
    """A reader for a while."""
    reader = Reader(path, size, log)
    try:
        yield reader
    finally:
        reader.close()
