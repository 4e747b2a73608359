"""The camera as a service: what systemd is told, which unit is written, and logs that do not grow."""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from f2fcam import channel, cli, service
from f2fcam.audio import process as sound
from f2fcam.audio import virtual_microphone
from f2fcam.control import STOP_TIMEOUT_S, request
from f2fcam.engine_process import Limits
from f2fcam.errors import F2FError
from f2fcam.logs import log_folder, trim
from f2fcam.notify import Notifier
from f2fcam.publish import process
from tests.test_supervisor import LIMIT_S, runtime

__all__ = ["runtime"]

ROOT = Path(__file__).resolve().parent.parent
CAMERA = "from tests.test_supervisor import *; Supervisor(options(sink='null'), engine=ENGINE).run()"


class Manager:
    """The service manager's end."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = str(folder / "notify")
        self.socket.bind(self.path)
        self.socket.settimeout(LIMIT_S)

    def heard(self) -> str:
        return self.socket.recv(4096).decode()

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def test_nothing_is_said_where_nobody_listens():
    notifier = Notifier({})
    notifier.ready()
    notifier.alive(1.0)
    assert notifier.wait_s(1.0) == float("inf")


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_life_is_shown_three_times_in_the_watchdogs_span(manager: Manager):
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environment)
    assert environment == {}, "children may not speak for us"
    manager.socket.setblocking(False)
    said = 0
    for tick in range(600):
        notifier.alive(100 + tick / 100)
        with contextlib.suppress(BlockingIOError):
            said += manager.heard() == "WATCHDOG=1"
    assert said == 6


def test_a_watchdog_for_another_process_is_none_of_ours(manager: Manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"})
    assert notifier.wait_s(0.0) == float("inf")


def test_state_is_told_when_it_changes(manager: Manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.path})
    for text in ("running", "running", "asleep"):
        notifier.status(text)
    notifier.stopping()
    assert [manager.heard() for _ in range(3)] == ["STATUS=running", "STATUS=asleep", "STOPPING=1"]


def test_a_manager_that_is_behind_hears_the_state_later(manager: Manager):
    notifier, said = Notifier({"NOTIFY_SOCKET": manager.path}), 0
    full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    full.setblocking(False)
    with full, contextlib.suppress(BlockingIOError):
        while True:
            full.sendto(b"something else", manager.path)
            said += 1
    notifier.status("running")
    for _ in range(said):
        assert manager.heard() == "something else"
    notifier.status("running")
    assert manager.heard() == "STATUS=running"


def test_camera_tells_of_readiness_life_and_end(manager: Manager):
    environment = os.environ | {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000"}
    camera = subprocess.Popen([sys.executable, "-c", CAMERA], cwd=ROOT, env=environment)
    try:
        heard = [manager.heard()]
        while "STATUS=good: running, null" not in heard or heard.count("WATCHDOG=1") < 10:
            heard.append(manager.heard())
            assert len(heard) < 600, heard[-20:]
        assert heard[0] == "READY=1", "with the placeholder, long before the engine"
        assert "STATUS=good: starting, null" in heard
        os.kill(camera.pid, 19)  # hung: systemd would hear nothing more, and start it again
        manager.socket.settimeout(1.0)
        with pytest.raises(TimeoutError):
            while True:
                manager.heard()
        os.kill(camera.pid, 18)
        manager.socket.settimeout(LIMIT_S)
        camera.terminate()
        while manager.heard() != "STOPPING=1":
            pass
        assert camera.wait(LIMIT_S) == 0
    finally:
        camera.kill()
        camera.wait()


@pytest.fixture
def systemctl(tmp_path: Path, user_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it is asked; it fails when told `broken`."""
    calls, program = tmp_path / "calls", tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n[ ! -e {tmp_path}/broken ] || {{ echo no bus >&2; exit 1; }}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return calls


def test_service_is_installed_and_removed(systemctl: Path, user_folders: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["service", "install", "--profile", "alice", "--", "--sink", "pipewire"]) == 0
    file = user_folders / "xdg_config_home" / "systemd" / "user" / "f2fcam.service"
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(file)
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command == [
        sys.executable, *"-m f2fcam start --foreground --profile alice --sink pipewire".split()
    ]  # fmt: skip
    assert unit["Service"]["Type"] == "notify" and float(unit["Service"]["WatchdogSec"]) > 8
    calls = systemctl.read_text().splitlines()
    assert calls == [
        "--user --version",
        "--user daemon-reload",
        "--user enable f2fcam.service",
        "--user restart f2fcam.service",
    ]
    assert str(file) in capsys.readouterr().out
    assert cli.run(["service", "remove"]) == 0
    assert not file.exists()
    assert "--user disable --now f2fcam.service" in systemctl.read_text()
    assert cli.run(["service", "remove"]) == 0
    assert "not installed" in capsys.readouterr().out


def test_unknown_profile_installs_nothing(systemctl: Path):
    assert cli.run(["service", "install", "--profile", "nobody"]) == 4
    assert not systemctl.exists() and not service.unit_file().exists()


@pytest.mark.parametrize("options", ["--fsp 30", "--fps x", "--fps 0", "--size huge", "--quality best", "more"])
def test_wrong_options_install_nothing(systemctl: Path, options: str):
    assert cli.run(["service", "install", "--profile", "alice", "--", *options.split()]) == 2
    assert not systemctl.exists() and not service.unit_file().exists()


def test_nothing_is_installed_beside_a_camera_that_was_started_by_hand(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(service, "request", lambda command: {"pid": 77})
    assert cli.run(["service", "install", "--profile", "alice"]) == 1
    assert "running already" in capsys.readouterr().err and not service.unit_file().exists()
    monkeypatch.setattr(service, "request", lambda command: {"pid": ""})  # as systemctl says: the service's own
    assert cli.run(["service", "install", "--profile", "alice"]) == 0


def test_a_systemctl_that_hangs_is_told(systemctl: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "TIMEOUT_S", 0.2)
    program = Path(os.environ["PATH"]) / "systemctl"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    with pytest.raises(F2FError, match="does not come to an end"):
        service.install(["--profile", "alice"])


def test_systemd_waits_for_the_end_as_long_as_it_may_take():
    """One thing after the other, each as slow as it may be."""
    killed_s = 0.2 + channel.KILLED_S
    engine_s = Limits().stop_s + killed_s
    sound_s = sound.STOP_S + killed_s + virtual_microphone.TIMEOUT_S
    output_s = process.CLOSE_TIMEOUT_S + killed_s
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read_string(service.unit_text(["f2fcam"]))
    longest_s = engine_s + sound_s + killed_s + output_s
    assert longest_s < float(unit["Service"]["TimeoutStopSec"]) <= STOP_TIMEOUT_S
    assert float(unit["Service"]["WatchdogSec"]) > process.SEND_TIMEOUT_S


def test_systemds_refusal_is_told(systemctl: Path, tmp_path: Path):
    (tmp_path / "broken").touch()
    with pytest.raises(F2FError, match="no bus"):
        service.install(["--profile", "alice"])
    assert not service.unit_file().exists()


def test_no_systemd_at_all(user_folders: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(F2FError, match="no systemd"):
        service.install(["--profile", "alice"])


def test_strange_arguments_reach_the_command_as_they_are():
    line = service.unit_text(["python", "a b", '50% of "$HOME"']).split("ExecStart=")[1].splitlines()[0]
    assert line == 'python "a b" "50%% of \\"$$HOME\\""'


def test_logs_lie_in_the_state_folder(user_folders: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("F2FCAM_RUNTIME_DIR")
    assert log_folder() == user_folders / "xdg_state_home" / "f2fcam"
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nothing")
    assert log_folder() == user_folders / "xdg_runtime_dir" / "f2fcam"


def test_a_log_that_grew_is_begun_anew_while_its_process_writes(tmp_path: Path):
    file = tmp_path / "engine.log"
    with file.open("ab", buffering=0) as log:
        for number in range(5):
            log.write(f"{number}".encode() * 600)
            trim(tmp_path, limit=1000)
    assert file.stat().st_size <= 1000 and (tmp_path / "engine.1.log").stat().st_size <= 1200
    assert file.read_bytes() == b"4" * 600
    trim(tmp_path, limit=1000)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_running_camera_says_where_its_logs_are(runtime: Path):
    camera = subprocess.Popen([sys.executable, "-c", CAMERA], cwd=ROOT)
    try:
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                logs = request("status")["logs"]
                break
            except F2FError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert (Path(logs) / "engine.log").is_file()
    finally:
        camera.terminate()
        camera.wait(LIMIT_S)
