"""The camera's view of the sound: a process started, told how late the picture is, and started again when it dies.

Standard library only; time comes in as an argument.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from f2fcam.audio.virtual_microphone import remove_virtual_microphone, server_reason
from f2fcam.channel import Channel, Child, Message
from f2fcam.control import error_from, runtime_folder
from f2fcam.errors import F2FError
from f2fcam.logs import log_folder
from f2fcam.pacing import Backoff

log = logging.getLogger(__name__)

WORKER = [sys.executable, "-m", "f2fcam.audio.worker"]
TOLD_EVERY_S = 0.25
STOP_S = 3.0
UNKNOWN_MS = 150.0
"""How late the picture is until somebody knows: what a usual machine takes."""
MOST_BACKOFF_S = 5.0
SERVER_EVERY_S = 5.0
"""How often is looked for a sound server that is not there; it may come with the session, after us."""
CAMERAS = ("v4l2", "pipewire", "virtualcam")
"""Sinks that calls can use, and that therefore want a microphone."""


def reason_against(wanted: str, source: str, sink: str) -> str | None:
    """Why there is to be no sound at all; None where there is. `auto` is for a live camera before a live actor."""
    if wanted == "off":
        return "switched off"
    if wanted != "auto":
        return None
    if sink.partition(":")[0] not in CAMERAS:
        return "the output is no camera"
    if not source.startswith("webcam"):
        return "the actor is no live camera"
    return None


class SoundProcess:
    """One sound process after the other.

    The microphone is open while somebody listens, and `idle_s` longer; always where that is None. `tell` is called with each
    new reason why there is no sound for now.

    Attributes:
        muted: the microphone is silent; holds across restarts.
        running: there is to be sound.
    """

    def __init__(
        self,
        wanted: str,
        gate_db: float | None,
        *,
        off: str | None,
        idle_s: float | None = None,
        tell: Callable[[str], None] | None = None,
        command: list[str] | None = None,
    ) -> None:
        self._wanted, self._gate_db, self._off, self._command = wanted, gate_db, off, command or WORKER
        self._idle_s, self._tell = idle_s, tell
        self._child: Child | None = None
        self._backoff, self._retry_at = Backoff(0.5, MOST_BACKOFF_S), 0.0
        self._told_at = self._began = -1e9
        self._report: Message = {}
        self._reason: str | None = None
        self._told: F2FError | None = None
        self._latency_ms: float | None = None
        self._last_told: Message = {}
        self._restarts = 0
        self.muted = False
        if off is not None and _trace().exists():
            _remove()

    @property
    def running(self) -> bool:
        """There is to be sound."""
        return self._off is None

    @property
    def pid(self) -> int | None:
        """The present one's process number."""
        return self._child.pid if self._child else None

    @property
    def log_file(self) -> Path:
        """What the process wrote."""
        return log_folder() / "sound.log"

    def mute(self, muted: bool) -> None:
        """Silence the microphone, or let it be heard again."""
        self.muted = muted
        self._send({"muted": muted})

    def channel(self) -> Channel | None:
        """What to `select` on, or None."""
        return self._child.channel if self._child and not self._child.channel.ended else None

    def wait_s(self, now: float) -> float:
        """Seconds until `step` has something to do, unless the channel wakes first."""
        if not self.running:
            return float("inf")
        return TOLD_EVERY_S if self._child is not None else max(0.0, self._retry_at - now)

    def step(self, now: float, latency_ms: float | None) -> None:
        """Read its messages, tell it the picture's latency, notice its end or the time for another try."""
        if not self.running:
            return
        self._latency_ms = latency_ms if latency_ms is not None else self._latency_ms
        if self._child is None:
            if now >= self._retry_at:
                self._start(now)
            return
        ended = self._child.ended()  # before the messages: what it said last has arrived by then
        for message in self._child.channel.receive():
            self._hear(message)
        if ended is not None:
            self._died(ended, now)
        elif self._latency_ms is not None and now - self._told_at >= TOLD_EVERY_S:
            self._told_at, told = now, {"latency_ms": round(self._latency_ms, 2)}
            if told != self._last_told:  # while the engine rests, its process rests
                self._last_told = told
                self._send(told)

    def status(self) -> Message:
        """For `f2fcam status`."""
        if not self.running:
            return {"state": "off", "reason": self._off}
        state = "waiting" if self._reason or not self._child else "starting"
        facts = {"state": state, "muted": self.muted, "restarts": self._restarts, "reason": self._reason}
        return facts | self._report

    def close(self) -> None:
        """End it; nothing of ours stays with the sound server."""
        child, self._child = self._child, None
        if child is None and not (self.running and _trace().exists()):
            return
        clean = False
        if child is not None:
            child.channel.send({"command": "close"})
            clean = child.wait(STOP_S) and child.succeeded()
            child.close()
        if clean:
            _trace().unlink(missing_ok=True)
        else:
            _remove()

    def _start(self, now: float) -> None:
        reason = server_reason() if sys.platform == "linux" else None
        if reason is not None:
            self._missing(reason)
            self._retry_at = now + SERVER_EVERY_S
            return
        _trace().touch()
        latency_ms = UNKNOWN_MS if self._latency_ms is None else self._latency_ms
        setup = {
            "microphone": self._wanted, "gate_db": self._gate_db, "muted": self.muted, "latency_ms": latency_ms,
            "idle_s": self._idle_s,
        }  # fmt: skip
        self._report, self._told, self._began, self._last_told = {}, None, now, {}
        try:
            self._child = Child(self._command, setup, (), self.log_file)
        except F2FError as error:
            self._died(error.message, now)

    def _hear(self, message: Message) -> None:
        if "report" in message:
            self._report, self._reason, self._told = message["report"], None, None
        if "error" in message:
            self._told = error_from(message)
            self._missing(f"{self._told.message} {self._told.hint}".strip())

    def _missing(self, reason: str) -> None:
        """There is no sound for now: said once for each reason."""
        if reason != self._reason:
            log.warning("No sound for now: %s", reason)
            if self._tell is not None:
                self._tell(reason)
        self._reason, self._report = reason, {}

    def _died(self, ended: str, now: float) -> None:
        """Another try, a little less often each time."""
        if self._told is None:
            self._missing(ended)
        self._restarts += 1
        if self._child is not None:
            self._child.close()
            self._child = None
        self._retry_at = now + self._backoff.failed(now - self._began)

    def _send(self, message: Message) -> None:
        if self._child is not None:
            self._child.channel.send(message)


def _trace() -> Path:
    """There is a virtual microphone of ours, or was when we were killed."""
    return runtime_folder() / "microphone"


def _remove() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(F2FError):
            remove_virtual_microphone()
    _trace().unlink(missing_ok=True)
