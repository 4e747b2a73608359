"""An enrolled opening in pictures of a part of the stored size: what is measured in pixels, and the crops when they are shown."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8

from f2fcam.mouth.database import ApertureDatabase


def reduced(database: ApertureDatabase, scale: float) -> ApertureDatabase:
    """Misfits and outlines in pixels of pictures of `scale` times the size; the crops and their places stay as stored."""
    size = np.float32(scale)
    axes = database.rim_axes.copy()
    axes[:, :, 2] *= size
    return replace(
        database, misfit=database.misfit * size, rim_axes=axes, rim_ends=database.rim_ends * size,
        rim_edges=database.rim_edges * size,
    )  # fmt: skip


def reduced_crop(
    rgb: UInt8[np.ndarray, "h w 3"], x: int, y: int, scale: float
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], int, int]:
    """A crop at pixel (x, y) of a picture as the same picture of `scale` (below 1) times the size holds it, and where.

    Whole pixels of the smaller picture: up to one of them is repeated from the crop's border.
    """
    height, width = rgb.shape[:2]
    left, top = int(np.floor(scale * x)), int(np.floor(scale * y))
    size = int(np.ceil(scale * (x + width))) - left, int(np.ceil(scale * (y + height))) - top
    # OpenCV counts from pixels' centres
    first = (left + 0.5) / scale - 0.5 - x, (top + 0.5) / scale - 0.5 - y
    back = np.array([[1 / scale, 0, first[0]], [0, 1 / scale, first[1]]])
    smooth = cv2.GaussianBlur(rgb, (0, 0), 0.3 / scale)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(smooth, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), left, top
