"""The sound process before a real sound server: who listens, what is moved, killed, left behind or started anew."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from f2fcam.audio import RATE
from f2fcam.audio.process import SoundProcess
from f2fcam.audio.virtual_microphone import SINK, SOURCE
from f2fcam.config import StartConfig
from f2fcam.control import request as ask
from f2fcam.daemon import start_detached
from f2fcam.errors import F2FError
from tests.e2e.sound_room import FORMAT, MICROPHONE, furnish, tell, wav
from tests.e2e.sound_room import PROGRAMS as SOUND_PROGRAMS
from tests.pipewire_session import PROGRAMS, Session, missing_programs
from tests.test_supervisor import ENGINE as COUNTER

IDLE_S = 2.0
LATE_MS = 100.0
WITHIN_S = 30.0
LISTENER = ("pw-record", f"--target={SOURCE}", *FORMAT)
HALVES = (
    ("module-null-sink", f"sink_name={SINK}"),
    ("module-remap-source", f"master={SINK}.monitor", f"source_name={SOURCE}"),
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A sound server with a room, a tone in it, and a microphone."""
    missing = missing_programs([*PROGRAMS, *SOUND_PROGRAMS])
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; run `bash tools/e2e_setup.sh`")
    with Session(tmp_path_factory.mktemp("session")) as session:
        furnish(session)
        yield session


@pytest.fixture(autouse=True)
def environment(room: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", room.environment["XDG_RUNTIME_DIR"])
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / "run"))
    for name in ("PULSE_SERVER", "PULSE_RUNTIME_PATH", "PULSE_PROP"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def running(idle_s: float | None = None) -> Iterator[SoundProcess]:
    process = SoundProcess(MICROPHONE, None, off=None, idle_s=idle_s)
    try:
        yield process
    finally:
        process.close()


def until(process: SoundProcess, ready: Callable[[dict], bool], what: str) -> dict:
    deadline = time.monotonic() + WITHIN_S
    while not ready(status := process.status()):
        assert time.monotonic() < deadline, (what, status)
        process.step(time.monotonic(), LATE_MS)
        time.sleep(0.02)
    return status


def heard(status: dict) -> bool:
    """Sound flows, as late as it should be."""
    return status["state"] == "on" and status.get("delay_ms") is not None


def listed(room: Session, what: str) -> list[list[str]]:
    return [line.split("\t") for line in tell(room, "pactl", "list", "short", what).stdout.splitlines()]


def modules(room: Session) -> list[tuple[str, str]]:
    """The virtual microphone's modules: number and name."""
    ours = {half[-1] for half in HALVES}
    return [tuple(line[:2]) for line in listed(room, "modules") if ours & set(" ".join(line).split())]


def peers(room: Session) -> dict[str, str]:
    """Our streams, by the kind of device that each is linked to, and its name."""
    objects, _ = json.JSONDecoder().raw_decode(tell(room, "pw-dump").stdout)  # what changes meanwhile comes after
    nodes = {one["id"]: one["info"]["props"] for one in objects if one.get("info") and one["type"].endswith("Node")}
    links = [one["info"] for one in objects if one.get("info") and one["type"].endswith("Link")]
    pairs = [(nodes.get(link["output-node-id"], {}), nodes.get(link["input-node-id"], {})) for link in links]
    found = {}
    for source, sink in pairs:
        if source.get("node.name") == "f2fcam":
            found["player"] = sink["node.name"]
        elif sink.get("node.name") == "f2fcam":
            found["recorder"] = source["node.name"]
    return found


def test_streams_stay_where_they_are(room: Session):
    """The user makes "F2F Microphone" the default, for programs that cannot choose: we do not begin to record ourselves."""
    with running() as process:
        until(process, heard, "sound")
        assert listed(room, "sinks") and "Default Sink: room" in tell(room, "pactl", "info").stdout
        assert peers(room) == {"recorder": MICROPHONE, "player": SINK}
        before = tell(room, "pactl", "get-default-source").stdout.strip()
        tell(room, "pactl", "set-default-source", MICROPHONE)  # a stream on the default would follow it from now on
        tell(room, "pactl", "set-default-source", SOURCE)
        room.wait(lambda: SOURCE in tell(room, "pactl", "get-default-source").stdout, "the default")
        time.sleep(0.5)
        assert peers(room) == {"recorder": MICROPHONE, "player": SINK}
        assert until(process, heard, "sound")["restarts"] == 0
        tell(room, "pactl", "set-default-source", before)


def test_nothing_is_played_to_the_loudspeakers_when_our_sink_goes(room: Session):
    """Not even before our process can do anything about it."""
    with running() as process:
        until(process, heard, "sound")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        for number, _ in reversed(modules(room)):
            tell(room, "pactl", "unload-module", number)
        time.sleep(0.5)
        assert "player" not in peers(room)
        os.kill(process.pid, signal.SIGCONT)
        until(process, lambda status: status["restarts"] == 1 and heard(status), "sound again")
        assert peers(room) == {"recorder": MICROPHONE, "player": SINK}


def test_microphone_is_open_only_while_somebody_listens(room: Session, tmp_path: Path, capsys: pytest.CaptureFixture):
    tone, recording = tmp_path / "tone.raw", tmp_path / "recorded.wav"
    (0.3 * np.sin(2 * np.pi * 440 / RATE * np.arange(RATE * 60))).astype(np.float32).tofile(tone)
    with running(IDLE_S) as process:
        until(process, lambda status: status["state"] == "asleep", "rest")
        assert not peers(room) and len(modules(room)) == 2
        room.start(
            "paplay", "--device=room", "--raw", f"--rate={RATE}", "--channels=1", "--format=float32le", str(tone)
        )
        try:
            began = time.monotonic()
            room.start(*LISTENER, str(recording))
            assert until(process, heard, "sound")["listeners"] == 1
            took_s = time.monotonic() - began
            assert peers(room) == {"recorder": MICROPHONE, "player": SINK}
            until(process, lambda status: np.abs(wav(recording)[-RATE // 4 :]).max(initial=0) > 0.2, "the tone")
        finally:
            room.stop("pw-record")
            room.stop("paplay")
        until(process, lambda status: status["state"] == "asleep", "rest")
        assert not peers(room)
    with capsys.disabled():
        sys.stderr.write(f"\nsound {took_s:.2f} s after somebody listens\n")


def test_a_process_that_stood_still_counts_a_gap(room: Session):
    with running() as process:
        before = until(process, heard, "sound")["xruns"]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGCONT)
        status = until(process, lambda status: status.get("xruns", 0) > before, "a gap")
        assert heard(status) and status["restarts"] == 0


def test_a_killed_process_comes_again_and_takes_over(room: Session):
    with running() as process:
        until(process, heard, "sound")
        before, pid = modules(room), process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(process, lambda status: status["restarts"] == 1 and heard(status), "sound again")
        assert modules(room) == before and len(before) == 2 and process.pid != pid
    assert not modules(room)


@pytest.mark.parametrize(
    "left", [HALVES, HALVES[:1], HALVES[:1] * 2, HALVES * 2], ids=["whole", "half", "sinks", "twice"]
)
def test_what_was_left_behind_is_taken_over_or_made_anew(room: Session, left: tuple[tuple[str, ...], ...]):
    for words in left:
        assert tell(room, "pactl", "load-module", *words, "channels=1", "channel_map=mono").returncode == 0
    before = modules(room)
    assert len(before) == len(left)
    with running() as process:
        until(process, heard, "sound")
        assert [name for _, name in modules(room)] == [half[0] for half in HALVES]
        assert left != HALVES or modules(room) == before
    assert not modules(room)


def test_sound_comes_again_with_a_sound_server_that_was_restarted(room: Session):
    with running() as process:
        until(process, heard, "sound")
        room.stop("pipewire-pulse")
        room.stop_server()
        until(process, lambda status: status["state"] == "waiting" and status["restarts"] > 0, "the end")
        room.start_server()
        furnish(room)
        until(process, heard, "sound again")
        assert peers(room) == {"recorder": MICROPHONE, "player": SINK}
    assert not modules(room)


def test_a_microphone_that_does_not_exist_is_told_of_at_the_start(room: Session):
    told: list[str] = []
    config = StartConfig("late-3000-60-3000", source="fake", sink="null", size=(320, 180), sound="haedset")
    try:
        assert start_detached(config, engine=COUNTER, announce=lambda event, what: told.append(f"{event}: {what}"))
        assert [line for line in told if "There is no microphone 'haedset'" in line and MICROPHONE in line]
        assert ask("status")["sound"]["state"] in ("waiting", "asleep")
    finally:
        with contextlib.suppress(F2FError):
            ask("stop")
    assert not modules(room)
