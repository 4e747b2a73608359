"""A desktop session of its own for tests: message bus, PipeWire, WirePlumber; nothing of the user's session is touched.

Everything lives in one folder, and ends with the `with` block. What a program prints is in `NAME.log` there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

PROGRAMS = ("dbus-daemon", "dbus-send", "pipewire", "wireplumber", "pw-cli", "pw-dump")
DESKTOP = "f2fcam-tests"
READY_S = 20.0


def missing_programs(names: Sequence[str] = PROGRAMS) -> list[str]:
    """Those that are not installed."""
    return [name for name in names if shutil.which(name) is None]


class Session:
    """A running session.

    Attributes:
        folder: runtime folder, home and logs.
        environment: what a program needs to take part in it.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        runtime, home = folder / "run", folder / "home"
        for made in (runtime, home / ".config"):
            made.mkdir(parents=True)
        runtime.chmod(0o700)
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DBUS_", "PIPEWIRE_"))
        }
        self.environment = inherited | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_DATA_HOME": str(home / ".local" / "share"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_CURRENT_DESKTOP": DESKTOP,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
            **environment,
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Session:
        self.start("dbus-daemon", "--session", "--nofork", f"--address={self.environment['DBUS_SESSION_BUS_ADDRESS']}")
        self.wait(lambda: (self.runtime / "bus").exists(), "the message bus")
        self.start_server()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    @property
    def runtime(self) -> Path:
        """Where the sockets are."""
        return self.folder / "run"

    def start_server(self) -> None:
        """PipeWire and its session manager; ready when its clients see both."""
        self.start("pipewire")
        self.wait(lambda: (self.runtime / "pipewire-0").exists() and self.query("info", "0") != "", "PipeWire")
        self.start("wireplumber")
        self.wait(lambda: "WirePlumber" in self.query("ls", "Client"), "WirePlumber")

    def stop_server(self) -> None:
        """Take both away, as a crash of the sound system would."""
        self.stop("pipewire")
        self.stop("wireplumber")

    def start(self, program: str, *arguments: str) -> None:
        """Run a program in the session until `stop`."""
        name = Path(program).name
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [program, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop(self, name: str) -> None:
        """End a program that was started here, at once if it does not listen."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program that was started here."""
        self._running[name].send_signal(number)

    def query(self, *arguments: str) -> str:
        """What `pw-cli` answers; nothing where it cannot."""
        done = subprocess.run(
            ["pw-cli", *arguments], env=self.environment, capture_output=True, text=True, timeout=READY_S
        )
        return done.stdout if done.returncode == 0 else ""

    def bus_answers(self, name: str, path: str, method: str, *arguments: str) -> bool:
        """A service on the message bus, started by it if need be, takes the call."""
        line = ["dbus-send", "--session", "--print-reply", f"--dest={name}", path, method, *arguments]
        return subprocess.run(line, env=self.environment, capture_output=True, timeout=READY_S).returncode == 0

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Ask until `ready`; fails with the logs' place when it takes too long."""
        deadline = time.monotonic() + READY_S
        while not ready():
            assert time.monotonic() < deadline, f"{what} is not ready; see {self.folder}"
            time.sleep(0.05)
