"""Where pictures go: `open_sink("v4l2")` and its kin. Each opener is an entry in `OPENERS`; that is the plug-in system.

A sink gets I420 pictures (BT.601, limited range; Y, then U, then V) that carry the badge already. Sinks that need only the
standard library (a camera device) work in the supervisor, the others in a process of their own (`publish.process`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from f2fcam.errors import ConfigError, DeviceError
from f2fcam.publish import null, pipewire, preview, recording, v4l2, virtual_sink

log = logging.getLogger(__name__)

Size = tuple[int, int]


class FrameSink(Protocol):
    """A place that shows pictures.

    Attributes:
        device: its name for the user: what to select in an application, where to point a browser, the file.
        size: width and height that it takes; may differ from what was asked for.
        keeps_time: it wants the frames' times and no placeholder (a recording), not a picture whenever one is due.
        readers: how many look at the pictures, at least; None where it cannot tell. Asked for four times a second or more;
            a sink that is told of readers is an `AttendedSink`, so that it is asked at once.
    """

    device: str
    size: Size
    keeps_time: bool

    @property
    def readers(self) -> int | None: ...

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Show one picture, captured at `timestamp_ns`. Raises `DeviceError` when the device went away."""
        ...

    def close(self) -> None:
        """Finish; a file is complete after it."""
        ...


@runtime_checkable
class AttendedSink(FrameSink, Protocol):
    """A sink with business of its own between the pictures."""

    def fileno(self) -> int:
        """Readable when `attend` is due: for `select`."""
        ...

    def attend(self) -> None:
        """Do what is due, without waiting. Raises `DeviceError` when the device went away."""
        ...


Opener = Callable[[str, Size, float], FrameSink]

OPENERS: dict[str, Opener] = {
    "v4l2": v4l2.open_v4l2,
    "pipewire": pipewire.open_pipewire,
    "virtualcam": virtual_sink.open_virtualcam,
    "preview": preview.open_preview,
    "null": null.open_null,
}
"""Name -> opener of what follows the name's colon, a size and a rate."""

AUTOMATIC = ("v4l2", "pipewire", "preview") if sys.platform == "linux" else ("virtualcam", "preview")
"""What `auto` tries, best first."""

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")


def open_sink(uri: str, size: Size, fps: float) -> FrameSink:
    """The sink that `uri` names: `auto`, `NAME`, `NAME:WHERE` or a video file's path."""
    if uri == "auto":
        return open_automatic(size, fps)[1]
    if Path(uri).suffix.lower() in VIDEO_SUFFIXES:
        return recording.open_recording(uri, size, fps)
    name, _, where = uri.partition(":")
    if name not in OPENERS:
        known = ", ".join(["auto", *OPENERS])
        raise ConfigError(
            f"There is no sink {uri!r}.", hint=f"Give --sink one of {known}, or a file that ends in .mp4, .mov or .mkv."
        )
    return OPENERS[name](where, size, fps)


def open_automatic(size: Size, fps: float) -> tuple[str, FrameSink]:
    """The first of `AUTOMATIC` that opens, and its name, by which the same is opened again.

    Why the better ones did not is logged; if none does, one error has all the reasons.
    """
    reasons = []
    for name in AUTOMATIC:
        try:
            sink = OPENERS[name]("", size, fps)
        except DeviceError as error:
            reasons.append(f"{name}: {error.message} {error.hint}")
            continue
        for reason in reasons:
            log.warning("not used: %s", reason)
        return name, sink
    raise DeviceError("No camera output could be opened. " + " ".join(reasons), hint="Run `f2fcam doctor`.")
