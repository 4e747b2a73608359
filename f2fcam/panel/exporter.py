"""The camera's numbers for Prometheus, on 127.0.0.1 only: a process that asks the control socket when it is asked itself."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from f2fcam import control
from f2fcam.channel import die_with_parent, from_parent
from f2fcam.errors import F2FError

Status = dict[str, Any]

STATES = ("starting", "running", "asleep", "paused", "restarting", "stopping")
HOSTS = ("127.0.0.1", "localhost")
IDLE_S = 10.0
"""A connection that has asked nothing by then is closed."""
QUANTILES = (("p50", "0.5"), ("p95", "0.95"))


def metrics_of(status: Status | None) -> Iterator[Metric]:
    """What `f2fcam status` knows, in seconds and counts; without a camera only that there is none.

    Over the last ten seconds of pictures, as there: quantiles are gauges. What is not known is left out.
    """
    yield _gauge("up", "Whether the camera answers.", [((), float(status is not None))])
    if status is None:
        return
    fps, latency = status.get("fps", {}), status.get("latency_ms", {})
    yield _gauge(
        "state", "1 for the state it is in.", [((s,), float(status.get("state") == s)) for s in STATES], "state"
    )
    yield _gauge("uptime_seconds", "Since the camera was started.", _one(status.get("uptime_s")))
    yield _gauge("readers", "Who looks at the camera, at least.", _one(status.get("readers")))
    yield _gauge("pictures_per_second", "Sent, and made by the engine.", [((k,), v) for k, v in fps.items()], "by")
    yield _counter("pictures", "Sent, repeats and placeholders included.", _one(status.get("frames")))
    yield _counter("drops", "Pictures left out after a stage.", list(_by(status.get("drops", {}))), "stage")
    yield _counter("engine_restarts", "Engines that were lost.", _one(status.get("restarts")))
    yield _counter("output_losses", "Times that the camera's device went away.", _one(status.get("sink_losses")))
    yield _gauge("latency_seconds", "From capture until sent.", list(_spread((), latency)), "quantile")
    stages = [sample for name, one in status.get("stages_ms", {}).items() for sample in _spread((name,), one)]
    yield _gauge("stage_seconds", "What a stage takes for a picture.", stages, "stage", "quantile")
    yield _gauge("faces", "In the source's picture.", _one(status.get("faces")))
    yield _gauge("tracking_confidence", "From 0 to 1.", _one(status.get("confidence")))
    sound = status.get("sound") or {}
    delay_ms, wanted_ms = sound.get("delay_ms"), sound.get("target_ms")
    late_s = None if delay_ms is None or wanted_ms is None else (delay_ms - wanted_ms) / 1e3
    yield _gauge("sound_offset_seconds", "Sound after picture.", _one(late_s))


class Camera(Collector):
    """The running camera, asked anew for each answer."""

    def __init__(self, ask: Callable[[], Status | None]) -> None:
        self._ask = ask

    def collect(self) -> Iterable[Metric]:
        """What there is to tell now."""
        return (metric for metric in metrics_of(self._ask()) if metric.samples)


def running_status() -> Status | None:
    """What the running camera says; None where none answers."""
    try:
        return control.request("status")
    except F2FError:
        return None


class OwnHost(WSGIRequestHandler):
    """Answers those who came by this machine's own name: a page of another site cannot read along (DNS rebinding)."""

    timeout = IDLE_S

    def handle(self) -> None:
        """Answer; hang up on who asks nothing."""
        with contextlib.suppress(TimeoutError):
            super().handle()

    def parse_request(self) -> bool:
        """Refuse other names."""
        if not super().parse_request():
            return False
        if str(self.headers.get("Host", "")).rpartition(":")[0] in HOSTS:
            return True
        self.send_error(400, "Invalid host")
        return False

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing per request."""


class ThreadedServer(ThreadingMixIn, WSGIServer):
    """One thread a connection: one that says nothing holds up no other."""

    daemon_threads = True


def server(listener: socket.socket, ask: Callable[[], Status | None]) -> ThreadedServer:
    """An HTTP server on a socket that listens already."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Camera(ask))
    made = ThreadedServer(("127.0.0.1", 0), OwnHost, bind_and_activate=False)
    made.socket.close()
    made.socket = listener
    made.server_name, made.server_port = listener.getsockname()[:2]
    made.setup_environ()
    made.set_app(make_wsgi_app(registry))
    return made


def main() -> int:
    """Serve until the camera is gone."""
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    channel, setup = from_parent()
    http = server(socket.socket(fileno=int(setup["listener"])), running_status)
    thread = threading.Thread(target=http.serve_forever, name="http", daemon=True)
    thread.start()
    for _ in channel.messages():  # there are none: it ends with the camera
        pass
    http.shutdown()
    thread.join()
    return 0


def _gauge(name: str, text: str, samples: list[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"f2fcam_{name}", text, labels=labels), samples)


def _counter(name: str, text: str, samples: list[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"f2fcam_{name}", text, labels=labels), samples)


def _filled(metric: Any, samples: list[tuple[tuple[str, ...], float]]) -> Metric:
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def _one(value: float | None) -> list[tuple[tuple[str, ...], float]]:
    return [] if value is None else [((), float(value))]


def _by(values: dict[str, float]) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, value in values.items():
        yield (name,), float(value)


def _spread(labels: tuple[str, ...], times_ms: dict[str, float | None]) -> Iterator[tuple[tuple[str, ...], float]]:
    for key, quantile in QUANTILES:
        value = times_ms.get(key)
        if value is not None:
            yield (*labels, quantile), value / 1e3


if __name__ == "__main__":
    sys.exit(main())
