"""Commands over the socket, the lock, and errors that keep their kind on the way."""

from __future__ import annotations

import os
import resource
import select
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from f2fcam import control
from f2fcam.channel import Channel, Message
from f2fcam.control import CameraRuns, ControlServer, error_from, error_message, request, runtime_folder
from f2fcam.engine_process import Limits
from f2fcam.errors import ConfigError, DeviceError, F2FError, InputError, ProfileError

WAIT_S = 20.0


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(folder))
    return folder


def serve_one(server: ControlServer, answer: Callable[[Message], Message]) -> threading.Thread:
    """Answer one request in a thread, then hang up."""

    def serve() -> None:
        assert select.select([server], [], [], WAIT_S)[0]
        client = server.accept()
        assert client is not None
        while not (messages := client.receive()):
            select.select([client], [], [], WAIT_S)
        client.send(answer(messages[0]))
        client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_request_and_answer():
    server = ControlServer()
    thread = serve_one(server, lambda message: {"state": "ok", "got": message})
    assert request("switch", profile="anna")["got"] == {"command": "switch", "profile": "anna"}
    thread.join(WAIT_S)
    server.close()


def test_errors_keep_their_kind():
    server = ControlServer()
    thread = serve_one(server, lambda _: error_message(ProfileError("No profile.", hint="List them.")))
    with pytest.raises(ProfileError, match=r"No profile\.") as caught:
        request("switch", profile="anna")
    assert caught.value.hint == "List them."
    thread.join(WAIT_S)
    server.close()


@pytest.mark.parametrize("kind", [F2FError, ConfigError, DeviceError, ProfileError, InputError])
def test_every_kind_of_error_survives_the_socket(kind: type[F2FError]):
    there_and_back = error_from(error_message(kind("What.", hint="How.")))
    assert there_and_back.exit_code == kind.exit_code
    assert (there_and_back.message, there_and_back.hint) == ("What.", "How.")


def test_nothing_runs():
    with pytest.raises(F2FError, match="No camera is running"):
        request("status")


@pytest.mark.parametrize("command", ["status", "stop"])
def test_a_camera_that_hangs_is_not_taken_for_one_that_has_ended(command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(control, "STOP_TIMEOUT_S", 0.2)
    if command == "status":
        monkeypatch.setattr(control, "REPLY_TIMEOUT_S", 0.2)
    server, clients = ControlServer(), []

    def answer() -> None:
        assert select.select([server], [], [], WAIT_S)[0]
        clients.append(server.accept())
        if command == "stop":
            clients[0].send({"state": "stopping"})

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(F2FError, match="not ended yet" if command == "stop" else "does not answer") as caught:
        request(command)
    assert f"kill -9 {os.getpid()}" in caught.value.hint
    thread.join(WAIT_S)
    clients[0].close()
    server.close()


def test_a_switch_is_waited_for_as_long_as_an_engine_may_take():
    assert Limits().first_tries * Limits().start_s < control.SWITCH_TIMEOUT_S


def test_other_errors_do_not_say_that_no_camera_runs(monkeypatch: pytest.MonkeyPatch):
    """A camera that hangs, and before which eight others wait."""

    def refuse(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    server = ControlServer()
    monkeypatch.setattr(control.socket.socket, "connect", refuse)
    with pytest.raises(F2FError, match="cannot be asked"):
        request("status")
    server.close()


def test_where_no_socket_can_be_no_camera_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / ("x" * 120)))
    with pytest.raises(F2FError, match="No camera is running"):
        request("status")


def test_a_lock_that_cannot_be_taken_is_no_camera(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(control.fcntl, "flock", refuse)
    with pytest.raises(F2FError, match="No locks available"):
        ControlServer()


def test_one_camera_per_user():
    server = ControlServer()
    with pytest.raises(F2FError, match=str(os.getpid())):
        ControlServer()
    server.close()
    ControlServer().close()


def test_a_place_that_was_swept_away_is_made_anew(runtime: Path):
    server = ControlServer()
    shutil.rmtree(runtime)
    with pytest.raises(F2FError, match="No camera is running"):
        request("status")
    server.keep_place()
    thread = serve_one(server, lambda _: {"state": "running"})
    assert request("status")["state"] == "running"
    thread.join(WAIT_S)
    with pytest.raises(F2FError, match=f"running already .process {os.getpid()}"):
        ControlServer()
    server.close()
    assert not (runtime / "control.sock").exists()
    ControlServer().close()


def test_whoever_lost_the_place_to_another_leaves_it_to_them(runtime: Path):
    server = ControlServer()
    shutil.rmtree(runtime)
    other = ControlServer()
    with pytest.raises(CameraRuns):
        server.keep_place()
    server.close()
    assert (runtime / "control.sock").exists(), "the other one's"
    other.close()


def test_a_place_that_cannot_be_made_is_told_once(runtime: Path, caplog: pytest.LogCaptureFixture):
    server = ControlServer()
    shutil.rmtree(runtime)
    runtime.write_text("in the way")
    for _ in range(3):
        server.keep_place()
    assert len(caplog.records) == 1
    runtime.unlink()
    server.keep_place()
    server.close()


def test_without_descriptors_who_asks_is_hung_up_on(runtime: Path):
    server, soft, hard = ControlServer(), *resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(socket.socket(socket.AF_UNIX)) as asker:
        asker.connect(str(server.path))
        lowest = os.dup(0)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            assert server.accept() is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        asker.settimeout(WAIT_S)
        assert asker.recv(1) == b""
        assert not select.select([server], [], [], 0)[0], "or the camera's loop would spin"
    with closing(socket.socket(socket.AF_UNIX)) as asker, pytest.MonkeyPatch.context() as taken:
        asker.connect(str(server.path))
        taken.setattr("f2fcam.control._spare", lambda: None)  # another program took it meanwhile
        lowest = os.dup(0)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            assert server.accept() is None and server.accept() is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    thread = serve_one(server, lambda _: {"state": "running"})
    assert request("status")["state"] == "running"
    thread.join(WAIT_S)
    server.close()


def test_socket_that_a_killed_camera_left_is_replaced(runtime: Path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(runtime_folder() / "control.sock"))
    left.close()
    server = ControlServer()
    thread = serve_one(server, lambda _: {"state": "running"})
    assert request("status")["state"] == "running"
    thread.join(WAIT_S)
    server.close()
    assert not (runtime / "control.sock").exists()


def test_folder_is_ours_alone(runtime: Path):
    assert runtime_folder() == runtime
    assert runtime.stat().st_mode & 0o777 == 0o700
    runtime.chmod(0o777)
    with pytest.raises(F2FError, match="others can write"):
        runtime_folder()


def test_folder_behind_a_link_is_refused(runtime: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    runtime.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(F2FError):
        runtime_folder()


def test_too_long_a_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / ("x" * 120)))
    with pytest.raises(F2FError, match="cannot be made"):
        ControlServer()
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / "short"))
    ControlServer().close()


def test_broken_lines_are_passed_over():
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    ours.sendall(b'nonsense\n[1]\n{"command": "status"}\n{"half": ')
    assert channel.receive() == [{"command": "status"}]
    ours.sendall(b"1}\n")
    assert channel.receive() == [{"half": 1}]
    ours.close()
    assert channel.receive() == [] and channel.ended
    channel.close()
