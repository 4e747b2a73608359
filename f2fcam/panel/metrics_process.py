"""The near end of the metrics: opens the port, and keeps the process alive that serves it. Time comes in as an argument."""

from __future__ import annotations

import logging
import sys

from f2fcam.channel import Child
from f2fcam.errors import F2FError
from f2fcam.logs import log_folder
from f2fcam.pacing import Backoff
from f2fcam.panel.listener import listen

log = logging.getLogger(__name__)


class MetricsProcess:
    """`panel.exporter` at a port of this machine; the port stays open while that process is started again.

    Attributes:
        url: where a Prometheus server finds the numbers.
    """

    def __init__(self, port: int, now: float) -> None:
        self._listener = listen(port, "the metrics")
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/metrics"
        self._backoff, self._retry_at = Backoff(), now
        self._child: Child | None = None
        self._started = now
        self.step(now)

    def step(self, now: float) -> None:
        """Notice its end, and the time for another try."""
        child = self._child
        if child is not None:
            child.channel.receive()
            reason = child.ended()
            if reason is None:
                return
            log.warning("the metrics' process has ended: %s; look into %s", reason, child.log)
            child.close()
            self._child, self._retry_at = None, now + self._backoff.failed(now - self._started)
        if now >= self._retry_at:
            descriptor = self._listener.fileno()
            command = [sys.executable, "-m", "f2fcam.panel.exporter"]
            self._started = now
            try:
                self._child = Child(command, {"listener": descriptor}, (descriptor,), log_folder() / "metrics.log")
            except F2FError as error:
                log.warning("no metrics for now: %s", error.message)
                self._retry_at = now + self._backoff.failed(0.0)

    def close(self) -> None:
        """End it and close the port."""
        if self._child is not None:
            self._child.close(stacks=False)
        self._listener.close()
