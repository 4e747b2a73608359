"""The camera by pyvirtualcam: the way on Windows and macOS, where a driver of somebody else's shows the pictures.

pyvirtualcam is an extra, for it is under the GPL; nothing else here imports it. It runs in a process of its own
(`publish.process`), since it needs numpy and may hang with its driver.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

from f2fcam.errors import DeviceError
from f2fcam.publish.v4l2 import LABEL, find_device

CHOICES: dict[str, tuple[tuple[str, str | None], ...]] = {
    "win32": (("unitycapture", LABEL), ("unitycapture", None), ("obs", None)),
    "darwin": (("obs", None),),
}
"""Backends and device names to be tried, best first; only Unity Capture can be registered under a name of one's own."""

HINTS = {
    "win32": f'Register Unity Capture as "{LABEL}" (docs/camera.md), or install OBS Studio and start its virtual camera once.',
    "darwin": "Install OBS Studio, start its virtual camera once and allow the extension in the system settings.",
    "linux": f'Run `sudo modprobe v4l2loopback exclusive_caps=1 card_label="{LABEL}"`, or use --sink pipewire.',
}


def load_library() -> Any:
    """The module pyvirtualcam; `DeviceError` where it is not installed."""
    try:
        return importlib.import_module("pyvirtualcam")
    except ImportError as error:
        raise DeviceError(
            f"pyvirtualcam cannot be loaded: {error}.", hint="Run `pip install f2fcam[virtualcam]`."
        ) from error


class VirtualCamera:
    """One of pyvirtualcam's cameras.

    Attributes:
        device: its name as applications list it, which is OBS's where only OBS's driver is there. backend: whose driver.
    """

    keeps_time = False
    readers: int | None = None

    def __init__(
        self,
        size: tuple[int, int],
        fps: float,
        where: str = "",
        *,
        library: Any = None,
        platform: str = sys.platform,
    ) -> None:
        self.size = size
        library = library or load_library()
        self._camera = _opened(library, platform, where, size, fps)
        self.device, self.backend = str(self._camera.device), str(self._camera.backend)

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Show one picture."""
        try:
            self._camera.send(np.frombuffer(i420, np.uint8))
        except Exception as error:  # whatever a driver's binding throws
            raise DeviceError(f"{self.device} went away: {error}.", hint="Start again.") from error

    def close(self) -> None:
        """Give the camera back."""
        self._camera.close()


def _opened(library: Any, platform: str, where: str, size: tuple[int, int], fps: float) -> Any:
    """The first camera that opens."""
    choices = CHOICES.get(platform)
    if choices is None:
        choices = (("v4l2loopback", where or find_device()),)
    elif where:
        choices = tuple((backend, where) for backend in dict(choices))
    reasons = []
    for backend, device in choices:
        try:
            return library.Camera(
                *size, fps, fmt=library.PixelFormat.I420, device=device, backend=backend, print_fps=False
            )
        except (
            Exception
        ) as error:  # a backend that does not exist here is a KeyError, a device that does not a RuntimeError
            reasons.append(f"{backend}{f' ({device})' if device else ''}: {error}")
    raise DeviceError(
        "No virtual camera could be opened. " + "; ".join(reasons) + ".", hint=HINTS.get(platform, HINTS["linux"])
    )
