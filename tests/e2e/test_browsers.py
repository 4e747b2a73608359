"""A real browser finds "F2F Camera" in a session without root or kernel module, plays it, and carries it through a call.

Twice: with an engine that only counts pictures, which leaves the processor to the way from the ring to the far end, and
with the whole program, `f2fcam start` with the synthetic actor and the bundled target. What arrives is told apart by the time
code in its corner, and known by the badge, the target's own film and a mouth that is not that film's. Reports and pictures go
to `build/e2e`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import mean, median
from typing import Any

import av
import cv2
import numpy as np
import pytest

from f2fcam.capture.synthetic import FILM
from f2fcam.capture.video import VideoFile
from f2fcam.config import StartConfig
from f2fcam.control import request as ask
from f2fcam.daemon import start_detached
from f2fcam.errors import F2FError
from f2fcam.publish.barcode import COLUMNS, ROWS, square_side
from f2fcam.trust.badge import badge_box
from f2fcam.trust.verify import LIKENESS, badge_likeness
from tests.e2e.browser import COMMANDS, missing_browser, visit
from tests.e2e.company import QUIET, Company, missed
from tests.e2e.seen import Seen, picture_of, png_of
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
SIZE = (640, 360)
"""Of the camera and of its actor, who is at `FPS`: on two cores the engine is together with a browser that encodes, decodes and
shows every picture. Nearly the shape of the target's film: no bars."""
SMALL = (SIZE[0] // 16, SIZE[1] // 16)
NEAR_S, FAR_S = 3, 8
STILLS = 6
WAIT_S = 100.0
LEARNT_S = 60.0
"""Waited for at most: to learn an actor takes time from their pictures, and is over after the first minute of a call."""
LEAST_FPS = 20.0
"""New pictures a second at the far end."""
LONGEST_GAP_S = 1.0
OLDEST_MS = 2000
"""No measurement of speed: what is older has queued somewhere."""
ATTEMPTS = 2
"""Calls, where others use the machine: one that is in time shows that the program can."""
TRACKED = 0.8
"""Share of the looks at the status that have to say so."""
ALIKE = 3.0
"""Grey levels (RMS) between a picture and the nearest frame of the target's film around the face, at a sixteenth of the size."""
ACTED = 6.0
"""The mouth of a picture that was acted differs by more from that frame's (seen: 10 to 21; a coarse codec makes 3)."""
AS_NEAR = 1.2
"""Frames whose distance is at most so many times the least one may be the one that is shown."""
LIPS = (61, 291, 0, 17)
"""Corners, above and below, of the face mesh's landmarks."""


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


@dataclass(frozen=True, slots=True)
class Look:
    """The camera at one moment.

    Attributes:
        when_ms: by the wall clock.
        made: pictures a second of its engine.
        others: share of the processors that were not ours since the last look.
    """

    when_ms: float
    made: float
    tracking: str
    others: float


@dataclass
class Running:
    """A camera on the air in its session.

    Attributes:
        reenacts: it shows the target; else numbers.
    """

    name: str
    session: Session
    reenacts: bool
    company: Company
    looks: list[Look] = field(default_factory=list)

    def look(self) -> None:
        """Note how it is."""
        status = ask("status")
        made = float(status["fps"]["engine"])
        self.looks.append(Look(time.time() * 1000, made, status["tracking"], self.company.look()))


@pytest.fixture(scope="module", params=["counter", "f2fcam"])
def camera(
    request: pytest.FixtureRequest, session: Session, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", session.environment["XDG_RUNTIME_DIR"])
        patch.delenv("F2FCAM_RUNTIME_DIR", raising=False)
        try:
            if request.param == "counter":
                config = StartConfig("good", source="fake", sink="pipewire", size=SIZE, fps=COUNTER_FPS, barcode=True)
                assert start_detached(config, engine=COUNTER) == DEVICE
            else:
                start_f2fcam(session, actors_film(tmp_path_factory.mktemp("actor") / "actor.mp4"))
            yield Running(request.param, session, request.param == "f2fcam", Company(session.runtime))
        finally:
            with contextlib.suppress(F2FError):
                ask("stop")


def actors_film(file: Path) -> Path:
    """The synthetic actor as a webcam of our size and rate would show them."""
    with VideoFile(FILM) as film, av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height = SIZE
        for number in range(int(len(film) / film.fps * FPS)):
            rgb = cv2.resize(film.frame_at(int(number * film.fps / FPS)).rgb, SIZE, interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    return file


def start_f2fcam(session: Session, actor: Path) -> None:
    """As a user does, but for the time code; compiled kernels are the user's, not the session's."""
    kept = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    options = ["--profile", "alice", "--source", str(actor), "--sink", "pipewire", "--size", f"{SIZE[0]}x{SIZE[1]}"]
    line = [sys.executable, "-m", "f2fcam", "start", *options, "--fps", str(FPS), "--always-on", "--barcode"]
    environment = session.environment | {"XDG_CACHE_HOME": kept}
    started = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S)
    assert f"is on the air: {DEVICE}" in started.stderr, started.stderr
    deadline = time.monotonic() + LEARNT_S
    while ask("status")["actor"] != "done" and time.monotonic() < deadline:
        time.sleep(1)


@dataclass(frozen=True, slots=True)
class Call:
    """What came of one."""

    report: dict[str, Any]
    near: Seen
    far: Seen
    looks: list[Look]

    @property
    def others(self) -> float:
        """Share of the processors that others had meanwhile."""
        return mean(look.others for look in self.looks)

    @property
    def in_time(self) -> bool:
        """As many pictures as a call needs, and none missing for long."""
        return self.far.fps >= LEAST_FPS and max(self.near.gap_s, self.far.gap_s) < LONGEST_GAP_S

    @property
    def summary(self) -> str:
        """For the log."""
        made = median(look.made for look in self.looks)
        return (
            f"the engine makes {made:.1f} a second, others have {self.others:.0%} of the processors; in the page "
            f"{self.near.summary}; far end {self.far.summary}, {self.report['call']['codec']}"
        )


@pytest.mark.parametrize("browser", COMMANDS)
def test_call_carries_the_camera(camera: Running, browser: str, capsys: pytest.CaptureFixture[str]):
    if missing_browser(browser):
        pytest.skip(f"{browser} is not installed; {SETUP}")
    best: Call | None = None
    for _ in range(ATTEMPTS):
        made = call(camera, browser)
        with capsys.disabled():
            sys.stderr.write(f"\n{camera.name}, {browser}: {made.summary}\n")
        arrived(camera, made)
        best = made if best is None or made.far.fps > best.far.fps else best
        if best.in_time or made.others <= QUIET:
            break
    assert best is not None
    if not best.in_time:
        missed(best.summary, best.others, heavy=camera.reenacts)


def call(camera: Running, browser: str) -> Call:
    """Let the browser make one."""
    camera.looks.clear()
    camera.company.look()
    asked = {"near": NEAR_S, "far": FAR_S, "width": SIZE[0], "height": SIZE[1], "stills": STILLS}
    report = visit(camera.session, COMMANDS[browser], WAIT_S, camera.look, camera="F2F Camera", **asked)
    seen = {name: Seen.of(report[name], s) for name, s in (("near", NEAR_S), ("far", FAR_S)) if name in report}
    keep(f"{camera.name}-{browser}", report | {"looks": [asdict(look) for look in camera.looks]}, seen)
    assert "error" not in report, (report["error"], report["log"])
    assert "F2F Camera" in report["cameras"] and report["track"]["label"] == "F2F Camera"
    begin, end = report["far"]["begin"], report["far"]["end"]
    return Call(report, **seen, looks=[look for look in camera.looks if begin <= look.when_ms <= end])


def arrived(camera: Running, made: Call) -> None:
    """Whatever the machine's speed: our pictures, in order, none from a queue."""
    assert made.near.rgb.shape[1::-1] == SIZE
    for side in (made.near, made.far):
        assert side.unread < 0.02 and side.back == 0 and side.age_ms < OLDEST_MS, side.summary
    stills = [picture_of(still) for still in made.report["far"]["stills"]]
    assert len(stills) == STILLS
    for rgb in (made.near.rgb, *stills):
        assert badge_likeness(cv2.resize(rgb, SIZE)) > LIKENESS  # a call may carry a smaller picture
    if camera.reenacts:
        tracked = mean(look.tracking == "tracked" for look in made.looks)
        assert tracked >= TRACKED, [look.tracking for look in made.looks]
        distances = [Distance.of(rgb) for rgb in stills]
        assert all(distance.rest < ALIKE for distance in distances), distances
        assert sum(distance.mouth > ACTED for distance in distances) >= STILLS // 2, distances


def keep(name: str, report: dict, seen: dict[str, Seen]) -> None:
    """Report and pictures, for whoever wants to look."""
    OUT.mkdir(parents=True, exist_ok=True)
    for side, what in seen.items():
        (OUT / f"{name}-{side}.png").write_bytes(what.png)
    for number, still in enumerate(report.get("far", {}).get("stills", ())):
        (OUT / f"{name}-still-{number}.png").write_bytes(png_of(still))
    numbers = {
        side: {"summary": what.summary, "shown": what.shown, "distinct": what.distinct, "ages_ms": what.ages_ms,
               "gap_s": what.gap_s, "back": what.back, "look_ms": what.look_ms}
        for side, what in seen.items()
    }  # fmt: skip
    facts = {name: value for name, value in report.items() if name not in ("near", "far")}
    (OUT / f"{name}.json").write_text(json.dumps(facts | numbers, indent=1), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a picture is from the nearest frame of the target's film, RMS in grey levels.

    Attributes:
        frame: that one, by what is around the face, which a picture that was acted has in common with it.
        rest: there.
        mouth: from the most similar mouth of the frames that are as near: small where the film plays as it is.
    """

    frame: int
    rest: float
    mouth: float

    @staticmethod
    def of(rgb: np.ndarray) -> Distance:
        """Of a picture of any size."""
        film, around, lips = film_of_the_target()
        rgb = cv2.resize(rgb, SIZE, interpolation=cv2.INTER_AREA)
        counted = cv2.resize(around, SMALL, interpolation=cv2.INTER_AREA) == 0
        rests = np.array([rms(small(frame)[counted], small(rgb)[counted]) for frame in film])
        mouths = []
        for frame in np.flatnonzero(rests <= AS_NEAR * rests.min()):
            x0, y0, x1, y1 = lips[frame]
            mouths.append(rms(*(blurred(picture)[y0:y1, x0:x1] for picture in (rgb, film[frame]))))
        return Distance(int(np.argmin(rests)), float(rests.min()), min(mouths))


@lru_cache(maxsize=1)
def film_of_the_target() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its frames at our size (n, h, w, 3); where faces, badge and time code are, 255 (h, w); boxes of the lips (n, 4)."""
    folder = ROOT / "profiles" / "alice"
    with VideoFile(folder / "target.mp4") as film:
        width, height = film.size
        frames = np.stack(
            [cv2.resize(film.frame_at(n).rgb, SIZE, interpolation=cv2.INTER_AREA) for n in range(len(film))]
        )
    scale = np.array(SIZE) / (width, height)
    with np.load(folder / "frames.npz") as known:
        faces, lips = known["boxes"].reshape(-1, 2, 2) * scale, known["landmarks"][:, LIPS] * scale
    around = left_out(*SIZE)
    margin = 0.15 * (faces[:, 1] - faces[:, 0]).max(axis=0)
    (x0, y0), (x1, y1) = (faces[:, 0].min(axis=0) - margin).astype(int), (faces[:, 1].max(axis=0) + margin).astype(int)
    around[max(0, y0) : y1, max(0, x0) : x1] = 255
    return frames, around, np.concatenate([lips.min(axis=1), lips.max(axis=1)], axis=1).astype(int)


def left_out(width: int, height: int) -> np.ndarray:
    """Where badge and time code are, 255."""
    mask = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = badge_box(width, height)
    mask[y0:y1, x0:x1] = 255
    side = square_side(width, height)
    mask[height - ROWS * side :, : COLUMNS * side] = 255
    return mask


def small(rgb: np.ndarray) -> np.ndarray:
    return cv2.resize(rgb, SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)


def blurred(rgb: np.ndarray) -> np.ndarray:
    """Without most of what a codec changes."""
    return cv2.GaussianBlur(rgb, (0, 0), 2.0).astype(np.float32)


def rms(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(((one - other) ** 2).mean()))


def test_a_film_that_plays_as_it_is_was_not_acted():
    film, _, _ = film_of_the_target()
    for frame in film[::20]:
        _, coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 30])
        distance = Distance.of(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED))
        assert distance.rest < ALIKE and distance.mouth < ACTED, distance
