"""The microphone and a virtual cable through sounddevice (PortAudio), on Windows and macOS. It is always open there.

A driver of its own is needed there, since no program can make a microphone: BlackHole (macOS) or VB-Cable (Windows).
No real machine of either kind has run this.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from f2fcam.audio import RATE
from f2fcam.audio.delay_line import Pull, Push
from f2fcam.errors import DeviceError, F2FError

CABLES = {"blackhole": "BlackHole", "cable input": "CABLE Output"}
"""What the output we play into is called, and the name under which other programs find what it carries."""
HOST_APIS = ("Windows WASAPI", "Core Audio")
"""The first is best, where a device is listed under several."""
LATENCY_S = 0.02


def find_cable(devices: Sequence[dict[str, Any]], apis: Sequence[dict[str, Any]]) -> tuple[int, str]:
    """Index of the virtual cable's output, and the microphone's name for other programs; as sounddevice lists them."""
    for known, shown in CABLES.items():
        found = [
            number
            for number, one in enumerate(devices)
            if known in one["name"].casefold() and one["max_output_channels"]
        ]
        if found:
            return min(found, key=lambda number: _preference(devices[number], apis)), shown
    raise DeviceError(
        "There is no virtual cable to play the delayed microphone into.",
        hint="Install BlackHole (macOS) or VB-Cable (Windows), and start again.",
    )


def find_microphone(
    devices: Sequence[dict[str, Any]], apis: Sequence[dict[str, Any]], wanted: str, default: int
) -> int:
    """Index of the real microphone: `auto` is the system's default, else a part of the name. Never a cable's far end."""
    real = [
        number for number, one in enumerate(devices)
        if one["max_input_channels"] and not any(name.casefold() in one["name"].casefold() for name in CABLES.values())
    ]  # fmt: skip
    if wanted == "auto":
        if default in real:
            return default
    else:
        real = [number for number in real if wanted.casefold() in devices[number]["name"].casefold()]
    if not real:
        name = "" if wanted == "auto" else f" {wanted!r}"
        raise DeviceError(f"There is no microphone{name}.", hint="Plug one in, or name it with --sound.")
    return min(real, key=lambda number: _preference(devices[number], apis))


def _preference(device: dict[str, Any], apis: Sequence[dict[str, Any]]) -> int:
    name = apis[device["hostapi"]]["name"]
    return HOST_APIS.index(name) if name in HOST_APIS else len(HOST_APIS)


class PortAudioDevices:
    """A microphone and a cable, each with a stream whose thread is PortAudio's.

    Attributes:
        blocks: captured and played so far.
        xruns: that PortAudio has told of.
        failure: why a stream has ended.
    """

    def __init__(self, microphone: str, output: str | int | None = None) -> None:
        sounddevice = _sounddevice()
        devices, apis = sounddevice.query_devices(), sounddevice.query_hostapis()
        self._player: str | int
        if output is None:
            self._player, self.output = find_cable(devices, apis)
        else:
            self._player, self.output = output, str(output)
        self._recorder = find_microphone(devices, apis, microphone, sounddevice.default.device[0])
        self.microphone = str(devices[self._recorder]["name"])
        self.blocks = [0, 0]
        self.xruns = 0
        self.failure: F2FError | None = None
        self._streams: list[Any] = []

    def start(self, push: Push, pull: Pull) -> None:
        """Let sound flow."""
        sounddevice = _sounddevice()
        common = {"samplerate": RATE, "channels": 1, "dtype": "float32", "latency": LATENCY_S}

        def record(block: Any, count: int, clock: Any, status: Any) -> None:
            ago_s = clock.currentTime - clock.inputBufferAdcTime if clock.inputBufferAdcTime else recorder.latency
            self.xruns += bool(status)
            self.blocks[0] += 1
            push(block[:, 0], time.monotonic() - ago_s + count / RATE)

        def play(block: Any, count: int, clock: Any, status: Any) -> None:
            ahead_s = clock.outputBufferDacTime - clock.currentTime if clock.outputBufferDacTime else player.latency
            self.xruns += bool(status)
            self.blocks[1] += 1
            block[:, 0] = pull(count, time.monotonic() + ahead_s)

        try:
            recorder = sounddevice.InputStream(device=self._recorder, callback=record, **common)
            self._streams.append(recorder)
            player = sounddevice.OutputStream(device=self._player, callback=play, **common)
            self._streams.append(player)
            for stream in self._streams:
                stream.start()
        except sounddevice.PortAudioError as error:
            self.close()
            raise DeviceError(
                f"The sound does not start: {error}.", hint="Is another program using the microphone?"
            ) from error

    def too_slow(self, delay_s: float) -> bool:
        """Opened anew for such a delay, they would hold less."""
        return False

    def close(self) -> None:
        """Stop."""
        for stream in self._streams:
            with contextlib.suppress(Exception):  # a device that is gone cannot be closed
                stream.close()
        self._streams.clear()


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise DeviceError("sounddevice is not installed.", hint="pip install 'f2fcam[sound]'") from error
    except OSError as error:  # its PortAudio
        raise DeviceError(
            "The PortAudio library is missing.", hint="pip install --force-reinstall sounddevice"
        ) from error
    return sounddevice
