"""A Linux webcam by its own ioctls: two kernel buffers and the driver's timestamps.

OpenCV keeps four buffers, which hides up to 130 ms, and stamps pictures when they are fetched (`DECISIONS` 14).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from f2fcam.errors import DeviceError
from f2fcam.publish.v4l2 import CAP_DEVICE_CAPS, LABEL, QUERYCAP, Capability, Format, PixelFormat, fourcc, ioctl_number

DEVICES = Path("/sys/class/video4linux")
BUFFERS = 2
"""One that the driver fills while we read the other."""
PATIENCE_S = 5.0
"""A camera that gives no picture for so long is gone; some need two seconds to wake up."""

CAP_VIDEO_CAPTURE, CAP_STREAMING = 0x0000_0001, 0x0400_0000
BUF_TYPE_VIDEO_CAPTURE, MEMORY_MMAP, FIELD_ANY = 1, 1, 0
FLAG_ERROR, FLAG_TIMESTAMP_MASK, FLAG_TIMESTAMP_MONOTONIC = 0x40, 0xE000, 0x2000
DISCRETE = 1
QUANTIZATION_FULL_RANGE = 1

YUYV, MJPG = fourcc("YUYV"), fourcc("MJPG")
READABLE = (YUYV, MJPG)
"""The formats that every USB camera has one of, the one that needs no decoding first."""

_PLUG = "Plug the webcam in, close other programs that use it, and look at `f2fcam doctor`."


def _fields(names: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_uint32) for name in names.split()]


class FormatDescription(ctypes.Structure):
    """`struct v4l2_fmtdesc`."""

    _fields_ = (
        *_fields("index type flags"),
        ("description", ctypes.c_char * 32),
        *_fields("pixelformat mbus_code"),
        ("reserved", ctypes.c_uint32 * 3),
    )


class FrameSize(ctypes.Structure):
    """`struct v4l2_frmsizeenum`; the first two of `numbers` are a discrete size, else min max step of width and height."""

    _fields_ = (
        *_fields("index pixel_format type"),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )


class FrameInterval(ctypes.Structure):
    """`struct v4l2_frmivalenum`; the first two of `numbers` are a fraction: the discrete or the shortest interval."""

    _fields_ = (
        *_fields("index pixel_format width height type"),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )


class CaptureParameters(ctypes.Structure):
    """`struct v4l2_streamparm` with its member `capture`."""

    _fields_ = (*_fields("type capability capturemode numerator denominator"), ("rest", ctypes.c_uint8 * 184))


class RequestBuffers(ctypes.Structure):
    """`struct v4l2_requestbuffers`."""

    _fields_ = (*_fields("count type memory capabilities"), ("flags", ctypes.c_uint8 * 4))


class Buffer(ctypes.Structure):
    """`struct v4l2_buffer`."""

    _fields_ = (
        *_fields("index type bytesused flags field"),
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("timecode", ctypes.c_uint8 * 16),
        *_fields("sequence memory"),
        ("offset", ctypes.c_ulong),
        *_fields("length reserved2 request_fd"),
    )


ENUM_FMT = ioctl_number(3, 2, ctypes.sizeof(FormatDescription))
S_FMT = ioctl_number(3, 5, ctypes.sizeof(Format))
REQBUFS = ioctl_number(3, 8, ctypes.sizeof(RequestBuffers))
QUERYBUF = ioctl_number(3, 9, ctypes.sizeof(Buffer))
QBUF = ioctl_number(3, 15, ctypes.sizeof(Buffer))
DQBUF = ioctl_number(3, 17, ctypes.sizeof(Buffer))
STREAMON = ioctl_number(1, 18, ctypes.sizeof(ctypes.c_int))
STREAMOFF = ioctl_number(1, 19, ctypes.sizeof(ctypes.c_int))
S_PARM = ioctl_number(3, 22, ctypes.sizeof(CaptureParameters))
ENUM_FRAMESIZES = ioctl_number(3, 74, ctypes.sizeof(FrameSize))
ENUM_FRAMEINTERVALS = ioctl_number(3, 75, ctypes.sizeof(FrameInterval))


class Kernel:
    """The calls that reach the device; tests put a fake driver here."""

    open: Callable[[str, int], int] = staticmethod(os.open)
    close: Callable[[int], None] = staticmethod(os.close)
    ioctl: Callable[..., int] = staticmethod(fcntl.ioctl)

    @staticmethod
    def map(descriptor: int, length: int, offset: int) -> mmap.mmap:
        """A buffer of the driver's."""
        return mmap.mmap(descriptor, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)

    @staticmethod
    def ready(descriptor: int, timeout_s: float) -> bool:
        """Wait until a picture is there."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))


@dataclass(frozen=True, slots=True)
class Mode:
    """What a camera can deliver."""

    pixel_format: int
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class RawPicture:
    """A picture as the driver gave it, with its monotonic time."""

    data: bytes
    timestamp_ns: int


def choose_mode(
    modes: list[Mode], size: tuple[int, int], fps: float, formats: tuple[int, ...] = READABLE
) -> Mode | None:
    """The mode for a wish: the rate first, then the size (a larger one rather than a smaller), then no decoding."""

    def cost(mode: Mode) -> tuple[float, float, int, float]:
        missing_rate = max(0.0, 1 - mode.fps / (0.95 * fps))
        width, height = mode.width / size[0], mode.height / size[1]
        missing = max(0.0, 1 - min(width, height))
        return round(missing_rate, 2), missing, round(width * height, 3) > 1, width * height

    readable = [mode for mode in modes if mode.pixel_format in formats]
    return min(readable, key=lambda mode: (*cost(mode), formats.index(mode.pixel_format)), default=None)


def capture_devices(root: Path = DEVICES, kernel: Kernel | None = None) -> list[tuple[str, str]]:
    """Path and label of every device that can capture, except our own camera."""
    found = []
    for folder in sorted(root.glob("video*"), key=lambda path: (len(path.name), path.name)):
        try:
            label = (folder / "name").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        path = f"/dev/{folder.name}"
        if label != LABEL and _can_capture(path, kernel or Kernel()):
            found.append((path, label))
    return found


def _can_capture(path: str, kernel: Kernel) -> bool:
    """A camera's second device node holds only metadata; one that may not be opened counts, so that it gets explained."""
    try:
        descriptor = kernel.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.errno == errno.EACCES
    try:
        return bool(_device_caps(descriptor, kernel).device_caps & CAP_VIDEO_CAPTURE)
    except OSError:
        return False
    finally:
        kernel.close(descriptor)


def _device_caps(descriptor: int, kernel: Kernel) -> Capability:
    capability = Capability()
    kernel.ioctl(descriptor, QUERYCAP, capability)
    if not capability.capabilities & CAP_DEVICE_CAPS:
        capability.device_caps = capability.capabilities
    return capability


class V4l2Camera:
    """A streaming webcam that delivers one of `readable`, best first; the one whose label is `refused` is not taken.

    Attributes:
        label: its name. mode: what it delivers. pixels: the driver's format, colour tags included.
    """

    def __init__(
        self,
        path: str,
        size: tuple[int, int],
        fps: float,
        kernel: Kernel | None = None,
        *,
        readable: tuple[int, ...] = READABLE,
        refused: str | None = LABEL,
    ) -> None:
        self._kernel = kernel or Kernel()
        self.path, self._readable = path, readable
        self._maps: list[mmap.mmap] = []
        try:
            self._descriptor = self._kernel.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            hint = "Run `sudo usermod -aG video $USER`, then log in again."
            raise DeviceError(f"The webcam {path} may not be opened.", hint=hint) from error
        except OSError as error:
            raise DeviceError(f"The webcam {path} cannot be opened: {error.strerror}.", hint=_PLUG) from error
        try:
            self.label = self._check(refused)
            self.mode, self.pixels = self._negotiate(size, fps)
            self._start()
        except OSError as error:
            self._release()
            reason = "another program uses it" if error.errno == errno.EBUSY else error.strerror
            raise DeviceError(f"The webcam {path} cannot be started: {reason}.", hint=_PLUG) from error
        except BaseException:
            self._release()
            raise

    def read(self) -> RawPicture:
        """Wait for the next whole picture. Raises `DeviceError` when the camera was unplugged or went silent."""
        deadline = time.monotonic() + PATIENCE_S
        while (remaining := deadline - time.monotonic()) > 0:
            if not self._kernel.ready(self._descriptor, remaining):
                break
            buffer = Buffer(type=BUF_TYPE_VIDEO_CAPTURE, memory=MEMORY_MMAP)
            try:
                self._kernel.ioctl(self._descriptor, DQBUF, buffer)
                data = bytes(self._maps[buffer.index][: buffer.bytesused])
                flags, stamp_ns = buffer.flags, buffer.seconds * 10**9 + buffer.microseconds * 1000
                self._kernel.ioctl(self._descriptor, QBUF, buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                raise DeviceError(f"The webcam {self.label} was unplugged: {error.strerror}.", hint=_PLUG) from error
            if data and not flags & FLAG_ERROR:
                driver_clock = flags & FLAG_TIMESTAMP_MASK == FLAG_TIMESTAMP_MONOTONIC
                return RawPicture(data, stamp_ns if driver_clock else time.monotonic_ns())
        raise DeviceError(f"The webcam {self.label} delivers no pictures.", hint=_PLUG)

    def close(self) -> None:
        """Stop it; its light goes off. A second time there is nothing to do."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):  # it may be gone already
            self._kernel.ioctl(self._descriptor, STREAMOFF, ctypes.c_int(BUF_TYPE_VIDEO_CAPTURE))
        self._release()

    def _release(self) -> None:
        for mapped in self._maps:
            mapped.close()
        self._maps = []
        self._kernel.close(self._descriptor)
        self._descriptor = -1

    def _check(self, refused: str | None) -> str:
        capability = _device_caps(self._descriptor, self._kernel)
        label = capability.card.decode(errors="replace")
        if label == refused:
            raise DeviceError(f"{self.path} is f2fcam's own camera.", hint="Choose another --source, such as webcam:0.")
        if not capability.device_caps & CAP_VIDEO_CAPTURE or not capability.device_caps & CAP_STREAMING:
            raise DeviceError(
                f"{self.path} ({label}) is not a camera.", hint="Look at `f2fcam doctor` for the webcams."
            )
        return label

    def _negotiate(self, size: tuple[int, int], fps: float) -> tuple[Mode, PixelFormat]:
        mode = choose_mode(self._modes(size), size, fps, self._readable)
        if mode is None:
            raise DeviceError(
                f"The webcam {self.label} has neither YUYV nor MJPG pictures.", hint="Use another webcam."
            )
        wanted = Format(type=BUF_TYPE_VIDEO_CAPTURE)
        wanted.fmt.pix = PixelFormat(
            width=mode.width, height=mode.height, pixelformat=mode.pixel_format, field=FIELD_ANY
        )
        self._kernel.ioctl(self._descriptor, S_FMT, wanted)
        got = wanted.fmt.pix
        if got.pixelformat not in self._readable or got.width % 2:
            raise DeviceError(f"The webcam {self.label} does not keep to its formats.", hint="Use another webcam.")
        rate = CaptureParameters(
            type=BUF_TYPE_VIDEO_CAPTURE, numerator=1000, denominator=round(min(mode.fps, fps) * 1000)
        )
        try:
            self._kernel.ioctl(self._descriptor, S_PARM, rate)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):  # the rate is only a wish
                raise
        chosen = rate.denominator / rate.numerator if rate.numerator and rate.denominator else mode.fps
        return Mode(got.pixelformat, got.width, got.height, chosen), PixelFormat.from_buffer_copy(got)

    def _modes(self, size: tuple[int, int]) -> list[Mode]:
        modes = []
        for described in self._listed(ENUM_FMT, lambda i: FormatDescription(index=i, type=BUF_TYPE_VIDEO_CAPTURE)):
            code = described.pixelformat
            sizes = [self._size(s, size) for s in self._listed(ENUM_FRAMESIZES, lambda i, c=code: FrameSize(i, c))]
            for width, height in sizes or [size]:
                intervals = self._listed(
                    ENUM_FRAMEINTERVALS, lambda i, c=code, w=width, h=height: FrameInterval(i, c, w, h)
                )
                rates = [i.numbers[1] / i.numbers[0] for i in intervals if i.numbers[0]]
                modes += [Mode(code, width, height, rate) for rate in rates or [30.0]]
        return modes

    @staticmethod
    def _size(found: FrameSize, wish: tuple[int, int]) -> tuple[int, int]:
        if found.type == DISCRETE:
            return found.numbers[0], found.numbers[1]
        least_w, most_w, _, least_h, most_h, _ = found.numbers
        return min(max(wish[0], least_w), most_w), min(max(wish[1], least_h), most_h)

    def _listed(self, number: int, make: Callable[[int], ctypes.Structure]) -> list:
        """What the driver enumerates until it says no."""
        found = []
        for index in range(256):
            entry = make(index)
            try:
                self._kernel.ioctl(self._descriptor, number, entry)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOTTY):
                    break
                raise
            found.append(entry)
        return found

    def _start(self) -> None:
        request = RequestBuffers(count=BUFFERS, type=BUF_TYPE_VIDEO_CAPTURE, memory=MEMORY_MMAP)
        self._kernel.ioctl(self._descriptor, REQBUFS, request)
        for index in range(request.count):
            buffer = Buffer(index=index, type=BUF_TYPE_VIDEO_CAPTURE, memory=MEMORY_MMAP)
            self._kernel.ioctl(self._descriptor, QUERYBUF, buffer)
            self._maps.append(self._kernel.map(self._descriptor, buffer.length, buffer.offset & 0xFFFF_FFFF))
            self._kernel.ioctl(self._descriptor, QBUF, buffer)
        self._kernel.ioctl(self._descriptor, STREAMON, ctypes.c_int(BUF_TYPE_VIDEO_CAPTURE))
