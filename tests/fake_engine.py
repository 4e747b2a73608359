"""An engine without a face: the real threads, ring and messages around a pipeline that counts frames in a pattern.

The picture carries the source frame's number in sixteen blocks of its top row, and the profile's name decides what goes
wrong: `unknown`, `crash`, `hang`, `silent`, `silent-start`, `greedy` (of memory), `stored` (it has to lie in the folder of
profiles); `late-90-10-130` takes 90 ms for a picture, and 130 ms after 10 s; anything else works. A file `expired` in the
folder of profiles ends every consent. The source `flashing` is a camera before which a lamp flashes, by the wall clock; its
pictures, and those that come of them, are brighter.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from f2fcam import engine
from f2fcam.capture import SourceInfo
from f2fcam.deadline import FULL, Levels, Quality
from f2fcam.errors import DeviceError, ProfileError
from f2fcam.frame import Frame, Undeveloped

BITS = 16
ACTOR_GREY, FLASH_GREY = 77, 97
"""What the fake camera shows, usually and by the lamp's light: no output may contain it."""
BACKGROUND, FLASH_BACKGROUND = 200, 250
"""What is made of that."""
FLASH_S, FLASH_EVERY_S = 0.15, 0.5
"""The lamp is on for so long at every moment of the wall clock that is a multiple of that."""
FLASH = 1 << BITS
"""In a picture's number: it is a bright one."""


class FakeSource:
    """Pictures of one grey, numbered; `length` of them at `fps`, or endless."""

    def __init__(self, size: tuple[int, int] = (64, 48), fps: float = 60.0, length: int | None = None) -> None:
        self.size, self.fps, self._length = size, fps, length
        self.info = SourceInfo("fake", size, Fraction(fps), frame_count=length or 1 << 30)
        self._rgb = np.full((size[1], size[0], 3), ACTOR_GREY, np.uint8)
        self._index = 0
        self.closed = False

    def grab(self) -> Undeveloped | None:
        if self._index == self._length:
            return None
        frame = Frame(self._rgb, self._index, round(self._index * 1e9 / self.fps))
        self._index += 1
        return Undeveloped.of(frame)

    def close(self) -> None:
        self.closed = True


class FlashingSource(FakeSource):
    """A camera of 60 pictures a second before a lamp."""

    def __init__(self) -> None:
        super().__init__()
        self.info = SourceInfo("lamp", self.size, Fraction(self.fps))
        self._bright = np.full_like(self._rgb, FLASH_GREY)
        self._due_s = time.monotonic()

    def grab(self) -> Undeveloped:
        """Wait for the next moment and look."""
        now_s = time.monotonic()
        self._due_s = max(self._due_s + 1 / self.fps, now_s)
        time.sleep(self._due_s - now_s)
        rgb = self._bright if time.time() % FLASH_EVERY_S < FLASH_S else self._rgb
        self._index += 1
        return Undeveloped.of(Frame(rgb, self._index, time.monotonic_ns()))


class PluggedSource(FakeSource):
    """A webcam with a cable: its file."""

    def __init__(self, cable: Path) -> None:
        super().__init__()
        self._cable = cable
        self._look()

    def grab(self) -> Undeveloped | None:
        self._look()
        return super().grab()

    def _look(self) -> None:
        if not self._cable.exists():
            raise DeviceError("The webcam was unplugged.", hint="Plug it in.")


def open_fake_source(uri: str) -> FakeSource:
    """`fake`, `fake:LENGTH`, `flashing`, `missing`, `plugged:PATH`, which is there as long as that file is."""
    if uri == "missing":
        raise DeviceError("There is no webcam.", hint="Plug one in.")
    kind, _, rest = uri.partition(":")
    if kind == "plugged":
        return PluggedSource(Path(rest))
    if kind == "flashing":
        return FlashingSource()
    return FakeSource(length=int(rest) if rest else None)


@dataclass
class FakeOutput:
    rgb: np.ndarray
    status: str
    source_index: int
    timings: dict[str, float] = field(default_factory=dict)


def pattern(index: int, size: tuple[int, int]) -> np.ndarray:
    """A bright picture with `index` in it; brighter still with `FLASH`."""
    width, height = size
    rgb = np.full((height, width, 3), FLASH_BACKGROUND if index & FLASH else BACKGROUND, np.uint8)
    for bit in range(BITS):
        x0, x1 = width * bit // BITS, width * (bit + 1) // BITS
        rgb[height - height // 4 :, x0:x1] = 235 if index >> bit & 1 else 20
    return rgb


def index_in(luma: np.ndarray) -> int:
    """The number in a picture's luma (h, w)."""
    height, width = luma.shape
    row = luma[height - height // 8]
    return sum(1 << bit for bit in range(BITS) if row[(2 * bit + 1) * width // (2 * BITS)] > 128)


class FakePipeline:
    """Counts."""

    def __init__(self, setup: engine.EngineSetup) -> None:
        self._setup, self.recalibrated, self.closed = setup, 0, False
        self._delays = [int(part) / 1000 for part in setup.profile.split("-")[1:]] if "late-" in setup.profile else []
        self._began = time.monotonic()
        self.levels = Levels(("full", "less"), ("full", "less", "least"))

    def room(self, size: tuple[int, int]) -> np.ndarray:
        return np.empty((size[1], size[0], 3), np.uint8)

    def track(self, frame: Frame, quality: Quality = FULL) -> int:
        assert frame.rgb.min() == frame.rgb.max() and frame.rgb[0, 0, 0] in (ACTOR_GREY, FLASH_GREY)
        self._take_a_third()
        return frame.index % FLASH + FLASH * (frame.rgb[0, 0, 0] == FLASH_GREY)

    def retouch(self, tracked: int) -> int:
        self._take_a_third()
        return tracked

    def render(self, tracked: int) -> FakeOutput:
        if self._setup.profile == "crash" and tracked >= 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._setup.profile == "silent" and tracked >= 3:
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._setup.profile == "greedy" and tracked >= 3:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            np.ones(1 << 30)
        if self._setup.profile == "hang" and tracked >= 3:
            time.sleep(600)
        self._take_a_third()
        return FakeOutput(pattern(tracked, self._setup.size), "tracked", tracked % FLASH)

    def _take_a_third(self) -> None:
        """Of a picture's time; three threads work at three pictures."""
        if self._delays:
            first_s, until, then_s = self._delays
            time.sleep((first_s if time.monotonic() - self._began < until * 1000 else then_s) / 3)

    def recalibrate(self) -> None:
        self.recalibrated += 1

    def check(self) -> None:
        if (Path(self._setup.profiles or "/nowhere") / "expired").exists():
            raise ProfileError("The consent of Anna expired.", hint="Ask her.")

    def report(self) -> dict[str, Any]:
        return {"faces": 1, "recalibrated": self.recalibrated}

    def close(self) -> None:
        self.closed = True


def open_fake_pipeline(setup: engine.EngineSetup, size: tuple[int, int]) -> FakePipeline:
    if setup.profile == "unknown":
        raise ProfileError("There is no profile 'unknown'.", hint="Run `f2fcam profile list`.")
    if setup.profile == "stored" and not (Path(setup.profiles or "") / "stored").exists():
        raise ProfileError("There is no profile 'stored'.", hint="Run `f2fcam profile list`.")
    if setup.profile == "silent-start":
        time.sleep(600)
    if setup.profile == "crash-at-once":
        os.kill(os.getpid(), signal.SIGSEGV)
    return FakePipeline(setup)


if __name__ == "__main__":
    engine.exit_now(engine.main(open_fake_pipeline, open_fake_source))
