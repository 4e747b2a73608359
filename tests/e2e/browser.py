"""A browser without a window that opens `page.html`. No browser driver: the page does it all. Standard library only."""

from __future__ import annotations

import contextlib
import http.server
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
from typing import Any, Protocol

PAGE = Path(__file__).with_name("page.html")
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --use-fake-ui-for-media-stream --autoplay-policy=no-user-gesture-required --enable-logging=stderr"
).split()
"""`no-sandbox` since tests may run as root."""
PIPEWIRE = "WebRtcPipeWireCamera"
"""What a user has to enable for it (docs/camera.md)."""
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
    return ["chromium", *CHROMIUM, f"--enable-features={PIPEWIRE}", f"--user-data-dir={profile}", url]


def headless_shell(url: str, profile: Path) -> list[str]:
    """The command line of Chromium's small sister for devices in /dev, on a machine without a desktop."""
    small = ("--no-zygote", "--disable-dev-shm-usage", f"--disable-features={PIPEWIRE}")
    return ["chromium-headless-shell", *CHROMIUM, *small, f"--user-data-dir={profile}", url]


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


@dataclass
class Post:
    """Where the page's report arrives."""

    arrived: threading.Event = field(default_factory=threading.Event)
    report: dict[str, Any] = field(default_factory=dict)


class Place(Protocol):
    """Where a browser runs (`tests.pipewire_session.Session`)."""

    folder: Path
    environment: dict[str, str]


def visit(
    session: Place,
    browse: Callable[[str, Path], list[str]],
    wait_s: float,
    meanwhile: Callable[[], None],
    **asked: str | int,
) -> dict[str, Any]:
    """Let a browser open the page with the parameters `asked`; its report. `meanwhile` is called every second."""
    with served() as (address, post):
        url = f"{address}page.html?{urllib.parse.urlencode(asked)}"
        name = browse.__name__
        command = browse(url, session.folder / f"profile-{name}-{time.monotonic_ns()}")
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
