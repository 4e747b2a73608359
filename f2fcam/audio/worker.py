"""The process of the sound: captures, delays, plays, reports while somebody listens; ends when the camera says so or is gone."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from jaxtyping import Float

from f2fcam.audio import MICROPHONE, RATE
from f2fcam.audio.delay_line import DelayLine, Pull, Push
from f2fcam.audio.resampling import prepare
from f2fcam.audio.virtual_microphone import (
    ServerEvents,
    chosen_microphone,
    count_listeners,
    is_whole,
    make_virtual_microphone,
    records_itself,
    remove_virtual_microphone,
)
from f2fcam.channel import Channel, Message, from_parent
from f2fcam.control import error_message
from f2fcam.errors import DeviceError, F2FError
from f2fcam.on_demand import Attention

log = logging.getLogger(__name__)

NICENESS = -10
"""Where the system lets us: a block of sound is due every 10 ms, whatever the engine is at."""
LATER_S = 0.010
"""Sound servers leave out some 6 ms, a camera's reader takes a few more (docs/sound.md); early sound disturbs more."""
REPORT_S = 0.5
HUNG_S = 5.0
"""A device that moves no sound for so long is opened again."""
RETRY_S = 30.0
"""A microphone that was not there is looked for again, unless the server tells of a change before."""
RECOUNT_S, AGAIN_S = 30.0, 1.0
"""Listeners are counted again, should an event have been missed; soon after each, for a new stream is not linked at once."""
SLOW_S, TOO_SLOW_S = 0.005, 3.0
"""Later than wanted by more than this for so long: the devices are opened anew with less held."""
CAME_AND_WENT = {(what, kind) for what in ("new", "remove") for kind in ("source", "sink", "module")} | {
    ("change", "server")
}
"""After these another microphone may be the right one, or ours may be gone."""
LONGEST_S = 3600.0
MOVED = {("change", "server"), ("change", "source-output")}
LISTENING = {(what, "source-output") for what in ("new", "change", "remove")} | {("change", "source")}


class Devices(Protocol):
    """A microphone and what we play into."""

    microphone: str
    output: str
    blocks: list[int]
    xruns: int
    failure: F2FError | None

    def start(self, push: Push, pull: Pull) -> None: ...

    def too_slow(self, delay_s: float) -> bool: ...

    def close(self) -> None: ...


class Sound:
    """A delay line between two devices, which work in threads of their own.

    Attributes:
        microphone: its name.
    """

    def __init__(self, devices: Devices, gate_db: float | None) -> None:
        self._devices = devices
        self._line = DelayLine(RATE, gate_db=gate_db)
        self._lock = threading.Lock()
        self._moved, self._moved_at = [0, 0], [time.monotonic()] * 2
        self._in_time = self._moved_at[0]
        self.microphone = devices.microphone

    def start(self) -> None:
        """Let sound flow."""
        self._devices.start(self._push, self._pull)

    def follow(self, message: Message) -> None:
        """Take what the camera says: the picture's latency, mute."""
        with self._lock:
            if "latency_ms" in message:
                self._line.aim(message["latency_ms"] / 1e3 + LATER_S)
            self._line.muted = bool(message.get("muted", self._line.muted))

    def close(self) -> None:
        """Let go of the devices."""
        self._devices.close()

    @property
    def flows(self) -> bool:
        """There has been sound from end to end."""
        with self._lock:
            return not math.isnan(self._line.state.delay_s)

    @property
    def xruns(self) -> int:
        """Gaps so far."""
        with self._lock:
            return self._line.state.xruns + self._devices.xruns

    def too_slow(self, now: float) -> bool:
        """It has been later than it should for a while, and need not be."""
        with self._lock:
            state = self._line.state
        if not state.floor_s > state.target_s + SLOW_S or not self._devices.too_slow(state.target_s - LATER_S):
            self._in_time = now
        return now - self._in_time > TOO_SLOW_S

    def report(self) -> Message:
        """For `f2fcam status`; raises when the sound has stopped."""
        if self._devices.failure is not None:
            raise self._devices.failure
        now = time.monotonic()
        for direction, moved in enumerate(self._devices.blocks):
            if moved != self._moved[direction]:
                self._moved[direction], self._moved_at[direction] = moved, now
            elif now - self._moved_at[direction] > HUNG_S:
                name = (self._devices.microphone, self._devices.output)[direction]
                raise DeviceError(f"No sound from or to {name} for {HUNG_S:g} s.", hint="Is it plugged in?")
        with self._lock:
            state = self._line.state
        return {
            "state": "on",
            "microphone": self._devices.microphone,
            "device": self._devices.output,
            "delay_ms": _ms(state.delay_s),
            "target_ms": _ms(state.target_s),
            "least_ms": _ms(state.floor_s),
            "xruns": self.xruns,
            "quiet": state.quiet,
        }

    def _push(self, block: Float[np.ndarray, " n"], captured_s: float) -> None:
        with self._lock:
            self._line.push(block, captured_s)

    def _pull(self, count: int, played_s: float) -> Float[np.ndarray, " n"]:
        with self._lock:
            return self._line.pull(count, played_s)


class OnDemand:
    """Sound while somebody listens. What it is told meanwhile is kept; the microphone is closed meanwhile.

    `listeners` counts them, `None` where nobody can: it is always open then. Between two openings it remembers the gaps.
    """

    def __init__(self, setup: Message, send: Callable[[Message], None], *, counted: bool) -> None:
        now = time.monotonic()
        self._told, self._send, self._counted = dict(setup), send, counted and setup["idle_s"] is not None
        self._attention = Attention(setup["idle_s"] if self._counted else 0.0)
        self._attention.look(None, now)  # open it once: what is wrong shows at the start
        self._listeners: int | None = None
        self._sound: Sound | None = None
        self._xruns = 0
        self._reason: str | None = None
        self._report_at = self._retry_at = now
        self._recount_at = now + REPORT_S if self._counted else math.inf
        self._again_at = now + RECOUNT_S

    @property
    def wait_s(self) -> float:
        """Until `step` has something to do."""
        retry_at = self._retry_at if self._sound is None and self._attention.awake else math.inf
        return max(0.0, min(self._report_at, retry_at, self._recount_at) - time.monotonic())

    def follow(self, message: Message) -> None:
        """Take what the camera says: the picture's latency, mute."""
        self._told |= message
        if self._sound is not None:
            self._sound.follow(message)

    def heed(self, events: set[tuple[str, str]]) -> None:
        """Take what has changed in the sound server."""
        now = time.monotonic()
        if self._counted and events & LISTENING:
            self._recount_at, self._again_at = min(self._recount_at, now), now + AGAIN_S
        if events & MOVED and self._sound is not None and records_itself(os.getpid()):
            self._close()
        if not events & CAME_AND_WENT:
            return
        if not is_whole():
            raise DeviceError(f"{MICROPHONE} was taken away.", hint="It is made again.")
        self._retry_at = now
        if self._sound is not None and _other_microphone(self._told["microphone"], self._sound.microphone):
            self._close()

    def step(self) -> None:
        """Open, close, report; raises when the sound has stopped."""
        now = time.monotonic()
        if now >= self._recount_at:
            self._listeners = count_listeners()
            self._recount_at, self._again_at = self._again_at, now + RECOUNT_S
        begins = self._sound is not None and not self._sound.flows
        if self._attention.look(self._listeners if self._counted and not begins else None, now):
            self._report_at = self._retry_at = now
        if self._sound is not None and (not self._attention.awake or self._sound.too_slow(now)):
            self._close()
        if self._sound is None and self._attention.awake and now >= self._retry_at:
            self._open(now)
        if now >= self._report_at:
            self._report(now)

    def close(self) -> None:
        """Let go of the devices."""
        if self._sound is not None:
            self._close()

    def _open(self, now: float) -> None:
        try:
            sound = Sound(open_devices(self._told["microphone"], self._told["latency_ms"] / 1e3), self._told["gate_db"])
            sound.follow(self._told)
            sound.start()
        except DeviceError as error:
            self._reason, self._retry_at = f"{error.message} {error.hint}".strip(), now + RETRY_S
            self._send(error_message(error))
            return
        self._sound, self._reason = sound, None

    def _close(self) -> None:
        if self._sound is not None:
            self._sound.close()
            self._xruns += self._sound.xruns
            self._sound = None

    def _report(self, now: float) -> None:
        """What has changed least: nothing while it rests, after the first time."""
        self._report_at = now + REPORT_S if self._attention.awake else math.inf
        if self._sound is not None:
            report = self._sound.report()
            report["xruns"] += self._xruns
        elif not self._attention.awake:
            report = {"state": "asleep", "device": MICROPHONE, "xruns": self._xruns, "reason": self._reason}
        else:
            return
        self._send({"report": report | {"listeners": self._listeners if self._counted else None}})


def main() -> int:
    """Serve until the parent says `close` or is gone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent decides
    with contextlib.suppress(PermissionError, AttributeError):
        os.nice(NICENESS)
    channel, setup = from_parent()
    prepare()
    try:
        with contextlib.ExitStack() as stack:
            events = None
            if sys.platform == "linux":
                make_virtual_microphone()
                events = stack.enter_context(contextlib.closing(ServerEvents()))
            sound = stack.enter_context(contextlib.closing(OnDemand(setup, channel.send, counted=events is not None)))
            _serve(channel, sound, events)
        if sys.platform == "linux":
            remove_virtual_microphone()  # after an error it stays: who listens to it hears on
    except F2FError as error:
        log.error("%s %s", error.message, error.hint)
        channel.send(error_message(error))
        return 1
    return 0


def open_devices(microphone: str, delay_s: float) -> Devices:
    """The sound server's on Linux, else what PortAudio finds."""
    if sys.platform == "linux":
        from f2fcam.audio.pulse import PulseDevices

        return PulseDevices(microphone, delay_s)
    from f2fcam.audio.portaudio import PortAudioDevices

    return PortAudioDevices(microphone)


def _serve(channel: Channel, sound: OnDemand, events: ServerEvents | None) -> None:
    waiting = [channel] if events is None else [channel, events]
    while not channel.ended:
        sound.step()
        ready, _, _ = select.select(waiting, [], [], min(sound.wait_s, LONGEST_S))
        for message in channel.receive() if channel in ready else []:
            if message.get("command") == "close":
                return
            sound.follow(message)
        if events is not None and events in ready:
            sound.heed(events.receive())


def _other_microphone(wanted: str, present: str) -> bool:
    """Another one would be chosen now. One that is gone ends its stream, which tells of it."""
    try:
        return chosen_microphone(wanted) != present
    except DeviceError:
        return False


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1e3, 1)


if __name__ == "__main__":
    sys.exit(main())
