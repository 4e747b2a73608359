"""The camera's numbers for Prometheus: all that `status` knows, from a process that outlives engines and comes back itself."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from f2fcam.control import request
from f2fcam.daemon import start_detached
from f2fcam.errors import ConfigError, DeviceError
from f2fcam.memory import family
from f2fcam.panel import exporter
from f2fcam.panel.exporter import metrics_of
from f2fcam.panel.listener import listen
from tests.test_supervisor import ENGINE, LIMIT_S, options, runtime

__all__ = ["runtime"]

STATUS = {
    "state": "asleep",
    "uptime_s": 12.5,
    "readers": 0,
    "fps": {"output": 1.0, "engine": 0.0},
    "frames": 90,
    "drops": {"capture": 3, "output": 1},
    "restarts": 2,
    "sink_losses": 1,
    "latency_ms": {"p50": 80.0, "p95": 120.0},
    "stages_ms": {"track": {"p50": 20.0, "p95": 30.0}, "render": {"p50": None, "p95": None}},
    "faces": 1,
}


def samples(metrics) -> dict[str, float]:
    """`name{label,...}` -> value."""
    found = {}
    for metric in metrics:
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                labels = ",".join(value for _, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def scraped(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
        return samples(text_string_to_metric_families(answer.read().decode()))


def until(url: str, wanted) -> dict[str, float]:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            found = scraped(url)
            if wanted(found):
                return found
        except (OSError, urllib.error.URLError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_all_that_is_known_in_base_units():
    found = samples(metrics_of(STATUS))
    assert found["f2fcam_up"] == 1 and found["f2fcam_state{asleep}"] == 1 and found["f2fcam_state{running}"] == 0
    assert found["f2fcam_stage_seconds{0.5,track}"] == 0.02 and found["f2fcam_latency_seconds{0.95}"] == 0.12
    assert found["f2fcam_drops_total{capture}"] == 3 and found["f2fcam_engine_restarts_total"] == 2
    assert found["f2fcam_pictures_total"] == 90 and found["f2fcam_pictures_per_second{output}"] == 1
    assert found["f2fcam_readers"] == 0 and found["f2fcam_faces"] == 1 and found["f2fcam_output_losses_total"] == 1
    assert not [name for name in found if "confidence" in name or "sound" in name or "render" in name]


def test_what_comes_later_is_passed_on():
    found = samples(metrics_of({**STATUS, "confidence": 0.9, "sound": {"delay_ms": 88.0, "target_ms": 100.0}}))
    assert found["f2fcam_tracking_confidence"] == 0.9 and found["f2fcam_sound_offset_seconds"] == -0.012


def test_without_a_camera_it_says_so():
    assert samples(metrics_of(None)) == {"f2fcam_up": 0}


def test_numbers_of_a_running_camera_outlive_its_engine_and_its_own_process():
    start_detached(options(sink="null", metrics_port=0), engine=ENGINE)
    status = request("status")
    url = status["metrics"]
    found = until(url, lambda found: "f2fcam_stage_seconds{0.5,render}" in found)
    assert found["f2fcam_up"] == 1 and found["f2fcam_state{running}"] == 1 and "f2fcam_readers" not in found
    os.kill(status["engine_pid"], signal.SIGKILL)
    until(url, lambda found: found["f2fcam_engine_restarts_total"] == 1 and found["f2fcam_state{running}"] == 1)
    exporter = next(pid for pid in family(status["pid"]) if "exporter" in name_of(pid))
    os.kill(exporter, signal.SIGKILL)
    until(url, lambda found: found["f2fcam_up"] == 1)
    assert request("status")["restarts"] == 1
    asked = urllib.request.Request(url, headers={"Host": "evil.example:80"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(asked, timeout=LIMIT_S)
    request("stop")
    with pytest.raises(OSError):
        scraped(url)


def test_who_connects_and_says_nothing_holds_up_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporter.OwnHost, "timeout", 3.0)
    http = exporter.server(listen(0, "a test"), lambda: STATUS)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", http.server_port), timeout=LIMIT_S) as idle:
            found = scraped(f"http://127.0.0.1:{http.server_port}/metrics")
            assert found["f2fcam_up"] == 1
            idle.setblocking(False)
            with pytest.raises(BlockingIOError):
                idle.recv(1)
            idle.settimeout(LIMIT_S)
            assert idle.recv(1) == b"", "and is hung up on"
    finally:
        http.shutdown()
        thread.join(LIMIT_S)
        http.server_close()


def test_taken_port_is_told():
    with listen(0, "a test") as taken, pytest.raises(DeviceError, match="metrics"):
        start_detached(options(sink="null", metrics_port=taken.getsockname()[1]), engine=ENGINE)


def test_impossible_port():
    with pytest.raises(ConfigError):
        options(metrics_port=70000)


def name_of(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:  # noqa: PTH123
        return file.read()
