"""What goes wrong beside a running camera, as `docs/reliability.md` has it: it goes on showing something, and comes back."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from f2fcam import channel as channel_module
from f2fcam import publish
from f2fcam.channel import Child, reap
from f2fcam.errors import DeviceError, F2FError, ProfileError
from f2fcam.panel.metrics_process import MetricsProcess
from f2fcam.publish.process import ProcessSink
from f2fcam.ring import Ring
from f2fcam.supervisor import Supervisor
from tests.test_supervisor import (
    ENGINE,
    QUICK,
    Asker,
    Watcher,
    ask,
    children,
    new_pictures,
    options,
    play,
    runtime,
    until_status,
)

__all__ = ["runtime"]

TIMES = int(os.environ.get("F2FCAM_FAULT_TIMES", "5"))
"""Of what is repeated; `docs/reliability.md` is of 100 readers and 200 switches."""
log = logging.getLogger(__name__)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def good_again(watcher: Watcher) -> Iterator[None]:
    """Yield until there are new pictures; the seconds that took are the value, and in the log."""
    since = time.monotonic()
    yield from new_pictures(watcher)
    log.warning("good pictures again after %.2f s", time.monotonic() - since)


def test_engine_out_of_memory(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher, 2)
        status = yield from until_status(lambda status: status["restarts"] >= 1)
        assert "MemoryError" in status["reasons"][0]["reason"]
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan, profile="greedy")
    assert code == 0 and watcher.done


def test_webcam_gone_and_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("f2fcam.supervisor.HOLD_S", 0.2)
    cable = tmp_path / "cable"
    cable.touch()

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        cable.unlink()
        while watcher.caption != "NO WEBCAM":
            yield
        status = yield from ask("status")
        assert "unplugged" in status["reasons"][-1]["reason"]
        cable.touch()
        yield from good_again(watcher)
        assert (yield from ask("status"))["profile"] == "good"

    code, watcher = play(monkeypatch, plan, source=f"plugged:{cable}")
    assert code == 0 and watcher.done


def test_webcam_gone_while_the_camera_sleeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    cable = tmp_path / "cable"
    cable.touch()

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from until_status(lambda status: status["state"] == "asleep")
        cable.unlink()
        for _ in range(3):
            yield
        assert (yield from ask("status"))["restarts"] == 0, "nobody looks, nobody minds"
        watcher.readers = 1
        yield from until_status(lambda status: status["restarts"] >= 1)
        cable.touch()
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan, source=f"plugged:{cable}", readers=0, idle_s=0.2)
    assert code == 0 and watcher.done


@pytest.fixture
def as_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The camera takes itself for systemd's."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))


@pytest.mark.usefixtures("as_service")
def test_a_service_waits_for_its_webcam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    cable = tmp_path / "cable"

    def plan(watcher: Watcher) -> Iterator[None]:
        while watcher.caption != "NO WEBCAM":
            yield
        status = yield from ask("status")
        assert status["state"] == "restarting" and "unplugged" in status["reasons"][-1]["reason"]
        cable.touch()
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan, source=f"plugged:{cable}")
    assert code == 0 and watcher.done


@pytest.mark.usefixtures("as_service")
def test_nothing_is_tried_again_and_again_while_nobody_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    cable = tmp_path / "cable"

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from until_status(lambda status: status["restarts"] == 3)
        since = time.monotonic()
        while time.monotonic() < since + 3.0:  # the back-off is over after one
            yield
        assert (yield from ask("status"))["restarts"] == 3
        cable.touch()
        watcher.readers = 1
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan, source=f"plugged:{cable}", readers=0, idle_s=0.0)
    assert code == 0 and watcher.done


def test_webcam_that_is_not_there_shows_before_anything_is_loaded(tmp_path: Path):
    code = "import sys; sys.modules['numpy'] = None; from f2fcam import engine_main; engine_main.main()"
    child = Child([sys.executable, "-c", code], {"source": "webcam:/dev/video-none"}, (), tmp_path / "engine.log")
    assert child.wait(60.0) and child.ended() == "exit code 3", (tmp_path / "engine.log").read_text()
    assert "/dev/video-none is not there" in child.channel.receive()[0]["error"]
    child.close()


@pytest.mark.parametrize("when", ["acting", "paused", "asleep"])
def test_consent_that_ends_while_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str):
    monkeypatch.setattr("f2fcam.engine_process.LOOK_AGAIN_S", 0.1)
    engine = [sys.executable, "-c", "from f2fcam import engine; engine.CHECK_EVERY_S = 0.05; from tests.fake_engine import *;"
              "engine.exit_now(engine.main(open_fake_pipeline, open_fake_source))"]  # fmt: skip
    monkeypatch.setattr("tests.test_supervisor.ENGINE", engine)

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        if when == "paused":
            yield from ask("pause")
        if when == "asleep":
            watcher.readers = 0
            yield from until_status(lambda status: status["state"] == "asleep")
        (tmp_path / "expired").touch()
        while watcher.caption != "TARGET REFUSED":
            yield
        status = yield from until_status(lambda status: status["restarts"] == 1)
        assert "consent of Anna expired" in status["reasons"][-1]["reason"]
        for _ in range(30):
            yield
            assert watcher.caption == "TARGET REFUSED"
        assert (yield from ask("status"))["restarts"] == 1, "nothing has changed: no other try"
        watcher.readers = 1
        (tmp_path / "expired").unlink()
        (tmp_path / "good").mkdir()
        if when == "paused":
            yield from ask("resume")
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan, profiles=tmp_path, readers=1, idle_s=0.0)
    assert code == 0 and watcher.done


def test_engine_lost_after_a_sleep_leaves_the_picture_for_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("f2fcam.supervisor.HOLD_S", 1.0)

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from until_status(lambda status: status["state"] == "asleep")
        slept = time.monotonic()
        while time.monotonic() < slept + 1.5:
            yield
        os.kill((yield from ask("status"))["engine_pid"], signal.SIGKILL)
        status = yield from until_status(lambda status: status["restarts"] == 1)
        assert watcher.caption is None, "the last picture stays"
        if status["state"] == "restarting":  # looks are a second apart: the next one may report by now
            assert status["stages_ms"] == {}, "of an engine that is no more"

    code, watcher = play(monkeypatch, plan, readers=0, idle_s=0.0)
    assert code == 0 and watcher.done


def test_profile_deleted_while_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What runs goes on; an engine that has to be started again has nothing to show, and another target mends it."""
    (tmp_path / "stored").mkdir()

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        (tmp_path / "stored").rmdir()
        yield from new_pictures(watcher, 10)
        os.kill((yield from ask("status"))["engine_pid"], signal.SIGKILL)
        status = yield from until_status(lambda status: status["restarts"] >= 2)
        assert "no profile" in status["reasons"][-1]["reason"]
        asker = Asker("switch", profile="unknown")
        while asker.pending:
            yield
        assert isinstance(asker.error, ProfileError)
        yield from ask("switch", profile="good")
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan, profile="stored", profiles=tmp_path)
    assert code == 0 and watcher.done


def test_many_switches_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        watcher.deadline += 3.0 * TIMES
        yield from new_pictures(watcher)
        yield from ask("switch", profile="target-0")
        before = descriptors()
        for number in range(TIMES):
            asker = Asker("switch", profile=f"target-{number % 2}")
            while asker.pending:
                assert watcher.caption is None, "the last picture stays"
                yield
            assert asker.error is None
        assert descriptors() <= before + 1 and len(children()) == 1
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done and children() == []


def test_second_switch_is_refused_while_one_is_under_way(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        first = Asker("switch", profile="other")
        yield from until_status(lambda status: status["profile"] == "other")
        second = Asker("switch", profile="third")
        while first.pending or second.pending:
            yield
        assert first.error is None and (second.error is None or "under way" in second.error.message)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


def test_readers_come_and_go(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        watcher.deadline += 3.0 * TIMES
        before, worst = 0, 0.0
        for number in range(TIMES):
            watcher.readers = 0
            yield from until_status(lambda status: status["state"] == "asleep")
            before = before or descriptors()
            watcher.readers, since, still = 1, time.monotonic(), watcher.picture
            while watcher.picture == still:
                yield
            worst = max(worst, time.monotonic() - since)
        log.warning("longest from a reader's coming to a new picture: %.2f s", worst)
        status = yield from ask("status")
        assert status["restarts"] == 0 and descriptors() <= before + 1

    code, watcher = play(monkeypatch, plan, readers=0, idle_s=0.0)
    assert code == 0 and watcher.done


def unplugged(watcher: Watcher) -> Iterator[None]:
    yield from new_pictures(watcher)


def paused(watcher: Watcher) -> Iterator[None]:
    yield from new_pictures(watcher)
    yield from ask("pause")


def asleep(watcher: Watcher) -> Iterator[None]:
    yield from new_pictures(watcher)
    watcher.readers = 0
    yield from until_status(lambda status: status["state"] == "asleep")


def restarting(watcher: Watcher) -> Iterator[None]:
    yield from new_pictures(watcher)
    os.kill((yield from ask("status"))["engine_pid"], signal.SIGKILL)
    yield from until_status(lambda status: status["state"] == "restarting")


def switching(watcher: Watcher) -> Iterator[None]:
    yield from new_pictures(watcher)
    Asker("switch", profile="other")
    yield from until_status(lambda status: status["profile"] == "other")


def engine_stopped(watcher: Watcher) -> Iterator[None]:
    """It will not answer `stop`."""
    yield from new_pictures(watcher)
    os.kill((yield from ask("status"))["engine_pid"], signal.SIGSTOP)


@pytest.mark.parametrize("stage", [paused, asleep, restarting, switching, engine_stopped], ids=lambda f: f.__name__)
def test_sigterm_ends_every_state_cleanly(
    monkeypatch: pytest.MonkeyPatch, stage: Callable[[Watcher], Iterator[None]], runtime: Path
):
    code, watcher = play(monkeypatch, stage, readers=1, idle_s=0.0, limits=QUICK)
    assert code == 0 and watcher.done and watcher.closed
    assert not (runtime / "control.sock").exists() and children() == []


def test_sigterm_while_the_device_is_away(monkeypatch: pytest.MonkeyPatch, runtime: Path):
    watcher = Watcher(unplugged)

    class Away:
        device, size, keeps_time, readers = "plan", watcher.size, False, None

        def send(self, i420, timestamp_ns: int) -> None:
            watcher.send(i420, timestamp_ns)
            if watcher.done:
                raise DeviceError("Unplugged.", hint="Plug in.")

        def close(self) -> None:
            watcher.close()

    monkeypatch.setitem(publish.OPENERS, "plan", lambda where, size, fps: Away())
    assert Supervisor(options(), engine=ENGINE).run() == 0
    assert not (runtime / "control.sock").exists() and children() == []


def refuse_to_start(*args, **kwargs):
    raise OSError(12, "Cannot allocate memory")


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No process can be started until the patch is undone."""
    with monkeypatch.context() as patch:
        patch.setattr(channel_module.subprocess, "Popen", refuse_to_start)
        yield patch


def test_engine_that_the_system_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        pid = (yield from ask("status"))["engine_pid"]
        with monkeypatch.context() as patch:
            patch.setattr(channel_module.subprocess, "Popen", refuse_to_start)
            os.kill(pid, signal.SIGKILL)
            status = yield from until_status(lambda status: status["restarts"] >= 3)
            assert "Cannot allocate memory" in status["reasons"][-1]["reason"]
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done


def test_nothing_stays_of_what_the_system_cannot_start(no_memory: pytest.MonkeyPatch, tmp_path: Path):
    before = descriptors()
    with pytest.raises(F2FError, match="Cannot allocate memory"):
        Child(["true"], {}, (), tmp_path / "child.log")
    with pytest.raises(F2FError):
        ProcessSink("null", "nowhere", (64, 48), 30.0)
    assert descriptors() == before
    metrics = MetricsProcess(0, 0.0)
    no_memory.undo()
    metrics.step(0.1)
    assert children() == [], "too early"
    metrics.step(100.0)
    assert len(children()) == 1
    metrics.close()
    assert descriptors() == before


def test_no_descriptors_left_for_a_ring(monkeypatch: pytest.MonkeyPatch):
    before = descriptors()
    monkeypatch.setattr("f2fcam.ring.os.pipe", refuse_to_start)
    with pytest.raises(F2FError, match="no memory"):
        Ring.create(64, 48)
    assert descriptors() == before


def test_a_child_that_cannot_be_killed_is_left_and_taken_note_of_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """One in uninterruptible sleep; a `kill` that does nothing stands for it."""
    monkeypatch.setattr(channel_module, "KILLED_S", 0.05)
    child = Child(["sh", "-c", "trap '' ABRT; sleep 600 & wait; wait"], {}, (), tmp_path / "child.log")
    with monkeypatch.context() as patch:
        patch.setattr(channel_module.subprocess.Popen, "send_signal", lambda *_: None)
        child.close()
    assert child.ended() is None and children() == [child.pid]
    reap()
    assert children() == [child.pid]
    os.killpg(child.pid, signal.SIGKILL)
    child.wait(20.0)
    reap()
    assert children() == []


def test_a_log_that_cannot_be_written_costs_nothing_else(tmp_path: Path):
    """A full or read-only disk; a folder that is not there stands for it."""
    child = Child(["true"], {}, (), tmp_path / "nowhere" / "engine.log")
    assert child.wait(20.0) and child.succeeded()
    child.close()


def test_camera_that_starts_while_one_runs_is_refused(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        for _ in range(TIMES):
            with pytest.raises(F2FError, match="running already"):
                Supervisor(options(sink="null"), engine=ENGINE).run()
        yield from good_again(watcher)

    code, watcher = play(monkeypatch, plan)
    assert code == 0 and watcher.done
