"""A real browser finds "F2F Camera" in a session without root or kernel module, plays it, and carries it through a call.

Twice: with an engine that only counts pictures, which leaves the processor to the way from the ring to the far end, and
with the whole program, `f2fcam start` with the synthetic actor and the bundled target. What arrives is told apart by the time
code in its corner, and known by the badge and the target's own film. Reports and pictures go to `build/e2e`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pytest

from f2fcam.capture.video import VideoFile
from f2fcam.config import StartConfig
from f2fcam.control import request as ask
from f2fcam.daemon import start_detached
from f2fcam.errors import F2FError
from f2fcam.publish.barcode import COLUMNS, ROWS, square_side
from f2fcam.trust.badge import badge_box
from f2fcam.trust.verify import LIKENESS, badge_likeness
from tests.e2e.browser import COMMANDS, missing_browser, visit
from tests.e2e.seen import Seen
from tests.pipewire_session import PROGRAMS, Session, missing_programs
from tests.test_supervisor import ENGINE as COUNTER

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
OUT = Path(os.environ.get("F2FCAM_E2E_OUT", ROOT / "build" / "e2e"))
PORTAL = Path("/usr/libexec/xdg-desktop-portal")
PORTAL_PATH = "/org/freedesktop/portal/desktop"
BACKEND = "org.freedesktop.impl.portal.desktop.f2fcam_tests"
PORTAL_PYTHON = "/usr/bin/python3"
"""Debian's own, which has python3-gi."""
DEVICE = "F2F Camera (PipeWire)"
SETUP = "run `bash tools/e2e_setup.sh`"

FPS, COUNTER_FPS = 24, 30
"""On two cores the engine and a browser that encodes, decodes and looks leave no room for more."""
SIZE = (848, 480)
"""That of the target's film: no bars."""
SECONDS = 6
WAIT_S = 100.0
LEAST_FPS, ENOUGH_FPS = 20.0, 23.0
"""Distinct pictures a second at the far end, of an engine that makes `ENOUGH_FPS` or more in the meantime."""
CARRIED = 0.8
"""Share of what the engine makes that arrives on a machine that is too busy for so many."""
OLDEST_MS = 2000
"""No measurement of speed: what is older has queued somewhere."""
ALIKE = 12.0
"""Grey levels (RMS) between what arrives and the nearest frame of the target's film, at a sixteenth of the size."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """PipeWire and the real portal, whose questions our backend answers with yes."""
    missing = missing_programs(PROGRAMS) + [str(PORTAL)] * (not PORTAL.exists())
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; {SETUP}")
    if subprocess.run([PORTAL_PYTHON, "-c", "import gi"], capture_output=True).returncode:
        pytest.skip(f"{PORTAL_PYTHON} has no gi (python3-gi); {SETUP}")
    with Session(tmp_path_factory.mktemp("session"), XDG_DESKTOP_PORTAL_DIR=str(HERE)) as session:
        session.start(PORTAL_PYTHON, str(HERE / "portal_backend.py"))
        ping = "org.freedesktop.DBus.Peer.Ping"
        session.wait(lambda: session.bus_answers(BACKEND, PORTAL_PATH, ping), "our portal backend")
        get = "org.freedesktop.DBus.Properties.Get", "string:org.freedesktop.portal.Camera", "string:version"
        session.wait(lambda: session.bus_answers("org.freedesktop.portal.Desktop", PORTAL_PATH, *get), "the portal")
        yield session


@dataclass
class Running:
    """A camera on the air in its session.

    Attributes:
        reenacts: it shows the target; else numbers.
        rates: distinct pictures a second that its engine made, and when it was asked (ms), while a browser looked.
    """

    name: str
    session: Session
    reenacts: bool
    rates: list[tuple[float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Note how fast the engine is."""
        self.rates.append((time.time() * 1000, float(ask("status")["fps"]["engine"])))

    def made(self, begin_ms: float, end_ms: float) -> float:
        """Its pictures a second in that time, by the median."""
        return median(rate for when, rate in self.rates if begin_ms <= when <= end_ms)


@pytest.fixture(scope="module", params=["counter", "f2fcam"])
def camera(request: pytest.FixtureRequest, session: Session) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", session.environment["XDG_RUNTIME_DIR"])
        patch.delenv("F2FCAM_RUNTIME_DIR", raising=False)
        try:
            if request.param == "counter":
                config = StartConfig("good", source="fake", sink="pipewire", size=SIZE, fps=COUNTER_FPS, barcode=True)
                assert start_detached(config, engine=COUNTER) == DEVICE
            else:
                start_f2fcam(session)
            yield Running(request.param, session, request.param == "f2fcam")
        finally:
            with contextlib.suppress(F2FError):
                ask("stop")


def start_f2fcam(session: Session) -> None:
    """As a user does, but for the time code; compiled kernels are the user's, not the session's."""
    size = f"{SIZE[0]}x{SIZE[1]}"
    options = ["--profile", "alice", "--source", "synthetic", "--sink", "pipewire", "--size", size, "--fps", str(FPS)]
    kept = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    started = subprocess.run(
        [sys.executable, "-m", "f2fcam", "start", *options, "--barcode"], env=session.environment | {"XDG_CACHE_HOME": kept},
        cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert f"is on the air: {DEVICE}" in started.stderr, started.stderr


@pytest.mark.parametrize("browser", COMMANDS)
def test_call_carries_the_camera(camera: Running, browser: str, capsys: pytest.CaptureFixture[str]):
    if missing_browser(browser):
        pytest.skip(f"{browser} is not installed; {SETUP}")
    camera.rates.clear()
    asked = {"camera": "F2F Camera", "seconds": SECONDS, "width": SIZE[0], "height": SIZE[1]}
    report = visit(camera.session, COMMANDS[browser], WAIT_S, camera.look, **asked)
    seen = {side: Seen.of(report[side]) for side in ("near", "far") if side in report}
    keep(f"{camera.name}-{browser}", report | {"engine": camera.rates}, seen)
    assert "error" not in report, (report["error"], report["log"])
    made = camera.made(report["far"]["begin"], report["far"]["end"])
    summary = (
        f"the engine makes {made:g} a second; {browser} shows {seen['near'].summary}; far end {seen['far'].summary}"
    )
    with capsys.disabled():
        busy = "" if made >= ENOUGH_FPS else f" (the machine is too busy to judge {LEAST_FPS:g} a second)"
        sys.stderr.write(f"\n{camera.name}: {summary}, {report['call']['codec']}{busy}\n")
    assert "F2F Camera" in report["cameras"] and report["track"]["label"] == "F2F Camera"
    assert seen["near"].rgb.shape[1::-1] == SIZE
    for side in seen.values():
        assert side.unread < 0.02
        assert side.ages_ms[len(side.ages_ms) // 2] < OLDEST_MS
        rgb = cv2.resize(side.rgb, SIZE)  # a call may carry a smaller picture
        assert badge_likeness(rgb) > LIKENESS
        assert not camera.reenacts or difference(rgb) < ALIKE
    assert seen["far"].fps >= (LEAST_FPS if made >= ENOUGH_FPS else CARRIED * made), summary


def keep(name: str, report: dict, seen: dict[str, Seen]) -> None:
    """Report and pictures, for whoever wants to look."""
    OUT.mkdir(parents=True, exist_ok=True)
    for side, what in seen.items():
        (OUT / f"{name}-{side}.png").write_bytes(what.png)
    numbers = {
        side: {"summary": what.summary, "shown": what.shown, "distinct": what.distinct, "ages_ms": what.ages_ms}
        for side, what in seen.items()
    }
    facts = {name: value for name, value in report.items() if name not in ("near", "far")}
    (OUT / f"{name}.json").write_text(json.dumps(facts | numbers, indent=1), encoding="utf-8")


def difference(rgb: np.ndarray) -> float:
    """RMS distance in grey levels to the nearest frame of the target's film; badge and time code left out."""
    with VideoFile(ROOT / "profiles" / "alice" / "target.mp4") as film:
        frames = np.stack([small(film.frame_at(place).rgb) for place in range(0, len(film), 5)])
    counted = small(left_out(*SIZE)[..., None].repeat(3, axis=2)) == 0
    distances = (frames - small(rgb))[:, counted]
    return float(np.sqrt((distances**2).mean(axis=1)).min())


def left_out(width: int, height: int) -> np.ndarray:
    """Where badge and time code are, 255."""
    mask = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = badge_box(width, height)
    mask[y0:y1, x0:x1] = 255
    side = square_side(width, height)
    mask[height - ROWS * side :, : COLUMNS * side] = 255
    return mask


def small(rgb: np.ndarray) -> np.ndarray:
    return cv2.resize(rgb, (SIZE[0] // 16, SIZE[1] // 16), interpolation=cv2.INTER_AREA).astype(np.float32)
