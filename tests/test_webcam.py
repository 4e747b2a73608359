"""The webcam's driver calls, against a fake driver: which format, whose clock, and what is said when it is gone."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from f2fcam.capture import v4l2_camera as v4l2
from f2fcam.capture import webcam
from f2fcam.capture.v4l2_camera import MJPG, YUYV, Mode, V4l2Camera, choose_mode
from f2fcam.errors import ConfigError, DeviceError
from f2fcam.publish.v4l2 import LABEL, fourcc
from f2fcam.yuv import Coding

TYPICAL = [
    *(Mode(YUYV, w, h, fps) for w, h, fps in ((640, 480, 30.0), (1280, 720, 10.0), (1920, 1080, 5.0))),
    *(Mode(MJPG, w, h, 30.0) for w, h in ((640, 480), (1280, 720), (1920, 1080))),
]


@pytest.mark.parametrize(
    ("size", "fps", "wanted"),
    [
        ((1280, 720), 30, Mode(MJPG, 1280, 720, 30.0)),
        ((640, 480), 30, Mode(YUYV, 640, 480, 30.0)),
        ((1280, 720), 10, Mode(YUYV, 1280, 720, 10.0)),
        ((800, 600), 30, Mode(MJPG, 1280, 720, 30.0)),
        ((3840, 2160), 30, Mode(MJPG, 1920, 1080, 30.0)),
    ],
)
def test_mode_that_is_chosen(size: tuple[int, int], fps: float, wanted: Mode):
    assert choose_mode(TYPICAL, size, fps) == wanted


def test_unreadable_formats_are_left_alone():
    assert choose_mode([Mode(fourcc("H264"), 1280, 720, 30.0)], (1280, 720), 30) is None


def test_structures_have_the_kernels_sizes():
    sizes = {"Buffer": 88, "RequestBuffers": 20, "FormatDescription": 64, "FrameSize": 44, "FrameInterval": 52}
    assert {name: ctypes.sizeof(getattr(v4l2, name)) for name in sizes} == sizes
    assert v4l2.DQBUF == 0xC0585611
    assert v4l2.S_FMT == 0xC0D05605


class FakeDriver:
    """A camera with the modes of `modes` that delivers `pictures`, then goes away."""

    def __init__(self, modes: list[Mode], pictures: list[tuple[bytes, int]], label: str = "Test Cam") -> None:
        self.modes, self.pictures, self.label = modes, pictures, label
        self.buffers: list[bytearray] = []
        self.queued: list[int] = []
        self.calls: list[int] = []
        self.opened = self.streaming = 0
        self.fail: dict[int, int] = {}
        self.flags = v4l2.FLAG_TIMESTAMP_MONOTONIC

    def open(self, path: str, flags: int) -> int:
        self.opened += 1
        return 7

    def close(self, descriptor: int) -> None:
        self.opened -= 1

    def map(self, descriptor: int, length: int, offset: int) -> FakeMap:
        return FakeMap(self.buffers[offset])

    def ready(self, descriptor: int, timeout_s: float) -> bool:
        return True

    def ioctl(self, descriptor: int, number: int, argument) -> int:
        self.calls.append(number)
        if number in self.fail:
            raise OSError(self.fail[number], "failed")
        answer = {
            v4l2.QUERYCAP: self._capabilities,
            v4l2.ENUM_FMT: self._format,
            v4l2.ENUM_FRAMESIZES: self._size,
            v4l2.ENUM_FRAMEINTERVALS: self._interval,
            v4l2.S_FMT: lambda a: None,
            v4l2.S_PARM: lambda a: None,
            v4l2.REQBUFS: lambda a: self.buffers.extend(bytearray(4_000_000) for _ in range(a.count)),
            v4l2.QUERYBUF: self._query,
            v4l2.QBUF: lambda a: self.queued.append(a.index),
            v4l2.DQBUF: self._dequeue,
            v4l2.STREAMON: lambda a: setattr(self, "streaming", 1),
            v4l2.STREAMOFF: lambda a: setattr(self, "streaming", 0),
        }[number]
        answer(argument)
        return 0

    def _capabilities(self, argument) -> None:
        argument.card = self.label.encode()
        argument.capabilities = v4l2.CAP_VIDEO_CAPTURE | v4l2.CAP_STREAMING

    def _format(self, argument) -> None:
        argument.pixelformat = self._pick(list(dict.fromkeys(m.pixel_format for m in self.modes)), argument.index)

    def _size(self, argument) -> None:
        sizes = [(m.width, m.height) for m in self.modes if m.pixel_format == argument.pixel_format]
        argument.type = v4l2.DISCRETE
        argument.numbers[0], argument.numbers[1] = self._pick(list(dict.fromkeys(sizes)), argument.index)

    def _interval(self, argument) -> None:
        wanted = (argument.pixel_format, argument.width, argument.height)
        rates = [m.fps for m in self.modes if (m.pixel_format, m.width, m.height) == wanted]
        argument.numbers[0], argument.numbers[1] = 1, int(self._pick(rates, argument.index))

    @staticmethod
    def _pick(found: list, index: int):
        if index >= len(found):
            raise OSError(errno.EINVAL, "the end")
        return found[index]

    def _query(self, argument) -> None:
        argument.length, argument.offset = len(self.buffers[argument.index]), argument.index

    def _dequeue(self, argument) -> None:
        if not self.pictures:
            raise OSError(errno.ENODEV, "No such device")
        data, stamp_ns = self.pictures.pop(0)
        argument.index = self.queued.pop(0)
        self.buffers[argument.index][: len(data)] = data
        argument.bytesused, argument.flags = len(data), self.flags
        argument.seconds, argument.microseconds = divmod(stamp_ns // 1000, 1_000_000)


class FakeMap:
    def __init__(self, buffer: bytearray) -> None:
        self.buffer = buffer

    def __getitem__(self, part: slice) -> bytes:
        return bytes(self.buffer[part])

    def close(self) -> None:
        pass


def jpeg(level: int, size: tuple[int, int] = (1280, 720)) -> bytes:
    picture = np.full((size[1], size[0], 3), (level, 2 * level, 200), np.uint8)
    return cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()


def opened(driver: FakeDriver, size: tuple[int, int] = (1280, 720)) -> webcam.Webcam:
    return webcam.Webcam(V4l2Camera("/dev/video0", size, 30.0, kernel=driver))  # pyright: ignore[reportArgumentType]


def test_pictures_and_the_drivers_clock():
    driver = FakeDriver(TYPICAL, [(jpeg(40), 5_000_001_000), (jpeg(60), 5_033_000_000)])
    camera = opened(driver)
    assert (camera.size, camera.fps, camera.info.name, camera.info.live) == ((1280, 720), 30.0, "Test Cam", True)
    assert len(driver.buffers) == 2
    first, second = camera.grab(), camera.grab()
    assert (first.index, first.timestamp_ns) == (0, 5_000_001_000)
    assert (second.index, second.timestamp_ns) == (1, 5_033_000_000)
    camera.close()
    assert (driver.opened, driver.streaming) == (0, 0)
    for buffer in driver.buffers:
        buffer[:] = bytes(len(buffer))
    frame = first.frame()  # it holds nothing of the driver's
    assert frame is not None
    np.testing.assert_allclose(frame.rgb[300, 300], (40, 80, 200), atol=3)


def test_every_buffer_goes_back_to_the_driver():
    driver = FakeDriver(TYPICAL, [(jpeg(40), i) for i in range(6)])
    camera = opened(driver)
    for _ in range(6):
        camera.grab()
        assert sorted(driver.queued) == [0, 1]


def test_torn_pictures_are_left_out():
    driver = FakeDriver(TYPICAL, [(b"", 1000), (b"nonsense", 2000), (jpeg(60, (640, 480)), 3000), (jpeg(60), 4000)])
    camera = opened(driver)
    pictures = [camera.grab() for _ in range(3)]
    assert [picture.timestamp_ns for picture in pictures] == [2000, 3000, 4000]
    nonsense, other_size, whole = (picture.frame() for picture in pictures)
    assert nonsense is None and other_size is None and whole is not None
    np.testing.assert_allclose(whole.rgb[300, 300], (60, 120, 200), atol=3)


def test_a_picture_that_nobody_looks_at_is_not_decoded(monkeypatch: pytest.MonkeyPatch):
    decoded: list[int] = []
    decode = cv2.imdecode
    monkeypatch.setattr(
        webcam.cv2, "imdecode", lambda data, *a, **k: (decoded.append(len(data)), decode(data, *a, **k))[1]
    )
    camera = opened(FakeDriver(TYPICAL, [(jpeg(40 + i), i) for i in range(3)]))
    pictures = [camera.grab() for _ in range(3)]
    assert not decoded
    assert pictures[2].frame() is not None
    assert len(decoded) == 1


def test_only_broken_pictures_end_in_words():
    camera = opened(FakeDriver(TYPICAL, [(b"nonsense", i) for i in range(100)]))
    with pytest.raises(DeviceError, match="broken pictures"):
        for _ in range(100):
            assert camera.grab().frame() is None


def test_unplugged():
    camera = opened(FakeDriver(TYPICAL, [(jpeg(40), 1)]))
    camera.grab()
    with pytest.raises(DeviceError, match="unplugged") as caught:
        camera.grab()
    assert caught.value.exit_code == 3
    camera.close()


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (v4l2.STREAMON, errno.EBUSY, "another program uses it"),
        (v4l2.S_FMT, errno.EBUSY, "another program uses it"),
        (v4l2.REQBUFS, errno.ENOMEM, "cannot be started"),
        (v4l2.QUERYCAP, errno.ENOTTY, "cannot be started"),
    ],
)
def test_failing_start_closes_the_device(call: int, code: int, words: str):
    driver = FakeDriver(TYPICAL, [])
    driver.fail[call] = code
    with pytest.raises(DeviceError, match=words):
        opened(driver)
    assert driver.opened == 0


def test_rate_is_only_a_wish():
    driver = FakeDriver(TYPICAL, [])
    driver.fail[v4l2.S_PARM] = errno.EINVAL
    assert opened(driver).fps == 30.0


def test_own_camera_is_refused():
    with pytest.raises(DeviceError, match="own camera"):
        opened(FakeDriver(TYPICAL, [], label=LABEL))


def test_clock_of_a_driver_without_one(monkeypatch: pytest.MonkeyPatch):
    driver = FakeDriver(TYPICAL, [(jpeg(40), 5)])
    driver.flags = 0
    monkeypatch.setattr(v4l2.time, "monotonic_ns", lambda: 77)
    assert opened(driver).grab().timestamp_ns == 77


def test_missing_device():
    with pytest.raises(DeviceError, match="/dev/video99") as caught:
        webcam.open_webcam("99", (640, 480), 30.0)
    assert caught.value.hint
    with pytest.raises(ConfigError):
        webcam.open_webcam("front", (640, 480), 30.0)


def test_none_plugged_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(v4l2, "capture_devices", list)
    with pytest.raises(DeviceError, match="No webcam"):
        webcam.open_webcam("", (640, 480), 30.0)


def test_devices_that_count(tmp_path: Path):
    for name, label in (("video0", "Cam"), ("video2", LABEL), ("video10", "Other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(label + "\n")
    driver = FakeDriver(TYPICAL, [])
    found = v4l2.capture_devices(tmp_path, driver)  # pyright: ignore[reportArgumentType]
    assert found == [("/dev/video0", "Cam"), ("/dev/video10", "Other")]
    assert driver.opened == 0


@given(st.tuples(*[st.integers(0, 255)] * 3), st.booleans(), st.sampled_from([b"", b"padding!"]))
def test_yuyv(colour: tuple[int, int, int], full_range: bool, padding: bytes):
    """Packing a flat colour by the definition of BT.601 and reading it gives the colour back."""
    r, g, b = (value / 255 for value in colour)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    scale, offset, chroma = (255, 0, 255) if full_range else (219, 16, 224)
    y = round(offset + scale * luma)
    u, v = round(128 + chroma * (b - luma) / 1.772), round(128 + chroma * (r - luma) / 1.402)
    line = bytes([y, min(u, 255), y, min(v, 255)] * 4) + padding
    rgb = np.zeros((4, 8, 3), np.uint8)
    assert webcam.rgb_from_yuyv(line * 4, len(line), Coding("bt601", full_range), rgb)
    assert np.abs(rgb.astype(int) - np.array(colour)).max() <= 3
    assert not webcam.rgb_from_yuyv(line * 3, len(line), Coding("bt601", full_range), rgb)


def test_closing_twice_closes_once():
    """A webcam rests while nobody looks, and may be closed for good before it was needed again."""
    driver = FakeDriver(TYPICAL, [])
    camera = V4l2Camera("/dev/video0", (1280, 720), 30.0, kernel=driver)  # pyright: ignore[reportArgumentType]
    camera.close()
    camera.close()
    assert driver.opened == 0


def test_a_picture_has_its_own_size_whatever_the_driver_said(monkeypatch: pytest.MonkeyPatch):
    class Capture:
        """Says 1280 x 720 and sends 640 x 480."""

        def __init__(self, *_: int) -> None:
            pass

        def isOpened(self) -> bool:
            return True

        def set(self, *_: float) -> bool:
            return True

        def get(self, which: int) -> float:
            return {webcam.cv2.CAP_PROP_FRAME_WIDTH: 1280.0, webcam.cv2.CAP_PROP_FRAME_HEIGHT: 720.0}.get(which, 30.0)

        def read(self) -> tuple[bool, np.ndarray]:
            return True, np.full((480, 640, 3), (10, 20, 30), np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(webcam.cv2, "VideoCapture", Capture)
    frame = webcam.OpenCvWebcam(0, (1280, 720), 30.0).grab().frame()
    assert frame is not None
    assert frame.rgb.shape == (480, 640, 3)
    assert frame.rgb[0, 0].tolist() == [30, 20, 10]
