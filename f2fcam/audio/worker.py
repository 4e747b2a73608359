"""The process of the sound: captures, delays, plays, reports; ends when the camera says so or is gone."""

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
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from f2fcam.audio import RATE
from f2fcam.audio.delay_line import DelayLine, Pull, Push
from f2fcam.audio.virtual_microphone import remove_virtual_microphone, server_reason
from f2fcam.channel import Channel, Message, from_parent
from f2fcam.control import error_message
from f2fcam.errors import DeviceError, F2FError

log = logging.getLogger(__name__)

NICENESS = -10
"""Where the system lets us: a block of sound is due every 10 ms, whatever the engine is at."""
LATER_S = 0.010
"""Sound servers leave out some 6 ms, a camera's reader takes a few more (docs/sound.md); early sound disturbs more."""
REPORT_S = 0.5
HUNG_S = 5.0
"""A device that moves no sound for so long is opened again."""


class Devices(Protocol):
    """A microphone and what we play into."""

    microphone: str
    output: str
    blocks: list[int]
    xruns: int
    failure: F2FError | None

    def start(self, push: Push, pull: Pull) -> None: ...

    def close(self) -> None: ...


class Sound:
    """A delay line between two devices, which work in threads of their own."""

    def __init__(self, devices: Devices, gate_db: float | None) -> None:
        self._devices = devices
        self._line = DelayLine(RATE, gate_db=gate_db)
        self._lock = threading.Lock()
        self._moved, self._moved_at = [0, 0], [time.monotonic()] * 2

    def start(self) -> None:
        """Let sound flow."""
        self._devices.start(self._push, self._pull)

    def follow(self, message: Message) -> None:
        """Take what the camera says: the picture's latency, mute."""
        with self._lock:
            if "latency_ms" in message:
                self._line.aim(message["latency_ms"] / 1e3 + LATER_S)
            self._line.muted = bool(message.get("muted", self._line.muted))

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
            "microphone": self._devices.microphone,
            "device": self._devices.output,
            "delay_ms": _ms(state.delay_s),
            "target_ms": _ms(state.target_s),
            "least_ms": _ms(state.floor_s),
            "xruns": state.xruns + self._devices.xruns,
            "quiet": state.quiet,
        }

    def _push(self, block: Float[np.ndarray, " n"], captured_s: float) -> None:
        with self._lock:
            self._line.push(block, captured_s)

    def _pull(self, count: int, played_s: float) -> Float[np.ndarray, " n"]:
        with self._lock:
            return self._line.pull(count, played_s)


def main() -> int:
    """Serve until the parent says `close` or is gone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent decides
    with contextlib.suppress(PermissionError, AttributeError):
        os.nice(NICENESS)
    channel, setup = from_parent()
    try:
        setup |= _first_latency(channel, setup)
        if not channel.ended:
            _run(channel, setup)
        if sys.platform == "linux":
            remove_virtual_microphone()  # after an error it stays: who listens to it hears on
    except F2FError as error:
        log.error("%s %s", error.message, error.hint)
        channel.send(error_message(error))
        return 1
    return 0


def _first_latency(channel: Channel, setup: Message) -> Message:
    """Wait until the camera knows how late the picture is."""
    told: Message = {}
    while not channel.ended and (setup | told).get("latency_ms") is None:
        select.select([channel], [], [])
        for message in channel.receive():
            if message.get("command") == "close":
                channel.ended = True
            told |= message
    return told


def _run(channel: Channel, setup: Message) -> None:
    devices = open_devices(setup["microphone"], setup["latency_ms"] / 1e3)
    try:
        _serve(channel, Sound(devices, setup["gate_db"]), setup)
    finally:
        devices.close()


def open_devices(microphone: str, delay_s: float) -> Devices:
    """The sound server's where there is one, else what PortAudio finds."""
    if sys.platform == "linux" and server_reason() is None:
        from f2fcam.audio.pulse import PulseDevices

        return PulseDevices(microphone, delay_s)
    from f2fcam.audio.portaudio import PortAudioDevices

    return PortAudioDevices(microphone)


def _serve(channel: Channel, sound: Sound, setup: dict[str, Any]) -> None:
    sound.follow(setup)
    sound.start()
    due = 0.0
    while not channel.ended:
        ready, _, _ = select.select([channel], [], [], max(0.0, due - time.monotonic()))
        for message in channel.receive() if ready else []:
            if message.get("command") == "close":
                return
            sound.follow(message)
        if time.monotonic() >= due:
            channel.send({"report": sound.report()})
            due = time.monotonic() + REPORT_S


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1e3, 1)


if __name__ == "__main__":
    sys.exit(main())
