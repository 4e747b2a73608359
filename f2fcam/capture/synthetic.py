"""The `synthetic` source: a person who does not exist before a camera that is not there, in real time and without end.

The usual one was painted ahead (`tools/make_actor.py`): painting takes a core several pictures' time for each, which the
pictures that are to be acted need themselves. Others are painted as they are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from f2fcam.capture import SourceInfo
from f2fcam.capture.video import VideoFile
from f2fcam.errors import ConfigError
from f2fcam.frame import Frame, Undeveloped

if TYPE_CHECKING:
    from f2fcam.synthetic.clip import SyntheticClip

DEFAULT_PERSON = 9
FILM = Path(__file__).with_name("data") / "person9.mp4"
"""The usual person's film, which begins where it ends, at the usual size."""
FILM_SIZE, FILM_FPS, FILM_LOOP_S = (1280, 720), 30, 12.0

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Performer:
    """Somebody who acts: `picture` is theirs at a time in seconds, `close` gives back what it takes."""

    name: str
    size: tuple[int, int]
    picture: Callable[[float], Picture]
    close: Callable[[], None]


class SyntheticSource:
    """Pictures of a performer at their own pace: one that nobody fetched in time is never drawn."""

    def __init__(self, performer: Performer, fps: float) -> None:
        self._performer = performer
        self._rate = Fraction(fps).limit_denominator(1001)
        self._start_ns: int | None = None
        self._next = 0

    @property
    def info(self) -> SourceInfo:
        """Name, size and rate."""
        return SourceInfo(self._performer.name, self.size, self._rate)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._performer.size

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self._rate)

    def grab(self) -> Undeveloped:
        """Wait for the next frame's moment and draw it."""
        now = time.monotonic_ns()
        if self._start_ns is None:
            self._start_ns = now
        number = max(self._next, int((now - self._start_ns) * self._rate // 1_000_000_000))
        due_ns = self._start_ns + int(number * 1_000_000_000 / self._rate)
        if due_ns > now:
            time.sleep((due_ns - now) / 1e9)
        self._next = number + 1
        return Undeveloped.of(Frame(self._performer.picture(number / self.fps), number, due_ns))

    def close(self) -> None:
        """Whoever opens it again begins anew."""
        self._performer.close()


def open_synthetic(where: str, size: tuple[int, int], fps: float) -> SyntheticSource:
    """`where` is a number, which of the people who do not exist, or empty."""
    number = where or str(DEFAULT_PERSON)
    if not number.isdigit():
        raise ConfigError(f"There is no synthetic person called {number}.", hint="Write synthetic or synthetic:3.")
    filmed = int(number) == DEFAULT_PERSON and size == FILM_SIZE
    return SyntheticSource(_filmed() if filmed else _painted(int(number), size), fps)


class Film:
    """A film without end: pictures by time, which goes forwards."""

    def __init__(self, video: VideoFile) -> None:
        self._video = video
        self._last: Frame | None = None

    def picture(self, t: float) -> Picture:
        """What it shows at `t` seconds."""
        number = int(t * self._video.fps + 1e-6) % len(self._video)
        if self._last is None or self._last.index != number:
            self._last = self._video.frame_at(number)
        return self._last.rgb


def _filmed() -> Performer:
    video = VideoFile(FILM)
    return Performer(_name(DEFAULT_PERSON), video.size, Film(video).picture, video.close)


def _painted(number: int, size: tuple[int, int]) -> Performer:
    clip = _clip(number, size)
    clip.renderer  # noqa: B018  the first frame should not take seconds
    return Performer(_name(number), size, clip.frame, lambda: None)


def _name(number: int) -> str:
    return f"synthetic person {number}"


@lru_cache(maxsize=1)
def _clip(number: int, size: tuple[int, int]) -> SyntheticClip:
    """Opened twice, to see whether it is there and to read it, a source paints its person once."""
    return perform(number, size, noise=1.5)


def perform(number: int, size: tuple[int, int], noise: float, loop_s: float | None = None) -> SyntheticClip:
    """A person before the usual camera, with `noise` grey levels of its sensor's."""
    from f2fcam.synthetic.acting import Script
    from f2fcam.synthetic.clip import SyntheticClip
    from f2fcam.synthetic.person import SyntheticPerson
    from f2fcam.synthetic.scene import Camera

    person = SyntheticPerson.held_out(number)
    return SyntheticClip(person, Script(seed=number, loop_s=loop_s), Camera.facing(*size), noise=noise)
