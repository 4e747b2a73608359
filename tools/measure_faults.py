"""How long the camera takes until good pictures come again, with the real engine: the figures of `docs/reliability.md`.

`python tools/measure_faults.py` starts a camera of the synthetic actor with the preview page, looks at it as a browser does,
and does one harm after the other. Good again are pictures that change: a still and the placeholder do not.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from pathlib import Path

from f2fcam.config import StartConfig
from f2fcam.control import request
from f2fcam.daemon import start_detached
from f2fcam.memory import family

LIMIT_S = 120.0
IDLE_S = 2.0
CALM_S = 31.0
"""After so long the wait before the next try is the shortest again."""


class Viewer:
    """A browser before the preview page: notes when a picture was another than the one before."""

    def __init__(self, url: str) -> None:
        self.changed: deque[float] = deque(maxlen=10_000)
        self.first_s: float | None = None
        self.longest_gap_s = 0.0
        self._url, self._closed = url, False
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        last, at = b"", time.monotonic()
        with urllib.request.urlopen(f"{self._url}stream") as stream:
            while not self._closed and (line := stream.readline()):
                if not line.lower().startswith(b"content-length"):
                    continue
                length = int(line.split(b":")[1])
                stream.readline()
                picture, now = stream.read(length), time.monotonic()
                self.longest_gap_s, at = max(self.longest_gap_s, now - at), now
                if last and picture != last:
                    self.changed.append(now)
                last = picture

    def good_since(self, since: float) -> float:
        """The first of three pictures that changed within a second, after `since`."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            times = [at for at in list(self.changed) if at > since]
            for first, third in zip(times, times[2:], strict=False):
                if third - first < 1.0:
                    return first
            time.sleep(0.01)
        raise TimeoutError("no good pictures")

    def close(self) -> None:
        """Go away."""
        self._closed = True
        self._thread.join(LIMIT_S)


def engine_and_tracker() -> tuple[int, int]:
    """Their process numbers."""
    engine = request("status")["engine_pid"]
    return engine, next(pid for pid in family(engine) if pid != engine)


def until_asleep() -> None:
    """Wait until the camera rests."""
    while request("status")["state"] != "asleep":
        time.sleep(0.05)


def processor_share(seconds: float) -> float:
    """What all processes of the camera take of a core, in per cent."""

    def ticks() -> int:
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in family(pid_of_camera)]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats)

    pid_of_camera = request("status")["pid"]
    before, since = ticks(), time.monotonic()
    time.sleep(seconds)
    return 100 * (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - since)


def main() -> int:
    """Print a line for each harm."""
    os.environ["F2FCAM_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="f2fcam-faults-")
    start_detached(StartConfig("alice", source="synthetic", sink="preview:0", idle_s=IDLE_S))
    while (url := request("status")["device"]) is None or request("status")["state"] not in ("running", "asleep"):
        time.sleep(0.1)
    try:
        viewer = Viewer(url)
        viewer.good_since(time.monotonic())
        time.sleep(15)  # the actor is learnt
        harms = {
            "engine killed": lambda: os.kill(engine_and_tracker()[0], signal.SIGKILL),
            "tracker killed": lambda: os.kill(engine_and_tracker()[1], signal.SIGKILL),
            "engine stopped": lambda: os.kill(engine_and_tracker()[0], signal.SIGSTOP),
            "paused and resumed": lambda: (request("pause"), time.sleep(2), request("resume")),
            "switched": lambda: request("switch", profile="alice"),
        }
        for name, harm in harms.items():
            viewer.longest_gap_s, since = 0.0, time.monotonic()
            harm()
            time.sleep(0.5)
            good = viewer.good_since(since + 0.5) - since
            print(f"{name}: good again after {good:.2f} s, no picture for {viewer.longest_gap_s:.2f} s at most")
            time.sleep(CALM_S)
        viewer.close()
        for _ in range(2):
            until_asleep()
            print(f"asleep: {processor_share(30.0):.2f} % of a core")
            since = time.monotonic()
            viewer = Viewer(url)
            after = viewer.good_since(since) - since
            time.sleep(1.0)  # the engine reports twice a second
            woke_ms = request("status")["woke_ms"]
            print(f"a reader comes: changing pictures after {after:.2f} s; {woke_ms} ms from the source's first frame")
            viewer.close()
        print({key: request("status")[key] for key in ("restarts", "fps", "latency_ms")})
    finally:
        request("stop")
    return 0


if __name__ == "__main__":
    sys.exit(main())
