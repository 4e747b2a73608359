"""Where pictures come from: `open_source("webcam:0")`, a video's path, `synthetic`. A dict of openers is the plug-in system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from f2fcam.errors import ConfigError
from f2fcam.frame import Undeveloped


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source before its first picture.

    Attributes:
        name: for the user: a file's or a device's name.
        size: width and height of the frames, upright.
        rate: frames per second; the mean one where the rate varies.
        duration_s: from the first picture to the end of the last; `None` for a live source.
        frame_count: pictures in presentation order inside the edit list; `None` for a live source.
        has_audio: there is sound to copy.
        rotation: degrees clockwise by which the stored picture was turned to stand upright.
        variable_rate: the pictures' distances differ.
    """

    name: str
    size: tuple[int, int]
    rate: Fraction
    duration_s: float | None = None
    frame_count: int | None = None
    has_audio: bool = False
    rotation: int = 0
    variable_rate: bool = False

    @property
    def fps(self) -> float:
        return float(self.rate)

    @property
    def live(self) -> bool:
        """Pictures come at their own time and are lost when nobody takes them."""
        return self.frame_count is None


class FrameSource(Protocol):
    """Pictures in order. `grab` blocks for a live source and answers `None` at the end of a file."""

    @property
    def info(self) -> SourceInfo: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def fps(self) -> float: ...

    def grab(self) -> Undeveloped | None: ...

    def close(self) -> None: ...


def _open_webcam(where: str, size: tuple[int, int] | None, fps: float | None) -> FrameSource:
    from f2fcam.capture.webcam import open_webcam

    return open_webcam(where, size or (1280, 720), fps or 30.0)


def _open_synthetic(where: str, size: tuple[int, int] | None, fps: float | None) -> FrameSource:
    from f2fcam.capture.synthetic import open_synthetic

    return open_synthetic(where, size or (1280, 720), fps or 30.0)


def _open_video(where: str, size: tuple[int, int] | None, fps: float | None) -> FrameSource:
    from f2fcam.capture.video import VideoFile

    return VideoFile(where, max_side=max(size) if size else None)


Opener = Callable[[str, "tuple[int, int] | None", "float | None"], FrameSource]

OPENERS: dict[str, Opener] = {"webcam": _open_webcam, "synthetic": _open_synthetic, "video": _open_video}
"""Name -> opener of what follows the name's colon, wished size and rate (a file has its own rate, and is only made smaller)."""


def open_source(uri: str, size: tuple[int, int] | None = None, fps: float | None = None) -> FrameSource:
    """The source that `uri` names: `webcam:0`, `webcam:/dev/video2`, `synthetic`, `video:PATH` or just a video's path."""
    if not uri:
        raise ConfigError("No source is named.", hint="Give --source webcam:0, a video file, or synthetic.")
    name, colon, where = uri.partition(":")
    if name in OPENERS and (colon or name != "video"):
        return OPENERS[name](where, size, fps)
    return _open_video(uri, size, fps)
