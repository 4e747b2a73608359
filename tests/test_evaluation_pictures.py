"""Picture measures on pictures of known faults."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from f2fcam.evaluation import pictures
from f2fcam.evaluation.pictures import Crops, Flicker
from f2fcam.evaluation.puppet import _warped, _with_mouth
from f2fcam.evaluation.shape import Template
from f2fcam.track import landmarks as lm
from tests.faces import EYES, flat_face

SIZE = 300


def texture(seed: int = 0, smooth: float = 1.0) -> np.ndarray:
    """Skin-like noise around a mid tone."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (SIZE, SIZE, 3)), (0, 0), smooth)
    return np.clip(140 + 25 * noise / noise.std(), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def crops() -> Crops:
    face = flat_face() / EYES
    return Crops.of(Template(face, face), EYES)


def placed(crops: Crops, turn: float = 0.0, size: float = 1.0) -> np.ndarray:
    """The face's landmarks in a picture, in the crop's own place when not turned or sized."""
    c, s = np.cos(turn), np.sin(turn)
    points = flat_face().copy()
    points[:, :2] = size * points[:, :2] @ np.array([[c, s], [-s, c]])
    return points + np.array([crops.size[0] / 2, pictures.CROP_EYES * EYES, 0])


def test_similarity_of_equal_and_of_spoilt_pictures():
    picture = texture()
    assert pictures.ssim(picture, picture) == pytest.approx(1)
    assert pictures.psnr(picture, picture) == pictures.IDENTICAL_DB
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    worse = cv2.GaussianBlur(picture, (0, 0), 4)
    assert 1 > pictures.ssim(picture, blurred) > pictures.ssim(picture, worse)
    assert pictures.ssim(picture, blurred) == pytest.approx(pictures.ssim(blurred, picture))


def test_signal_to_noise_ratio_by_its_formula():
    picture = np.full((20, 20, 3), 100, np.uint8)
    assert pictures.psnr(picture, picture + 5) == pytest.approx(20 * np.log10(255 / 5), abs=1e-4)
    mask = np.zeros((20, 20), bool)
    mask[:10] = True
    half = picture.copy()
    half[10:] += 50
    assert pictures.psnr(picture, half, mask) == pictures.IDENTICAL_DB


def test_structural_similarity_of_constant_pictures():
    """Only the luminance term is left: (2ab + c) / (a^2 + b^2 + c)."""
    a, b, c = 100.0, 120.0, (0.01 * 255) ** 2
    one, two = np.full((30, 30, 3), 100, np.uint8), np.full((30, 30, 3), 120, np.uint8)
    assert pictures.ssim(one, two) == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=1e-6)


def test_crops_undo_turn_and_size(crops):
    """The same face, turned and enlarged in the picture, gives the same crop."""
    straight = crops.cut(texture(smooth=6), placed(crops))
    turned_points = placed(crops, turn=0.2, size=1.3)
    before, after = (p[[33, 263, lm.NOSE_TIP], :2].astype(np.float32) - 0.5 for p in (placed(crops), turned_points))
    matrix = cv2.getAffineTransform(before, after)
    turned = cv2.warpAffine(texture(smooth=6), matrix, (400, 400), borderMode=cv2.BORDER_REPLICATE)
    again = crops.cut(turned, turned_points)
    inside = (slice(60, 200), slice(60, 160))
    assert pictures.psnr(straight[inside], again[inside]) > 38


def test_blur_lowers_and_noise_raises_sharpness(crops):
    crop = crops.cut(texture(), placed(crops))
    assert crops.skin.sum() > 0.3 * crops.face.sum()
    clear = pictures.sharpness(crop, crops.skin)
    assert pictures.sharpness(cv2.GaussianBlur(crop, (0, 0), 1.0), crops.skin) < 0.8 * clear
    noisy = np.clip(crop + np.random.default_rng(1).normal(0, 12, crop.shape), 0, 255).astype(np.uint8)
    assert pictures.sharpness(noisy, crops.skin) > 1.1 * clear


def test_flicker_is_brightness_not_motion(crops):
    """A change of 6 levels measures 6; a moving face measures little; a still one nothing."""
    still, bright, motion = Flicker(crops), Flicker(crops), Flicker(crops)
    points = placed(crops)
    base = crops.cut(texture(smooth=3), points)
    assert np.isnan(still.step(base, points)) and still.step(base, points) < 0.05
    bright.step(base, points)
    brighter = np.clip(base.astype(int) + 6, 0, 255).astype(np.uint8)
    assert bright.step(brighter, points) == pytest.approx(6, abs=1.5)
    motion.step(base, points)
    assert motion.step(np.roll(base, 2, axis=1), points) < 1.5
    assert np.isnan(motion.step(None, points)) and np.isnan(motion.step(base, points))


def test_an_open_mouth_does_not_flicker(crops):
    """What appears between parted lips is not skin, wherever the lower lip has gone."""
    base, points = crops.cut(texture(smooth=3), placed(crops)), placed(crops)
    parted = points.copy()
    parted[list(lm.OUTER_LIP_LOWER[1:-1]), 1] += 40
    teeth = base.copy()
    teeth[crops.skin & ~crops.skin_at(parted)] = 255
    aware, unaware = Flicker(crops), Flicker(crops)
    aware.step(base, points)
    unaware.step(base, points)
    assert aware.step(teeth, parted) < 0.5 * unaware.step(teeth, points)


def disc(radius: int = 80) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(mask, (SIZE // 2, SIZE // 2), radius, 255, -1)
    return mask


def test_seam():
    """1 without a change, higher with a step at the mask's edge, lower where the edge is smeared."""
    original, mask = texture(smooth=2), disc()
    assert pictures.seam(original, original, mask) == pytest.approx(1)
    steps = []
    for level in (5, 20):
        pasted = np.where(mask[..., None] > 0, np.clip(original.astype(int) + level, 0, 255), original).astype(np.uint8)
        steps.append(pictures.seam(pasted, original, mask))
    assert 1.0 < steps[0] < steps[1] and steps[1] > 1.3
    assert pictures.seam(cv2.GaussianBlur(original, (0, 0), 4), original, mask) < 0.8


def test_soft_seam_is_no_seam():
    """The same brightening faded over 40 pixels is hardly there."""
    original, mask = texture(smooth=2), disc()
    fade = np.clip(cv2.distanceTransform(mask, cv2.DIST_L2, 5) / 40, 0, 1)[..., None]
    soft = np.clip(np.rint(original + 20 * fade), 0, 255).astype(np.uint8)
    assert pictures.seam(soft, original, (fade[..., 0] * 255).astype(np.uint8)) < 1.06


def test_background_is_counted_bit_for_bit():
    original, mask = texture(), disc()
    output = original.copy()
    output[mask > 0] //= 2
    assert pictures.background(output, original, mask) == (pictures.IDENTICAL_DB, 0)
    output[0, :3, 0] ^= 1
    db, unequal = pictures.background(output, original, mask)
    assert unequal == 3 and db > 80


def test_undeclared_mask_is_found():
    original, mask = texture(smooth=3), disc()
    output = np.where(mask[..., None] > 0, 255 - original, original).astype(np.uint8)
    found = pictures.changed(output, original)
    assert np.count_nonzero((found > 0) != (mask > 0)) < 0.06 * np.count_nonzero(mask)
    assert not pictures.changed(original, original).any()


def test_puppet_at_rest_is_the_target_frame(crops):
    points = placed(crops)[:, :2]
    picture = texture(smooth=2)
    assert np.abs(_warped(picture, points, points).astype(int) - picture).max() <= 1
    assert np.array_equal(_with_mouth(picture, points, texture(5), points), picture)  # closed lips: nothing to paste


def test_puppet_moves_and_pastes(crops):
    """The warp carries the lips along; what is between open lips is the source's."""
    old = placed(crops)[:, :2]
    new = old.copy()
    new[list(lm.INNER_LIP_LOWER[1:-1] + lm.OUTER_LIP_LOWER[1:-1])] += (0, 6)
    levels = np.clip((np.arange(SIZE) - 110) * 2.5, 0, 255).astype(np.uint8)
    ramp = np.repeat(levels[:, None, None], SIZE, axis=1).repeat(3, axis=2)
    warped = _warped(ramp, old, new)
    x, y = np.round(new[17]).astype(int)
    assert warped[y, x, 0] == pytest.approx(float(ramp[y - 6, x, 0]), abs=4)
    green = np.zeros_like(ramp)
    green[..., 1] = 255
    pasted = _with_mouth(warped, new, green, new)
    x, y = np.round((new[13] + new[14]) / 2).astype(int)
    assert tuple(pasted[y, x]) == (0, 255, 0)
    assert np.array_equal(pasted[:60], warped[:60])


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.5, 0.0), (-0.6, 0.8)])
def test_a_moved_bridge_of_the_nose_is_seen_in_the_pixels(shift):
    random = np.random.default_rng(5)
    picture = cv2.GaussianBlur(random.integers(0, 256, (300, 300, 3)).astype(np.uint8), (0, 0), 2.5)
    points = np.full((478, 3), 150.0)
    points[lm.RIGHT_EYE_OUTER, 0], points[lm.LEFT_EYE_OUTER, 0] = 100.0, 200.0
    points[[168, 6, 197, 195, 122, 351], :2] += random.uniform(-12, 12, (6, 2))
    moved = cv2.warpAffine(picture, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (300, 300), flags=cv2.INTER_CUBIC)
    assert pictures.bridge_shift_percent(moved, picture, points) == pytest.approx(np.hypot(*shift), abs=0.1)
