"""Eyes, teeth, tongue and the mouth's inside of a synthetic person."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.face.parts import Part
from f2fcam.synthetic.look import Look
from f2fcam.synthetic.noise import fractal, smoothstep
from f2fcam.synthetic.surface import Material, Surface, at_texels, grid_quads, pack_texels

IRIS_ANGLE, PUPIL_ANGLE = 0.50, 0.185
"""Half-angles of iris and pupil seen from the eyeball's centre, radians."""
SCLERA = np.array([0.52, 0.47, 0.44], np.float32)
ENAMEL = np.array([0.74, 0.68, 0.59], np.float32)
GUM = np.array([0.42, 0.15, 0.14], np.float32)
TONGUE = np.array([0.46, 0.17, 0.16], np.float32)
THROAT = np.array([0.20, 0.055, 0.05], np.float32)
UPPER_WIDTHS = (8.4, 6.7, 7.6, 6.9, 6.8, 10.0, 10.0)
LOWER_WIDTHS = (5.3, 5.8, 6.7, 7.0, 7.2, 10.5, 10.5)
"""Teeth from the middle to the side, mm."""

PART_SHIFT_MM = {
    "teeth_upper": (0.0, -5.6, 3.5),
    "teeth_lower": (0.0, 0.4, 2.0),
    "tongue": (0.0, -12.0, -5.0),
}
"""The generator's helper meshes sit high: this shows the upper teeth below a relaxed lip and lays the tongue down."""

CAVITY_DEPTH_MM = (0.0, 1.5, 4.0, 9.0, 18.0, 30.0, 42.0, 50.0)
CAVITY_RISE_MM = (0.0, 5.0, 10.0, 15.0, 18.0, 16.0, 9.0, 0.5)
CAVITY_WIDTH = (1.0, 1.02, 1.05, 1.08, 1.05, 0.9, 0.5, 0.05)
"""The mouth's inside as rings behind the lips: depth, half-height beyond the lips' own, width relative to the lips."""


def paint_eye(part: Part, look: Look) -> Surface:
    """Sclera with veins, iris with fibres and a dark rim, pupil."""
    quads, count = part.smooth.quads, 9
    place = at_texels(part.uv, quads, count) - 0.5
    angle = np.hypot(place[:, 0], place[:, 1]) * 2 * np.pi
    around = np.arctan2(place[:, 1], place[:, 0])
    ring = np.stack([np.cos(around) * 9, np.sin(around) * 9, angle * 4], axis=1).astype(np.float32)
    points = np.column_stack([place * 60, angle]).astype(np.float32)
    veins = smoothstep(0.06, 0.0, np.abs(fractal(points, 3.0, look.seed + 60, 2))) * smoothstep(0.6, 1.1, angle)
    white = SCLERA * (1 - np.outer(smoothstep(0.65, 1.3, angle), [0.12, 0.26, 0.28]).astype(np.float32))
    white = white * (1 - np.outer(veins, [0.05, 0.28, 0.28]).astype(np.float32))
    fibres = 1 + 0.4 * fractal(ring, 0.9, look.seed + 61, 2) + 0.25 * fractal(ring * [1, 1, 0.2], 0.35, look.seed + 62)
    collar = smoothstep(0.34, 0.24, angle)
    iris = np.array(look.iris, np.float32) * (fibres * (0.9 + 0.35 * collar))[:, None]
    iris += np.outer(collar, [0.03, 0.012, 0.002]).astype(np.float32)
    iris *= (1 - 0.72 * smoothstep(0.40, 0.50, angle))[:, None]
    colour = white + (iris - white) * smoothstep(IRIS_ANGLE + 0.05, IRIS_ANGLE - 0.03, angle)[:, None]
    colour *= (1 - 0.97 * smoothstep(PUPIL_ANGLE + 0.03, PUPIL_ANGLE - 0.02, angle))[:, None]
    gloss = 0.25 + 0.65 * smoothstep(0.75, 0.55, angle)
    return Surface(quads, pack_texels(colour, gloss), count, Material.EYE)


def paint_teeth(part: Part, look: Look) -> Surface:
    """Single teeth with rounded edges and gaps, gums above (or below) them, painted along the arch."""
    upper = part.name == "teeth_upper"
    quads, count = part.smooth.quads, 12
    rest = part.smoothed(part.mean)
    where = at_texels(rest, quads, count)
    along = _arch_length(rest, where)
    edge = _biting_edge(rest, where, upper)
    height = (where[:, 1] - edge) * (1 if upper else -1)
    number, inside, width = _tooth_at(along, UPPER_WIDTHS if upper else LOWER_WIDTHS)
    offset = np.abs(2 * inside - 1)
    crown = np.array([9.6, 8.4, 9.4, 8.2, 7.4, 6.5, 6.0])[number] * (1.0 if upper else 0.9)
    gum_line = crown * (1 - 0.22 * offset**2) + 0.5 * fractal(where, 5, look.seed + 70)
    short = np.array([0.0, 0.7, 0.2, 0.6, 0.6, 0.8, 0.8])[number] * upper
    gap_half = 0.12 + 0.5 * smoothstep(2.6, 0.0, height - short) ** 2
    gap = smoothstep(gap_half + 0.22, gap_half - 0.05, (1 - offset) * width / 2)
    round_side = 1 - 0.30 * offset**3
    tint = 1 + 0.03 * np.sin(number * 2.4 + look.seed) + 0.03 * fractal(where, 2.0, look.seed + 71)
    enamel = ENAMEL * (tint * round_side * (0.86 + 0.14 * smoothstep(0, 2.5, height)))[:, None]
    enamel = enamel * (1 - np.outer(smoothstep(3, 9, height), [0.03, 0.08, 0.17]).astype(np.float32))
    hidden = np.maximum(
        gap * smoothstep(gum_line - 0.6, gum_line - 2.0, height), smoothstep(0.15, -0.1, height - short)
    )
    colour = enamel * (1 - 0.88 * hidden)[:, None]
    gums = GUM * (1 + 0.12 * fractal(where, 3, look.seed + 72))[:, None]
    colour = colour + (gums - colour) * smoothstep(-0.35, 0.35, height - gum_line)[:, None]
    return Surface(quads, pack_texels(colour, 0.6 * (1 - hidden)), count, Material.WET)


def _arch_length(rest: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Signed distance along the dental arch from the middle, in mm, of points near it."""
    back = float(rest[:, 2].min())
    angle = np.arctan2(rest[:, 0], rest[:, 2] - back)
    bins = np.linspace(-1.5, 1.5, 61)
    radius = np.array([np.hypot(rest[:, 0], rest[:, 2] - back)[np.abs(angle - b) < 0.12].max(initial=0) for b in bins])
    radius = np.where(radius == 0, radius.max(), radius)
    x, z = radius * np.sin(bins), radius * np.cos(bins)
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    length -= np.interp(0, bins, length)
    return np.interp(np.arctan2(where[:, 0], where[:, 2] - back), bins, length)


def _biting_edge(rest: np.ndarray, where: np.ndarray, upper: bool) -> np.ndarray:
    """Height of the arch's free edge at each point, smooth along x."""
    bins = np.linspace(rest[:, 0].min(), rest[:, 0].max(), 25)
    front = rest[:, 2] > np.interp(np.abs(rest[:, 0]), [0, 33], [-8, -45])
    pick = np.min if upper else np.max
    heights = [pick(rest[front & (np.abs(rest[:, 0] - b) < 3.0), 1], initial=rest[:, 1].mean()) for b in bins]
    return np.interp(where[:, 0], bins, np.convolve(np.pad(heights, 1, "edge"), [0.25, 0.5, 0.25], "valid"))


def _tooth_at(along: np.ndarray, widths: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tooth number from the middle, place within it (0 to 1) and its width."""
    ends = np.cumsum(widths)
    number = np.minimum(np.searchsorted(ends, np.abs(along)), len(widths) - 1)
    width = np.array(widths)[number]
    return number, np.clip((np.abs(along) - (ends[number] - width)) / width, 0, 1), width


def paint_tongue(part: Part, look: Look) -> Surface:
    """Rough and pink."""
    quads, count = part.smooth.quads, 3
    where = at_texels(part.smoothed(part.mean), quads, count)
    rough = 1 + 0.16 * fractal(where, 1.3, look.seed + 80, 2) + 0.1 * fractal(where, 8, look.seed + 81)
    groove = 1 - 0.3 * smoothstep(3.0, 0.0, np.abs(where[:, 0]))
    return Surface(quads, pack_texels(TONGUE * (rough * groove)[:, None], 0.3), count, Material.WET)


class MouthCavity:
    """A pouch behind the lips whose first ring is the lips' own border, so that no gap can open between them."""

    def __init__(self, model: FaceModel, look: Look) -> None:
        self._loop = model.loops["lips"]
        count = len(self._loop)
        angle = np.arange(count) * (2 * np.pi / count)
        jaw = model.expression_names.index("jawOpen")
        drop = model.subdivide(np.ascontiguousarray(model.expression_basis[:, :, jaw]))[self._loop, 1]
        self._up = (np.sin(angle) * np.sign(drop @ -np.sin(angle) * -1)).astype(np.float32)
        quads = grid_quads(len(CAVITY_DEPTH_MM), count, closed=True)
        self.quads = np.ascontiguousarray(quads[:, ::-1] if drop @ np.sin(angle) < 0 else quads)
        depth = np.repeat(np.array(CAVITY_DEPTH_MM, np.float32), count)
        where = np.column_stack([np.tile(angle, len(CAVITY_DEPTH_MM)) * 8, depth, depth]).astype(np.float32)
        texture = THROAT * (1 + 0.2 * fractal(at_texels(where, self.quads, 2), 6, look.seed + 82))[:, None]
        self.surface = Surface(self.quads, pack_texels(texture, 0.15), 2, Material.WET)

    def vertices(self, skin: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "k 3"]:
        """Rings behind the lips of `skin` (level 2, model space)."""
        loop = skin[self._loop]
        center = loop.mean(0)
        rings = []
        for depth, rise, width in zip(CAVITY_DEPTH_MM, CAVITY_RISE_MM, CAVITY_WIDTH, strict=True):
            ring = (loop - center) * np.array(
                [width, max(1.0 - depth / 50, 0.05), max(1.0 - depth / 12, 0)], np.float32
            )
            ring[:, 1] += self._up * rise
            ring[:, 2] -= depth
            rings.append(ring + center)
        return np.concatenate(rings).astype(np.float32)

    def opening(self, skin: Float32[np.ndarray, "n 3"]) -> tuple[float, float, float]:
        """Vertical gap between the lips in mm, height of the upper lip's edge, and depth of the lips in model space."""
        loop = skin[self._loop]
        upper, lower = loop[self._up > 0.9], loop[self._up < -0.9]
        return (
            float(max(upper[:, 1].mean() - lower[:, 1].mean(), 0.0)),
            float(upper[:, 1].mean()),
            float(loop[:, 2].mean()),
        )


def mouth_light(
    points: Float32[np.ndarray, "k 3"], gap: float, upper_lip: float, lips_depth: float
) -> Float32[np.ndarray, " k"]:
    """Share of light that reaches points inside the mouth: less far back, little through a narrow gap, shade of the lip."""
    behind = np.maximum(lips_depth - points[:, 2], 0)
    reach = 0.04 + 0.96 * gap / (gap + 0.25 * behind + 0.8)
    shadow = 0.6 + 0.4 * smoothstep(-1.0, 4.0, upper_lip - points[:, 1])
    return (reach * shadow * np.exp(-behind / 45)).astype(np.float32)


def eye_light(points: Float32[np.ndarray, "k 3"], loop: Float32[np.ndarray, "m 3"]) -> Float32[np.ndarray, " k"]:
    """Share of light on an eyeball: shade below the upper lid, a little at the lower one; all in model space."""
    order = np.argsort(loop[:, 0])
    ordered = loop[order]
    middle = (ordered[0, 1] + ordered[-1, 1]) / 2 + (ordered[:, 0] - ordered[0, 0]) * 0
    upper, lower = ordered[ordered[:, 1] >= middle], ordered[ordered[:, 1] < middle]
    above = (
        np.interp(points[:, 0], upper[:, 0], upper[:, 1]) - points[:, 1]
        if len(upper) > 1
        else np.full(len(points), 5.0)
    )
    below = (
        points[:, 1] - np.interp(points[:, 0], lower[:, 0], lower[:, 1])
        if len(lower) > 1
        else np.full(len(points), 5.0)
    )
    side = np.minimum(points[:, 0] - ordered[0, 0], ordered[-1, 0] - points[:, 0])
    light = (0.34 + 0.66 * smoothstep(-0.5, 4.2, above)) * (0.72 + 0.28 * smoothstep(-0.3, 1.8, below))
    return (light * (0.6 + 0.4 * smoothstep(0.0, 5.0, side))).astype(np.float32)


def bulge_cornea(normals: Float32[np.ndarray, "k 3"], uv: Float32[np.ndarray, "k 2"]) -> None:
    """Bend an eyeball's normals, in place, as the cornea's smaller radius would: the lamp's reflection needs it."""
    angle = np.hypot(uv[:, 0] - 0.5, uv[:, 1] - 0.5) * 2 * np.pi
    axis = normals[angle < 0.25].mean(0)
    axis /= np.sqrt(axis @ axis)
    sideways = normals - np.outer(normals @ axis, axis)
    normals += sideways * (0.7 * smoothstep(0.72, 0.5, angle))[:, None]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
