"""The whole way of the sound beside that of the picture, in a session of its own: how far apart do they arrive?

Bursts of noise are played in a room that a microphone hears; "F2F Microphone" and the room are recorded together, which gives
the sound's delay. A lamp flashes as often before the camera; a reader of "F2F Camera" sees its light come, which gives the
picture's. Each burst is compared with the flash that was nearest to it in time. The engine is a counter that takes its time, and
after a while takes more of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from f2fcam.config import StartConfig
from f2fcam.control import request as ask
from f2fcam.daemon import start_detached
from f2fcam.errors import F2FError
from tests.e2e.company import Company, missed
from tests.e2e.sound_room import (
    EARLY_MS,
    EVERY_S,
    LATE_MS,
    MICROPHONE,
    Pictures,
    bursts,
    furnish,
    heard,
    recorded,
    tell,
)
from tests.e2e.sound_room import PROGRAMS as SOUND_PROGRAMS
from tests.fake_engine import FLASH_EVERY_S
from tests.pipewire_session import PROGRAMS, Session, missing_programs
from tests.test_supervisor import ENGINE as COUNTER

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(os.environ.get("F2FCAM_E2E_OUT", ROOT / "build" / "e2e"))
SETUP = "run `bash tools/e2e_setup.sh`"
SOURCES = ("pactl", "list", "short", "sources")
SIZE = (320, 180)
FIRST_MS, LATER_MS = 90, 130
STEP_S, SETTLING_S = 40, 12
"""The engine becomes slower so long after its start; so long the sound may take to follow, and to begin with."""
END_S = 65
HEARD, HELD = 0.9, 0.95
"""Shares of the bursts: that have to be heard (and their flashes seen), and of those, that have to be within the bounds, which
are wider for a single one by half the time between two pictures: as much sooner or later than usual may its flash be seen."""
MOST_GAPS = 5
"""Of the sound, from its settling to the end."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What came of the bursts and flashes between two times.

    Attributes:
        expected: bursts.
        interval_ms: from one picture to the next.
        age_ms: of a picture when it came, in the middle.
        flash_ms: from a flash until its light came, in the middle.
        offsets_ms: how far each burst came behind the light of its flash; one without a flash is left out.
    """

    expected: int
    interval_ms: float
    age_ms: float
    flash_ms: float
    offsets_ms: list[float]

    @staticmethod
    def of(pictures: Pictures, bursts_heard: list[tuple[float, float]], begin: float, end: float) -> Phase:
        """`bursts_heard` are (when, delay)."""
        moments, delays = np.array(pictures.flash_delays_ms(FLASH_EVERY_S)).T
        offsets = []
        for when, delay in bursts_heard:
            nearest = int(np.argmin(abs(moments - when)))
            if begin <= when < end and abs(moments[nearest] - when) < EVERY_S:
                offsets.append(delay - float(delays[nearest]))
        flash_ms = float(np.median(delays[(begin <= moments) & (moments < end)]))
        expected = int((end - begin) / EVERY_S)
        return Phase(expected, pictures.interval_ms(begin, end), pictures.age_ms(begin, end), flash_ms, offsets)

    @property
    def holds(self) -> bool:
        """Enough of the bursts were heard, and were in time."""
        early, late = EARLY_MS + self.interval_ms / 2, LATE_MS + self.interval_ms / 2
        return (
            len(self.offsets_ms) >= HEARD * self.expected
            and -EARLY_MS <= np.median(self.offsets_ms) <= LATE_MS
            and bool(np.mean([-early <= offset <= late for offset in self.offsets_ms]) >= HELD)
        )

    @property
    def summary(self) -> str:
        """For the log."""
        offsets = np.array(self.offsets_ms)
        return (
            f"a picture each {self.interval_ms:.0f} ms, {self.age_ms:.0f} ms old; the light of a flash after "
            f"{self.flash_ms:.0f} ms; sound behind it by {np.median(offsets):.1f} ms ({offsets.min():.1f} to "
            f"{offsets.max():.1f}, {len(offsets)} of {self.expected} bursts)"
        )


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A sound server with a room and a microphone in it."""
    missing = missing_programs([*PROGRAMS, *SOUND_PROGRAMS])
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; {SETUP}")
    with Session(tmp_path_factory.mktemp("session")) as session:
        furnish(session)
        monkeypatch.setenv("XDG_RUNTIME_DIR", session.environment["XDG_RUNTIME_DIR"])
        for name in ("F2FCAM_RUNTIME_DIR", "PULSE_SERVER", "PULSE_RUNTIME_PATH"):
            monkeypatch.delenv(name, raising=False)
        yield session


def test_sound_arrives_with_the_picture(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    played = tmp_path / "bursts.raw"
    bursts(END_S + 10).tofile(played)
    profile = f"late-{FIRST_MS}-{STEP_S}-{LATER_MS}"
    config = StartConfig(profile, source="flashing", sink="pipewire", size=SIZE, fps=30, barcode=True, sound=MICROPHONE)
    with contextlib.ExitStack() as stack:
        stack.callback(stop_quietly)
        assert start_detached(config, engine=COUNTER)
        began = time.time()
        company = Company(session.runtime)
        pictures = Pictures(session, SIZE)
        stack.callback(pictures.end)
        session.wait(lambda: "f2f_microphone" in tell(session, *SOURCES).stdout, "the sound")
        recording, states = tmp_path / "recorded.wav", []
        company.look()
        with recorded(session, played, recording) as linked:
            while time.time() < began + END_S:
                time.sleep(1)
                states.append((ask("status")["sound"], company.look()))
        bursts_heard = heard(recording, linked)
        assert "f2f_microphone" in tell(session, *SOURCES).stdout
    ends = {"first": (began + SETTLING_S, began + STEP_S - 2), "later": (began + STEP_S + SETTLING_S, began + END_S)}
    phases = {name: Phase.of(pictures, bursts_heard, *times) for name, times in ends.items()}
    last = states[-1][0]
    gaps = last["xruns"] - states[SETTLING_S][0]["xruns"]
    with capsys.disabled():
        for name, phase in phases.items():
            sys.stderr.write(f"\n{name}: {phase.summary}")
        sys.stderr.write(f"\n{gaps} gaps; at the end {last}\n")
    OUT.mkdir(parents=True, exist_ok=True)
    kept = {"states": states, "phases": {name: asdict(phase) for name, phase in phases.items()}}
    (OUT / "sound.json").write_text(json.dumps(kept, indent=1))
    others = float(np.mean([share for _, share in states]))
    for name, phase in phases.items():
        if not phase.holds:
            missed(f"{name}: {phase.summary}", others)
    if gaps > MOST_GAPS:
        missed(f"{gaps} gaps", others)
    assert last["restarts"] == 0, last
    assert "f2f" not in tell(session, "pactl", "list", "short", "modules").stdout


def stop_quietly() -> None:
    with contextlib.suppress(F2FError):
        ask("stop")
