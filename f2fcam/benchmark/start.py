"""`f2fcam start` as a user runs it: when its placeholder and its first picture are there, and what its processes hold."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from f2fcam.errors import F2FError
from f2fcam.memory import family, shared_out_mb

SAMPLED_EVERY_S = 0.2
LONGEST_S = 300.0
"""A start that compiles every kernel takes about a minute."""
TOLD = {"Output:": "placeholder", "on the air": "first_frame"}
"""What `start` says when a thing has happened -> its name here."""


@dataclass(slots=True)
class Started:
    """One run of the command.

    Attributes:
        after_s: seconds from the command to the placeholder's reaching the sink and to the first reenacted picture's.
        memory_mb: the most that all its processes held together, what they share counted once; None where unknown.
        said: lines that it wrote.
    """

    after_s: dict[str, float] = field(default_factory=dict)
    memory_mb: float | None = None
    said: list[str] = field(default_factory=list)


def run_start(profile: str, profiles: Path, source: Path, size: tuple[int, int], seconds: float) -> Started:
    """Run the command for `seconds` from its first picture, into a sink that only counts."""
    width, height = size
    options = {
        "profile": profile, "profiles": profiles, "source": source, "sink": "null", "size": f"{width}x{height}",
        "seconds": seconds,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with tempfile.TemporaryDirectory(prefix="f2fcam-run-") as folder:
        began = time.monotonic()
        command = subprocess.Popen(
            [sys.executable, "-m", "f2fcam", "start", "--foreground", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ, "F2FCAM_RUNTIME_DIR": folder, "COLUMNS": "1000"},
        )  # fmt: skip
        started = Started()
        try:
            assert command.stderr is not None
            listener = threading.Thread(target=_listen, args=(command.stderr, began, started), daemon=True)
            listener.start()
            while command.poll() is None and time.monotonic() - began < LONGEST_S:
                held = shared_out_mb(family(command.pid))
                if held is not None:
                    started.memory_mb = max(held, started.memory_mb or 0.0)
                time.sleep(SAMPLED_EVERY_S)
        finally:
            if command.poll() is None:
                command.kill()
            command.wait()
        listener.join()
    if command.returncode != 0 or len(started.after_s) < len(TOLD):
        raise F2FError(f"`f2fcam start` failed: {' '.join(started.said[-2:])}", hint="Run `f2fcam doctor`.")
    return started


def _listen(lines: IO[str], began: float, started: Started) -> None:
    """Note when it says what."""
    with lines:
        for line in lines:
            started.said.append(line.strip())
            for words, name in TOLD.items():
                if words in line:
                    started.after_s.setdefault(name, round(time.monotonic() - began, 3))
