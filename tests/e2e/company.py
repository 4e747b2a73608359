"""Who else used the processors while something was measured: a miss on a machine that others use says less of the program."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from tests.e2e.conftest import SHARED

TICKS = os.sysconf("SC_CLK_TCK")
PARENT, TIMES = 1, slice(11, 15)
"""Fields of /proc/PID/stat after the name; the times are its own and those of children that it has waited for."""
USER, NICE, SYSTEM, IRQ, SOFTIRQ, STEAL = 1, 2, 3, 6, 7, 8
"""Fields of a line of /proc/stat; `STEAL` is what other machines on the same processors took."""


QUIET = 0.15
"""Share of the processors that others may have before a miss counts as theirs."""


def missed(what: str, others: float, *, heavy: bool = False) -> NoReturn:
    """A gate about time did not hold while others had that share of the processors: a failure.

    On a machine that others may use (`SHARED`) it is reported instead, where they did use it, and where it is `heavy`: takes
    all of two cores, which need not be as fast as ours.
    """
    told = f"{what} (others had {others:.0%} of the processors)"
    if SHARED and (heavy or others > QUIET):
        pytest.xfail(f"MISSED: {told}")
    pytest.fail(told, pytrace=False)


@dataclass
class Company:
    """The processor time that is not ours.

    Ours: this process, all whose environment names the folder `runtime`, and what they have started (a browser writes over
    its environment). One that ended between two looks, and that none of them waited for, is taken for another's since the last.
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
        mark, marked, parents, times = os.fsencode(self.runtime), {os.getpid()}, {}, {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                pid, fields = int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()
                parents[pid], times[pid] = int(fields[PARENT]), sum(map(int, fields[TIMES])) / TICKS
                if mark in (folder / "environ").read_bytes():
                    marked.add(pid)

        def ours(pid: int) -> bool:
            return pid in marked or (pid in parents and ours(parents[pid]))

        return {pid: seconds for pid, seconds in times.items() if ours(pid)}


def _busy() -> float:
    """Seconds of processor time that anybody had, on the processors that we may use."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *_ = fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in os.sched_getaffinity(0):
            total += sum(int(fields[which]) for which in (USER, NICE, SYSTEM, IRQ, SOFTIRQ, STEAL))
    return total / TICKS
