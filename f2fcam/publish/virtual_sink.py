"""pyvirtualcam's cameras as a sink. This side waits for the camera's name; `publish.virtualcam` opens it elsewhere."""

from __future__ import annotations

from f2fcam.publish.process import ProcessSink

OPEN_TIMEOUT_S = 5.0
"""Loading numpy and a driver's binding takes a second, on a busy machine several; meanwhile the camera's loop waits."""


def open_virtualcam(where: str, size: tuple[int, int], fps: float) -> ProcessSink:
    """The camera that pyvirtualcam makes; `where` is a device's name or path, or empty."""
    sink = ProcessSink("virtualcam", "the virtual camera", size, fps, options={"device": where})
    sink.wait_open(OPEN_TIMEOUT_S)
    return sink
