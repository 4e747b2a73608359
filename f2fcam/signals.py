"""Ctrl-C, SIGTERM and SIGHUP as something that `select` sees, so that a loop ends between two pictures."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def _ignored(number: int) -> bool:
    """Whoever started us with `nohup` wants us to outlive the terminal. A shell's `&` is no such wish about Ctrl-C."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


@contextlib.contextmanager
def caught_signals() -> Iterator[int]:
    """A descriptor that has a byte for each signal that asks for the end."""
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    wanted = [number for number in ENDING if not _ignored(number)]
    previous = {number: signal.signal(number, lambda *_: None) for number in wanted}
    wakeup = signal.set_wakeup_fd(write)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
