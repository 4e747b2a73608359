"""A webcam as RGB frames: our own driver calls on Linux, OpenCV's capture on Windows and macOS. Never mirrored."""

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
from f2fcam.frame import Frame
from f2fcam.yuv import Coding, yuyv_to_rgb

BAD_PICTURES = 30
"""So many undecodable pictures in a row mean that the camera or its cable is broken."""


class Webcam:
    """A Linux webcam (`V4l2Camera`) whose pictures are decoded."""

    def __init__(self, camera) -> None:  # a V4l2Camera; not imported here, since its module is for Linux alone
        self._camera = camera
        mode, pixels = camera.mode, camera.pixels
        self._stride = max(pixels.bytesperline, mode.width * 2)
        self._coding = webcam_coding(pixels.quantization)
        self._number = itertools.count()
        self.info = SourceInfo(camera.label, (mode.width, mode.height), Fraction(mode.fps).limit_denominator(1001))

    @property
    def size(self) -> tuple[int, int]:
        return self.info.size

    @property
    def fps(self) -> float:
        return self.info.fps

    def read(self) -> Frame:
        """Wait for the next picture that can be decoded."""
        from f2fcam.capture.v4l2_camera import MJPG

        for _ in range(BAD_PICTURES):
            raw = self._camera.read()
            number = next(self._number)
            if self._camera.mode.pixel_format == MJPG:
                rgb = rgb_from_mjpeg(raw.data)
            else:
                rgb = rgb_from_yuyv(raw.data, self.size, self._stride, self._coding)
            if rgb is not None and rgb.shape[1::-1] == self.size:
                return Frame(rgb, number, raw.timestamp_ns)
        raise DeviceError(f"The webcam {self.info.name} sends broken pictures.", hint="Try another cable or USB port.")

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

    def read(self) -> Frame:
        """Wait for the next picture."""
        good, bgr = self._capture.read()
        timestamp_ns = time.monotonic_ns()
        if not good or bgr is None:
            raise DeviceError(f"The {self.info.name} was unplugged.", hint="Plug it in again.")
        return Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), next(self._number), timestamp_ns)

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


def rgb_from_mjpeg(data: bytes) -> UInt8[np.ndarray, "h w 3"] | None:
    """A JPEG picture, `None` if it is damaged: USB cameras send a torn one now and then."""
    if not data.startswith(b"\xff\xd8"):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def rgb_from_yuyv(data: bytes, size: tuple[int, int], stride: int, coding: Coding) -> UInt8[np.ndarray, "h w 3"] | None:
    """A packed picture with `stride` bytes a line, `None` if it is short."""
    width, height = size
    if len(data) < stride * (height - 1) + width * 2:
        return None
    lines = np.frombuffer(data.ljust(stride * height, b"\0"), np.uint8, stride * height).reshape(height, stride)
    packed = np.ascontiguousarray(lines[:, : width * 2]).reshape(height, width, 2)
    return yuyv_to_rgb(packed, coding)


def webcam_coding(quantization: int) -> Coding:
    """USB cameras are BT.601 (UVC's default), limited range unless they say full."""
    from f2fcam.capture.v4l2_camera import QUANTIZATION_FULL_RANGE

    return Coding("bt601", full_range=quantization == QUANTIZATION_FULL_RANGE)
