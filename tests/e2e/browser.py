"""A browser without a window that opens `page.html`, and what the page reports. No browser driver: the page does it all."""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.pipewire_session import Session

PAGE = Path(__file__).with_name("page.html")
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --use-fake-ui-for-media-stream --autoplay-policy=no-user-gesture-required --enable-logging=stderr "
    "--enable-features=WebRtcPipeWireCamera"
).split()
"""The last one is what a user needs (docs/camera.md); `no-sandbox` since tests may run as root."""
FIREFOX = {
    "media.webrtc.camera.allow-pipewire": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
}
"""The first one is what a user needs."""


def chromium(url: str, profile: Path) -> list[str]:
    """The command line."""
    return ["chromium", *CHROMIUM, f"--user-data-dir={profile}", url]


def firefox(url: str, profile: Path) -> list[str]:
    """The command line; the settings are written into the profile."""
    profile.mkdir(parents=True)
    lines = [f'user_pref("{name}", {json.dumps(value)});' for name, value in FIREFOX.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    return ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile), url]


COMMANDS: dict[str, Callable[[str, Path], list[str]]] = {"chromium": chromium, "firefox-esr": firefox}


def missing_browser(name: str) -> bool:
    """It is not installed."""
    return shutil.which(name) is None


@dataclass(frozen=True, slots=True)
class Seen:
    """What one video element of the page has shown.

    Attributes:
        shown: pictures.
        distinct: pictures with a time code that differs from the one before.
        fps: of the distinct ones, from the first to the last.
        ages_ms: how old each distinct one was when it was shown, in order.
        unread: share of the pictures whose time code could not be read.
        rgb: the last picture.
    """

    shown: int
    distinct: int
    fps: float
    ages_ms: list[int]
    unread: float
    rgb: np.ndarray
    png: bytes

    @staticmethod
    def of(report: dict[str, Any]) -> Seen:
        """Of the page's `near` or `far`."""
        samples = report["samples"]
        changes, last = [], None
        for sample in samples:
            if sample["time"] is not None and sample["time"] != last:
                last = sample["time"]
                changes.append(sample)
        span_s = (changes[-1]["at"] - changes[0]["at"]) / 1000 if len(changes) > 1 else 0.0
        png = base64.b64decode(report["picture"].split(",")[1])
        return Seen(
            shown=len(samples),
            distinct=len({change["time"] for change in changes}),
            fps=(len(changes) - 1) / span_s if span_s else 0.0,
            ages_ms=sorted(change["age"] for change in changes),
            unread=sum(sample["time"] is None for sample in samples) / max(1, len(samples)),
            rgb=_rgb(png),
            png=png,
        )

    @property
    def summary(self) -> str:
        """For the log."""
        age = f"{self.ages_ms[len(self.ages_ms) // 2]} ms" if self.ages_ms else "no time code"
        height, width = self.rgb.shape[:2]
        return f"{width}x{height}, {self.fps:.1f} distinct pictures a second, {age} old in the middle"


@dataclass
class Post:
    """Where the page's report arrives."""

    arrived: threading.Event = field(default_factory=threading.Event)
    report: dict[str, Any] = field(default_factory=dict)


def visit(
    session: Session, name: str, wait_s: float, meanwhile: Callable[[], None], **asked: str | int
) -> dict[str, Any]:
    """Let the browser `name` open the page with the parameters `asked`; its report. `meanwhile` is called every second."""
    with served() as (address, post):
        url = f"{address}page.html?{urllib.parse.urlencode(asked)}"
        command = COMMANDS[name](url, session.folder / f"profile-{name}-{time.monotonic_ns()}")
        with (session.folder / f"{name}.log").open("ab") as log:
            browser = subprocess.Popen(
                command,
                env=session.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + wait_s
            while not post.arrived.wait(1.0):
                assert browser.poll() is None, f"{name} has ended by itself; see {session.folder}"
                assert time.monotonic() < deadline, f"{name} reported nothing within {wait_s:g} s; see {session.folder}"
                meanwhile()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)  # the group that this browser leads
            browser.wait()
    return post.report


@contextlib.contextmanager
def served() -> Iterator[tuple[str, Post]]:
    """The page at an address of this machine, and its report."""
    post = Post()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            found = self.path.split("?")[0] == f"/{PAGE.name}"
            body = PAGE.read_bytes() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            post.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()
            post.arrived.set()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", post
        finally:
            server.shutdown()
            thread.join()


def _rgb(png: bytes) -> np.ndarray:
    with av.open(io.BytesIO(png)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")
