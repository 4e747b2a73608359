"""A sink in a process of its own, fed through a ring: encoders and web servers would hold up the camera's loop."""

from __future__ import annotations

import select
import sys
import time
from typing import Any

from f2fcam.channel import Child, Message
from f2fcam.control import error_from
from f2fcam.errors import DeviceError
from f2fcam.logs import log_folder
from f2fcam.ring import Ring

SEND_TIMEOUT_S = 15.0
"""An encoder that has not taken a picture by then hangs, or its disk does; the first may wait until it is loaded and compiled."""
FIRST_TIMEOUT_S = 120.0
CLOSE_TIMEOUT_S = 30.0
"""A recording is finished within it: what the encoder holds back is a second or two. Where it is not, what lies on the disk is
kept (`publish.partial`)."""
ENDING_S = 2.0
"""A worker that has closed its channel has ended by then."""


class ProcessSink:
    """The near end: copies pictures into the ring of a `publish.worker` process.

    Attributes:
        device: its name; the worker may know a better one once it has opened it.
        pid: the worker's process number.
        readers: what the worker said last; None before, and where it never does.
    """

    def __init__(
        self,
        kind: str,
        device: str,
        size: tuple[int, int],
        fps: float,
        *,
        inherit: tuple[int, ...] = (),
        options: dict[str, Any] | None = None,
        keeps_time: bool = False,
    ) -> None:
        self.device, self.size, self.keeps_time = device, size, keeps_time
        self._ring = Ring.create(*size)
        files = self._ring.files.as_tuple()
        command = [sys.executable, "-m", "f2fcam.publish.worker"]
        setup = {"kind": kind, "ring": files, "fps": fps, "options": options or {}}
        try:
            self._child = Child(command, setup, (*files, *inherit), log_folder() / f"{kind}.log")
        except BaseException:
            self._ring.close()
            raise
        self.pid = self._child.pid
        self.readers: int | None = None
        self._opened = self._used = False

    def fileno(self) -> int:
        """Readable when the worker has said something: for `select`."""
        return self._child.channel.fileno()

    def attend(self) -> None:
        """Listen to the worker; raises what went wrong there."""
        self._listen()
        closed = self._child.channel.ended
        if closed:
            self._child.wait(ENDING_S)
        reason = self._child.ended() or ("it says nothing more" if closed else None)
        if reason is not None:
            self._listen()
            raise DeviceError(f"The output {self.device} ended: {reason}.", hint=f"Look into {self._child.log}.")

    def wait_open(self, timeout_s: float) -> None:
        """Wait for a worker that says what its device is called; the sink is closed where it cannot be had."""
        deadline = time.monotonic() + timeout_s
        try:
            while not self._opened:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise DeviceError(f"Opening {self.device} takes too long.", hint=f"Look into {self._child.log}.")
                select.select([self], [], [], remaining)
                self.attend()
        except BaseException:
            self._child.close()
            self._ring.close()
            raise

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Show one picture; a sink that keeps time has used it when this returns."""
        self.attend()
        self._ring.begin()[:] = i420
        number = self._ring.publish(timestamp_ns)
        if not self.keeps_time:
            return
        deadline = time.monotonic() + (SEND_TIMEOUT_S if self._used else FIRST_TIMEOUT_S)
        while not self._ring.wait_consumed(number, timeout_s=0.5):
            self.attend()
            if time.monotonic() >= deadline:
                raise DeviceError(f"{self.device} takes no more pictures.", hint="Does its disk answer?")
        self._used = True

    def close(self) -> None:
        """Let the worker finish; raises what went wrong while it did."""
        try:
            self._child.channel.send({"command": "close"})
            if not self._child.wait(CLOSE_TIMEOUT_S if self.keeps_time else ENDING_S):
                raise DeviceError(f"{self.device} could not be finished.", hint=f"Look into {self._child.log}.")
            if not self._child.succeeded():
                self.attend()
        finally:
            self._child.close()
            self._ring.close()

    def _listen(self) -> None:
        messages: list[Message] = self._child.channel.receive()
        for message in messages:
            if "error" in message:
                raise error_from(message)
            self.readers = message.get("readers", self.readers)
            self._opened |= "device" in message
            self.device = message.get("device", self.device)
