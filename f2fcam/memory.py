"""Memory of this process and of those that it started, and giving back what set-up has used.

What processes share, the pages of libraries and of a forked parent, counts in parts (`Pss`): a sum over processes is then
what they take of the machine.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

FIRST = 500
"""Of a thousand: the kernel's wish for whom to end when memory runs out; half of all memory."""


def give_back() -> None:
    """Hand freed memory to the system: the allocator keeps what set-up or learning has used between what is still in use.

    Takes some milliseconds, in which other threads that allocate wait. Only where the C library can (glibc).
    """
    if sys.platform.startswith("linux"):
        import ctypes

        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def family(pid: int) -> list[int]:
    """A process and all that it started, and those in turn; only those that live."""
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):  # it has ended
            for thread in os.listdir(f"/proc/{process}/task"):  # noqa: PTH208
                children = Path(f"/proc/{process}/task/{thread}/children").read_text()
                found += [int(child) for child in children.split()]
    return found


def shared_out_mb(pids: Iterable[int]) -> float | None:
    """Megabytes that processes hold together, what they share counted once; None where the system does not tell."""
    total = None
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total = (total or 0.0) + int(line.split()[1]) / 1024
    return total


def leave_no_dumps() -> None:
    """A process that crashes, or is ended because it hangs, leaves none of its memory on the disk: there are faces in it.

    Holds for what it starts, too.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # for programs that take dumps whatever the limit
        Path("/proc/self/coredump_filter").write_text("0")


def go_first() -> None:
    """Where memory runs out, the kernel is to take this process and its children, which are started again, before others."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(FIRST))
