"""A v4l2loopback device as a sink, by its own ioctls: no library, so that the supervisor can own the camera.

Traps that this module knows: `exclusive_caps=1` with v4l2loopback 0.12.7 leaves a device that reports no capabilities
after its last producer has gone (`_heal`); the driver may return another size or format than asked for, and that is what
it then expects; capture capability appears at the first written frame only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from f2fcam.errors import DeviceError
from f2fcam.publish.watchers import Watchers

LABEL = "F2F Camera"
DEVICES = Path("/sys/class/video4linux")

BUF_TYPE_VIDEO_OUTPUT = 2
CAP_VIDEO_OUTPUT = 0x0000_0002
CAP_DEVICE_CAPS = 0x8000_0000
FIELD_NONE = 1
COLORSPACE_SMPTE170M = 1
YCBCR_ENC_601 = 1
QUANTIZATION_LIM_RANGE = 2
HINT = 'Run `sudo modprobe v4l2loopback exclusive_caps=1 card_label="F2F Camera"`, or use --sink pipewire.'


def fourcc(code: str) -> int:
    """A pixel format's number."""
    return int.from_bytes(code.encode(), "little")


I420, YUYV = fourcc("YU12"), fourcc("YUYV")


class Capability(ctypes.Structure):
    """`struct v4l2_capability`."""

    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("device_caps", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    )


class PixelFormat(ctypes.Structure):
    """`struct v4l2_pix_format`."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in (
            "width height pixelformat field bytesperline sizeimage colorspace priv flags ycbcr_enc quantization xfer_func"
        ).split()
    )


class _FormatUnion(ctypes.Union):
    # The pointer stands for struct v4l2_window, which gives the kernel's union its alignment.
    _fields_ = (("pix", PixelFormat), ("raw", ctypes.c_uint8 * 200), ("pointer", ctypes.c_void_p))


class Format(ctypes.Structure):
    """`struct v4l2_format`."""

    _fields_ = (("type", ctypes.c_uint32), ("fmt", _FormatUnion))


class OutputParameters(ctypes.Structure):
    """`struct v4l2_streamparm` with its member `output`."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("capability", ctypes.c_uint32),
        ("outputmode", ctypes.c_uint32),
        ("numerator", ctypes.c_uint32),
        ("denominator", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 184),
    )


def ioctl_number(direction: int, number: int, size: int) -> int:
    """`_IOC(direction, 'V', number, size)`; direction 1 writes, 2 reads, 3 both."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = ioctl_number(2, 0, ctypes.sizeof(Capability))
S_FMT = ioctl_number(3, 5, ctypes.sizeof(Format))
STREAMON = ioctl_number(1, 18, ctypes.sizeof(ctypes.c_int))
S_PARM = ioctl_number(3, 22, ctypes.sizeof(OutputParameters))


class Kernel:
    """The calls that reach the device; tests put a fake driver here."""

    open: Callable[[str, int], int] = staticmethod(os.open)
    close: Callable[[int], None] = staticmethod(os.close)
    write: Callable[..., int] = staticmethod(os.write)
    ioctl: Callable[..., int] = staticmethod(fcntl.ioctl)


def find_device(label: str = LABEL, root: Path = DEVICES) -> str:
    """The path of the device whose label is `label`."""
    names = {}
    for file in sorted(root.glob("video*/name"), key=lambda path: (len(path.parent.name), path.parent.name)):
        with contextlib.suppress(OSError):  # it was unplugged just now
            names[file.parent.name] = file.read_text(encoding="utf-8", errors="replace").strip()
    for device, name in names.items():
        if name == label:
            return f"/dev/{device}"
    seen = ", ".join(f"/dev/{device} ({name})" for device, name in names.items()) or "none"
    raise DeviceError(f'There is no video device with the label "{label}" (there: {seen}).', hint=HINT)


class V4l2Sink:
    """An open loopback device.

    Attributes:
        pixel_format: the format that the driver chose.
    """

    keeps_time = False

    def __init__(self, path: str, size: tuple[int, int], fps: float, kernel: Kernel | None = None) -> None:
        self._kernel = kernel or Kernel()
        self.path = path
        self._watchers = Watchers(path)
        self._descriptor = self._open_output(path)
        try:
            name, got = self._negotiate(size, fps)
        except BaseException:
            self._kernel.close(self._descriptor)
            raise
        self.device = f"{name} ({path})"
        self.size = (got.width, got.height)
        self.pixel_format = got.pixelformat

    @property
    def readers(self) -> int | None:
        """How many programs have the device open; None where it is not v4l2loopback's."""
        return self._watchers.count(time.monotonic())

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Write one picture, in the driver's format."""
        picture = yuyv_from_i420(i420, *self.size) if self.pixel_format == YUYV else i420
        try:
            self._kernel.write(self._descriptor, picture)
        except BlockingIOError:
            return  # every buffer is with a reader: this picture is skipped, the next one is newer
        except OSError as error:
            raise DeviceError(f"{self.device} went away: {error.strerror}.", hint=HINT) from error

    def close(self) -> None:
        """Close the device; readers see the last picture until they give up."""
        self._kernel.close(self._descriptor)

    def _open_output(self, path: str) -> int:
        """A descriptor of a device that takes output, healed if need be."""
        for attempt in range(2):
            descriptor = self._open(path)
            try:
                if self._capability(descriptor).device_caps & CAP_VIDEO_OUTPUT:
                    return descriptor
                if attempt == 0:
                    self._heal(descriptor)
            except BaseException:
                self._kernel.close(descriptor)
                raise
            self._kernel.close(descriptor)
        raise DeviceError(f"{path} is not a video output device.", hint=HINT)

    def _open(self, path: str) -> int:
        try:
            return self._kernel.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise DeviceError(
                f"{path} may not be opened.", hint="Run `sudo usermod -aG video $USER`, then log in again."
            ) from error
        except OSError as error:
            raise DeviceError(f"{path} cannot be opened: {error.strerror}.", hint=HINT) from error

    def _capability(self, descriptor: int) -> Capability:
        capability = Capability()
        try:
            self._kernel.ioctl(descriptor, QUERYCAP, capability)
        except OSError as error:
            raise DeviceError(f"{self.path} is not a video device: {error.strerror}.", hint=HINT) from error
        if not capability.capabilities & CAP_DEVICE_CAPS:
            capability.device_caps = capability.capabilities
        return capability

    def _heal(self, descriptor: int) -> None:
        """Wake a v4l2loopback 0.12.7 device from its stuck state: STREAMON for output, then (the caller) close."""
        try:
            self._kernel.ioctl(descriptor, STREAMON, ctypes.c_int(BUF_TYPE_VIDEO_OUTPUT))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise DeviceError(f"{self.path} does not answer: {error.strerror}.", hint=HINT) from error

    def _negotiate(self, size: tuple[int, int], fps: float) -> tuple[str, PixelFormat]:
        """Ask for I420 of `size`; returns the device's label and what the driver made of it."""
        name = self._capability(self._descriptor).card.decode(errors="replace")
        wanted = Format(type=BUF_TYPE_VIDEO_OUTPUT)
        width, height = size
        wanted.fmt.pix = PixelFormat(
            width, height, I420, FIELD_NONE, width, width * height * 3 // 2,
            COLORSPACE_SMPTE170M, 0, 0, YCBCR_ENC_601, QUANTIZATION_LIM_RANGE, 0,
        )  # fmt: skip
        try:
            self._kernel.ioctl(self._descriptor, S_FMT, wanted)
        except OSError as error:
            raise DeviceError(f"{self.path} takes no format: {error.strerror}.", hint=HINT) from error
        got = wanted.fmt.pix
        if got.pixelformat not in (I420, YUYV) or got.width % 2 or got.height % 2:
            code = got.pixelformat.to_bytes(4, "little").decode(errors="replace")
            raise DeviceError(f"{self.path} wants {got.width}x{got.height} {code}, which we cannot make.", hint=HINT)
        rate = OutputParameters(type=BUF_TYPE_VIDEO_OUTPUT, numerator=1000, denominator=round(fps * 1000))
        try:
            self._kernel.ioctl(self._descriptor, S_PARM, rate)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):  # the rate is only advice
                raise DeviceError(f"{self.path} takes no rate: {error.strerror}.", hint=HINT) from error
        return name, got


def yuyv_from_i420(i420: bytearray | memoryview, width: int, height: int) -> bytearray:
    """Packed YUYV of a planar picture, each chroma row used for two lines."""
    planes = memoryview(i420)
    luma, half = width * height, width // 2
    packed = bytearray(luma * 2)
    packed[0::2] = planes[:luma]
    for place, start in ((1, luma), (3, luma * 5 // 4)):
        rows = (planes[start + y * half : start + (y + 1) * half] for y in range(height // 2))
        packed[place::4] = b"".join(row for row in rows for _ in range(2))
    return packed


def open_v4l2(where: str, size: tuple[int, int], fps: float) -> V4l2Sink:
    """The device at `where`, or the one with our label."""
    return V4l2Sink(where or find_device(), size, fps)
