"""The camera always shows something: real processes, faults injected, and a sink that plays a plan instead of a clock.

A plan is a generator: it looks at each picture that the sink gets and yields until it has seen what it waits for, then
does the next thing. At its end the camera is told to stop by SIGTERM, as a user's system would.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest

from f2fcam import choices, publish
from f2fcam.channel import Channel
from f2fcam.choices import Choices
from f2fcam.config import StartConfig
from f2fcam.control import request, runtime_folder
from f2fcam.daemon import start_detached
from f2fcam.engine_process import Limits
from f2fcam.errors import ConfigError, DeviceError, F2FError, ProfileError
from f2fcam.publish.barcode import code_of, read_barcode
from f2fcam.signals import caught_signals
from f2fcam.supervisor import Supervisor
from f2fcam.trust.badge import badge_box, stamp_i420, stamp_rgb
from f2fcam.trust.placeholder import placeholder_i420
from tests.fake_engine import index_in

ENGINE = [sys.executable, str(Path(__file__).with_name("fake_engine.py"))]
SIZE = (320, 180)
LIMIT_S = 60.0
QUICK = Limits(report_s=2.0, frame_s=1.0, stop_s=5.0)

Plan = Callable[["Watcher"], Iterator[None]]


def options(**changes) -> StartConfig:
    """A small camera of the fake engine."""
    return StartConfig(**{"profile": "good", "source": "fake", "sink": "plan", "size": SIZE, "fps": 60.0} | changes)


@dataclass
class Watcher:
    """A sink that lets its plan look at every picture."""

    plan: Plan
    device: str = "plan"
    size: tuple[int, int] = SIZE
    keeps_time: bool = False
    readers: int | None = None
    frames: int = 0
    times: list[int] = field(default_factory=list)
    closed: bool = False
    done: bool = False

    def __post_init__(self) -> None:
        self.picture = b""
        self.deadline = time.monotonic() + LIMIT_S
        self._steps = self.plan(self)

    def send(self, i420, timestamp_ns: int) -> None:
        assert time.monotonic() < self.deadline, "the plan did not get on"
        assert not self.closed
        self.picture = bytes(i420)
        self.frames += 1
        self.times.append(timestamp_ns)
        stamped = bytearray(self.picture)
        stamp_i420(stamped, *self.size)
        assert stamped == self.picture, "a picture without the badge"
        if not self.done and next(self._steps, self) is self:
            self.done = True
            os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None:
        self.closed = True

    @property
    def caption(self) -> str | None:
        """What the placeholder says; None for a picture of the engine."""
        captions = ("STARTING", "RESTARTING", "NO WEBCAM", "TARGET REFUSED")
        return next((text for text in captions if placeholder_i420(*self.size, text) == self.picture), None)

    @property
    def index(self) -> int:
        """The number in the engine's picture."""
        return index_in(np.frombuffer(self.picture[: self.size[0] * self.size[1]], np.uint8).reshape(self.size[::-1]))


class Asker:
    """Asks the camera from within the plan: sends now, has the answer a few pictures later."""

    def __init__(self, command: str, **arguments: str) -> None:
        self.answer: dict | None = None
        self.error: F2FError | None = None
        self._thread = threading.Thread(target=self._ask, args=(command, arguments))
        self._thread.start()

    def _ask(self, command: str, arguments: dict[str, str]) -> None:
        try:
            self.answer = request(command, **arguments)
        except F2FError as error:
            self.error = error

    @property
    def pending(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / "run"))
    EARLIER[:] = children_of_ours()
    yield tmp_path / "run"
    with contextlib.suppress(F2FError):  # a failed test must not leave a detached camera running
        request("stop")


def play(
    monkeypatch: pytest.MonkeyPatch,
    plan: Plan,
    *,
    limits: Limits = QUICK,
    keeps_time: bool = False,
    readers: int | None = None,
    **changes,
) -> tuple[int, Watcher]:
    """Run the camera in this process with a planned sink; its exit code and the sink."""
    watcher = Watcher(plan, keeps_time=keeps_time, readers=readers)
    monkeypatch.setitem(publish.OPENERS, "plan", lambda where, size, fps: watcher)
    code = Supervisor(options(**changes), engine=ENGINE, limits=limits).run()
    return code, watcher


def ask(command: str, **arguments: str) -> Iterator[None]:
    """Yield pictures until the answer is there; it is the value of `yield from`."""
    asker = Asker(command, **arguments)
    while asker.pending:
        yield
    if asker.error is not None:
        raise asker.error
    return asker.answer


def new_pictures(watcher: Watcher, count: int = 3) -> Iterator[None]:
    """Yield until the engine has made `count` different pictures."""
    seen = set()
    while len(seen) < count:
        if watcher.caption is None:
            seen.add(watcher.index)
        yield


def test_placeholder_first_then_the_engine_and_a_clean_end(monkeypatch: pytest.MonkeyPatch, runtime: Path):
    captions = []

    def plan(watcher: Watcher) -> Iterator[None]:
        while watcher.caption is not None:
            captions.append(watcher.caption)
            yield
        yield from new_pictures(watcher, 10)
        status = yield from until_status(lambda status: "faces" in status)
        assert status["state"] == "running" and status["profile"] == "good" and status["faces"] == 1
        assert status["tracking"] == "tracked" and status["restarts"] == 0 and status["device"] == "plan"
        assert status["latency_ms"]["p50"] > 0 and status["badge"] == "AI MODIFIED"
        assert set(status["stages_ms"]) == {"capture", "track", "retouch", "render", "publish"}

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done and watcher.closed
    assert captions and set(captions) == {"STARTING"}
    assert not (runtime / "control.sock").exists()
    assert children() == []


def test_killed_engine_is_replaced_while_the_sink_gets_pictures(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        first = (yield from ask("status"))["engine_pid"]
        os.kill(first, signal.SIGKILL)
        before = watcher.frames
        status = yield from until_status(lambda status: status["restarts"] == 1)
        assert "SIGKILL" in status["reasons"][0]["reason"]
        status = yield from until_status(lambda status: status["state"] == "running")
        assert status["engine_pid"] != first
        yield from new_pictures(watcher)
        assert watcher.frames > before + 10

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


@pytest.mark.parametrize(("profile", "reason"), [("hang", "render hung"), ("silent", "no sign of life")])
def test_hung_engine_is_replaced(monkeypatch: pytest.MonkeyPatch, profile: str, reason: str):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher, 2)
        status = yield from until_status(lambda status: status["restarts"] >= 1)
        assert reason in status["reasons"][0]["reason"]
        yield from new_pictures(watcher, 2)

    code, watcher = play(monkeypatch, plan, profile=profile)
    assert code == 0 and watcher.done


def test_engine_that_crashes_again_and_again_leaves_the_placeholder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("f2fcam.supervisor.HOLD_S", 0.2)

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher, 2)
        while watcher.caption != "RESTARTING":
            yield
        status = yield from until_status(lambda status: status["restarts"] >= 2)
        assert all("SIGKILL" in restart["reason"] for restart in status["reasons"])

    code, watcher = play(monkeypatch, plan, profile="crash")
    assert code == 0 and watcher.done


def test_pause_shows_a_still_and_resume_goes_on(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        assert (yield from ask("pause"))["state"] == "paused"
        still = watcher.picture
        for _ in range(20):
            yield
            assert watcher.picture == still
        assert (yield from ask("resume"))["state"] == "running"
        yield from new_pictures(watcher)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


def test_switch_changes_the_profile_or_goes_back(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        assert (yield from ask("switch", profile="other"))["profile"] == "other"
        asker = Asker("switch", profile="unknown")
        while asker.pending:
            yield
            assert watcher.caption is None, "the last picture stays"
        assert isinstance(asker.error, ProfileError)
        yield from until_status(lambda status: status["state"] == "running" and status["profile"] == "other")
        yield from new_pictures(watcher)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


def test_switch_that_fails_leaves_the_pause(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        yield from ask("pause")
        asker = Asker("switch", profile="unknown")
        while asker.pending:
            yield
        assert isinstance(asker.error, ProfileError)
        assert (yield from ask("status"))["state"] == "paused"
        still = watcher.picture
        yield from until_status(lambda status: status.get("faces") == 1)
        for _ in range(10):
            yield
            assert watcher.picture == still

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


def test_no_switch_while_it_stops(monkeypatch: pytest.MonkeyPatch):
    errors = []

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        os.kill((yield from ask("status"))["engine_pid"], signal.SIGSTOP)  # it takes its time to end
        stop = Asker("stop")
        yield from until_status(lambda status: status["state"] == "stopping")
        late = Asker("switch", profile="other")
        while late.pending:
            yield
        errors.append(late.error)
        while stop.pending:
            yield

    code, _ = play(monkeypatch, plan, limits=Limits(stop_s=3.0))
    assert code == 0 and "stopping" in errors[0].message and children() == []


def test_a_switch_under_way_hears_of_the_end(monkeypatch: pytest.MonkeyPatch):
    askers = []

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        askers.append(Asker("switch", profile="silent-start"))
        yield from until_status(lambda status: status["profile"] == "silent-start")

    code, watcher = play(monkeypatch, plan)
    askers[0]._thread.join(LIMIT_S)
    assert code == 0 and watcher.done and "stopping" in askers[0].error.message


def test_a_socket_that_was_swept_away_comes_back(monkeypatch: pytest.MonkeyPatch, runtime: Path):
    monkeypatch.setattr("f2fcam.supervisor.TRIM_EVERY_S", 0.0)

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        shutil.rmtree(runtime)
        yield
        yield
        assert (yield from ask("status"))["profile"] == "good"

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


@pytest.mark.parametrize("service", [True, False])
def test_pause_and_mute_outlast_a_crash_of_a_service(monkeypatch: pytest.MonkeyPatch, service: bool, tmp_path: Path):
    muted = []
    monkeypatch.setattr("f2fcam.audio.process.SoundProcess.mute", lambda self, on: muted.append(on))
    if service:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    choices.keep(Choices(paused=True, muted=True))

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher, 1)
        assert (yield from ask("status"))["state"] == ("paused" if service else "running")
        yield from ask("resume")
        assert choices.kept() == Choices()
        yield from ask("pause")
        assert choices.kept().paused

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done and muted == ([True] if service else [])
    assert choices.kept() == Choices(), "an end in good order"


def test_the_profile_that_was_switched_to_outlasts_a_crash_of_a_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def switch(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher, 1)
        yield from ask("switch", profile="second")
        assert choices.kept() == Choices(profile="second")
        yield from ask("switch", profile="good")
        assert choices.kept() == Choices(), "what was asked for at the start"
        yield from ask("switch", profile="second")

    def go_on(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher, 1)
        assert (yield from ask("status"))["profile"] == "second"

    with monkeypatch.context() as crash:
        crash.setattr("f2fcam.choices.forget", lambda: None)
        crash.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
        play(monkeypatch, switch)
    assert choices.kept() == Choices(profile="second")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    play(monkeypatch, go_on)
    assert choices.kept() == Choices()


def test_a_profile_that_is_refused_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    choices.keep(Choices(profile="unknown"))
    with pytest.raises(ProfileError):
        play(monkeypatch, lambda watcher: itertools.repeat(None))
    assert choices.kept() == Choices()


def test_choices_that_cannot_be_read_are_none(runtime: Path):
    for text in ("", "[1]", "{", '{"paused": true}'):
        (runtime_folder() / "choices.json").write_text(text)
        assert choices.kept() == Choices(paused=text.startswith('{"'))


def test_recalibrate_reaches_the_pipeline(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        yield from ask("recalibrate")
        yield from until_status(lambda status: status.get("recalibrated") == 1)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


def test_unknown_commands_and_garbage_do_no_harm(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        asker = Asker("dance")
        while asker.pending:
            yield
        assert isinstance(asker.error, ConfigError)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(runtime_folder() / "control.sock"))
            connection.sendall(b"\xff\xfe garbage\n" * 50)
            Channel(connection).send({"no": "command"})
        yield from new_pictures(watcher)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


def test_stop_command_answers_and_hangs_up_when_all_is_gone(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        asked.append(Asker("stop"))
        while True:
            yield

    code, watcher = play(monkeypatch, plan)
    asked[0]._thread.join(LIMIT_S)
    assert code == 0 and watcher.closed and asked[0].answer == {"state": "stopping"}


def test_second_start_is_refused_and_does_no_harm(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        with pytest.raises(F2FError, match="running already"):
            Supervisor(options(sink="null"), engine=ENGINE).run()
        yield from ask("status")

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"profile": "unknown"}, ProfileError), ({"source": "missing"}, DeviceError), ({"sink": "no-such"}, ConfigError)],
)
def test_what_cannot_work_is_told_and_nothing_stays(changes: dict[str, str], kind: type[F2FError], runtime: Path):
    with pytest.raises(kind):
        Supervisor(options(**{"sink": "null"} | changes), engine=ENGINE).run()
    assert not (runtime / "control.sock").exists()
    assert children() == []


def test_engine_that_never_starts_is_given_up():
    with pytest.raises(F2FError, match="SIGSEGV"):
        Supervisor(options(sink="null", profile="crash-at-once"), engine=ENGINE).run()
    assert children() == []


def test_every_frame_of_a_file_arrives_once(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def plan(watcher: Watcher) -> Iterator[None]:
        while True:
            seen.append(watcher.index)
            yield

    watcher = Watcher(plan)
    monkeypatch.setitem(publish.OPENERS, "plan", lambda where, size, fps: watcher)
    assert Supervisor(options(source="fake:40", fps=25.0), engine=ENGINE, every_frame=True).run() == 0
    assert seen == list(range(40))
    assert watcher.times == [index * 40_000_000 for index in range(40)]


def test_a_recording_begins_with_its_first_picture_and_ends_with_the_file(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def plan(watcher: Watcher) -> Iterator[None]:
        while True:
            assert watcher.caption is None
            seen.append(watcher.index)
            yield

    code, _ = play(monkeypatch, plan, keeps_time=True, source="fake:30")
    assert code == 0 and seen == sorted(seen) and seen[-1] == 29


def test_lost_device_is_opened_again(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        watcher.unplug = True
        yield
        yield from new_pictures(watcher)
        status = yield from ask("status")
        assert [one["reason"] for one in status["sink_reasons"]] == ["Unplugged."]
        assert abs(status["sink_reasons"][0]["time"] - time.time()) < LIMIT_S

    watcher = Watcher(plan)
    watcher.unplug = False
    opened = []

    class Unpluggable:
        device, size, keeps_time, readers = "plan", SIZE, False, None

        def send(self, i420, timestamp_ns: int) -> None:
            if watcher.unplug:
                watcher.unplug = False
                raise DeviceError("Unplugged.", hint="Plug in.")
            watcher.send(i420, timestamp_ns)

        def close(self) -> None:
            opened.append("closed")

    def open_it(where: str, size: tuple[int, int], fps: float) -> Unpluggable:
        opened.append("opened")
        return Unpluggable()

    monkeypatch.setitem(publish.OPENERS, "plan", open_it)
    assert Supervisor(options(), engine=ENGINE).run() == 0
    assert watcher.done and opened == ["opened", "closed", "opened", "closed"]


def test_a_sink_with_its_own_business_is_attended_to_and_auto_stays_with_it(monkeypatch: pytest.MonkeyPatch):
    """As PipeWire's: what its server says wakes the loop, and when that dies, the same kind of camera is opened again."""

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        assert (yield from ask("status"))["readers"] == 1
        said.send(b"x")
        while "attended" not in happened:
            yield
        said.send(b"end")
        while happened.count("opened") < 2:
            yield
        yield from new_pictures(watcher)
        assert (yield from ask("status"))["sink_reasons"][0]["reason"] == "The server is gone."

    said, heard = socket.socketpair()
    watcher = Watcher(plan)
    happened: list[str] = []

    class Attended:
        device, size, keeps_time, readers = "plan", SIZE, False, 1

        def send(self, i420, timestamp_ns: int) -> None:
            watcher.send(i420, timestamp_ns)

        def close(self) -> None:
            happened.append("closed")

        def fileno(self) -> int:
            return heard.fileno()

        def attend(self) -> None:
            if heard.recv(16) == b"end":
                raise DeviceError("The server is gone.", hint="Start it.")
            happened.append("attended")

    def open_it(where: str, size: tuple[int, int], fps: float) -> Attended:
        happened.append("opened")
        return Attended()

    def refuse(where: str, size: tuple[int, int], fps: float) -> publish.FrameSink:
        happened.append("tried v4l2")
        raise DeviceError("No device.", hint="Get one.")

    monkeypatch.setitem(publish.OPENERS, "v4l2", refuse)
    monkeypatch.setitem(publish.OPENERS, "pipewire", open_it)
    with said, heard:
        assert Supervisor(options(sink="auto"), engine=ENGINE).run() == 0
    assert watcher.done and happened == ["tried v4l2", "opened", "attended", "closed", "opened", "closed"]


def test_time_code_is_put_beside_the_badge_on_request_only(monkeypatch: pytest.MonkeyPatch):
    ages = []

    def plan(watcher: Watcher) -> Iterator[None]:
        while len(ages) < 5:
            yield
            if watcher.caption is None:
                code = read_barcode(watcher.picture, *SIZE)
                assert code == code_of(code >> 4)
                ages.append((int(time.time() * 1000) - (code >> 4)) % 65536)

    code, watcher = play(monkeypatch, plan, barcode=True)
    assert code == 0 and watcher.done and max(ages) < 1000 * LIMIT_S

    def plain(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        code = read_barcode(watcher.picture, *SIZE)
        assert code != code_of(code >> 4)

    code, watcher = play(monkeypatch, plain)
    assert code == 0 and watcher.done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["at once", "loading", "running"])
def test_a_signal_at_any_time_ends_cleanly(monkeypatch: pytest.MonkeyPatch, number: int, when: str, runtime: Path):
    def plan(watcher: Watcher) -> Iterator[None]:
        if when == "loading":
            yield
            yield
        if when == "running":
            yield from new_pictures(watcher)
        os.kill(os.getpid(), number)
        while True:
            yield

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.closed
    assert not (runtime / "control.sock").exists() and children() == []


def test_ends_by_itself_after_the_wanted_time(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        while True:
            yield

    code, watcher = play(monkeypatch, plan, duration_s=0.3)
    assert code == 0 and watcher.frames > 5 and watcher.closed


def test_engine_dies_with_a_supervisor_that_is_killed(tmp_path: Path):
    script = "import sys; from tests.test_supervisor import *; Supervisor(options(sink='null'), engine=ENGINE).run()"
    root = Path(__file__).parent.parent
    supervisor = subprocess.Popen([sys.executable, "-c", script], cwd=root)
    engine = 0
    try:
        for _ in range(int(LIMIT_S / 0.05)):
            try:
                status = request("status")
            except F2FError:
                status = {"frames": 0, "state": "starting"}
            if status["state"] == "running":
                engine = status["engine_pid"]
                break
            assert supervisor.poll() is None
            time.sleep(0.05)
        assert alive(engine)
    finally:
        supervisor.kill()
        supervisor.wait()
    for _ in range(int(LIMIT_S / 0.05)):
        if not alive(engine):
            return
        time.sleep(0.05)
    raise AssertionError("the engine lives on")


def test_detached_camera_runs_on_until_it_is_stopped():
    device = start_detached(options(sink="null"), engine=ENGINE)
    assert device == "null"
    status = request("status")
    assert status["pid"] != os.getpid() and status["state"] == "running"
    with pytest.raises(F2FError, match="running already"):
        start_detached(options(sink="null"), engine=ENGINE)
    request("stop")
    with pytest.raises(F2FError, match="No camera is running"):
        request("status")


def test_preview_shows_the_running_camera():
    url = start_detached(options(sink="preview:0"), engine=ENGINE)
    assert url is not None
    try:
        with urllib.request.urlopen(url + "status", timeout=LIMIT_S) as answer:
            status = json.load(answer)
        assert status["profile"] == "good" and status["device"] == url
        with urllib.request.urlopen(url + "stream", timeout=LIMIT_S) as answer:
            assert answer.readline().startswith(b"--")
    finally:
        request("stop")


def test_recording_of_a_file_is_finished_and_carries_the_badge(tmp_path: Path):
    path = tmp_path / "out.mp4"
    assert Supervisor(options(sink=str(path), source="fake:60"), engine=ENGINE).run() == 0
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]
    assert len(frames) > 5 and index_in(frames[-1]) == 59
    x0, y0, x1, y1 = badge_box(*SIZE)
    marked = np.full((SIZE[1], SIZE[0], 3), 200, np.uint8)
    stamp_rgb(marked)
    for frame in frames:
        assert np.corrcoef(frame[y0:y1, x0:x1].ravel(), marked[y0:y1, x0:x1, 1].ravel())[0, 1] > 0.9


def test_no_process_of_the_camera_leaves_a_dump():
    start_detached(options(sink="null"), engine=ENGINE)
    status = request("status")
    for pid in (status["pid"], status["engine_pid"]):
        (limit,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line]
        assert limit.split()[4] == "0"
        assert int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0
    request("stop")


def test_an_interrupted_start_leaves_no_camera(runtime: Path):
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background job ignores it
    started = "start_detached(options(sink='null', profile='silent-start'), engine=ENGINE)"
    script = f"from tests.test_supervisor import *; {heard}; {started}"
    starting = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parent.parent, stderr=subprocess.PIPE
    )
    camera = 0
    deadline = time.monotonic() + LIMIT_S
    while not camera:
        assert time.monotonic() < deadline
        with contextlib.suppress(F2FError):
            camera = request("status")["pid"]
    starting.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in starting.communicate(timeout=LIMIT_S)[1]
    assert not alive(camera) and not (runtime / "control.sock").exists()


def test_who_wants_it_to_outlive_the_terminal_is_heard():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with caught_signals() as wake:
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(BlockingIOError):
                os.read(wake, 8)
            os.kill(os.getpid(), signal.SIGTERM)
            assert len(os.read(wake, 8)) == 1
    finally:
        signal.signal(signal.SIGHUP, before)


def test_detached_camera_tells_why_it_cannot_start():
    with pytest.raises(ProfileError) as caught:
        start_detached(options(sink="null", profile="unknown"), engine=ENGINE)
    assert "profile list" in caught.value.hint


def test_sink_auto_says_why_nothing_opened(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str) -> publish.Opener:
        def opener(where: str, size: tuple[int, int], fps: float) -> publish.FrameSink:
            raise DeviceError(f"No {name} here.", hint="Get one.")

        return opener

    for name in publish.AUTOMATIC:
        monkeypatch.setitem(publish.OPENERS, name, refuse(name))
    with pytest.raises(DeviceError) as caught:
        publish.open_sink("auto", SIZE, 30.0)
    assert all(f"No {name} here." in caught.value.message for name in publish.AUTOMATIC)


def until_status(wanted: Callable[[dict], bool]) -> Iterator[None]:
    while True:
        status = yield from ask("status")
        if wanted(status):
            return status


EARLIER: list[int] = []
"""Children of this process when the test began: other tests' servers live as long as their modules."""


def children() -> list[int]:
    """Processes that the test has begun and that still run, or were not waited for."""
    return [pid for pid in children_of_ours() if pid not in EARLIER]


def children_of_ours() -> list[int]:
    """All children of this process."""
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
