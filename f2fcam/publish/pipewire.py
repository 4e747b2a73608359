"""The camera as a PipeWire node: no kernel module and no root; browsers find it through the desktop's camera portal.

Everything happens in the caller's thread and nothing waits: `attend` when `fileno` is readable, and `send`. As long as
nobody looks, pictures are let go. The first reader settles the format for all; each has its own link to the node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from f2fcam.errors import ConfigError, DeviceError
from f2fcam.publish import libpipewire
from f2fcam.publish.libpipewire import START_HINT, StreamEvents
from f2fcam.publish.spa_pod import (
    I420,
    PARAM_FORMAT,
    YUY2,
    Layout,
    Size,
    agreed_format,
    offered_format,
    wanted_buffers,
    wanted_header,
)
from f2fcam.publish.v4l2 import LABEL, yuyv_from_i420

log = logging.getLogger(__name__)

FORMATS = (I420, YUY2)
"""What is offered, best first: the planes as they are, and what every webcam can."""
PROPERTIES = {
    "media.type": "Video",
    "media.class": "Video/Source",
    "media.role": "Camera",
    "node.name": LABEL,
    "node.nick": LABEL,
    "node.description": LABEL,
}


class Stream(Protocol):
    """The way to the server (`libpipewire.Stream`); tests put a fake one here."""

    def fileno(self) -> int: ...
    def iterate(self) -> None: ...
    def update_parameters(self, pods: Sequence[bytes]) -> None: ...
    def trigger(self) -> None: ...
    def fill(self, picture: bytes | bytearray | memoryview, stride: int, timestamp_ns: int, number: int) -> bool: ...
    def close(self) -> None: ...


Connect = Callable[[StreamEvents, dict[str, str], Sequence[bytes]], Stream]


class PipeWireSink:
    """The node "F2F Camera" of the user's PipeWire server.

    Attributes:
        readers: 1 while somebody reads the pictures, however many there are; the server tells no more.
        frames: pictures handed to readers.
        skipped: pictures that were left out since the readers had every buffer.
    """

    keeps_time = False

    def __init__(self, size: Size, fps: float, connect: Connect = libpipewire.Stream) -> None:
        self.size = size
        self.device = f"{LABEL} (PipeWire)"
        self.readers: int | None = 0
        self.frames = self.skipped = 0
        self._pixels: int | None = None
        self._waiting: tuple[bytes | bytearray | memoryview, int] | None = None
        self._lost: str | None = None
        self._stream = connect(self, PROPERTIES, [offered_format(pixels, size, fps) for pixels in FORMATS])

    def fileno(self) -> int:
        """Readable when `attend` is due."""
        return self._stream.fileno()

    def attend(self) -> None:
        """Handle what the server has said; `DeviceError` when it is gone."""
        self._stream.iterate()
        if self._lost is not None:
            raise DeviceError(f"{self.device} went away: {self._lost}.", hint=START_HINT)

    def send(self, i420: bytes | bytearray | memoryview, timestamp_ns: int) -> None:
        """Show one picture to those who look."""
        self.attend()
        if not self.readers or self._pixels is None:
            return
        self._waiting = i420, timestamp_ns
        self._stream.trigger()
        self._waiting = None  # the buffer is the caller's again

    def close(self) -> None:
        """Take the camera away."""
        self._stream.close()

    def state_changed(self, state: int, error: str) -> None:
        """A reader has come or the last one has gone; or the server has."""
        self.readers = int(state == libpipewire.STREAMING)
        log.debug("PipeWire stream: state %d %s", state, error)
        if state in (libpipewire.ERROR, libpipewire.UNCONNECTED):
            self._lost = error or "the connection has ended"

    def parameter_changed(self, kind: int, pod: bytes | None) -> None:
        """A reader's format: from now on pictures are of it."""
        if kind != PARAM_FORMAT:
            return
        agreed = agreed_format(pod) if pod is not None else None
        self._pixels = None
        if agreed is None:
            return
        pixels, size = agreed
        if pixels not in FORMATS or size != self.size:
            log.warning("PipeWire wants pictures that were not offered (format %d, %dx%d)", pixels, *size)
            return
        self._pixels = pixels
        self._stream.update_parameters([wanted_buffers(Layout.of(pixels, size)), wanted_header()])

    def process(self) -> None:
        """Put the waiting picture into a buffer, in the readers' format."""
        if self._waiting is None or self._pixels is None:
            return
        (picture, timestamp_ns), self._waiting = self._waiting, None
        if self._pixels == YUY2:
            picture = yuyv_from_i420(memoryview(picture), *self.size)
        if self._stream.fill(picture, Layout.of(self._pixels, self.size).stride, timestamp_ns, self.frames):
            self.frames += 1
        else:
            self.skipped += 1


def open_pipewire(where: str, size: Size, fps: float) -> PipeWireSink:
    """The camera on the user's PipeWire server."""
    if where:
        raise ConfigError(f"--sink pipewire takes nothing after it, not {where!r}.", hint="Write --sink pipewire.")
    return PipeWireSink(size, fps)
