"""A room out of focus behind the person."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32


def paint_backdrop(seed: int, width: int, height: int) -> Float32[np.ndarray, "h w 3"]:
    """Linear light: a wall with a soft gradient, blurred furniture, a window's glow; the same for the same seed."""
    rng = np.random.default_rng([seed, 31])
    size = (320, int(320 * height / width))
    row, column = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    u, v = column / size[0], row / size[1]
    wall = np.array([rng.uniform(0.20, 0.42), rng.uniform(0.20, 0.38), rng.uniform(0.20, 0.40)], np.float32)
    side = rng.choice([-1, 1])
    picture = wall * (0.75 + 0.35 * (side * (u - 0.5)) + 0.25 * (0.6 - v))[..., None]
    for _ in range(7):
        x, y = int(rng.uniform(0, size[0])), int(rng.uniform(0.1, 0.9) * size[1])
        w, h = int(rng.uniform(18, 70)), int(rng.uniform(20, 90))
        colour = [float(c) for c in wall * rng.uniform(0.25, 1.5) * rng.uniform(0.6, 1.4, 3)]
        cv2.rectangle(picture, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), colour, -1)
    window = int(size[0] * (0.5 + 0.38 * side))
    cv2.rectangle(picture, (window - 24, -10), (window + 24, int(0.55 * size[1])), (0.85, 0.88, 0.95), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), 9)
    picture = np.clip(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), 0.004, 1)
    return (picture * (1 + 0.012 * rng.normal(size=(height, width, 1)).astype(np.float32))).astype(np.float32)
