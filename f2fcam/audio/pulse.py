"""Streams of the sound server (PulseAudio, or PipeWire in its place), through the system's `libpulse-simple` by ctypes.

PortAudio gets to the same server by way of ALSA's plug-in, which does not tell how late it is; the server itself does, stream
by stream, at any time (docs/sound.md has figures).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from f2fcam.audio import MICROPHONE, RATE
from f2fcam.audio.delay_line import Pull, Push
from f2fcam.audio.virtual_microphone import SINK, chosen_microphone
from f2fcam.errors import DeviceError, F2FError

PLAYBACK, RECORD = 1, 2
FLOAT32_LE = 5
AS_SERVER_LIKES = 0xFFFFFFFF
CLOSE_TIMEOUT_S = 1.0
BLOCK = RATE // 100
"""Samples at once: what the server is asked to hand over."""
LEAST_HELD_S, MOST_HELD_S = 0.02, 0.06
"""Held by the server for us: so long may we be late."""
WORTH_S = 0.005
"""So much less held is worth an interruption."""
DEVICES_S = 0.045
"""What capture, both devices and our blocks take beside (measured: 25 to 45 ms)."""
FIRST_BLOCKS = 15
"""Until the server knows how late a stream is, at most."""
PROMPT_S, TRIES = 0.0005, 3
"""An answer that took longer says what was true at an unknown time."""
AT_ONCE = 0
"""Play without waiting for a full buffer: a stream that came late once would wait again, and be later ever after."""
STAY = "node.dont-reconnect=true state.restore-target=false"
"""For PipeWire: a stream ends with its device. It would be moved to a new default otherwise, which may be our own microphone."""

BUFFERING = ("most", "target", "before", "least", "fragment")


class _Format(ctypes.Structure):
    _fields_ = (("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8))


class _Buffering(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in BUFFERING)


class _Stream:
    """One direction of sound, blocking. The server's answers about time are its best estimate, good to a millisecond or so."""

    def __init__(self, direction: int, device: str, name: str, buffering: _Buffering) -> None:
        self._library = _library()
        error = ctypes.c_int(0)
        self._stream = self._library.pa_simple_new(
            None, b"f2fcam", direction, device.encode(), name.encode(),
            ctypes.byref(_Format(FLOAT32_LE, RATE, 1)), None, ctypes.byref(buffering), ctypes.byref(error),
        )  # fmt: skip
        self._device = device
        if not self._stream:
            raise self._failure(error)

    def latency(self) -> tuple[float, float]:
        """A time (monotonic), and how long before it the next sample was captured, or after it is heard, in seconds."""
        error = ctypes.c_int(0)
        asked_s = now_s = latency = 0.0
        for _ in range(TRIES):
            asked_s = time.monotonic()
            latency = self._library.pa_simple_get_latency(self._stream, ctypes.byref(error))
            now_s = time.monotonic()
            if error.value:
                raise self._failure(error)
            if now_s - asked_s < PROMPT_S:
                break
        return (asked_s + now_s) / 2, latency / 1e6

    def close(self) -> None:
        """Leave the server."""
        if self._stream:
            self._library.pa_simple_free(self._stream)
            self._stream = None

    def _failure(self, error: ctypes.c_int) -> DeviceError:
        words = self._library.pa_strerror(error).decode()
        return DeviceError(f"The sound device {self._device}: {words}.", hint="Look at `pactl list short`.")


class PulseRecorder(_Stream):
    """Records the source `device`, one channel."""

    def __init__(self, device: str) -> None:
        super().__init__(RECORD, device, "microphone", _buffering(fragment=BLOCK))
        self._block = np.empty(BLOCK, np.float32)

    def read(self) -> tuple[Float[np.ndarray, " n"], float]:
        """The next samples, valid until the next call, and the time (monotonic) of the one that follows them."""
        error = ctypes.c_int(0)
        if (
            self._library.pa_simple_read(self._stream, self._block.ctypes.data, self._block.nbytes, ctypes.byref(error))
            < 0
        ):
            raise self._failure(error)
        now_s, latency_s = self.latency()
        return self._block, now_s - latency_s


class PulsePlayer(_Stream):
    """Plays into the sink `device`, one channel."""

    def __init__(self, device: str, held_s: float) -> None:
        held = _buffering(target=round(held_s * RATE), before=AT_ONCE, least=BLOCK)
        super().__init__(PLAYBACK, device, "delayed microphone", held)

    def heard_s(self) -> float:
        """When the next sample written will be heard (monotonic)."""
        now_s, latency_s = self.latency()
        return now_s + latency_s

    def write(self, block: Float[np.ndarray, " n"]) -> None:
        """Play; waits until there is room."""
        error = ctypes.c_int(0)
        data = np.ascontiguousarray(block, np.float32)
        if self._library.pa_simple_write(self._stream, data.ctypes.data, data.nbytes, ctypes.byref(error)) < 0:
            raise self._failure(error)


class PulseDevices:
    """The microphone `microphone` and "F2F Microphone", each served by a thread; `delay_s` is what the delay will be about.

    Attributes:
        blocks: captured and played so far.
        xruns: times that we came too late with what is to be played.
        failure: why a thread has ended.
    """

    def __init__(self, microphone: str, delay_s: float) -> None:
        chosen = os.environ.get("PULSE_PROP", "")
        if STAY not in chosen:
            os.environ["PULSE_PROP"] = f"{chosen} {STAY}".strip()
        _library()  # what is missing shows here, not in a thread
        self._held_s = _held_s(delay_s)
        self.microphone = chosen_microphone(microphone)
        self.output = MICROPHONE
        self.blocks = [0, 0]
        self.xruns = 0
        self.failure: F2FError | None = None
        self._stopped = False
        self._threads: list[threading.Thread] = []

    def start(self, push: Push, pull: Pull) -> None:
        """Let sound flow."""
        for serve, line in ((self._record, push), (self._play, pull)):
            self._threads.append(threading.Thread(target=self._guarded, args=(serve, line), daemon=True))
            self._threads[-1].start()

    def too_slow(self, delay_s: float) -> bool:
        """Opened anew for such a delay, they would hold less."""
        return _held_s(delay_s) < self._held_s - WORTH_S

    def close(self) -> None:
        """Stop; a thread that hangs in the server is left behind."""
        self._stopped = True
        for thread in self._threads:
            thread.join(CLOSE_TIMEOUT_S)

    def _guarded(self, serve: Callable[[Any], None], line: Any) -> None:
        try:
            serve(line)
        except F2FError as error:
            self.failure = error

    def _record(self, push: Push) -> None:
        with contextlib.closing(PulseRecorder(self.microphone)) as recorder:
            while not self._stopped:
                block, captured_s = recorder.read()
                self.blocks[0] += 1
                if self.blocks[0] > FIRST_BLOCKS:
                    push(block, captured_s)

    def _play(self, pull: Pull) -> None:
        silence = np.zeros(BLOCK, np.float32)
        with contextlib.closing(PulsePlayer(SINK, self._held_s)) as player:
            written_s = math.inf
            while not self._stopped:
                known = self.blocks[1] > FIRST_BLOCKS
                block = pull(BLOCK, player.heard_s()) if known else silence
                self.xruns += time.monotonic() - written_s > self._held_s
                player.write(block)
                written_s = time.monotonic()
                self.blocks[1] += 1


def _held_s(delay_s: float) -> float:
    return min(max(delay_s - DEVICES_S, LEAST_HELD_S), MOST_HELD_S)


def _buffering(**samples: int) -> _Buffering:
    size = ctypes.sizeof(ctypes.c_float)
    values = dict.fromkeys(BUFFERING, AS_SERVER_LIKES)
    return _Buffering(**values | {name: count * size for name, count in samples.items()})


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libpulse-simple.so.0")
    except OSError as error:
        hint = "sudo apt-get install libpulse0"
        raise DeviceError("The sound server's library libpulse-simple is missing.", hint=hint) from error
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.pa_simple_new.restype = pointer
    text = ctypes.c_char_p
    library.pa_simple_new.argtypes = (text, text, number, text, text, pointer, pointer, pointer, pointer)
    for name in ("pa_simple_read", "pa_simple_write"):
        getattr(library, name).argtypes = (pointer, pointer, ctypes.c_size_t, pointer)
    library.pa_simple_get_latency.argtypes = (pointer, pointer)
    library.pa_simple_get_latency.restype = ctypes.c_uint64
    library.pa_simple_free.argtypes = (pointer,)
    library.pa_simple_free.restype = None
    strerror = ctypes.CDLL("libpulse.so.0").pa_strerror
    strerror.restype, strerror.argtypes = text, (number,)
    library.pa_strerror = strerror
    return library
