"""pyvirtualcam's cameras, by a library that keeps its contract and has the devices that a test gives it."""

from __future__ import annotations

import importlib.util
import time
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from f2fcam.errors import DeviceError
from f2fcam.publish import open_sink
from f2fcam.publish.virtualcam import VirtualCamera, load_library
from f2fcam.ring import i420_bytes

SIZE = (160, 96)


class PixelFormat(Enum):
    RGB = "raw "
    I420 = "I420"


class Library:
    """`pyvirtualcam` with backends of named devices; an unknown backend is a KeyError, as it is there."""

    PixelFormat = PixelFormat

    def __init__(self, **backends: list[str]) -> None:
        self.backends, self.asked = backends, []
        self.sent: list[np.ndarray] = []
        self.closed = 0
        self.gone = False

    def Camera(
        self,
        width: int,
        height: int,
        fps: float,
        *,
        fmt: PixelFormat,
        device: str | None,
        backend: str,
        print_fps: bool,
    ) -> Any:
        self.asked.append((backend, device))
        devices = self.backends[backend]
        if not devices or (device is not None and device not in devices):
            raise RuntimeError(f"'{backend}' backend: no camera registered")
        assert fmt is PixelFormat.I420

        def send(frame: np.ndarray) -> None:
            if frame.dtype != np.uint8:
                raise TypeError("unexpected frame dtype")
            if frame.size != width * height * 3 // 2:
                raise ValueError("unexpected frame size")
            if self.gone:
                raise RuntimeError("driver gone")
            self.sent.append(frame.copy())

        def close() -> None:
            self.closed += 1

        return SimpleNamespace(device=device or devices[0], backend=backend, send=send, close=close)


def camera(library: Library, platform: str, where: str = "") -> VirtualCamera:
    return VirtualCamera(SIZE, 30.0, where, library=library, platform=platform)


def test_windows_prefers_our_name_then_any_unity_capture_then_obs():
    named = Library(unitycapture=["Unity Video Capture", "F2F Camera"], obs=["OBS Virtual Camera"])
    assert camera(named, "win32").device == "F2F Camera"
    unnamed = Library(unitycapture=["Unity Video Capture"], obs=["OBS Virtual Camera"])
    assert camera(unnamed, "win32").device == "Unity Video Capture"
    obs = camera(Library(unitycapture=[], obs=["OBS Virtual Camera"]), "win32")
    assert (obs.device, obs.backend) == ("OBS Virtual Camera", "obs")


def test_macos_has_obs_alone():
    library = Library(obs=["OBS Virtual Camera"])
    assert camera(library, "darwin").device == "OBS Virtual Camera"
    assert library.asked == [("obs", None)]


def test_a_named_device_is_that_or_none():
    library = Library(unitycapture=["F2F Camera", "Other"], obs=["OBS Virtual Camera"])
    assert camera(library, "win32", "Other").device == "Other"
    with pytest.raises(DeviceError, match="Nowhere"):
        camera(library, "win32", "Nowhere")


def test_linux_takes_the_path_that_is_given():
    library = Library(v4l2loopback=["/dev/video7"])
    assert camera(library, "linux", "/dev/video7").device == "/dev/video7"


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_without_a_driver_the_error_says_what_to_install(platform: str):
    with pytest.raises(DeviceError) as caught:
        camera(Library(), platform)
    assert "obs" in caught.value.message
    assert "OBS Studio" in caught.value.hint


def test_pictures_go_through_as_they_are():
    library = Library(obs=["OBS Virtual Camera"])
    sink = camera(library, "darwin")
    picture = bytearray(np.random.default_rng(1).integers(0, 256, i420_bytes(*SIZE), np.uint8).tobytes())
    sink.send(memoryview(picture), 0)
    sink.close()
    assert [frame.tobytes() for frame in library.sent] == [bytes(picture)]
    assert library.closed == 1


def test_a_driver_that_goes_away_is_a_device_error():
    library = Library(obs=["OBS Virtual Camera"])
    sink = camera(library, "darwin")
    library.gone = True
    with pytest.raises(DeviceError, match="OBS Virtual Camera went away: driver gone"):
        sink.send(bytearray(i420_bytes(*SIZE)), 0)


FAKE_MODULE = """
from enum import Enum
class PixelFormat(Enum):
    I420 = "I420"
class Camera:
    def __init__(self, width, height, fps, *, fmt, device, backend, print_fps):
        if device == "/dev/none":
            raise RuntimeError("no such device")
        self.device, self.backend, self._file = device, backend, open(r"{out}", "wb")
    def send(self, frame):
        self._file.write(bytes([frame[0]]))
        self._file.flush()
    def close(self):
        self._file.close()
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `pyvirtualcam` that notes each picture's first byte in the file that is returned."""
    out = tmp_path / "sent"
    (tmp_path / "pyvirtualcam.py").write_text(FAKE_MODULE.format(out=out))
    root = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / "run"))
    return out


def test_the_sink_tells_the_real_name_and_hands_pictures_on(installed: Path):
    sink = open_sink("virtualcam:/dev/video7", SIZE, 30.0)
    assert sink.device == "/dev/video7 (v4l2loopback)"
    picture, deadline = bytearray([77]) + bytearray(i420_bytes(*SIZE) - 1), time.monotonic() + 20
    while not installed.read_bytes() and time.monotonic() < deadline:
        sink.send(picture, 0)
        time.sleep(0.02)
    sink.close()
    assert set(installed.read_bytes()) == {77}


def test_a_camera_that_cannot_be_opened_is_told_at_once(installed: Path):
    with pytest.raises(DeviceError, match="no such device"):
        open_sink("virtualcam:/dev/none", SIZE, 30.0)


@pytest.mark.skipif(importlib.util.find_spec("pyvirtualcam") is not None, reason="pyvirtualcam is installed here")
def test_without_the_extra_the_error_names_it():
    with pytest.raises(DeviceError) as caught:
        load_library()
    assert "f2fcam[virtualcam]" in caught.value.hint
