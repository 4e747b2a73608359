"""The camera as a systemd user service: it starts with the session, works when somebody looks, and needs no root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from f2fcam.control import request
from f2fcam.errors import F2FError

UNIT = "f2fcam.service"
TIMEOUT_S = 60.0
_HERE = Path(__file__).resolve().parent
TEMPLATES = (_HERE / "installers" / "linux" / UNIT, _HERE.parent / "installers" / "linux" / UNIT)
"""In an installed package, and in a source checkout."""


def unit_file() -> Path:
    """Where systemd looks for a user's own units."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / UNIT


def unit_text(command: list[str]) -> str:
    """The unit that runs `command`."""
    template = next((path for path in TEMPLATES if path.is_file()), None)
    if template is None:
        raise F2FError("This installation lacks the service's description.", hint="Install f2fcam again.")
    return template.read_text(encoding="utf-8").replace("@COMMAND@", " ".join(map(_quoted, command)))


def install(arguments: list[str]) -> Path:
    """Start the camera with `f2fcam start` and these arguments, now and with every session; the unit's file."""
    file = unit_file()
    text = unit_text([sys.executable, "-m", "f2fcam", "start", "--foreground", *arguments])
    _systemctl("--version")  # nothing is written where nobody would read it
    _refuse_beside_another()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise F2FError(f"{file} cannot be written: {error.strerror}.", hint=f"Mend {file.parent}.") from error
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT)
    _systemctl("restart", UNIT)
    return file


def remove() -> bool:
    """Stop it and forget it; False where it was not installed."""
    file = unit_file()
    if not file.exists():
        return False
    _systemctl("disable", "--now", UNIT)
    file.unlink(missing_ok=True)
    _systemctl("daemon-reload")
    return True


def _refuse_beside_another() -> None:
    """A camera that was started by hand has the lock: the service would fail beside it, again and again."""
    try:
        running = request("status")
    except F2FError:
        return
    if str(running.get("pid")) != _systemctl("show", "--property=MainPID", "--value", UNIT).strip():
        raise F2FError("A camera is running already.", hint="Stop it with `f2fcam stop`, then install the service.")


def _systemctl(*arguments: str) -> str:
    """What it prints."""
    program = shutil.which("systemctl")
    if program is None:
        raise F2FError("There is no systemd here.", hint="Let the session start `f2fcam start --profile NAME` instead.")
    try:
        done = subprocess.run(
            [program, "--user", *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise F2FError(
            f"systemctl --user {' '.join(arguments)} does not come to an end.",
            hint=f"Look at `systemctl --user status {UNIT}` and `f2fcam doctor`.",
        ) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().replace("\n", " ")
        raise F2FError(
            f"systemctl --user {' '.join(arguments)} failed: {said}",
            hint=f"Look at `systemctl --user status {UNIT}` and `f2fcam doctor`.",
        )
    return done.stdout


def _quoted(argument: str) -> str:
    """As systemd reads a command line: specifiers and variables are none of ours."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(sign in argument for sign in " \t'\"\\;") or not argument else escaped
