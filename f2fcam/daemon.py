"""The camera as a process of its own, which `f2fcam start` leaves behind; standard library only."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import select
import signal
import sys
import time
from pathlib import Path

from f2fcam.channel import Child, from_parent
from f2fcam.config import StartConfig
from f2fcam.control import STOP_TIMEOUT_S, error_from, error_message
from f2fcam.errors import F2FError
from f2fcam.logs import FORMAT, log_folder
from f2fcam.memory import leave_no_dumps
from f2fcam.supervisor import Announce, Supervisor

log = logging.getLogger(__name__)

LOADING_S = 90.0
"""So long `start` waits for the first picture before it leaves the camera loading."""
REAPED_S = 5.0


def start_detached(
    config: StartConfig, *, engine: list[str] | None = None, announce: Announce | None = None
) -> str | None:
    """Run the camera in a process of its own; the device once pictures flow, None while it is still loading.

    Raises what keeps it from starting, and announces what else has gone wrong by then (see `Supervisor`). Ctrl-C ends it.
    """
    values = dataclasses.asdict(config) | {"profiles": str(config.profiles) if config.profiles else None}
    setup = {"config": values, "engine": engine}
    daemon = Child([sys.executable, "-m", "f2fcam.daemon"], setup, (), log_folder() / "supervisor.log")
    with contextlib.closing(daemon.channel):
        try:
            device = _first_picture(daemon, announce)
        except KeyboardInterrupt:
            os.kill(daemon.pid, signal.SIGTERM)
            if not daemon.wait(STOP_TIMEOUT_S):
                log.warning("The camera has not ended yet; see `f2fcam status`.")
            raise
    daemon.let_go()
    return device


def _first_picture(daemon: Child, announce: Announce | None) -> str | None:
    device, deadline = None, time.monotonic() + LOADING_S
    while time.monotonic() < deadline and not daemon.channel.ended:
        select.select([daemon.channel], [], [], max(0.0, deadline - time.monotonic()))
        for message in daemon.channel.receive():
            if "error" in message:
                daemon.wait(REAPED_S)
                raise error_from(message)
            if message["event"] == "on air":
                return device
            if message["event"] == "open":
                device = message["what"]
            elif announce is not None:
                announce(message["event"], message["what"])
    if daemon.channel.ended and daemon.wait(REAPED_S):
        raise F2FError(f"The camera did not start: {daemon.ended()}.", hint=f"Look into {daemon.log}.")
    return None


def main() -> int:
    """The process of a detached camera."""
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    leave_no_dumps()
    channel, setup = from_parent()
    values = setup["config"]
    values |= {"size": tuple(values["size"]), "profiles": Path(values["profiles"]) if values["profiles"] else None}
    try:
        return Supervisor(
            StartConfig(**values),
            engine=setup["engine"],
            announce=lambda event, what: channel.send({"event": event, "what": what}),
        ).run()
    except F2FError as error:
        log.error("%s %s", error.message, error.hint)
        channel.send(error_message(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
