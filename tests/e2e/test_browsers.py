"""A real browser finds "F2F Camera" in a session without root or kernel module, plays it, and carries it through a call.

The whole program runs: `f2fcam start` with an actor's film and the bundled target. What arrives is told apart by the
time code in its corner, and known by the target's own film and the badge. Reports and pictures go to `build/e2e`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from f2fcam.capture.synthetic import open_synthetic
from f2fcam.capture.video import VideoFile
from f2fcam.publish.barcode import COLUMNS, ROWS, square_side
from f2fcam.publish.video import VideoWriter
from f2fcam.trust.badge import badge_box
from f2fcam.trust.verify import LIKENESS, badge_likeness
from tests.e2e.browser import COMMANDS, Seen, missing_browser, visit
from tests.pipewire_session import PROGRAMS, Session, missing_programs

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
OUT = Path(os.environ.get("F2FCAM_E2E_OUT", ROOT / "build" / "e2e"))
PORTAL = Path("/usr/libexec/xdg-desktop-portal")
PORTAL_PATH = "/org/freedesktop/portal/desktop"
BACKEND = "org.freedesktop.impl.portal.desktop.f2fcam_tests"
PORTAL_PYTHON = "/usr/bin/python3"
"""Debian's own, which has python3-gi."""
SETUP = "run `bash tools/e2e_setup.sh`"

CLIP = ROOT.parent / "shared" / "data" / "clips" / "expressions.mp4"
FPS, ACTED_S = 30, 6
SIZE = (848, 480)
"""That of the target's film: no bars."""
SECONDS = 6
WAIT_S = 100.0
LEAST_FPS = 20.0
"""Distinct pictures a second at the far end."""
OLDEST_MS = 1000
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


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who acts: the real clip, else the synthetic person, drawn beforehand since drawing takes a core."""
    if CLIP.is_file():
        return CLIP
    path = tmp_path_factory.mktemp("actor") / "actor.mp4"
    with VideoWriter(path, (640, 480), FPS) as film:
        source = open_synthetic("", (640, 480), FPS)
        for _ in range(ACTED_S * FPS):
            film.write(source.read().rgb)
    return path


@pytest.fixture(scope="module")
def camera(session: Session, actor: Path) -> Iterator[Session]:
    """The running f2fcam, as a user starts it, but for the time code."""
    size = f"{SIZE[0]}x{SIZE[1]}"
    options = ["--profile", "alice", "--source", str(actor), "--sink", "pipewire", "--size", size, "--barcode"]
    # Compiled kernels are the user's, not the session's.
    environment = session.environment | {
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "f2fcam", *arguments]
        return subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S)

    try:
        started = run("start", *options)
        assert "is on the air: F2F Camera (PipeWire)" in started.stderr, started.stderr
        yield session
    finally:
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "status.json").write_text(run("status", "--json").stdout, encoding="utf-8")
        run("stop")


@pytest.mark.parametrize("browser", COMMANDS)
def test_call_carries_the_camera(camera: Session, browser: str, capsys: pytest.CaptureFixture[str]):
    if missing_browser(browser):
        pytest.skip(f"{browser} is not installed; {SETUP}")
    report = visit(camera, browser, WAIT_S, camera="F2F Camera", seconds=SECONDS, width=SIZE[0], height=SIZE[1])
    seen = {side: Seen.of(report[side]) for side in ("near", "far") if side in report}
    keep(browser, report, seen)
    assert "error" not in report, (report["error"], report["log"])
    with capsys.disabled():
        sys.stderr.write(
            f"\n{browser}: camera {seen['near'].summary}; far end {seen['far'].summary}, {report['call']['codec']}\n"
        )
    assert "F2F Camera" in report["cameras"] and report["track"]["label"] == "F2F Camera"
    assert seen["near"].rgb.shape[1::-1] == SIZE
    for side in seen.values():
        assert side.unread < 0.02
        assert side.ages_ms[len(side.ages_ms) // 2] < OLDEST_MS
        rgb = cv2.resize(side.rgb, SIZE)  # a call may carry a smaller picture
        assert badge_likeness(rgb) > LIKENESS
        assert difference(rgb) < ALIKE
    assert seen["far"].fps >= LEAST_FPS, f"{seen['far'].summary}; of the camera itself: {seen['near'].summary}"


def keep(browser: str, report: dict, seen: dict[str, Seen]) -> None:
    """Report and pictures, for whoever wants to look."""
    OUT.mkdir(parents=True, exist_ok=True)
    for side, what in seen.items():
        (OUT / f"{browser}-{side}.png").write_bytes(what.png)
    numbers = {
        side: {"summary": what.summary, "shown": what.shown, "distinct": what.distinct, "ages_ms": what.ages_ms}
        for side, what in seen.items()
    }
    facts = {name: value for name, value in report.items() if name not in ("near", "far")}
    (OUT / f"{browser}.json").write_text(json.dumps(facts | numbers, indent=1), encoding="utf-8")


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
