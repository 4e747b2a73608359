"""A picture with its time, and the only place that converts between colour spaces.

Pictures are `uint8` sRGB-encoded RGB, row-major, top-left origin. Shading, ratios and blending happen in linear light;
photometric residuals use sRGB-encoded values in [0, 1]. Both directions go through tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

SRGB_TO_LINEAR: Float32[np.ndarray, " 256"] = np.where(
    np.arange(256) / 255 <= 0.04045,
    np.arange(256) / 255 / 12.92,
    ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4,
).astype(np.float32)
"""Linear light of each sRGB code value."""

LINEAR_STEPS = 4096
_linear = np.arange(LINEAR_STEPS) / (LINEAR_STEPS - 1)
LINEAR_TO_SRGB: Float32[np.ndarray, " 4096"] = np.where(
    _linear <= 0.0031308, 12.92 * _linear, 1.055 * np.maximum(_linear, 1e-9) ** (1 / 2.4) - 0.055
).astype(np.float32)
"""sRGB-encoded value in [0, 1] of linear light i / 4095."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a stream.

    Attributes:
        rgb: sRGB-encoded, full range.
        index: number in presentation order within the file, or since the device was opened.
        timestamp_ns: presentation time from the file's first picture, or the driver's monotonic capture time.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    index: int
    timestamp_ns: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True, slots=True)
class Undeveloped:
    """A picture as its source gave it: colours are worked out for those alone that are looked at, and a camera's newest wins.

    Attributes:
        size: width and height in pixels.
        index, timestamp_ns: as of `Frame`.
        develop: writes its pixels (h, w, 3); False where it turns out to be broken. It holds what it needs: the source may go
            on, or be closed. One thread at a time develops the pictures of a source.
    """

    size: tuple[int, int]
    index: int
    timestamp_ns: int
    develop: Callable[[UInt8[np.ndarray, "h w 3"]], bool]

    @classmethod
    def of(cls, frame: Frame) -> Undeveloped:
        """A picture that comes as RGB, in memory of its own."""
        return cls(frame.size, frame.index, frame.timestamp_ns, lambda out: _copied(frame.rgb, out))

    def frame(self) -> Frame | None:
        """The picture in memory of its own, `None` where it is broken."""
        rgb = np.empty((self.size[1], self.size[0], 3), np.uint8)
        return Frame(rgb, self.index, self.timestamp_ns) if self.develop(rgb) else None


def _copied(rgb: UInt8[np.ndarray, "h w 3"], out: UInt8[np.ndarray, "h w 3"]) -> bool:
    np.copyto(out, rgb)
    return True


def srgb_encode(linear: np.ndarray) -> np.ndarray:
    """sRGB-encoded values in [0, 1] of linear light; clamps to the gamut. Exact, for set-up and tests, not the frame path."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def srgb_decode(encoded: np.ndarray) -> np.ndarray:
    """Linear light of sRGB-encoded values in [0, 1]. Exact, for set-up and tests, not the frame path."""
    encoded = np.clip(encoded, 0.0, 1.0)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def i420_from_rgb(rgb: UInt8[np.ndarray, "h w 3"], out: UInt8[np.ndarray, "h_3_2 w"]) -> None:
    """Planar YUV 4:2:0 (BT.601, limited range, as cameras give it) into `out`: rows of Y, then U, then V; sides even."""
    import cv2  # light processes import this module for its values

    cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420, dst=out)


def rgb_from_i420(i420: bytearray | memoryview, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture that `i420_from_rgb` encoded."""
    import cv2

    return cv2.cvtColor(np.frombuffer(i420, np.uint8).reshape(height * 3 // 2, width), cv2.COLOR_YUV2RGB_I420)
