"""A session with a sound server, a room and a microphone in it, and how far sound and picture are apart there.

Bursts of noise are played in the room that the microphone "headset" hears; "F2F Microphone" and the room are recorded together,
which gives the sound's delay. A reader of "F2F Camera" reads each picture's time of capture from its code, and sees when it
becomes bright: the picture's delay.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from f2fcam.audio import RATE
from f2fcam.publish.barcode import code_of, read_barcode
from f2fcam.ring import i420_bytes
from tests.pipewire_session import Session

PROGRAMS = ("pipewire-pulse", "pactl", "paplay", "pw-record", "pw-link", "gst-launch-1.0")
MICROPHONE = "headset"
EARLY_MS, LATE_MS = 20, 40
"""As far may the sound be before and behind the picture (the project's own bound; BT.1359 allows more)."""
BURST_S, EVERY_S = 0.1, 0.5
FORMAT = ("--rate", str(RATE), "--channels", "2", "--format", "f32")


def furnish(session: Session) -> None:
    """Start the sound server, and put the room and the microphone into it."""
    session.start("pipewire-pulse")
    session.wait(lambda: tell(session, "pactl", "info").returncode == 0, "the sound server")
    mono = ("channels=1", "channel_map=mono")
    for line in (
        ("module-null-sink", "sink_name=room", f"rate={RATE}", *mono),
        ("module-remap-source", "master=room.monitor", f"source_name={MICROPHONE}", *mono),
    ):
        assert tell(session, "pactl", "load-module", *line).returncode == 0


def tell(session: Session, *line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, env=session.environment, capture_output=True, text=True, timeout=20)


BRIGHT = 210
"""Luma of a picture of `fake_engine` by the lamp's light; without, it is darker."""


class Pictures:
    """Reads "F2F Camera" in a thread.

    Attributes:
        ages: when each picture came and how old it was, in ms.
        brightened: when one came that was bright after one that was not.
    """

    def __init__(self, session: Session, size: tuple[int, int]) -> None:
        self._size = size
        caps = f"video/x-raw,format=I420,width={size[0]},height={size[1]}"
        chain = ("pipewiresrc", "target-object=F2F Camera", "!", caps, "!", "fdsink", "sync=false")
        line = ["gst-launch-1.0", "-q", *chain]
        with (session.folder / "gst.log").open("ab") as log:
            self._process = subprocess.Popen(
                line, env=session.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        self.ages: list[tuple[float, float]] = []
        self.brightened: list[float] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        length = i420_bytes(*self._size)
        width, height = self._size
        middle, bright = width * (height // 2), True
        while len(picture := self._process.stdout.read(length)) == length:
            now = time.time()
            before, bright = bright, sum(picture[middle : middle + width]) > BRIGHT * width
            if bright and not before:
                self.brightened.append(now)
            code = read_barcode(picture, *self._size)
            if code_of(code >> 4) == code:
                self.ages.append((now, (round(now * 1000) - (code >> 4)) % 65536))

    def age_ms(self, begin: float, end: float) -> float:
        """The median between two times."""
        return float(np.median([age for when, age in self.ages if begin <= when < end]))

    def interval_ms(self, begin: float, end: float) -> float:
        """Between two pictures that were captured at different moments."""
        moments = {round(when * 1000 - age) for when, age in self.ages if begin <= when < end}
        return 1000 * (end - begin) / max(1, len(moments))

    def flash_delays_ms(self, every_s: float) -> list[tuple[float, float]]:
        """(when, delay) of the light of each flash; they begin at the multiples of `every_s` of the wall clock."""
        return [(when, when % every_s * 1000) for when in self.brightened]

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def bursts(seconds: float) -> np.ndarray:
    """Noise, each burst another; low, so that a delay that changes within a burst is found nevertheless."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    chance = np.random.default_rng(5)
    length = round(BURST_S * RATE)
    for start in range(0, len(sound) - length, round(EVERY_S * RATE)):
        low = np.convolve(chance.standard_normal(length + 31), np.full(32, 1 / np.sqrt(32)), "valid")
        sound[start : start + length] = 0.1 * low
    return sound


def delays_ms(recorded: np.ndarray) -> list[tuple[float, float]]:
    """(second of the recording, delay of its second channel) for each burst, by cross-correlation (n, 2)."""
    room, microphone = recorded.T
    length, most = round(BURST_S * RATE), round(0.4 * RATE)
    loud = np.abs(room) > 0.02
    found, at = [], 0
    while at < len(room) - length - most:
        start = at + int(np.argmax(loud[at:]))
        if not loud[start] or start > len(room) - length - most:
            break
        sent, heard = room[start : start + length], microphone[start : start + length + most]
        size = 1 << (len(heard) + length).bit_length()
        likeness = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)), size)[:most]
        best = int(np.argmax(likeness))
        strength = likeness[best] / (np.linalg.norm(sent) * np.linalg.norm(heard[best : best + length]) + 1e-9)
        if strength > 0.3:
            found.append((start / RATE, best / RATE * 1000))
        at = start + round(EVERY_S * RATE * 0.8)
    return found


def wav(file: Path) -> np.ndarray:
    """The samples of a recording that was cut off (n, 2)."""
    data = file.read_bytes()
    start = data.find(b"data") + 8
    return np.frombuffer(data[start : start + (len(data) - start) // 8 * 8], "<f4").reshape(-1, 2)


@contextlib.contextmanager
def recorded(session: Session, played: Path, recording: Path) -> Iterator[float]:
    """Play `played` in the room and record it and "F2F Microphone" meanwhile; when the recording's second side was linked."""
    session.start("pw-record", "--target=0", *FORMAT, "-P", "{node.name=recorder}", str(recording))
    for source, side in (("room:monitor_MONO", "FL"), ("f2f_microphone:capture_MONO", "FR")):
        session.wait(
            lambda source=source, side=side: (
                "recorder" in tell(session, "pw-link", "-i").stdout
                and tell(session, "pw-link", source, f"recorder:input_{side}").returncode == 0
            ),
            source,
        )
    linked = time.time()
    session.start(
        "paplay", "--device=room", "--raw", f"--rate={RATE}", "--channels=1", "--format=float32le", str(played)
    )
    try:
        yield linked
    finally:
        session.stop("paplay")
        session.stop("pw-record")


def heard(recording: Path, linked: float) -> list[tuple[float, float]]:
    """(time, delay in ms) of each burst of a recording that has just ended."""
    samples = wav(recording)
    offset = time.time() - len(samples) / RATE  # its begin, to a few tenths of a second
    begin = max(linked, offset - 2.0) if offset < linked + 2 else linked
    return [(begin + second, delay) for second, delay in delays_ms(samples)]
