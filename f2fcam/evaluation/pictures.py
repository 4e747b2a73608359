"""Picture measures: similarity to the true frame, flicker, sharpness, seam and background.

Faces are compared as crops aligned by a 2D similarity on the eye corners and the bridge of the nose, one size for a whole
evaluation. Differences are in sRGB code values (0..255); luma is BT.601's.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from f2fcam.evaluation.shape import Template, align
from f2fcam.track import landmarks as lm

CROP_WIDTH, CROP_HEIGHT, CROP_EYES = 2.2, 2.7, 0.85
"""Crop size and the height of the eye line in it, in eye distances."""
MOUTH_WIDTH, MOUTH_ABOVE, MOUTH_BELOW = 1.1, 0.35, 0.6
"""Mouth crop around the neutral mouth's middle, in eye distances; an open jaw fits."""
SHARPEST_EYES = 160.0
"""Crops have the clip's own eye distance, at most this many pixels."""
_ANCHORS = np.array((*lm.EYE_CORNERS, *lm.NOSE_BRIDGE))


@dataclass(frozen=True, slots=True)
class Crops:
    """How faces of one person are cut out of pictures.

    Attributes:
        anchors: where the eye corners and the nose's bridge come to lie, in crop pixels.
        size: width and height in pixels.
        mouth: left, top, right, bottom of the mouth crop.
        face: the face's area.      skin: face without eyes, brows, nostrils, mouth.
    """

    anchors: Float32[np.ndarray, "s 2"]
    size: tuple[int, int]
    mouth: tuple[int, int, int, int]
    face: Bool[np.ndarray, "h w"]
    skin: Bool[np.ndarray, "h w"]

    @classmethod
    def of(cls, person: Template, eye_distance: float) -> Crops:
        """For a person whose outer eye corners lie `eye_distance` pixels apart in the clip."""
        unit = min(eye_distance, SHARPEST_EYES)
        width, height = round(CROP_WIDTH * unit), round(CROP_HEIGHT * unit)
        flat = person.neutral[:, :2] * unit + (width / 2, CROP_EYES * unit)
        x, y = flat[list(lm.INNER_LIPS)].mean(axis=0)
        mouth = (x - MOUTH_WIDTH / 2 * unit, y - MOUTH_ABOVE * unit, x + MOUTH_WIDTH / 2 * unit, y + MOUTH_BELOW * unit)
        left, top, right, bottom = (round(v) for v in mouth)
        face = _hull(flat[list(lm.FACE_OVAL)], (height, width), 1.0)
        skin = _hull(flat[list(lm.FACE_OVAL)], (height, width), 0.94)
        for loop, grow in _NO_SKIN:
            skin &= ~_hull(flat[list(loop)], (height, width), grow)
        box = (max(left, 0), max(top, 0), min(right, width), min(bottom, height))
        return cls(flat[_ANCHORS].astype(np.float32), (width, height), box, face, skin)

    def cut(
        self, picture: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "478 3"]
    ) -> UInt8[np.ndarray, "h2 w2 3"]:
        """The aligned crop of one picture with the given landmarks."""
        corners = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
        old = points[None, _ANCHORS, :2].astype(np.float64)
        everything = np.concatenate([self.anchors[None].astype(np.float64), corners[None]], axis=1)
        back = align(everything, old, np.arange(len(_ANCHORS)))[0, -3:]
        matrix = cv2.getAffineTransform((corners - 0.5).astype(np.float32), (back - 0.5).astype(np.float32))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(picture, matrix, self.size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def lips(self, points: Float[np.ndarray, "478 3"]) -> Bool[np.ndarray, "h w"]:
        """The lips and what is between them, in the crop of the picture with the given landmarks."""
        moved = align(points[None, :, :2], self.anchors[None], _ANCHORS)[0]
        return _hull(moved[list(lm.OUTER_LIPS)], (self.size[1], self.size[0]), 1.05)

    def skin_at(self, points: Float[np.ndarray, "478 3"]) -> Bool[np.ndarray, "h w"]:
        """The skin of the picture with the given landmarks: an open mouth and raised brows are where they are now."""
        moved = align(points[None, :, :2], self.anchors[None], _ANCHORS)[0]
        skin = self.skin.copy()
        for loop, grow in _NO_SKIN:
            skin &= ~_hull(moved[list(loop)], skin.shape, grow)
        return skin

    def mouth_of(self, crop: np.ndarray) -> np.ndarray:
        """The mouth's part of a crop or of a mask."""
        left, top, right, bottom = self.mouth
        return crop[top:bottom, left:right]


_RIGHT_EYE, _LEFT_EYE = lm.RIGHT_EYE + lm.RIGHT_BROW, lm.LEFT_EYE + lm.LEFT_BROW
_NOSTRILS = (98, 97, 2, 326, 327, 94, 19, 1)
_NO_SKIN = ((_RIGHT_EYE, 1.35), (_LEFT_EYE, 1.35), (lm.OUTER_LIPS, 1.7), (_NOSTRILS, 1.35))
"""Closed loops that are not skin, and how far they are grown."""


def _hull(points: Float[np.ndarray, "k 2"], shape: tuple[int, int], grow: float) -> Bool[np.ndarray, "h w"]:
    """Filled convex hull, grown about its middle."""
    middle = points.mean(axis=0)
    hull = cv2.convexHull((middle + (points - middle) * grow).astype(np.float32))
    out = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(out, np.round(hull).astype(np.int32), (1,))
    return out > 0


def luma(rgb: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
    """Luma in code values."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


def ssim(
    a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Structural similarity of two pictures' luma (Wang et al. 2004): Gaussian window of 11, sigma 1.5, K 0.01 and 0.03."""

    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)

    x, y = luma(a).astype(np.float64), luma(b).astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    score = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(score.mean() if mask is None else score[mask].mean())


IDENTICAL_DB = 100.0
"""Reported in the place of an infinite signal-to-noise ratio, so that means stay finite."""


def psnr(
    a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Peak signal-to-noise ratio in dB over RGB; equal pictures give `IDENTICAL_DB`."""
    difference = a.astype(np.float32) - b.astype(np.float32)
    chosen = difference if mask is None else difference[mask]
    error = float((chosen**2).mean()) if chosen.size else 0.0
    return IDENTICAL_DB if error == 0 else min(IDENTICAL_DB, 10 * float(np.log10(255**2 / error)))


def similarity(output: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w 3"], crops: Crops) -> dict[str, float]:
    """SSIM and PSNR of two aligned crops, mouth and face."""
    mouth_a, mouth_b = crops.mouth_of(output), crops.mouth_of(truth)
    return {
        "mouth_ssim": ssim(mouth_a, mouth_b),
        "mouth_psnr_db": psnr(mouth_a, mouth_b),
        "face_ssim": ssim(output, truth, crops.face),
        "face_psnr_db": psnr(output, truth, crops.face),
    }


def sharpness(crop: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Energy of fine detail: standard deviation of the luma's Laplacian over the mask."""
    return float(cv2.Laplacian(luma(crop), cv2.CV_32F)[mask].std())


class Flicker:
    """Brightness change of the skin from picture to picture that motion does not explain, in code values.

    Dense flow (DIS) takes the last crop onto this one; what is left, smoothed against resampling, is averaged over the skin:
    what is skin in both. Teeth that come and go between the lips are no flicker.
    """

    def __init__(self, crops: Crops) -> None:
        self._crops = crops
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._last: tuple[UInt8[np.ndarray, "h w"], Bool[np.ndarray, "h w"]] | None = None
        height, width = crops.skin.shape
        self._grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)

    def step(self, crop: UInt8[np.ndarray, "h w 3"] | None, points: Float[np.ndarray, "478 3"]) -> float:
        """Flicker between the last crop and this one with its landmarks; NaN for the first and where one is missing."""
        last = self._last
        self._last = None if crop is None else (cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), self._crops.skin_at(points))
        if self._last is None or last is None:
            return float("nan")
        (before, skin_before), (gray, skin) = last, self._last
        at = self._grid + self._flow.calc(gray, before, np.zeros((*gray.shape, 2), np.float32))
        warped = cv2.remap(before, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        residual = cv2.GaussianBlur(gray.astype(np.float32) - warped, (0, 0), 1.5)
        return float(np.abs(residual)[skin & skin_before].mean())


_BRIDGE = np.array((168, 6, 197, 195, 122, 351))
BRIDGE_MARGIN = 0.12
"""Around the bridge of the nose, in eye distances."""


def bridge_shift_percent(
    output: UInt8[np.ndarray, "h w 3"], original: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "478 3"]
) -> float:
    """How far the bridge of the nose moved between two pictures, in % of the eye distance, by enhanced correlation (ECC).

    `points` are the original's landmarks. Bone moves with the head only, and pixels know of no expression: a detector's
    points on the bridge move by a percent when the mouth opens below them.
    """
    eyes = float(np.linalg.norm(points[lm.LEFT_EYE_OUTER, :2] - points[lm.RIGHT_EYE_OUTER, :2]))
    bridge, margin = points[_BRIDGE, :2], BRIDGE_MARGIN * eyes
    (left, top), (right, bottom) = bridge.min(axis=0) - margin, bridge.max(axis=0) + margin
    height, width = original.shape[:2]
    rows = slice(max(int(top), 0), min(int(bottom) + 1, height))
    columns = slice(max(int(left), 0), min(int(right) + 1, width))
    before, after = (luma(np.ascontiguousarray(picture[rows, columns])) for picture in (original, output))
    if min(before.shape) < 8:
        return float("nan")
    move, stop = np.eye(2, 3, dtype=np.float32), (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    try:
        _, move = cv2.findTransformECC(before, after, move, cv2.MOTION_TRANSLATION, stop)
    except cv2.error:  # nothing alike
        return float("nan")
    return 100 * float(np.hypot(move[0, 2], move[1, 2])) / eyes


def seam(
    output: UInt8[np.ndarray, "h w 3"], original: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]
) -> float:
    """How much stronger the picture changes across the mask's boundary than the target frame does there: 1 is no seam.

    The worse of the outer edge (any influence) and the line of half influence; steps along the boundary's normal over three
    pixels, averaged over the boundary; its parts at the picture's border do not count.
    """
    box = _box(mask > 0, 6)
    if box is None:
        return 1.0
    a, b, m = luma(output[box]), luma(original[box]), mask[box]
    ratios = [_seam_at(a, b, m > level) for level in (0, 127)]
    return max((ratio for ratio in ratios if ratio is not None), default=1.0)


def _seam_at(output: np.ndarray, original: np.ndarray, inside: Bool[np.ndarray, "h w"]) -> float | None:
    """Ratio of the mean steps across the edge of `inside`; None without an edge."""
    signed = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) - cv2.distanceTransform(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5
    )
    edge = np.abs(signed) <= 1.0
    edge[:4], edge[-4:], edge[:, :4], edge[:, -4:] = False, False, False, False
    if edge.sum() < 20:
        return None
    smooth = cv2.GaussianBlur(signed, (0, 0), 2.0)
    nx, ny = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    norm = np.sqrt(nx**2 + ny**2) + 1e-6

    def step(gray: np.ndarray) -> float:
        gx, gy = cv2.Sobel(gray, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(gray, cv2.CV_32F, 0, 1, scale=1 / 8)
        return float(np.abs((gx * nx + gy * ny) / norm)[edge].mean())

    return (step(output) + 0.25) / (step(original) + 0.25)


def _box(inside: Bool[np.ndarray, "h w"], margin: int) -> tuple[slice, slice] | None:
    """Slices of the bounding box of `inside`, widened."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    return (
        slice(max(rows[0] - margin, 0), rows[-1] + margin + 1),
        slice(max(columns[0] - margin, 0), columns[-1] + margin + 1),
    )


def changed(output: UInt8[np.ndarray, "h w 3"], original: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """A mask for a renderer that declares none: where the pictures differ beyond what video coding does, closed."""
    difference = _largest_difference(output, original)
    strong = cv2.morphologyEx((cv2.medianBlur(difference, 5) > 8).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strong)
    if count < 2:
        return np.zeros_like(strong)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    outline, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros_like(strong)
    cv2.drawContours(filled, outline, -1, (255,), cv2.FILLED)
    return filled


def background(
    output: UInt8[np.ndarray, "h w 3"], original: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]
) -> tuple[float, int]:
    """PSNR in dB and number of unequal pixels outside the mask."""
    outside = mask == 0
    unequal = int(np.count_nonzero((_largest_difference(output, original) > 0) & outside))
    return (psnr(output, original, outside) if unequal else IDENTICAL_DB), unequal


def _largest_difference(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Per pixel, over the channels."""
    red, green, blue = cv2.split(cv2.absdiff(a, b))
    return cv2.max(cv2.max(red, green), blue)
