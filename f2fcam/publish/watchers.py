"""Who reads a v4l2loopback device, from outside: before 0.13 the driver tells its producer nothing.

But the kernel counts the files that are open on a module's devices, of all users and for all to see, in a file that costs
some microseconds to read. Where the module has more devices than ours, the files of the others are looked for in /proc.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

OURS = 1
"""The sink's own open file."""
LOOK_AGAIN_S = 5.0
"""A walk through /proc costs milliseconds: one at each change of the count, and then so often."""
MARK = "max_openers"
"""An attribute that the devices of v4l2loopback have and no others."""


@dataclass(slots=True)
class Watchers:
    """Counts the readers of the loopback device `path`, which the caller has open once.

    `system` is the root folder; tests have one of their own.
    """

    path: str
    system: Path = Path("/")
    _opened: int | None = field(default=None, init=False)
    _readers: int | None = field(default=None, init=False)
    _looked: float = field(default=0.0, init=False)

    def count(self, now: float) -> int | None:
        """How many have it open, at `now` (monotonic seconds); None where the driver is another one.

        A program of another user on another loopback device cannot be told apart and counts: rather one too many.
        """
        try:
            opened = int((self.system / "sys/module/v4l2loopback/refcnt").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        if opened != self._opened or now - self._looked > LOOK_AGAIN_S:
            self._opened, self._looked = opened, now
            self._readers = self._readers_of(opened)
        return self._readers

    def _readers_of(self, opened: int) -> int | None:
        """Of all the module's open files, those that are neither ours nor another device's."""
        devices = self.system / "sys/class/video4linux"
        loopbacks = {f"/dev/{mark.parent.name}" for mark in devices.glob(f"*/{MARK}")}
        if self.path not in loopbacks:
            return None
        others = max(0, opened - OURS)
        if others and len(loopbacks) > 1:
            others -= _open_files(self.system / "proc", loopbacks - {self.path})
        return max(0, others)


def _open_files(processes: Path, devices: set[str]) -> int:
    """Descriptors of `devices` in the processes that may be looked into."""
    found = 0
    for folder in processes.glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            for descriptor in folder.iterdir():
                with contextlib.suppress(OSError):
                    found += str(descriptor.readlink()) in devices
    return found
