"""Where pictures go: `open_sink("v4l2")` and its kin. Each opener is an entry in `OPENERS`; that is the plug-in system.

A sink gets I420 pictures (BT.601, limited range; Y, then U, then V) that carry the badge already. Sinks that need only the
standard library (a camera device) work in the supervisor, the others in a process of their own (`publish.process`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from f2fcam.errors import ConfigError, DeviceError
from f2fcam.publish import null, preview, recording, v4l2

log = logging.getLogger(__name__)

Size = tuple[int, int]


class FrameSink(Protocol):
    """A place that shows pictures.

    Attributes:
        device: its name for the user: what to select in an application, where to point a browser, the file.
        size: width and height that it takes; may differ from what was asked for.
        keeps_time: it wants the frames' times and no placeholder (a recording), not a picture whenever one is due.
    """

    device: str
    size: Size
    keeps_time: bool

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Show one picture, captured at `timestamp_ns`. Raises `DeviceError` when the device went away."""
        ...

    def close(self) -> None:
        """Finish; a file is complete after it."""
        ...


Opener = Callable[[str, Size, float], FrameSink]

OPENERS: dict[str, Opener] = {
    "v4l2": v4l2.open_v4l2,
    "preview": preview.open_preview,
    "null": null.open_null,
}
"""Name -> opener of what follows the name's colon, a size and a rate."""

AUTOMATIC = ("v4l2", "preview")
"""What `auto` tries, best first."""

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")


def open_sink(uri: str, size: Size, fps: float) -> FrameSink:
    """The sink that `uri` names: `auto`, `NAME`, `NAME:WHERE` or a video file's path.

    `auto` takes the first that opens and logs why the better ones did not; if none does, one error has all the reasons.
    """
    if uri == "auto":
        return _open_first(AUTOMATIC, size, fps)
    if Path(uri).suffix.lower() in VIDEO_SUFFIXES:
        return recording.open_recording(uri, size, fps)
    name, _, where = uri.partition(":")
    if name not in OPENERS:
        known = ", ".join(["auto", *OPENERS])
        raise ConfigError(
            f"There is no sink {uri!r}.", hint=f"Give --sink one of {known}, or a file that ends in .mp4, .mov or .mkv."
        )
    return OPENERS[name](where, size, fps)


def _open_first(names: tuple[str, ...], size: Size, fps: float) -> FrameSink:
    reasons = []
    for name in names:
        try:
            sink = OPENERS[name]("", size, fps)
        except DeviceError as error:
            reasons.append(f"{name}: {error.message} {error.hint}")
            continue
        for reason in reasons:
            log.warning("not used: %s", reason)
        return sink
    raise DeviceError("No camera output could be opened. " + " ".join(reasons), hint="Run `f2fcam doctor`.")
