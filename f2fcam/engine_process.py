"""The supervisor's view of the engine: started, watched, restarted with back-off. Time comes in as an argument."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from f2fcam.channel import Child, Message
from f2fcam.control import error_from
from f2fcam.errors import DeviceError, F2FError, ProfileError
from f2fcam.logs import log_folder
from f2fcam.pacing import Backoff
from f2fcam.profile_search import profile_mark
from f2fcam.ring import Ring

log = logging.getLogger(__name__)

UNSEEN_TRIES = 3
"""So many failures in a row, and the next try is made when somebody looks: loading takes seconds of a core."""
LOOK_AGAIN_S = 1.0
"""How often a profile that was refused is looked at for a change."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the engine may take, in seconds.

    Attributes:
        start_s: loading models and compiling kernels until the first picture; longer than anything seen.
        report_s: between two reports; a process that is stopped or holds the interpreter sends none.
        frame_s: for one stage and one frame.
        stop_s: from `stop` to its end.
        first_tries: crashes before the first picture ever, after which we give up.
    """

    start_s: float = 300.0
    report_s: float = 8.0
    frame_s: float = 20.0
    stop_s: float = 6.0
    first_tries: int = 3


class State(Enum):
    """Where the engine is."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    ENDED = "ended"


class EngineProcess:
    """One engine after the other, all writing into the same ring.

    Attributes:
        state: where the present one is.
        report: what it said last.
        restarts: (wall-clock time, reason) of the last failures.
        failure: why there will be no further try; None while there is hope.
        trouble: what the last ones said why they cannot work; None once one does.
        resting: the present one has let go of the source, or is about to.
        patient: a webcam that is missing from the beginning is waited for, too.
    """

    def __init__(self, command: list[str], ring: Ring, limits: Limits) -> None:
        self._command, self._ring, self._limits = command, ring, limits
        self._backoff = Backoff()
        self._child: Child | None = None
        self._setup: Message = {}
        self._since = self._heard = self._retry_at = self._kill_at = 0.0
        self._told: F2FError | None = None
        self._finished = False
        self.state = State.ENDED
        self.report: dict[str, Any] = {}
        self.restarts: deque[tuple[float, str]] = deque(maxlen=20)
        self.restart_count = 0
        self._unseen = False
        self._refused: object = None
        self.on_air = self.resting = self.patient = False
        self.failure: F2FError | None = None
        self.trouble: F2FError | None = None

    @property
    def log_file(self) -> Path:
        """What the engine wrote."""
        return log_folder() / "engine.log"

    @property
    def pid(self) -> int | None:
        """The present engine's process number."""
        return self._child.pid if self._child else None

    def start(self, setup: Message, now: float) -> None:
        """Start an engine with `setup` (the fields of `EngineSetup`); one that runs is ended, and how it fared forgotten."""
        self._backoff, self._setup, self.trouble = Backoff(), setup, None
        self._launch(now)

    def _launch(self, now: float) -> None:
        self._drop_child()
        self._told, self._finished, self.failure, self._refused = None, False, None, None
        self.state, self.report, self.resting = State.STARTING, {}, False
        self._since = self._heard = now
        files = self._ring.files.as_tuple()
        try:
            self._child = Child(self._command, {"ring": files, **self._setup}, files, self.log_file)
        except F2FError as error:
            self._ended(error.message, now)

    def rest(self, wanted: bool) -> None:
        """Let it rest or work. One that starts works until its first picture: it is then warm, and known to be well.

        One that is not wanted and has failed `UNSEEN_TRIES` times in a row is not tried again until it is wanted.
        """
        self._unseen = wanted
        if self.state is State.RUNNING and wanted != self.resting:
            self.resting = wanted
            self.send("pause" if wanted else "resume")

    def send(self, command: str) -> None:
        """Pass a command on: `pause`, `resume`, `recalibrate`."""
        if self._child is not None:
            self._child.channel.send({"command": command})

    def stop(self, now: float) -> None:
        """Ask it to end; `step` sees to it that it does."""
        if self._child is None or self.state is State.STARTING:  # it holds nothing yet, and may be deep in a library
            self.close()
            return
        self.send("stop")
        self.state, self._kill_at = State.STOPPING, now + self._limits.stop_s

    def channel(self) -> Any:
        """What to `select` on, or None."""
        return self._child.channel if self._child and not self._child.channel.ended else None

    def wait_s(self, now: float) -> float:
        """Seconds until `step` has something to do, unless the channel wakes first."""
        if self.state is State.WAITING and now < self._retry_at:
            return self._retry_at - now
        if self.state is State.STOPPING:
            return 0.05
        return 0.25

    def frame_seen(self) -> None:
        """A picture of the present engine came out of the ring."""
        self.on_air = True

    def step(self, now: float) -> None:
        """Read its messages and notice its end, its silence, or the time for another try."""
        if self.state is State.WAITING and self._due(now):
            self._launch(now)
        child = self._child
        if child is None:
            return
        ended = child.ended()  # before the messages: what it said last has arrived by then
        for message in child.channel.receive():
            self._hear(message, now)
        if self.state is State.STOPPING:
            if ended is not None or now >= self._kill_at:
                self._drop_child()
                self.state = State.ENDED
        elif ended is not None:
            self._ended(ended, now)
        else:
            reason = self._hung(now)
            if reason is not None:
                self._ended(reason, now)

    def close(self) -> None:
        """Make sure that none runs."""
        self._drop_child()
        self.state = State.ENDED

    def _due(self, now: float) -> bool:
        """Whether another try may help somebody."""
        if now < self._retry_at or (self._unseen and self._backoff.failures >= UNSEEN_TRIES):
            return False
        if self._refused is not None and self._refused == self._profile_mark():
            self._retry_at = now + LOOK_AGAIN_S
            return False
        return True

    def _profile_mark(self) -> object:
        folder = self._setup.get("profiles")
        return profile_mark(str(self._setup.get("profile")), Path(folder) if folder else None)

    def _hear(self, message: Message, now: float) -> None:
        self._heard = now
        self.report = message.get("report", self.report)
        if "error" in message:
            self._told = error_from(message)
        self._finished = self._finished or "ended" in message
        if "ready" in message and self.state is State.STARTING:
            self.state, self._since, self.trouble = State.RUNNING, now, None

    def _hung(self, now: float) -> str | None:
        if self.state is State.STARTING:
            return f"not ready after {self._limits.start_s:g} s" if now - self._since > self._limits.start_s else None
        busy = self.report.get("busy", {})
        if busy.get("seconds", 0.0) > self._limits.frame_s:
            return f"{busy['stage']} hung for {busy['seconds']:.0f} s"
        if now - self._heard > self._limits.report_s:
            return f"no sign of life for {now - self._heard:.0f} s"
        return None

    def _ended(self, reason: str, now: float) -> None:
        """The engine is gone, or has to go: done, no hope, or another try after a while."""
        lived_s = now - self._since if self.state is State.RUNNING else 0.0
        self._drop_child(stacks=True)
        self.report = {}
        if self._finished:
            self.state = State.ENDED
            return
        self.trouble = self._told
        if self._told is not None:
            reason = self._told.message
        if isinstance(self._told, ProfileError):
            self._refused = self._profile_mark()
        self.restarts.append((time.time(), reason))
        self.restart_count += 1
        delay = self._backoff.failed(lived_s)
        awaited = self.patient and isinstance(self._told, DeviceError)
        if not (self.on_air or awaited) and (self._told or self._backoff.failures >= self._limits.first_tries):
            hint = f"Look into {self.log_file}, and run `f2fcam doctor`."
            self.failure = self._told or F2FError(f"The engine does not start: {reason}.", hint=hint)
            self.state = State.ENDED
            return
        log.warning("the engine is started again in %.2g s: %s", delay, reason)
        self.state, self._retry_at = State.WAITING, now + delay

    def _drop_child(self, *, stacks: bool = False) -> None:
        if self._child is not None:
            self._child.close(stacks=stacks)
            self._child = None
