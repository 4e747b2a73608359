"""Neck and shoulders below the head, in a knitted pullover."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.synthetic.look import Look
from f2fcam.synthetic.noise import fractal, smoothstep
from f2fcam.synthetic.skin import BASE, HAEMOGLOBIN, MELANIN
from f2fcam.synthetic.surface import Material, Surface, at_texels, grid_quads, pack_texels

PROFILE = np.array(
    [  # step, half-width, half-depth, height, depth of the axis, squareness
        [0.0, 64, 60, -126, -88, 2.0],
        [1.0, 72, 62, -142, -86, 2.0],
        [2.0, 84, 65, -156, -84, 2.1],
        [3.0, 108, 70, -170, -82, 2.2],
        [4.0, 138, 78, -185, -79, 2.4],
        [5.0, 166, 87, -203, -76, 2.6],
        [6.0, 188, 96, -230, -73, 2.7],
        [7.0, 200, 105, -270, -70, 2.7],
        [8.0, 206, 112, -335, -66, 2.7],
        [9.0, 210, 116, -435, -66, 2.7],
        [10.0, 214, 118, -620, -66, 2.7],
    ]
)
"""Cross-sections from the neck to below the picture, model space, mm."""
RINGS = 44
COLLAR_STEP = 2.05
"""Where the pullover begins, in the profile's steps."""


class Body:
    """A mesh whose first ring is the head's neck border and which comes to rest below it."""

    def __init__(self, model: FaceModel, neutral: Float32[np.ndarray, "n 3"], look: Look) -> None:
        self._loop = model.loops["neck"]
        border = neutral[self._loop]
        step = np.concatenate([np.linspace(-0.7, COLLAR_STEP, 14), np.linspace(COLLAR_STEP + 0.02, 10, RINGS - 14)])
        self._rest = self._sections(border, step)
        # the first rings turn with the head
        self._follow = smoothstep(2.0, -0.7, step)[:, None, None].astype(np.float32)
        self._join = np.clip((2.2 - step) / 2.9, 0, 1)[:, None, None].astype(np.float32) ** 2
        self._rest = self.vertices(neutral, (np.eye(3, dtype=np.float32), np.zeros(3, np.float32))).reshape(
            self._rest.shape
        )
        count = len(self._loop)
        quads = grid_quads(RINGS, count, closed=True)
        a, b, c, _ = quads[0]
        outward = np.cross(self._flat[b] - self._flat[a], self._flat[c] - self._flat[a])
        if outward @ (self._flat[a] - self._flat[:count].mean(0)) < 0:
            quads = quads[:, ::-1]
        self.quads = np.ascontiguousarray(quads)
        self._step = np.repeat(step, count)
        self._look = look

    @property
    def _flat(self) -> np.ndarray:
        return self._rest.reshape(-1, 3)

    def _sections(self, border: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Superellipses (rings, k, 3) whose points lie at the same angles as the border's."""
        center = border.mean(0)
        angle = np.arctan2(border[:, 0] - center[0], border[:, 2] - center[2])
        shift = np.array([0.0, center[1] + 118.0, center[2] + 90.0])
        rings = []
        own_width, own_depth = np.ptp(border[:, 0]) / 2 - PROFILE[0, 1], np.ptp(border[:, 2]) / 2 - PROFILE[0, 2]
        for s in step:
            width, deep, height, axis, square = (np.interp(s, PROFILE[:, 0], PROFILE[:, k]) for k in range(1, 6))
            width, deep = width + own_width * max(1 - s / 6, 0), deep + own_depth * max(1 - s / 6, 0)
            power = 2 / square
            x = width * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
            z = deep * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power + axis
            front = np.clip(np.cos(angle), -1, 1)
            y = height + (border[:, 1] - center[1]) * np.clip(1 - s / 2.5, 0, 1) - 10 * front * np.clip(s - 1, 0, 1)
            rings.append(np.stack([x, y, z], axis=1) + shift)
        smooth = np.array(rings)
        for _ in range(3):
            smooth[1:-1] = (smooth[:-2] + 2 * smooth[1:-1] + smooth[2:]) / 4
        puff = smoothstep(COLLAR_STEP, COLLAR_STEP + 0.1, step) * 2.2
        outward = smooth - smooth.mean(1, keepdims=True)
        outward[..., 1] = 0
        outward /= np.linalg.norm(outward, axis=2, keepdims=True)
        return (smooth + outward * puff[:, None, None]).astype(np.float32)

    @property
    def rest(self) -> Float32[np.ndarray, "k 3"]:
        """Vertices with the head at rest."""
        return self._flat

    def vertices(
        self, skin: Float32[np.ndarray, "n 3"], rest_from_head: tuple[np.ndarray, np.ndarray]
    ) -> Float32[np.ndarray, "k 3"]:
        """Vertices in the resting head's space; `rest_from_head` turns and moves the head (rotation, shift)."""
        rotation, shift = rest_from_head
        border = skin[self._loop] @ rotation.T + shift
        turned = self._rest @ rotation.T + shift
        points = self._rest + (turned - self._rest) * self._follow
        points = points + (border[None] - points[0][None]) * self._join
        points[0] = border
        return np.ascontiguousarray(points.reshape(-1, 3), np.float32)

    def paint(self, occlusion: Float32[np.ndarray, " k"]) -> Surface:
        """Skin down to the collar, then ribs and knit."""
        look, count = self._look, 4
        where = at_texels(self._flat, self.quads, count)
        step = at_texels(self._step, self.quads, count)
        melanin = look.melanin * (
            1 + 0.1 * fractal(where, 45, look.seed + 1) + 0.07 * fractal(where, 14, look.seed + 2, 2)
        )
        blood = look.haemoglobin + 0.10 * fractal(where, 16, look.seed + 8, 2)
        skin = np.exp(-(melanin[:, None] * MELANIN + blood[:, None] * HAEMOGLOBIN)) * BASE
        angle = np.arctan2(where[:, 0], where[:, 2] + 100)
        across = angle * 70
        collar = smoothstep(COLLAR_STEP + 0.55, COLLAR_STEP + 0.5, step)
        ribs = 0.80 + 0.2 * np.sin(across * 2 * np.pi / 3.2) * collar
        knit = 1 + (1 - collar) * 0.12 * np.sin(across * 2 * np.pi / 2.6) * np.sin(where[:, 1] * 2 * np.pi / 3.4)
        weave = (
            ribs
            * knit
            * (1 + 0.10 * fractal(where, 1.2, look.seed + 90) + 0.12 * fractal(where, 40, look.seed + 91, 3))
        )
        cloth = np.array(look.clothes, np.float32) * weave[:, None]
        dressed = smoothstep(COLLAR_STEP - 0.02, COLLAR_STEP + 0.02, step)[:, None]
        seam = 1 - 0.5 * smoothstep(0.25, 0.0, np.abs(step - COLLAR_STEP + 0.05))
        colour = (skin + (cloth - skin) * dressed) * (at_texels(occlusion, self.quads, count) * seam)[:, None]
        return Surface(
            self.quads, pack_texels(colour.astype(np.float32), 0.25 * (1 - dressed[:, 0])), count, Material.SKIN
        )
