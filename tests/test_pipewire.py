"""The PipeWire node: its logic against a server made of calls, and pictures through a real one, read by GStreamer."""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from f2fcam import cli, publish
from f2fcam.config import StartConfig
from f2fcam.control import request
from f2fcam.daemon import start_detached
from f2fcam.errors import ConfigError, DeviceError, F2FError
from f2fcam.publish import libpipewire
from f2fcam.publish.libpipewire import ERROR, PAUSED, STREAMING, UNCONNECTED, StreamEvents
from f2fcam.publish.pipewire import PipeWireSink, open_pipewire
from f2fcam.publish.spa_pod import (
    I420,
    PARAM_ENUM_FORMAT,
    PARAM_FORMAT,
    YUY2,
    Layout,
    offered_format,
    wanted_buffers,
    wanted_header,
)
from f2fcam.publish.v4l2 import yuyv_from_i420
from tests.fake_engine import index_in
from tests.pipewire_session import Session, missing_programs
from tests.test_supervisor import ENGINE

SIZE = (64, 48)
LIMIT_S = 30.0


class FakeStream:
    """The server's side: `happens` is played at the next `iterate`, as events come in the real loop."""

    def __init__(self, events: StreamEvents, properties: dict[str, str], formats: Sequence[bytes]) -> None:
        self.events, self.properties, self.formats = events, properties, list(formats)
        self.happens: list[tuple[str, tuple]] = []
        self.parameters: list[list[bytes]] = []
        self.filled: list[tuple[bytes, int, int, int]] = []
        self.free, self.triggers, self.closed = 100, 0, False

    def fileno(self) -> int:
        return 0

    def iterate(self) -> None:
        happened, self.happens = self.happens, []
        for name, arguments in happened:
            getattr(self.events, name)(*arguments)

    def update_parameters(self, pods: Sequence[bytes]) -> None:
        self.parameters.append(list(pods))

    def trigger(self) -> None:
        self.triggers += 1
        self.events.process()

    def fill(self, picture: bytes | bytearray | memoryview, stride: int, timestamp_ns: int, number: int) -> bool:
        if self.free == 0:
            return False
        self.free -= 1
        self.filled.append((bytes(picture), stride, timestamp_ns, number))
        return True

    def close(self) -> None:
        self.closed = True

    def state(self, state: int, error: str = "") -> None:
        self.happens.append(("state_changed", (state, error)))

    def format(self, pod: bytes | None) -> None:
        self.happens.append(("parameter_changed", (PARAM_FORMAT, pod)))

    def reader(self, pixels: int) -> None:
        """Somebody begins to look."""
        self.format(offered_format(pixels, SIZE, 30.0))
        self.state(STREAMING)


def picture(number: int = 0) -> bytearray:
    return bytearray(np.random.default_rng(number).integers(0, 256, SIZE[0] * SIZE[1] * 3 // 2, np.uint8).tobytes())


def camera() -> tuple[PipeWireSink, FakeStream]:
    sink = PipeWireSink(SIZE, 30.0, FakeStream)
    stream = sink._stream
    assert isinstance(stream, FakeStream)
    stream.state(PAUSED)
    return sink, stream


def test_node_is_a_camera_with_our_name():
    _, stream = camera()
    assert stream.properties["media.class"] == "Video/Source" and stream.properties["media.role"] == "Camera"
    assert stream.properties["node.name"] == stream.properties["node.description"] == "F2F Camera"
    assert stream.formats == [offered_format(I420, SIZE, 30.0), offered_format(YUY2, SIZE, 30.0)]


def test_pictures_are_let_go_while_nobody_looks():
    sink, stream = camera()
    sink.send(picture(), 1)
    assert not sink.readers and stream.triggers == 0
    stream.reader(I420)
    sink.send(picture(), 2)
    assert sink.readers and len(stream.filled) == 1
    stream.state(PAUSED)
    sink.send(picture(), 3)
    assert not sink.readers and stream.triggers == 1
    sink.close()
    assert stream.closed


def test_reader_gets_each_picture_with_its_time():
    sink, stream = camera()
    stream.reader(I420)
    for number in range(3):
        sink.send(memoryview(picture(number)), 1000 + number)
    assert stream.filled == [(bytes(picture(n)), 64, 1000 + n, n) for n in range(3)]
    assert stream.parameters == [[wanted_buffers(Layout(64 * 72, 64)), wanted_header()]]


def test_formats_can_change_between_readers():
    sink, stream = camera()
    stream.reader(YUY2)
    sink.send(picture(), 1)
    assert stream.filled[0][:2] == (bytes(yuyv_from_i420(picture(), *SIZE)), 128)
    stream.state(PAUSED)
    stream.format(None)
    sink.send(picture(), 2)
    stream.state(STREAMING)
    sink.send(picture(), 3)
    assert len(stream.filled) == 1, "no format, no picture"
    stream.reader(I420)
    sink.send(picture(4), 4)
    assert stream.filled[1][:2] == (bytes(picture(4)), 64) and len(stream.parameters) == 2


def test_other_parameters_and_unknown_formats_are_left_alone(caplog: pytest.LogCaptureFixture):
    sink, stream = camera()
    stream.reader(I420)
    stream.happens.append(("parameter_changed", (PARAM_ENUM_FORMAT, None)))
    sink.send(picture(), 1)
    assert len(stream.filled) == 1
    stream.format(offered_format(I420, (32, 24), 30.0))
    sink.send(picture(), 2)
    assert len(stream.filled) == 1 and "32x24" in caplog.text


def test_slow_readers_cost_pictures_and_nothing_else():
    sink, stream = camera()
    stream.reader(I420)
    stream.free = 1
    for number in range(3):
        sink.send(picture(number), number)
    stream.free = 1
    sink.send(picture(9), 9)
    assert [entry[2] for entry in stream.filled] == [0, 9] and (sink.frames, sink.skipped) == (2, 2)


def test_a_call_for_a_picture_that_we_have_not_is_not_answered():
    sink, stream = camera()
    stream.reader(I420)
    sink.attend()
    stream.events.process()
    assert stream.filled == []


@pytest.mark.parametrize("state", [ERROR, UNCONNECTED])
def test_server_that_goes_away_is_told(state: int):
    sink, stream = camera()
    stream.reader(I420)
    sink.send(picture(), 1)
    stream.state(state, "connection error")
    with pytest.raises(DeviceError, match="connection error") as caught:
        sink.attend()
    assert "systemctl --user start pipewire" in caught.value.hint and not sink.readers
    with pytest.raises(DeviceError):
        sink.send(picture(), 2)


def test_missing_library_is_told():
    with pytest.raises(DeviceError, match="libnothing") as caught:
        libpipewire.load("libnothing.so.0")
    assert "apt-get install pipewire" in caught.value.hint and caught.value.exit_code == 3


def test_nothing_comes_after_the_name():
    with pytest.raises(ConfigError, match="/dev/video0"):
        open_pipewire("/dev/video0", SIZE, 30.0)


def test_auto_takes_pipewire_where_there_is_no_device(monkeypatch: pytest.MonkeyPatch):
    def refuse(where: str, size: tuple[int, int], fps: float) -> publish.FrameSink:
        raise DeviceError("No device here.", hint="Get one.")

    assert publish.AUTOMATIC == ("v4l2", "pipewire", "preview")
    monkeypatch.setitem(publish.OPENERS, "v4l2", refuse)
    monkeypatch.setitem(publish.OPENERS, "pipewire", lambda where, size, fps: PipeWireSink(size, fps, FakeStream))
    name, sink = publish.open_automatic(SIZE, 30.0)
    assert name == "pipewire" and isinstance(sink, publish.AttendedSink)


# From here on with the real library, and most with a real server.


def need_library() -> None:
    try:
        libpipewire.load()
    except DeviceError as error:
        pytest.skip(f"{error.message} {error.hint}")


def test_missing_server_is_exit_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    need_library()
    for name in ("XDG_RUNTIME_DIR", "PIPEWIRE_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(DeviceError, match="No PipeWire server") as caught:
        open_pipewire("", SIZE, 30.0)
    assert "systemctl --user start pipewire" in caught.value.hint
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / "run"))
    line = ["start", "--profile", "alice", "--source", "synthetic", "--sink", "pipewire", "--foreground"]
    assert cli.run(line) == 3
    assert "systemctl --user start pipewire" in capfd.readouterr().err


@pytest.fixture(scope="module")
def real_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    need_library()
    missing = missing_programs()
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; run `bash tools/e2e_setup.sh`")
    with Session(tmp_path_factory.mktemp("pipewire")) as session:
        yield session


@pytest.fixture
def session(real_session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, real_session.environment[name])
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(real_session.runtime / "f2fcam"))
    return real_session


class Gst:
    """A GStreamer program that reads `count` pictures from the camera into a file, and ends."""

    def __init__(self, session: Session, file: Path, count: int, caps: str) -> None:
        if missing_programs(["gst-launch-1.0"]):
            pytest.skip("GStreamer is not installed; run `bash tools/e2e_setup.sh`")
        self._file = file
        line = ["gst-launch-1.0", "-q", "pipewiresrc", "target-object=F2F Camera", f"num-buffers={count}"]
        self._process = subprocess.Popen(
            [*line, "!", f"video/x-raw,{caps}", "!", "filesink", f"location={file}"],
            env=session.environment | {"GST_REGISTRY_FORK": "no"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Whatever it has got."""
        self._process.kill()
        self._process.communicate()

    def pictures(self, size: int) -> list[bytes]:
        """What it has read, in pictures of `size` bytes."""
        try:
            said, _ = self._process.communicate(timeout=LIMIT_S)
        finally:
            self._process.kill()
            self._process.wait()
        assert self._process.returncode == 0, said.decode()
        data = self._file.read_bytes()
        assert len(data) % size == 0
        return [data[at : at + size] for at in range(0, len(data), size)]


def serve(sink: PipeWireSink, readers: list[Gst]) -> list[bytes]:
    """Send numbered pictures as the supervisor does until the readers have enough; what was sent."""
    sent, deadline = [], time.monotonic() + LIMIT_S
    while any(reader.running() for reader in readers):
        assert time.monotonic() < deadline, "the readers get no pictures"
        sent.append(bytes(picture(len(sent))))
        sink.send(memoryview(bytearray(sent[-1])), time.monotonic_ns())
        ready, _, _ = select.select([sink], [], [], 1 / 60)
        if ready:
            sink.attend()
    return sent


def test_pictures_come_through_a_real_server(session: Session, tmp_path: Path):
    sink = open_pipewire("", SIZE, 60.0)
    try:
        reader = Gst(session, tmp_path / "planar", 10, "format=I420")
        sent = serve(sink, [reader])
        got = reader.pictures(len(picture()))
        at = sent.index(got[0])
        assert got == sent[at : at + 10], "the very bytes, none lost, in order"
    finally:
        sink.close()


def test_a_reader_can_have_packed_pictures(session: Session, tmp_path: Path):
    sink = open_pipewire("", SIZE, 60.0)
    try:
        reader = Gst(session, tmp_path / "packed", 5, "format=YUY2")
        sent = [bytes(yuyv_from_i420(memoryview(each), *SIZE)) for each in serve(sink, [reader])]
        got = reader.pictures(SIZE[0] * SIZE[1] * 2)
        assert got == sent[sent.index(got[0]) :][:5]
    finally:
        sink.close()


def test_readers_come_and_go_and_several_look_at_once(session: Session, tmp_path: Path):
    sink = open_pipewire("", SIZE, 60.0)
    try:
        readers = [Gst(session, tmp_path / f"together-{n}", count, "format=I420") for n, count in enumerate((20, 60))]
        sent = serve(sink, readers)
        both = [reader.pictures(len(picture())) for reader in readers]
        assert [len(got) for got in both] == [20, 60]
        assert all(each in sent for got in both for each in got)
        deadline = time.monotonic() + LIMIT_S
        while sink.readers:
            assert time.monotonic() < deadline
            select.select([sink], [], [], 1.0)
            sink.attend()
        reader = Gst(session, tmp_path / "later", 5, "format=I420")
        sent = serve(sink, [reader])
        assert all(each in sent for each in reader.pictures(len(picture())))
    finally:
        sink.close()


def test_a_hung_server_holds_nothing_up(session: Session, tmp_path: Path):
    """It takes no picture and gives no answer, and the camera neither waits for it nor gives it up."""
    sink = open_pipewire("", SIZE, 60.0)
    reader = Gst(session, tmp_path / "before", 5, "format=I420")
    serve(sink, [reader])
    reader.pictures(len(picture()))
    session.signal("pipewire", signal.SIGSTOP)
    held_up = threading.Timer(LIMIT_S, lambda: session.signal("pipewire", signal.SIGCONT))
    held_up.start()
    try:
        for number in range(100):
            sink.send(picture(number), time.monotonic_ns())
        open_pipewire("", SIZE, 60.0).close()
        assert held_up.is_alive(), "it waited until the server went on"
    finally:
        held_up.cancel()
        session.signal("pipewire", signal.SIGCONT)
    reader = Gst(session, tmp_path / "after", 5, "format=I420")
    sent = serve(sink, [reader])
    assert all(each in sent for each in reader.pictures(len(picture())))
    sink.close()


def test_a_reader_of_another_format_disturbs_nobody(session: Session, tmp_path: Path):
    sink = open_pipewire("", SIZE, 60.0)
    reader = Gst(session, tmp_path / "planar", 60, "format=I420")
    while not sink.readers:
        select.select([sink], [], [], LIMIT_S)
        sink.attend()
    other = Gst(session, tmp_path / "packed", 5, "format=YUY2")
    sent = serve(sink, [reader])
    assert all(each in sent for each in reader.pictures(len(picture())))
    other.end()
    sink.close()


def test_camera_survives_its_server(session: Session, tmp_path: Path):
    size = (320, 180)
    config = StartConfig("good", source="fake", sink="pipewire", size=size, fps=60.0)
    assert start_detached(config, engine=ENGINE) == "F2F Camera (PipeWire)"
    pid = request("status")["pid"]
    try:
        before = watch(session, tmp_path / "before", size)
        session.stop_server()
        session.wait(lambda: request("status")["device"] is None, "the loss")
        session.start_server()
        session.wait(lambda: "F2F Camera" in session.query("ls", "Node"), "the camera's return")
        after = watch(session, tmp_path / "after", size)
        assert after[0] > before[-1]
        status = request("status")
        assert status["device"] == "F2F Camera (PipeWire)" and status["restarts"] == 0
        assert any("went away" in one["reason"] for one in status["sink_reasons"])
        session.wait(lambda: request("status")["readers"] == 0, "the last reader's leave")
    finally:
        request("stop")
        os.waitpid(pid, 0)  # nobody else does, and other tests count this process's children
    with pytest.raises(F2FError, match="No camera is running"):
        request("status")
    assert "F2F Camera" not in session.query("ls", "Node")


def watch(session: Session, file: Path, size: tuple[int, int]) -> list[int]:
    """The numbers in the pictures of two seconds that a program gets; the first are the still from before it looked."""
    width, height = size
    pictures = Gst(session, file, 120, "format=I420").pictures(width * height * 3 // 2)
    luma = [np.frombuffer(each, np.uint8)[: width * height].reshape(height, width) for each in pictures]
    numbers = [index_in(each) for each in luma]
    acted = list(itertools.dropwhile(lambda number: number == numbers[0], numbers))  # whose source counts anew
    assert len(set(acted)) > 3 and acted == sorted(acted)
    return numbers
