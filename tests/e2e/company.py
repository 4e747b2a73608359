"""Who else used the processors while something was measured: a miss on a machine that others use says less of the program."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
USER, NICE, SYSTEM, IRQ, SOFTIRQ, STEAL = 1, 2, 3, 6, 7, 8
"""Fields of a line of /proc/stat; `STEAL` is what other machines on the same processors took."""


@dataclass
class Company:
    """The processor time that is not ours. Ours: this process, and all whose environment names the folder `runtime`.

    A process that ended between two looks is taken for another's since the last one.
    """

    runtime: Path
    _ours: dict[int, float] = field(default_factory=dict)
    _busy: float = 0.0
    _at: float = 0.0

    def look(self) -> float:
        """Share of all the processors that others had since the last look, 0 to 1."""
        ours, busy, now = self._of_ours(), _busy(), time.monotonic()
        grown = sum(seconds - self._ours.get(pid, 0.0) for pid, seconds in ours.items())
        all_of_it = (now - self._at) * len(os.sched_getaffinity(0))
        share = (busy - self._busy - grown) / all_of_it
        self._ours, self._busy, self._at = ours, busy, now
        return min(1.0, max(0.0, share))

    def _of_ours(self) -> dict[int, float]:
        """Process -> seconds of processor time so far."""
        found, mark = {}, os.fsencode(self.runtime)
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if int(folder.name) == os.getpid() or mark in (folder / "environ").read_bytes():
                    times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
                    found[int(folder.name)] = sum(map(int, times)) / TICKS
        return found


def _busy() -> float:
    """Seconds of processor time that anybody had, on the processors that we may use."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *_ = fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in os.sched_getaffinity(0):
            total += sum(int(fields[which]) for which in (USER, NICE, SYSTEM, IRQ, SOFTIRQ, STEAL))
    return total / TICKS
