"""What the camera's processes have to say, a file each, of limited size, in the user's state folder; standard library only."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

from f2fcam.channel import LOG_LIMIT
from f2fcam.control import runtime_folder
from f2fcam.errors import F2FError

FORMAT = "%(asctime)s %(name)s: %(message)s"
TRIM_EVERY_S = 30.0


def log_folder() -> Path:
    """`~/.local/state/f2fcam`, made if it is not there; the runtime folder where it cannot be, or where that was chosen."""
    if not os.environ.get("F2FCAM_RUNTIME_DIR"):
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        folder = Path(base) / "f2fcam"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK):
                return folder
    return runtime_folder()


def trim(folder: Path, limit: int = LOG_LIMIT) -> None:
    """Begin each log anew that has become too large; what it had is `NAME.1.log` then. A full disk costs that copy.

    In place, since the processes go on writing to it: all of them append.
    """
    for file in folder.glob("*.log"):
        if file.suffixes == [".1", ".log"]:
            continue
        with contextlib.suppress(OSError):
            if file.stat().st_size <= limit:
                continue
            with contextlib.suppress(OSError):
                shutil.copyfile(file, file.with_suffix(".1.log"))
            os.truncate(file, 0)


def keep_log(name: str) -> None:
    """Let what this process logs go to a file, too."""
    with contextlib.suppress(OSError, F2FError):
        handler = logging.FileHandler(log_folder() / f"{name}.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter(FORMAT))
        logging.getLogger().addHandler(handler)
