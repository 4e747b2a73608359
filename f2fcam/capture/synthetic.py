"""The `synthetic` source: a person who does not exist before a camera that is not there, in real time and without end."""

from __future__ import annotations

import time
from fractions import Fraction
from functools import lru_cache

from f2fcam.capture import SourceInfo
from f2fcam.errors import ConfigError
from f2fcam.frame import Frame, Undeveloped
from f2fcam.synthetic.acting import Script
from f2fcam.synthetic.clip import SyntheticClip
from f2fcam.synthetic.person import SyntheticPerson
from f2fcam.synthetic.scene import Camera

DEFAULT_PERSON = 9


class SyntheticSource:
    """Frames of a `SyntheticClip` at their own pace: a frame that nobody fetched in time is never drawn."""

    def __init__(self, clip: SyntheticClip, fps: float) -> None:
        self._clip = clip
        self._rate = Fraction(fps).limit_denominator(1001)
        self._start_ns: int | None = None
        self._next = 0
        clip.renderer  # noqa: B018  the first frame should not take seconds

    @property
    def info(self) -> SourceInfo:
        """Name, size and rate."""
        return SourceInfo(f"synthetic person {self._clip.person.index}", self.size, self._rate)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._clip.camera.intrinsics.width, self._clip.camera.intrinsics.height

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
        return Undeveloped.of(Frame(self._clip.frame(number / self.fps), number, due_ns))

    def close(self) -> None:
        """Nothing to give back; whoever opens it again begins anew."""


def open_synthetic(where: str, size: tuple[int, int], fps: float) -> SyntheticSource:
    """`where` is a number, which of the people who do not exist, or empty."""
    number = where or str(DEFAULT_PERSON)
    if not number.isdigit():
        raise ConfigError(f"There is no synthetic person called {number}.", hint="Write synthetic or synthetic:3.")
    return SyntheticSource(_clip(int(number), size), fps)


@lru_cache(maxsize=1)
def _clip(number: int, size: tuple[int, int]) -> SyntheticClip:
    """Opened twice, to see whether it is there and to read it, a source paints its person once."""
    person = SyntheticPerson.held_out(number)
    return SyntheticClip(person, Script(seed=number), Camera.facing(*size), noise=1.5)
