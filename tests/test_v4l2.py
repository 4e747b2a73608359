"""The loopback device against a driver made of calls: numbers and sizes are the kernel's, its traps are played."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from f2fcam.errors import DeviceError
from f2fcam.publish import v4l2
from f2fcam.publish.v4l2 import I420, YUYV, Capability, Format, Kernel, OutputParameters, V4l2Sink, find_device

SIZE = (64, 48)
DESCRIPTOR = 77


class FakeDriver(Kernel):
    """v4l2loopback as far as a producer sees it."""

    def __init__(self, *, stuck: bool = False, returns: tuple[int, int, int] | None = None) -> None:
        self.stuck, self.returns = stuck, returns
        self.healing = False
        self.opened = self.closed = 0
        self.formats: list[tuple[int, int, int]] = []
        self.rates: list[float] = []
        self.written: list[bytes] = []
        self.write_error: OSError | None = None
        self.open, self.close, self.write, self.ioctl = self._open, self._close, self._write, self._ioctl

    def _open(self, path: str, flags: int) -> int:
        assert flags & os.O_RDWR
        self.opened += 1
        return DESCRIPTOR

    def _close(self, descriptor: int) -> None:
        assert descriptor == DESCRIPTOR
        self.closed += 1
        if self.healing:
            self.stuck = self.healing = False

    def _write(self, descriptor: int, data: bytes) -> int:
        if self.write_error is not None:
            raise self.write_error
        self.written.append(bytes(data))
        return len(data)

    def _ioctl(self, descriptor: int, number: int, argument: ctypes.Structure) -> int:
        if number == v4l2.QUERYCAP:
            assert isinstance(argument, Capability)
            argument.card = b"F2F Camera"
            argument.capabilities = 0x8000_0000
            argument.device_caps = 0 if self.stuck else 0x0520_0002
        elif number == v4l2.STREAMON:
            self.healing = True
            raise OSError(errno.EINVAL, "Invalid argument")
        elif number == v4l2.S_FMT:
            assert isinstance(argument, Format) and argument.type == 2
            pix = argument.fmt.pix
            self.formats.append((pix.width, pix.height, pix.pixelformat))
            if self.returns is not None:
                pix.width, pix.height, pix.pixelformat = self.returns
        elif number == v4l2.S_PARM:
            assert isinstance(argument, OutputParameters)
            self.rates.append(argument.denominator / argument.numerator)
        else:
            raise AssertionError(hex(number))
        return 0


def picture(width: int, height: int) -> bytes:
    return np.random.default_rng(0).integers(0, 256, width * height * 3 // 2, np.uint8).tobytes()


def test_numbers_are_those_of_the_kernel_header():
    assert v4l2.QUERYCAP == 0x8068_5600
    assert v4l2.S_FMT == 0xC0D0_5605
    assert v4l2.STREAMON == 0x4004_5612
    assert v4l2.S_PARM == 0xC0CC_5616
    assert (I420, YUYV) == (0x3231_5559, 0x5659_5559)


def test_structures_are_those_of_the_kernel_header():
    assert ctypes.sizeof(Capability) == 104
    assert Capability.capabilities.offset == 84 and Capability.device_caps.offset == 88
    assert ctypes.sizeof(Format) == 208 and Format.fmt.offset == 8
    assert ctypes.sizeof(v4l2.PixelFormat) == 48
    assert v4l2.PixelFormat.bytesperline.offset == 16 and v4l2.PixelFormat.colorspace.offset == 24
    assert ctypes.sizeof(OutputParameters) == 204 and OutputParameters.numerator.offset == 12


def test_sends_planes_as_they_are():
    driver = FakeDriver()
    sink = V4l2Sink("/dev/video9", SIZE, 30.0, driver)
    assert driver.formats == [(*SIZE, I420)] and driver.rates == [30.0]
    assert sink.device == "F2F Camera (/dev/video9)" and sink.size == SIZE
    sink.send(memoryview(picture(*SIZE)), 0)
    assert driver.written == [picture(*SIZE)]
    sink.close()
    assert driver.opened == driver.closed


def test_what_the_driver_returns_is_used():
    driver = FakeDriver(returns=(32, 24, YUYV))
    sink = V4l2Sink("/dev/video9", SIZE, 30.0, driver)
    assert sink.size == (32, 24)
    sink.send(picture(32, 24), 0)
    packed = np.frombuffer(driver.written[0], np.uint8).reshape(24, 16, 4)
    planes = np.frombuffer(picture(32, 24), np.uint8)
    luma, u, v = planes[:768].reshape(24, 32), planes[768:960].reshape(12, 16), planes[960:].reshape(12, 16)
    assert np.array_equal(packed[..., 0], luma[:, 0::2]) and np.array_equal(packed[..., 2], luma[:, 1::2])
    assert np.array_equal(packed[..., 1], u.repeat(2, axis=0)) and np.array_equal(packed[..., 3], v.repeat(2, axis=0))


def test_format_that_we_cannot_make_is_told():
    driver = FakeDriver(returns=(64, 48, v4l2.fourcc("MJPG")))
    with pytest.raises(DeviceError, match="MJPG"):
        V4l2Sink("/dev/video9", SIZE, 30.0, driver)
    assert driver.opened == driver.closed


def test_stuck_device_is_healed():
    driver = FakeDriver(stuck=True)
    sink = V4l2Sink("/dev/video9", SIZE, 30.0, driver)
    assert driver.opened == 2 and driver.closed == 1
    sink.send(picture(*SIZE), 0)
    assert len(driver.written) == 1


def test_device_without_output_is_refused():
    driver = FakeDriver(stuck=True)
    driver.healing = False
    driver._close = lambda descriptor: None
    driver.close = driver._close
    with pytest.raises(DeviceError, match="not a video output device"):
        V4l2Sink("/dev/video9", SIZE, 30.0, driver)


def test_slow_reader_costs_a_picture_and_a_lost_device_is_told():
    driver = FakeDriver()
    sink = V4l2Sink("/dev/video9", SIZE, 30.0, driver)
    driver.write_error = BlockingIOError(errno.EAGAIN, "Try again")
    sink.send(picture(*SIZE), 0)
    driver.write_error = OSError(errno.ENODEV, "No such device")
    with pytest.raises(DeviceError, match="No such device"):
        sink.send(picture(*SIZE), 0)


def test_missing_and_forbidden_devices_are_told():
    driver = FakeDriver()
    with pytest.raises(DeviceError, match="cannot be opened"):
        V4l2Sink("/dev/no-such-video", SIZE, 30.0)

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    driver.open = refuse
    with pytest.raises(DeviceError) as caught:
        V4l2Sink("/dev/video9", SIZE, 30.0, driver)
    assert "video" in caught.value.hint


def test_a_plain_file_is_no_device(tmp_path: Path):
    file = tmp_path / "video0"
    file.touch()
    with pytest.raises(DeviceError, match="is not a video device"):
        V4l2Sink(str(file), SIZE, 30.0)


def test_label_is_found(tmp_path: Path):
    for device, label in (("video0", "Integrated Webcam"), ("video2", "OBS"), ("video10", "F2F Camera")):
        (tmp_path / device).mkdir()
        (tmp_path / device / "name").write_text(label + "\n")
    assert find_device(root=tmp_path) == "/dev/video10"
    with pytest.raises(DeviceError, match=r"/dev/video2 \(OBS\)"):
        find_device("Other", root=tmp_path)
    with pytest.raises(DeviceError, match="none"):
        find_device(root=tmp_path / "video0")
