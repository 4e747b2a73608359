"""The far end of a recording: pictures at their times in, a file of constant rate out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from f2fcam.errors import F2FError
from f2fcam.publish.video import VideoWriter
from f2fcam.trust.verify import LABEL
from f2fcam.yuv import Coding

log = logging.getLogger(__name__)


class VideoSink:
    """Writes each picture for as long as it was shown, in steps of `1 / fps`; a picture that was too short is left out."""

    keeps_time = True
    readers: int | None = None

    def __init__(self, path: str, size: tuple[int, int], fps: float) -> None:
        self.device, self.size = path, size
        self._fps = fps
        self._start_ns: int | None = None
        coding = Coding("bt601", full_range=False)
        self._writer = VideoWriter(path, size, fps, preset="veryfast", coding=coding, comment=LABEL, lasting=True)
        self._last = bytearray()

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Record one picture, shown from `timestamp_ns` on; the one before it fills the time until then."""
        if self._start_ns is None:
            self._start_ns = timestamp_ns
        place = round((timestamp_ns - self._start_ns) * self._fps / 1e9)
        with self._rescued():
            while self._writer.count < place:
                self._writer.write_i420(self._last)
            if self._writer.count == place:
                self._writer.write_i420(i420)
        self._last[:] = i420

    def close(self) -> None:
        """Finish the file; where nothing was shown there is none."""
        if self._writer.count:
            with self._rescued():
                self._writer.close()
        else:
            log.warning("nothing was recorded")
            self._writer.abort()

    @contextmanager
    def _rescued(self) -> Iterator[None]:
        """What was recorded until something went wrong stays."""
        try:
            yield
        except F2FError as error:
            if self._writer.keep():
                raise F2FError(f"{error.message} What was recorded until then is kept.", hint=error.hint) from error
            raise
