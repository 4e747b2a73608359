"""The process behind a `ProcessSink`: reads pictures from its ring and hands them to a sink that needs heavy libraries."""

from __future__ import annotations

import logging
import select
import signal
import sys

from f2fcam.channel import Channel, from_parent
from f2fcam.control import error_message
from f2fcam.errors import F2FError
from f2fcam.publish import FrameSink
from f2fcam.ring import Ring, RingFiles, i420_bytes


def main() -> int:
    """Serve until the parent says `close` or is gone; either way the sink is finished."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent decides: it may have frames to come
    channel, setup = from_parent()
    ring = Ring(RingFiles(*setup["ring"]))
    try:
        sink = _open(setup["kind"], channel, (ring.width, ring.height), setup["fps"], setup["options"])
        try:
            _serve(channel, ring, sink)
        finally:
            sink.close()
    except F2FError as error:
        channel.send(error_message(error))
        return 1
    return 0


def _open(kind: str, channel: Channel, size: tuple[int, int], fps: float, options: dict[str, object]) -> FrameSink:
    if kind == "preview":
        from f2fcam.panel.server import PreviewServer

        listener = int(str(options["listener"]))
        return PreviewServer(size, listener=listener, tell=lambda viewers: channel.send({"readers": viewers}))
    if kind == "virtualcam":
        from f2fcam.publish.virtualcam import VirtualCamera

        camera = VirtualCamera(size, fps, str(options["device"]))
        channel.send({"device": f"{camera.device} ({camera.backend})"})
        return camera
    from f2fcam.publish.video_sink import VideoSink

    return VideoSink(str(options["path"]), size, fps)


def _serve(channel: Channel, ring: Ring, sink: FrameSink) -> None:
    picture, last = bytearray(i420_bytes(ring.width, ring.height)), 0
    while True:
        ready, _, _ = select.select([channel, ring], [], [])
        frame = ring.newest(picture, last)
        if frame is not None:
            sink.send(picture, frame.captured_ns)
            last = frame.number
            ring.consumed(last)
        if channel in ready:
            channel.receive()
            return


if __name__ == "__main__":
    sys.exit(main())
