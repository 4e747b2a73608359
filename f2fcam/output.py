"""The supervisor's sink: opened, sent to, and opened again when its device went away. Time comes in as an argument."""

from __future__ import annotations

import contextlib
import logging
import time

from f2fcam.errors import DeviceError, F2FError
from f2fcam.pacing import Backoff
from f2fcam.publish import AttendedSink, FrameSink, Size, open_automatic, open_sink

log = logging.getLogger(__name__)


class Output:
    """The sink that `uri` names, always with the size that it had at first.

    Attributes:
        size: width and height of its pictures.
        keeps_time: it is a recording (`FrameSink`), which is not opened again.
        losses: how often it was lost. reasons: (wall-clock time, why) of the last times.
    """

    def __init__(self, uri: str, size: Size, fps: float) -> None:
        width, height = size
        self.uri, self._wanted, self._fps = uri, (width // 2 * 2, height // 2 * 2), fps
        self._backoff, self._retry_at, self._opened_at = Backoff(), 0.0, time.monotonic()
        self.reasons: list[tuple[float, str]] = []
        self.losses = 0
        sink = self._sink = self._open()
        self.size, self.keeps_time = sink.size, sink.keeps_time

    @property
    def device(self) -> str | None:
        """Its name for the user; None while it is lost."""
        return self._sink.device if self._sink is not None else None

    @property
    def readers(self) -> int | None:
        """How many look, at least; None: it cannot tell. Nobody does while it is lost."""
        return self._sink.readers if self._sink is not None else 0

    @property
    def attended(self) -> AttendedSink | None:
        """What to `select` on beside the pictures, or None."""
        return self._sink if isinstance(self._sink, AttendedSink) else None

    def attend(self, now: float) -> None:
        """Let it do what it has to do between the pictures."""
        sink = self.attended
        if sink is None:
            return
        try:
            sink.attend()
        except F2FError as error:
            if self.keeps_time:
                raise
            self._lose(error, now)

    def send(self, picture: bytearray | bytes, timestamp_ns: int, now: float, *, ending: bool = False) -> bool:
        """Show a picture; False while there is no device. Where nothing can be mended, `ending` included, it raises."""
        sink = self._sink or self._reopened(now)
        if sink is None:
            return False
        try:
            sink.send(memoryview(picture), timestamp_ns)
        except F2FError as error:
            if self.keeps_time or ending:
                raise
            self._lose(error, now)
            return False
        return True

    def close(self) -> None:
        """Finish; a file is complete after it."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()

    def _open(self) -> FrameSink:
        """What `auto` has chosen once is opened again, and nothing else."""
        if self.uri != "auto":
            return open_sink(self.uri, self._wanted, self._fps)
        self.uri, sink = open_automatic(self._wanted, self._fps)
        return sink

    def _lose(self, error: F2FError, now: float) -> None:
        log.warning("%s %s", error.message, error.hint)
        self.losses += 1
        self.reasons.append((time.time(), error.message))
        del self.reasons[:-20]
        lived_s = now - self._opened_at if self._sink is not None else 0.0
        with contextlib.suppress(F2FError):
            self.close()
        self._retry_at = now + self._backoff.failed(lived_s)

    def _reopened(self, now: float) -> FrameSink | None:
        if now < self._retry_at:
            return None
        began = time.monotonic()
        try:
            sink = self._open()
        except F2FError as error:
            self._lose(error, now + time.monotonic() - began)  # counted from its end: the loop turns in between
            return None
        if sink.size != self.size:
            sink.close()
            self._lose(DeviceError("The camera came back with another size.", hint="Start again."), now)
            return None
        self._sink, self._opened_at = sink, now
        return sink
