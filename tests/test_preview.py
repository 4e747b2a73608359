"""The preview page: the live picture and the state over HTTP on this machine, for this machine's own page only."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from f2fcam.errors import ConfigError, DeviceError
from f2fcam.publish.preview import open_preview
from f2fcam.publish.process import ProcessSink
from f2fcam.ring import i420_bytes

SIZE = (160, 90)
WAIT_S = 30.0


def picture(level: int) -> bytes:
    width, height = SIZE
    return bytes([level]) * (width * height) + bytes([128]) * (i420_bytes(*SIZE) - width * height)


class Feeder:
    """Shows pictures of a rising grey until told to stop."""

    def __init__(self, sink: ProcessSink) -> None:
        self._sink, self._stop = sink, threading.Event()
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self) -> None:
        number = 0
        while not self._stop.wait(0.01):
            self._sink.send(picture(60 + number % 100), number)
            number += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)


@pytest.fixture(autouse=True, scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path_factory.mktemp("preview") / "run"))
        yield


@pytest.fixture(scope="module")
def sink(runtime: None) -> Iterator[ProcessSink]:
    sink = open_preview("", SIZE, 30.0)
    feeder = Feeder(sink)
    yield sink
    feeder.stop()
    sink.close()


connections: list[http.client.HTTPConnection] = []


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    yield
    while connections:
        connections.pop().close()


def ask(sink: ProcessSink, path: str, host: str | None = None, site: str | None = None) -> http.client.HTTPResponse:
    port = int(sink.device.rsplit(":", 1)[1].strip("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    connections.append(connection)
    connection.request(
        "GET", path, headers=({"Host": host} if host else {}) | ({"Sec-Fetch-Site": site} if site else {})
    )
    return connection.getresponse()


def parts(answer: http.client.HTTPResponse, count: int) -> list[np.ndarray]:
    """The first `count` pictures of the stream."""
    pictures = []
    while len(pictures) < count:
        line = answer.readline()
        assert line, "the stream ended"
        if line.lower().startswith(b"content-length"):
            length = int(line.split(b":")[1])
            assert answer.readline() == b"\r\n"
            pictures.append(cv2.imdecode(np.frombuffer(answer.read(length), np.uint8), cv2.IMREAD_COLOR))
    answer.close()
    return pictures


def test_stream_shows_the_newest_pictures(sink: ProcessSink):
    answer = ask(sink, "/stream")
    assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
    got = parts(answer, 8)
    assert all(one.shape == (SIZE[1], SIZE[0], 3) for one in got)
    assert len({int(one.mean()) for one in got}) > 1, "the picture moves"
    assert all(np.ptp(one.mean(axis=(0, 1))) < 3 for one in got), "grey stays grey"


def test_several_viewers_and_one_that_leaves(sink: ProcessSink):
    first, second = ask(sink, "/stream"), ask(sink, "/stream")
    assert len(parts(first, 2)) == 2
    assert len(parts(second, 4)) == 4
    assert len(parts(ask(sink, "/stream"), 2)) == 2


def test_page_is_whole_and_loads_nothing_from_elsewhere(sink: ProcessSink):
    answer = ask(sink, "/")
    page = answer.read().decode()
    assert answer.status == 200 and "AI MODIFIED" in page and "/stream" in page
    assert "http://" not in page and "https://" not in page and "//cdn" not in page


def test_status_without_a_camera_is_told(sink: ProcessSink):
    answer = ask(sink, "/status")
    assert json.loads(answer.read())["error"] == "No camera is running."


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.7:8321", ""])
@pytest.mark.parametrize("path", ["/", "/stream", "/status"])
def test_foreign_names_are_refused(sink: ProcessSink, host: str, path: str):
    answer = ask(sink, path, host or "0.0.0.0")
    assert answer.status == 400


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_pages_of_other_sites_do_not_wake_the_webcam(sink: ProcessSink, site: str, status: int):
    answer = ask(sink, "/stream", site=site)
    assert answer.status == status
    answer.close()


def test_answers_are_for_our_own_origin(sink: ProcessSink):
    headers = ask(sink, "/status").headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_listens_on_this_machine_only(sink: ProcessSink):
    port = int(sink.device.rsplit(":", 1)[1].strip("/"))
    local = {f"0100007F:{port:04X}"}
    listening = {
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }
    assert {address for address in listening if address.endswith(f":{port:04X}")} == local


def test_taken_port_is_told_or_avoided():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(DeviceError, match="cannot be used"):
            open_preview(str(other.getsockname()[1]), SIZE, 30.0)
    with pytest.raises(ConfigError):
        open_preview("http", SIZE, 30.0)


def test_closing_ends_the_streams_and_the_process():
    sink = open_preview("", SIZE, 30.0)
    feeder = Feeder(sink)
    answer = ask(sink, "/stream")
    feeder.stop()
    sink.close()
    while answer.readline():
        pass
    with pytest.raises(OSError):
        ask(sink, "/")
    assert not Path(f"/proc/{sink.pid}").exists()


def test_dead_worker_is_told():
    sink = open_preview("", SIZE, 30.0)
    os.kill(sink.pid, signal.SIGKILL)

    def send_on() -> None:
        for _ in range(int(WAIT_S / 0.01)):
            sink.send(picture(100), 0)
            threading.Event().wait(0.01)

    with pytest.raises(DeviceError, match="SIGKILL"):
        send_on()
    with pytest.raises(DeviceError):
        sink.close()


@pytest.mark.parametrize("where", ["99999", "-1", "page"])
def test_what_is_no_port_is_refused(where: str):
    with pytest.raises(ConfigError, match="port"):
        open_preview(where, (64, 48), 30.0)
