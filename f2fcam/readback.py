"""The far end of a sink: pictures as another program gets them from the device, for `f2fcam selftest`."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from f2fcam.errors import DeviceError
from f2fcam.publish.v4l2 import I420, LABEL, YUYV

QUIET_S = 10.0
"""A device that gives nothing for so long gives nothing."""
GSTREAMER = "sudo apt-get install gstreamer1.0-tools gstreamer1.0-pipewire gstreamer1.0-plugins-base"


@dataclass(frozen=True, slots=True)
class Seen:
    """The luma of one picture, row by row without padding."""

    luma: bytes
    size: tuple[int, int]


class Reader(Protocol):
    """A program that looks at the camera.

    Attributes:
        name: what it is, for the user.
    """

    name: str

    def pictures(self) -> Iterator[Seen]:
        """One after the other, until `close`. Raises `DeviceError` where none come."""
        ...

    def close(self) -> None:
        """Look away; from another thread, too."""
        ...


class LoopbackReader:
    """Our own capture, by mapped buffers, as browsers do it."""

    name = "V4L2 capture"

    def __init__(self, path: str, size: tuple[int, int], fps: float) -> None:
        from f2fcam.capture.v4l2_camera import V4l2Camera

        self._camera = V4l2Camera(path, size, fps, readable=(I420, YUYV), refused=None)
        self._closed = False

    def pictures(self) -> Iterator[Seen]:
        """Until `close`."""
        mode, pixels = self._camera.mode, self._camera.pixels
        packed = mode.pixel_format == YUYV
        stride = max(pixels.bytesperline, mode.width * (2 if packed else 1))
        while not self._closed:
            data = self._camera.read().data
            rows = (data[y * stride : y * stride + mode.width * (2 if packed else 1)] for y in range(mode.height))
            yield Seen(b"".join(row[:: 2 if packed else 1] for row in rows), (mode.width, mode.height))
        self._camera.close()

    def close(self) -> None:
        """With the next picture."""
        self._closed = True


class PipeWireReader:
    """GStreamer's `pipewiresrc`, which finds the node by its name, as any other program does."""

    name = "GStreamer pipewiresrc"

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        program = shutil.which("gst-launch-1.0")
        if program is None:
            raise DeviceError("There is no GStreamer to read the PipeWire camera with.", hint=f"Run `{GSTREAMER}`.")
        source = [program, "-q", "pipewiresrc", f"target-object={LABEL}"]
        self._process = subprocess.Popen(
            [*source, "!", "video/x-raw,format=I420", "!", "fdsink", "fd=1", "sync=false"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._closed = False

    def pictures(self) -> Iterator[Seen]:
        """Until `close`."""
        width, height = self._size
        length = width * height * 3 // 2
        assert self._process.stdout is not None and self._process.stderr is not None
        with self._process.stdout as stream, self._process.stderr as complaints:
            while len(picture := stream.read(length)) == length:
                yield Seen(picture[: width * height], self._size)
            if not self._closed:
                said = complaints.read().decode(errors="replace").strip().splitlines()
                raise DeviceError(
                    f"GStreamer got nothing: {said[0] if said else 'it ended'}.", hint=f"Run `{GSTREAMER}`."
                )

    def close(self) -> None:
        """End the program."""
        self._closed = True
        self._process.kill()
        self._process.wait()


class PreviewReader:
    """A viewer of the preview page."""

    name = "HTTP"

    def __init__(self, url: str) -> None:
        try:
            self._stream = urllib.request.urlopen(f"{url}stream", timeout=QUIET_S)
        except OSError as error:
            raise DeviceError(f"{url} does not answer: {error}.", hint="Run `f2fcam doctor`.") from error
        self._closed = False

    def pictures(self) -> Iterator[Seen]:
        """Until `close`."""
        import cv2
        import numpy as np

        while not self._closed and (line := self._stream.readline()):
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
                self._stream.readline()
                luma = cv2.imdecode(np.frombuffer(self._stream.read(length), np.uint8), cv2.IMREAD_GRAYSCALE)
                yield Seen(luma.tobytes(), (luma.shape[1], luma.shape[0]))
        self._stream.close()

    def close(self) -> None:
        """With the next picture."""
        self._closed = True


def open_reader(device: str, size: tuple[int, int], fps: float) -> Reader | None:
    """Who can look at the sink that calls itself `device`; None where nobody can."""
    if device.startswith("http"):
        return PreviewReader(device)
    if device.endswith("(PipeWire)"):
        return PipeWireReader(size)
    if "(/dev/" in device:
        return LoopbackReader(device.rpartition("(")[2].rstrip(")"), size, fps)
    return None
