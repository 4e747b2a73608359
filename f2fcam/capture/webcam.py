"""A webcam's pictures: our own driver calls on Linux, OpenCV's capture on Windows and macOS. Never mirrored."""

from __future__ import annotations

import itertools
import sys
import time
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import UInt8

from f2fcam.capture import FrameSource, SourceInfo
from f2fcam.errors import ConfigError, DeviceError
from f2fcam.frame import Undeveloped
from f2fcam.yuv import Coding, yuyv_to_rgb

BAD_PICTURES = 30
"""So many undecodable pictures in a row mean that the camera or its cable is broken."""


class Webcam:
    """A Linux webcam (`V4l2Camera`). What it sends is copied, and decoded when somebody wants to see it."""

    def __init__(self, camera) -> None:  # a V4l2Camera; not imported here, since its module is for Linux alone
        self._camera = camera
        mode, pixels = camera.mode, camera.pixels
        self._stride = max(pixels.bytesperline, mode.width * 2)
        self._coding = webcam_coding(pixels.quantization)
        self._number = itertools.count()
        self._broken = 0
        self.info = SourceInfo(camera.label, (mode.width, mode.height), Fraction(mode.fps).limit_denominator(1001))

    @property
    def size(self) -> tuple[int, int]:
        return self.info.size

    @property
    def fps(self) -> float:
        return self.info.fps

    def grab(self) -> Undeveloped:
        """Wait for the next picture. Raises `DeviceError` when the last ones that were looked at were all broken."""
        if self._broken >= BAD_PICTURES:
            hint = "Try another cable or USB port."
            raise DeviceError(f"The webcam {self.info.name} sends broken pictures.", hint=hint)
        raw = self._camera.read()
        return Undeveloped(self.size, next(self._number), raw.timestamp_ns, lambda out: self._develop(raw.data, out))

    def _develop(self, data: bytes, out: UInt8[np.ndarray, "h w 3"]) -> bool:
        from f2fcam.capture.v4l2_camera import MJPG

        if self._camera.mode.pixel_format == MJPG:
            whole = rgb_from_mjpeg(data, out)
        else:
            whole = rgb_from_yuyv(data, self._stride, self._coding, out)
        self._broken = 0 if whole else self._broken + 1
        return whole

    def close(self) -> None:
        self._camera.close()


class OpenCvWebcam:
    """A webcam on Windows or macOS; stamped when it is fetched, since OpenCV knows no better."""

    def __init__(self, number: int, size: tuple[int, int], fps: float) -> None:
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise DeviceError(
                f"The webcam {number} cannot be opened.", hint="Plug it in and close other programs that use it."
            )
        for setting, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, size[0]),
            (cv2.CAP_PROP_FRAME_HEIGHT, size[1]),
            (cv2.CAP_PROP_FPS, fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            self._capture.set(setting, value)
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        rate = self._capture.get(cv2.CAP_PROP_FPS) or fps
        self._number = itertools.count()
        self.info = SourceInfo(f"webcam {number}", (width, height), Fraction(rate).limit_denominator(1001))

    @property
    def size(self) -> tuple[int, int]:
        return self.info.size

    @property
    def fps(self) -> float:
        return self.info.fps

    def grab(self) -> Undeveloped:
        """Wait for the next picture."""
        good, bgr = self._capture.read()
        timestamp_ns = time.monotonic_ns()
        if not good or bgr is None:
            raise DeviceError(f"The {self.info.name} was unplugged.", hint="Plug it in again.")
        return Undeveloped(bgr.shape[1::-1], next(self._number), timestamp_ns, lambda out: _rgb_from_bgr(bgr, out))

    def close(self) -> None:
        self._capture.release()


def open_webcam(where: str, size: tuple[int, int], fps: float) -> FrameSource:
    """`where` is a number, a device's path (Linux), or empty for the first webcam."""
    if sys.platform != "linux":
        if not where.isdigit() and where:
            raise ConfigError(f"{where!r} is no webcam's number.", hint="Write --source webcam:0.")
        return OpenCvWebcam(int(where or 0), size, fps)
    from f2fcam.capture.v4l2_camera import V4l2Camera, capture_devices

    if not where:
        devices = capture_devices()
        if not devices:
            raise DeviceError("No webcam is plugged in.", hint="Plug one in, or give a video file as --source.")
        where = devices[0][0]
    elif where.isdigit():
        where = f"/dev/video{int(where)}"
    elif not where.startswith("/"):
        raise ConfigError(f"{where!r} is no webcam.", hint="Write --source webcam:0 or --source webcam:/dev/video0.")
    return Webcam(V4l2Camera(where, size, fps))


def rgb_from_mjpeg(data: bytes, out: UInt8[np.ndarray, "h w 3"]) -> bool:
    """A JPEG picture into `out`, False if it is damaged: USB cameras send a torn one now and then."""
    if not data.startswith(b"\xff\xd8"):
        return False
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if rgb is None or rgb.shape != out.shape:
        return False
    np.copyto(out, rgb)
    return True


def rgb_from_yuyv(data: bytes, stride: int, coding: Coding, out: UInt8[np.ndarray, "h w 3"]) -> bool:
    """A packed picture with `stride` bytes a line into `out`, False if it is short."""
    height, width = out.shape[:2]
    if len(data) < stride * (height - 1) + width * 2:
        return False
    lines = np.frombuffer(data.ljust(stride * height, b"\0"), np.uint8, stride * height).reshape(height, stride)
    packed = np.ascontiguousarray(lines[:, : width * 2]).reshape(height, width, 2)
    yuyv_to_rgb(packed, coding, out)
    return True


def _rgb_from_bgr(bgr: UInt8[np.ndarray, "h w 3"], out: UInt8[np.ndarray, "h w 3"]) -> bool:
    if bgr.shape != out.shape:
        return False
    cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=out)
    return True


def webcam_coding(quantization: int) -> Coding:
    """USB cameras are BT.601 (UVC's default), limited range unless they say full."""
    from f2fcam.capture.v4l2_camera import QUANTIZATION_FULL_RANGE

    return Coding("bt601", full_range=quantization == QUANTIZATION_FULL_RANGE)
