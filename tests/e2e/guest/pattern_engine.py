"""An engine of the standard library: bright pictures as fast as they are wanted, on an emulated processor as well."""

from __future__ import annotations

import select
import time

from f2fcam.channel import die_with_parent, from_parent
from f2fcam.ring import Ring, RingFiles

LUMA = 180
REPORT_EVERY_S = 0.5


def main() -> None:
    """Serve the supervisor until it says stop."""
    die_with_parent()
    channel, setup = from_parent()
    ring = Ring(RingFiles(*setup["ring"]))
    pixels = ring.width * ring.height
    picture = bytes([LUMA]) * pixels + bytes([128]) * (pixels // 2)
    channel.send({"ready": True, "report": {"tracking": "tracked"}})
    reported = time.monotonic()
    while not channel.ended:
        ready, _, _ = select.select([channel], [], [], 1 / setup["fps"])
        if ready and any(message.get("command") == "stop" for message in channel.receive()):
            break
        ring.begin()[:] = picture
        ring.publish(time.monotonic_ns())
        if time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            channel.send({"report": {"tracking": "tracked"}})
    channel.send({"ended": True})


if __name__ == "__main__":
    main()
