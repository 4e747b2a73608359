"""What systemd wants to hear from a service (`sd_notify(3)`): one datagram a message, nothing where nobody listens."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import MutableMapping

ONCE_S = 1.0
"""What is said only once may wait so long for a manager that is behind."""


class Notifier:
    """Tells the service manager of readiness, state and life. Time comes in as an argument.

    The variables are taken out of the environment: children may not speak for us.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        where = environment.pop("NOTIFY_SOCKET", "")
        wanted_us, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        self._address = f"\0{where[1:]}" if where.startswith("@") else where
        ours = wanted_us.isdecimal() and process in ("", str(os.getpid()))
        self._every_s = int(wanted_us) / 1e6 / 3 if where and ours and int(wanted_us) else math.inf
        self._due = 0.0 if self._every_s < math.inf else math.inf
        self._status = ""

    @property
    def present(self) -> bool:
        """Whether there is one: we are a service."""
        return bool(self._address)

    def ready(self) -> None:
        """The camera is there."""
        self._send("READY=1", patience_s=ONCE_S)

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1", patience_s=ONCE_S)

    def status(self, text: str) -> None:
        """One line for `systemctl status`; said when it changes."""
        if text != self._status and self._send(f"STATUS={text}"):
            self._status = text

    def alive(self, now: float) -> None:
        """The loop turns; said three times in the span after which it would be taken for hung."""
        if now >= self._due:
            self._due = now + self._every_s
            self._send("WATCHDOG=1")

    def wait_s(self, now: float) -> float:
        """Seconds until `alive` is due."""
        return max(0.0, self._due - now)

    def _send(self, message: str, *, patience_s: float = 0.0) -> bool:
        """Whether nothing more has to be done about it: a manager that is behind has a full queue, and is told later."""
        if not self._address:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.settimeout(patience_s)
                end.sendto(message.encode(), self._address)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            return True
        return True
