"""Hair as shells over the scalp, and lashes: an opaque cap, thin layers of strands around its edge, a curtain when long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.synthetic.lids import lid_margin, split_margin
from f2fcam.synthetic.look import Look
from f2fcam.synthetic.noise import fractal, smoothstep
from f2fcam.synthetic.surface import Material, Surface, at_texels, grid_quads, pack_texels, paired_quads

CAP_CELLS = 10
"""Texture cells along a level-1 quad of the scalp."""


def hairline(
    points: Float32[np.ndarray, "n 3"], ears: Float32[np.ndarray, " n"], long: bool
) -> Float32[np.ndarray, " n"]:
    """Signed distance (mm, roughly) into the hair, on the mean head: up and back from the forehead, around the ears."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    height = (
        y - (88 - 0.95 * np.clip(7 - z, -20, None)) - 4 * np.exp(-(((x - 48) / 12) ** 2)) - 2 * np.exp(-((x / 9) ** 2))
    )
    sideburn = 9 * np.exp(-(((x - 71) / 9) ** 2) - ((z + 45) / 9) ** 2) * (0.4 if long else 1.0)
    nape = np.where(z < -113, np.minimum(height, (y + 78) * 0.9), height)
    beside = smoothstep(69, 73, x) * smoothstep(50, 40, y) * smoothstep(-131, -125, z)
    return nape + sideburn - 60 * np.maximum(ears, beside)


@dataclass(frozen=True, slots=True)
class Shell:
    """A layer over part of the head's level-1 mesh.

    Attributes:
        surface: texels; the fourth is opacity for layers, gloss for the cap.
        vertices: level-1 vertices it hangs on. offset: millimetres along the normal, per vertex.
    """

    surface: Surface
    vertices: np.ndarray
    offset: Float32[np.ndarray, " k"]
    layer: bool

    def over(
        self, points: Float32[np.ndarray, "n 3"], normals: Float32[np.ndarray, "n 3"]
    ) -> Float32[np.ndarray, "k 3"]:
        """Its vertices above those of the head."""
        return points[self.vertices] + normals[self.vertices] * self.offset[:, None]


def hair_shells(model: FaceModel, look: Look, fine: bool) -> list[Shell]:
    """The cap and the layers around it, inside out; `fine` for more layers."""
    count = model.levels[1].count
    points = model.subdivide(model.mean)[:count]  # a vertex keeps its number from level to level
    ears = np.maximum(model.regions["ear_left"], model.regions["ear_right"])[:count] / np.float32(255)
    depth = hairline(points, ears, look.hair_style == "long")
    depth += 2.2 * fractal(points, 7, look.seed + 100, 2)
    thick = 13.0 if look.hair_style == "long" else 11.0
    volume = thick * smoothstep(-2, 50, depth) * (0.75 + 0.25 * smoothstep(-60, 60, points[:, 1]))
    quads = paired_quads(model.triangles(1))
    shells = [_shell(points, quads, depth, volume, look, None)]
    layers = ((0.25, -7.0), (0.8, -3.0), (1.5, 1.0), (2.4, 5.0))
    for k, (rise, reach) in enumerate(layers):
        if not fine and k % 2:
            continue
        shells.append(_shell(points, quads, depth, volume + rise, look, (k, reach)))
    return shells


def _shell(
    points: np.ndarray,
    quads: np.ndarray,
    depth: np.ndarray,
    offset: np.ndarray,
    look: Look,
    layer: tuple[int, float] | None,
) -> Shell:
    """`layer` is its number and the depth from which its strands grow dense; `None` paints the opaque cap."""
    chosen = quads[(depth[quads] > (2.0 if layer is None else -9.0)).all(1)]
    used, own = np.unique(chosen, return_inverse=True)
    own = own.reshape(chosen.shape).astype(np.int32)
    where = at_texels(points[used], own, CAP_CELLS)
    inside = at_texels(depth[used], own, CAP_CELLS)
    across, along = _flow(where)
    colour = strands(across, along, look)
    if layer is None:
        colour = colour * (0.55 + 0.45 * smoothstep(0, 40, inside))[:, None]
        return Shell(Surface(own, pack_texels(colour, 0.8), CAP_CELLS, Material.HAIR), used, offset[used], False)
    number, reach = layer
    wisps = fractal(
        np.column_stack([across, along * 0.07, along * 0]).astype(np.float32), 0.55, look.seed + 110 + number, 2
    )
    density = smoothstep(reach - 3, reach + 12, inside) * (1.0 - 0.17 * number)
    opacity = smoothstep(0.75, -0.35, wisps * 0.8 + 1.25 - 2.1 * density)
    opacity *= smoothstep(-9, -4, inside)
    return Shell(Surface(own, pack_texels(colour * 1.06, opacity), CAP_CELLS, Material.HAIR), used, offset[used], True)


def _flow(where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (mm) across and along strands that are combed from the forehead over the head to its back."""
    axis = np.array([0.0, -0.25, -1.0])
    axis /= np.linalg.norm(axis)
    relative = where - np.array([0.0, 25.0, -78.0], np.float32)
    along = relative @ axis
    up = np.array([0.0, 1.0, -0.25]) / np.linalg.norm([0.0, 1.0, -0.25])
    side = np.cross(up, axis)
    azimuth = np.arctan2(relative @ side, relative @ up)
    return (azimuth * 85).astype(np.float32), along.astype(np.float32)


def strands(across: np.ndarray, along: np.ndarray, look: Look) -> Float32[np.ndarray, "t 3"]:
    """Colour of combed hair."""
    bend = 5 * fractal(
        np.column_stack([across * 0.05, along * 0.03, along * 0]).astype(np.float32), 1.0, look.seed + 120, 2
    )
    place = np.column_stack([across + bend, along * 0.035, along * 0]).astype(np.float32)
    fine = fractal(place, 0.8, look.seed + 121, 2)
    lock = fractal(place, 5.0, look.seed + 122, 2)
    sheen = np.exp(-(((along + 18 + 6 * lock) / 22) ** 2))
    bright = np.clip(0.85 + 0.34 * fine + 0.28 * lock + 0.55 * sheen * (0.7 + 0.5 * fine), 0.15, None)
    colour = np.array(look.hair, np.float32) * bright[:, None] + 0.02 * (sheen * np.clip(0.4 + fine, 0, None))[:, None]
    return colour.astype(np.float32)


class Curtain:
    """Long hair: a sheet around the back and the sides of the head that hangs to the shoulders."""

    ROWS, COLUMNS = 28, 72

    def __init__(self, look: Look) -> None:
        row, column = np.mgrid[0 : self.ROWS, 0 : self.COLUMNS].astype(np.float32)
        v, u = row / (self.ROWS - 1), column / (self.COLUMNS - 1) * 2 - 1
        angle = u * np.deg2rad(128)
        y = 62 - v * 245
        spread = smoothstep(0.0, 0.35, v)
        wave = 3.0 * np.sin(v * 9 + u * 14 + look.seed) * smoothstep(0.3, 1.0, v)
        half_width = 74 + 14 * spread + 10 * smoothstep(0.55, 1.0, v) + wave
        half_depth = 86 + 6 * spread - 18 * smoothstep(0.4, 1.0, v) + wave
        x = half_width * np.sin(angle)
        z = -85 - half_depth * np.cos(angle) + 26 * smoothstep(0.75, 1.0, np.abs(u)) * smoothstep(0.35, 1.0, v)
        self._rest = np.stack([x, y + 0 * x, z], axis=-1).reshape(-1, 3).astype(np.float32)
        self._body_share = smoothstep(0.45, 0.95, v).reshape(-1, 1).astype(np.float32)
        quads = grid_quads(self.ROWS, self.COLUMNS, closed=False)
        whole = self._paint(quads, u.reshape(-1), v.reshape(-1), look)
        behind = (np.abs(u.reshape(-1)[quads]) < 0.62).all(1)
        # the flaps before the shoulders are a layer of their own: one layer shows only its nearest side
        self.surfaces = tuple(_part_of(whole, chosen) for chosen in (behind, ~behind))

    def _paint(self, quads: np.ndarray, u: np.ndarray, v: np.ndarray, look: Look) -> Surface:
        cells = 10
        u, v = at_texels(u, quads, cells), at_texels(v, quads, cells)
        colour = strands(u * 200, v * 245 - 90, look)
        place = np.column_stack([u * 200, v * 9, v * 0]).astype(np.float32)
        wisps = fractal(place, 0.9, look.seed + 130, 2)
        edge = smoothstep(1.0, 0.93, np.abs(u) + 0.035 * wisps) * smoothstep(1.0, 0.8, v + 0.10 * wisps)
        return Surface(quads, pack_texels(colour * 0.9, edge), cells, Material.HAIR)

    def vertices(self, head: tuple[np.ndarray, np.ndarray]) -> Float32[np.ndarray, "k 3"]:
        """Vertices in the resting head's space: the top turns with the head, the ends stay."""
        rotation, shift = head
        turned = self._rest @ rotation.T + shift
        return np.ascontiguousarray(turned + (self._rest - turned) * self._body_share * 0.85, np.float32)


def _part_of(surface: Surface, chosen: np.ndarray) -> Surface:
    """Some of a surface's quads, over the same vertices."""
    texels = surface.texels.reshape(len(surface.quads), -1, 4)[chosen].reshape(-1, 4)
    return Surface(surface.quads[chosen], texels, surface.cells, surface.material)


class Lashes:
    """Strips along the lids whose texture is hairs."""

    def __init__(
        self, model: FaceModel, neutral: Float32[np.ndarray, "n 3"], side: str, upper: bool, look: Look
    ) -> None:
        margin = lid_margin(side)
        upper_line, lower_line = split_margin(model.subdivide(model.mean), margin)
        self._line = upper_line if upper else lower_line
        points = neutral[margin]
        self._center = (points.max(0) + points.min(0)) / 2
        self._upper, self._length = upper, (6.6 if upper else 3.6) * look.lashes
        self._out = np.sign(self._center[0])
        rows, columns = 4, len(self._line)
        quads = grid_quads(rows, columns, closed=False)
        cells = 8
        v, u = np.mgrid[0:rows, 0:columns].reshape(2, -1).astype(np.float32)
        v, u = at_texels(v / (rows - 1), quads, cells), at_texels(u / (columns - 1), quads, cells)
        self.surface = Surface(quads, pack_texels(*self._hairs(u, v, look)), cells, Material.MATT)

    def _hairs(self, u: np.ndarray, v: np.ndarray, look: Look) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([look.seed, 140, int(self._upper), int(self._out > 0)])
        count = 46 if self._upper else 34
        roots = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count
        lean = rng.normal(0, 0.02, count) + 0.06 * (roots - 0.35)
        length = rng.uniform(0.55, 1.0, count) * (0.35 + 0.65 * smoothstep(0.0, 0.5, roots))
        opacity = np.zeros(len(u), np.float32)
        for root, slant, tip in zip(roots, lean, length, strict=True):
            distance = np.abs(u - root - slant * v**1.5) * 34
            width = 0.26 * (1 - v / tip)
            opacity = np.maximum(opacity, smoothstep(0.16, -0.05, distance - width) * (v < tip))
        opacity *= (
            (0.9 if self._upper else 0.35) * min(look.lashes, 1.0) * smoothstep(0.0, 0.12, u) * smoothstep(1.0, 0.96, u)
        )
        colour = np.broadcast_to(np.array(look.hair, np.float32) * 0.06 + 0.002, (len(u), 3))
        return colour, opacity

    def vertices(self, skin: Float32[np.ndarray, "n 3"], closed: float) -> Float32[np.ndarray, "k 3"]:
        """The strip on the lid's border of `skin` (level 2, model space); lashes point down when the lid is shut."""
        root = skin[self._line]
        u = np.linspace(0, 1, len(root))[:, None]
        sweep = self._out * (u - 0.35) * 0.75
        if self._upper:
            up = 0.75 - 1.15 * closed
            tip_direction = np.concatenate([sweep, np.full_like(u, up), np.full_like(u, 0.85)], axis=1)
            curl = np.array([0.0, 0.5 - 0.35 * closed, -0.12])
        else:
            tip_direction = np.concatenate([sweep, np.full_like(u, -0.65), np.full_like(u, 0.65)], axis=1)
            curl = np.array([0.0, -0.1, 0.0])
        tip_direction /= np.linalg.norm(tip_direction, axis=1, keepdims=True)
        rows = []
        for v in (0.0, 1 / 3, 2 / 3, 1.0):
            rows.append(root + self._length * (tip_direction * v + curl * v * v) + [0, 0, 0.3])
        return np.concatenate(rows).astype(np.float32)
