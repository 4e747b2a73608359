"""The whole way of the sound beside that of the picture, in a session of its own: how far apart do they arrive?

Bursts of noise are played in a room that a microphone hears; "F2F Microphone" and the room are recorded together, which gives
the sound's delay. A reader of "F2F Camera" reads each picture's time of capture from its code, which gives the picture's.
The engine is a counter that takes its time, and after a while takes more of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from f2fcam.audio import RATE
from f2fcam.config import StartConfig
from f2fcam.control import request as ask
from f2fcam.daemon import start_detached
from f2fcam.errors import F2FError
from f2fcam.publish.barcode import code_of, read_barcode
from f2fcam.ring import i420_bytes
from tests.pipewire_session import PROGRAMS, Session, missing_programs
from tests.test_supervisor import ENGINE as COUNTER

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(os.environ.get("F2FCAM_E2E_OUT", ROOT / "build" / "e2e"))
SETUP = "run `bash tools/e2e_setup.sh`"
SOUND_PROGRAMS = ("pipewire-pulse", "pactl", "paplay", "pw-record", "pw-link", "gst-launch-1.0")
SIZE = (320, 180)
FIRST_MS, LATER_MS = 90, 130
STEP_S, SETTLING_S = 40, 12
"""The engine becomes slower so long after its start; so long the sound may take to follow, and to begin with."""
END_S = 65
EARLY_MS, LATE_MS = 20, 40
"""As far may the sound be before and behind the picture (the project's own bound; BT.1359 allows more)."""
BURST_S, EVERY_S = 0.1, 0.5


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A sound server with a room and a microphone in it."""
    missing = missing_programs([*PROGRAMS, *SOUND_PROGRAMS])
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; {SETUP}")
    with Session(tmp_path_factory.mktemp("session")) as session:
        session.start("pipewire-pulse")
        session.wait(lambda: tell(session, "pactl", "info").returncode == 0, "the sound server")
        mono = ("channels=1", "channel_map=mono")
        for line in (
            ("module-null-sink", "sink_name=room", f"rate={RATE}", *mono),
            ("module-remap-source", "master=room.monitor", "source_name=headset", *mono),
        ):
            assert tell(session, "pactl", "load-module", *line).returncode == 0
        monkeypatch.setenv("XDG_RUNTIME_DIR", session.environment["XDG_RUNTIME_DIR"])
        for name in ("F2FCAM_RUNTIME_DIR", "PULSE_SERVER", "PULSE_RUNTIME_PATH"):
            monkeypatch.delenv(name, raising=False)
        yield session


def tell(session: Session, *line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, env=session.environment, capture_output=True, text=True, timeout=20)


class Pictures:
    """Reads "F2F Camera" in a thread, and notes when each picture came and how old it was."""

    def __init__(self, session: Session) -> None:
        caps = f"video/x-raw,format=I420,width={SIZE[0]},height={SIZE[1]}"
        line = [
            "gst-launch-1.0",
            "-q",
            "pipewiresrc",
            "target-object=F2F Camera",
            "!",
            caps,
            "!",
            "fdsink",
            "sync=false",
        ]
        with (session.folder / "gst.log").open("ab") as log:
            self._process = subprocess.Popen(
                line, env=session.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        self.ages: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while len(picture := self._process.stdout.read(i420_bytes(*SIZE))) == i420_bytes(*SIZE):
            now = time.time()
            code = read_barcode(picture, *SIZE)
            if code_of(code >> 4) == code:
                self.ages.append((now, (round(now * 1000) - (code >> 4)) % 65536))

    def age_ms(self, begin: float, end: float) -> float:
        """The median between two times."""
        return float(np.median([age for when, age in self.ages if begin <= when < end]))

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


def test_sound_arrives_with_the_picture(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    played = tmp_path / "bursts.raw"
    bursts(END_S + 10).tofile(played)
    profile = f"late-{FIRST_MS}-{STEP_S}-{LATER_MS}"
    config = StartConfig(profile, source="fake", sink="pipewire", size=SIZE, fps=30, barcode=True, sound="headset")
    with contextlib.ExitStack() as stack:
        stack.callback(stop_quietly)
        assert start_detached(config, engine=COUNTER)
        began = time.time()
        pictures = Pictures(session)
        stack.callback(pictures.end)
        session.wait(lambda: ask("status")["sound"].get("delay_ms") is not None, "the sound")
        recording = tmp_path / "recorded.wav"
        format_ = ("--rate", str(RATE), "--channels", "2", "--format", "f32")
        session.start("pw-record", "--target=0", *format_, "-P", "{node.name=recorder}", str(recording))
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
        states = []
        while time.time() < began + END_S:
            time.sleep(1)
            states.append(ask("status")["sound"])
        session.stop("paplay")
        session.stop("pw-record")
        assert "f2f_microphone" in tell(session, "pactl", "list", "short", "sources").stdout
    samples = wav(recording)
    offset = time.time() - len(samples) / RATE  # the recording's begin, to a few tenths of a second
    begin = max(linked, offset - 2.0) if offset < linked + 2 else linked
    heard = [(begin + second, delay) for second, delay in delays_ms(samples)]
    phases = {"first": (began + SETTLING_S, began + STEP_S - 2), "later": (began + STEP_S + SETTLING_S, began + END_S)}
    offsets: dict[str, list[float]] = {}
    for name, (start, end) in phases.items():
        age = pictures.age_ms(start, end)
        offsets[name] = [delay - age for when, delay in heard if start <= when < end]
        text = np.array(offsets[name])
        with capsys.disabled():
            sys.stderr.write(
                f"\n{name}: picture {age:.0f} ms old; sound behind it by {np.median(text):.1f} ms "
                f"({text.min():.1f} to {text.max():.1f}, {len(text)} bursts in {end - start:.0f} s)"
            )
    with capsys.disabled():
        sys.stderr.write(f"\nat the end {states[-1]}\n")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "sound.json").write_text(json.dumps({"offsets_ms": offsets, "states": states, "delays": heard}, indent=1))
    for name, values in offsets.items():
        assert len(values) > 15, name
        held = np.mean([-EARLY_MS <= value <= LATE_MS for value in values])
        assert held >= 0.95, (name, held)  # a burst across a gap of the recorder or of ours tells nothing
    assert "f2f" not in tell(session, "pactl", "list", "short", "modules").stdout


def stop_quietly() -> None:
    with contextlib.suppress(F2FError):
        ask("stop")
