"""A personal skin texture outside the face model's albedo basis: pigments at several scales, pores, moles, brows, lips.

Everything is a function of the place on the *mean* head, so features land where the model's regions say; units are mm.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32
from scipy.spatial import cKDTree

from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.synthetic.lids import lid_margin, split_margin
from f2fcam.synthetic.look import Look
from f2fcam.synthetic.noise import cells, fractal, smoothstep
from f2fcam.synthetic.surface import Material, Surface, at_texels, pack_texels, paired_quads

MELANIN = np.array([0.40, 0.75, 1.25], np.float32)
HAEMOGLOBIN = np.array([0.10, 0.62, 0.52], np.float32)
BASE = np.array([0.92, 0.83, 0.76], np.float32)
"""Absorption per unit of pigment, and what skin without pigment reflects; linear red, green, blue."""

CANVAS_PER_MM = 8.0
CANVAS_HALF_MM = (90.0, 130.0)
"""Strokes are drawn in a front view that reaches this far from the model's origin."""


class Canvas:
    """A front view of the mean head to draw strokes on; values in [0, 1]."""

    def __init__(self) -> None:
        width, height = (int(2 * half * CANVAS_PER_MM) for half in CANVAS_HALF_MM)
        self.picture = np.zeros((height, width), np.float32)

    def stroke(self, points: Float32[np.ndarray, "k 2"], width_mm: float, strength: float) -> None:
        """Darken along a line; overlapping strokes add up to at most 1."""
        x0, y0 = np.floor((self._pixels(points) / 16).min(0)).astype(int) - 4
        x1, y1 = np.ceil((self._pixels(points) / 16).max(0)).astype(int) + 4
        x0, y0 = max(x0, 0), max(y0, 0)
        region = self.picture[y0:y1, x0:x1]
        if not region.size:
            return
        layer = np.zeros(region.shape, np.uint8)
        line = np.int32(self._pixels(points) - np.array([x0, y0]) * 16)
        cv2.polylines(
            layer, [line.reshape(-1, 1, 2)], False, 255, max(1, round(width_mm * CANVAS_PER_MM)), cv2.LINE_AA, 4
        )
        region[:] = 1 - (1 - region) * (1 - layer * np.float32(strength / 255))

    def spot(self, center: tuple[float, float], radius_mm: float, strength: float) -> None:
        """Darken a soft disc."""
        x, y = self._pixels(np.array([center], np.float32))[0] / 16
        reach = int(radius_mm * CANVAS_PER_MM * 2) + 2
        x0, y0, x1, y1 = max(int(x) - reach, 0), max(int(y) - reach, 0), int(x) + reach, int(y) + reach
        region = self.picture[y0:y1, x0:x1]
        row, column = np.mgrid[y0 : y0 + region.shape[0], x0 : x0 + region.shape[1]]
        disc = smoothstep(1.3, 0.6, np.hypot(column - x, row - y) / (radius_mm * CANVAS_PER_MM))
        np.maximum(region, disc * strength, out=region)

    def sample(self, points: Float32[np.ndarray, "t 3"]) -> Float32[np.ndarray, " t"]:
        """The canvas in front of each point."""
        pixels = np.float32(self._pixels(points[:, :2]) / 16 - 0.5)
        rows = -(-len(pixels) // 16384)
        padded = np.zeros((rows * 16384, 2), np.float32)
        padded[: len(pixels)] = pixels
        found = cv2.remap(self.picture, padded.reshape(rows, 16384, 2), None, cv2.INTER_LINEAR)
        return found.ravel()[: len(pixels)]

    @staticmethod
    def _pixels(points: np.ndarray) -> np.ndarray:
        """Sixteenths of a pixel, as OpenCV's fixed point wants them."""
        return (points * [1, -1] + np.array(CANVAS_HALF_MM)) * (CANVAS_PER_MM * 16)


@lru_cache(maxsize=2)
def _texel_geometry(cells_per_quad: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Quads, place of each texel on the mean head, and the region masks there in [0, 1]."""
    model = load_face_model()
    quads = paired_quads(model.triangles(2))
    where = at_texels(model.subdivide(model.mean), quads, cells_per_quad)
    names = ("lips_upper", "lips_lower", "eyelid_left", "eyelid_right", "nose", "nostrils", "ear_left", "ear_right",
             "neck", "scalp", "chin", "stubble")  # fmt: skip
    masks = {
        name: at_texels(model.regions[name] / np.float32(255), quads, cells_per_quad)
        for name in names
        if name in model.regions
    }
    return quads, where, masks


def paint_skin(model: FaceModel, look: Look, occlusion: Float32[np.ndarray, " n"], cells_per_quad: int) -> Surface:
    """The head's surface with texels; `occlusion` darkens hollows per level-2 vertex."""
    quads, where, masks = _texel_geometry(cells_per_quad)
    lips = np.clip(masks["lips_upper"] + masks["lips_lower"], 0, 1)
    colour = np.exp(-_pigments(where, masks, lips, look)) * BASE
    colour *= _fine_structure(where, masks, lips, look)[:, None]
    colour *= at_texels(occlusion, quads, cells_per_quad)[:, None]
    hairs = _strokes(model, look).sample(where) * smoothstep(-28, -18, where[:, 2])
    hairs = np.maximum(hairs, _lash_line(model, where, look))
    ink = np.array(look.hair, np.float32) * 0.6 + 0.004
    colour += (ink - colour) * hairs[:, None]
    colour *= (1 - 0.7 * masks["nostrils"])[:, None]
    gloss = 0.5 + 0.4 * masks["nose"] + 1.3 * lips - 0.35 * hairs + 0.15 * fractal(where, 1.3, look.seed + 41)
    gloss *= 1 - 0.9 * masks["nostrils"]
    return Surface(quads, pack_texels(colour, gloss / 2), cells_per_quad, Material.SKIN)


def _pigments(where: np.ndarray, masks: dict[str, np.ndarray], lips: np.ndarray, look: Look) -> np.ndarray:
    """Absorbance (t, 3): melanin and haemoglobin, broad to fine, and where blood shows."""
    x, y, z = np.abs(where[:, 0]), where[:, 1], where[:, 2]
    seed = look.seed
    melanin = look.melanin * (
        1
        + 0.10 * fractal(where, 45, seed + 1)
        + 0.07 * fractal(where, 14, seed + 2, 2)
        + 0.05 * fractal(where, 3.5, seed + 3)
    )
    lids = np.clip(masks["eyelid_left"] + masks["eyelid_right"], 0, 1)
    under_eye = np.exp(-(((x - 28) / 13) ** 2) - ((y - 14) / 6) ** 2) * (z > -23)
    melanin += look.melanin * (0.10 * lids + 0.12 * under_eye)
    freckle = smoothstep(0.33, 0.16, cells(where, 3.2, seed + 5)) * smoothstep(0.0, 0.7, fractal(where, 9, seed + 6, 2))
    sunny = np.exp(-(((x - 25) / 26) ** 2) - ((y + 2) / 18) ** 2) * (z > -23)
    melanin += look.freckles * 0.8 * freckle * np.clip(sunny + 0.15, 0, 1)
    cheeks = np.exp(-(((x - 40) / 17) ** 2) - ((y + 12) / 17) ** 2) * (z > -53)
    nose_tip = np.exp(-((x / 12) ** 2) - ((y + 12) / 11) ** 2) * (z > 2)
    ears = np.clip(masks["ear_left"] + masks["ear_right"], 0, 1)
    blood = look.haemoglobin + look.ruddiness * (
        0.26 * cheeks + 0.24 * nose_tip + 0.2 * ears + 0.10 * masks["chin"] + 0.10 * lids + 0.10 * under_eye
    )
    blood += 0.10 * fractal(where, 16, seed + 8, 2) + 0.05 * fractal(where, 4, seed + 9, 2)
    veins = np.abs(fractal(where, 5, seed + 10))
    blood += 0.06 * smoothstep(0.08, 0.0, veins) * (cheeks + nose_tip)
    melanin *= 1 - 0.2 * lips
    blood += lips * (look.lip_tint + 0.15 * fractal(where, 6, seed + 11, 2))
    return np.clip(melanin, 0.05, None)[:, None] * MELANIN + np.clip(blood, 0.05, None)[:, None] * HAEMOGLOBIN


def _fine_structure(where: np.ndarray, masks: dict[str, np.ndarray], lips: np.ndarray, look: Look) -> np.ndarray:
    """Factor (t,): pores, fine mottling, the lips' lines, stubble."""
    seed = look.seed
    skin = 1 - lips
    pores = smoothstep(0.42, 0.12, cells(where, 1.25, seed + 20))
    x, y = np.abs(where[:, 0]), where[:, 1]
    oily = np.exp(-((x / 30) ** 2) - ((y + 5) / 30) ** 2)
    factor = 1 - skin * pores * (0.05 + 0.10 * oily)
    factor += skin * 0.035 * fractal(where, 0.8, seed + 21) + skin * 0.03 * fractal(where, 2.2, seed + 22)
    along = where * np.array([1.15, 0.14, 0.3], np.float32)
    lines = np.abs(fractal(along, 1.0, seed + 23, 2))
    factor -= lips * (0.20 * smoothstep(0.28, 0.0, lines) + 0.10)
    if look.stubble:
        dots = smoothstep(0.36, 0.2, cells(where, 0.85, seed + 24))
        beard = masks["stubble"] if "stubble" in masks else masks["chin"]
        patchy = np.clip(0.75 + 0.5 * fractal(where, 12, seed + 25), 0, 1)
        factor *= 1 - look.stubble * beard * patchy * (0.16 + 0.5 * dots)
    return factor.astype(np.float32)


def _strokes(model: FaceModel, look: Look) -> Canvas:
    """Brow hairs and moles."""
    rng = np.random.default_rng([look.seed, 5])
    canvas = Canvas()
    for side in (1, -1):
        _draw_brow(canvas, _brow_line(model), side, look, rng)
    for _ in range(int(6 * look.moles)):
        radius = float(rng.uniform(0.4, 1.1))
        canvas.spot((float(rng.uniform(-55, 55)), float(rng.uniform(-80, 75))), radius, float(rng.uniform(0.35, 0.75)))
    return canvas


def _brow_line(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Quadratic y(x) of the mean head's left brow, and the x range it covers."""
    points = model.subdivide(model.mean)[model.regions["brow_left"] > 128]
    curve = np.polyfit(points[:, 0], points[:, 1], 3)
    return curve, np.percentile(points[:, 0], [1, 99])


def _draw_brow(
    canvas: Canvas, line: tuple[np.ndarray, np.ndarray], side: int, look: Look, rng: np.random.Generator
) -> None:
    """Hairs that stand up at the inner end and lie along the brow towards its tail."""
    curve, (inner, outer) = line
    soft = 0.34 * look.brow_weight
    for _ in range(int(560 * look.brow_weight)):
        s = rng.uniform(0, 1) ** 0.85
        half = look.brow_weight * (3.3 if s > 0.12 else 2.6) * (1 - 0.72 * max(0.0, s - 0.45) / 0.55)
        across = rng.normal(0, 0.42)
        if abs(across) > 1:
            continue
        x = inner + s * (outer - inner)
        y = np.polyval(curve, x) + across * half
        slope = np.polyval(np.polyder(curve), x)
        lift = np.deg2rad(68) * max(0.0, 1 - s / 0.4) ** 1.2 + np.deg2rad(16) - 0.45 * across * min(1.0, s / 0.3)
        angle = np.arctan(slope) + lift + rng.normal(0, 0.12)
        length = rng.uniform(4.2, 7.0) * (0.75 if s < 0.1 else 1.0)
        bend = -0.35 * lift + rng.normal(0, 0.08)
        steps = np.linspace(0, 1, 6)
        heading = angle + bend * steps
        path = np.stack([x + np.cumsum(np.cos(heading)) * length / 6, y + np.cumsum(np.sin(heading)) * length / 6], 1)
        path[:, 0] *= side
        canvas.stroke(path, 0.16, float(rng.uniform(0.3, 0.62)))
    for s in np.linspace(0.04, 0.96, 40):
        x = inner + s * (outer - inner)
        radius = look.brow_weight * 3.0 * (1 - 0.6 * max(0.0, s - 0.45) / 0.55)
        canvas.spot((side * float(x), float(np.polyval(curve, x))), radius * 0.8, soft)


def _lash_line(model: FaceModel, where: np.ndarray, look: Look) -> Float32[np.ndarray, " t"]:
    """The dark edge that the lashes' roots make, strong above, faint below."""
    dark = np.zeros(len(where), np.float32)
    level2 = model.subdivide(model.mean)
    for side in ("left", "right"):
        for line, reach, depth in zip(split_margin(level2, lid_margin(side)), (1.25, 0.7), (0.95, 0.35), strict=True):
            edge = level2[line]
            near = np.flatnonzero(((where > edge.min(0) - 2) & (where < edge.max(0) + 2)).all(1))
            distance, index = cKDTree(edge).query(where[near])
            along = index / (len(line) - 1)
            strength = depth * look.lashes * smoothstep(0.02, 0.35, along) * smoothstep(1.0, 0.97, along)
            dark[near] = np.maximum(dark[near], strength * smoothstep(reach, reach * 0.3, distance))
    return np.clip(dark, 0, 0.92)
