"""Soft masks, rings around the apertures and contact pairs, painted on the base mesh."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from f2fcam.face.mesh import QuadLevel, boundary_loops, quad_edges

from .identity import front
from .wheel import Wheel

LOOP_NAMES = ("lips", "neck", "eye_left", "eye_right")
BROW = ((9.5, 743.0), (18.0, 746.3), (29.0, 748.6), (40.0, 748.3), (52.0, 742.0))  # base-mesh x and y of the left brow
NOSTRIL = (9.6, 686.2, 154.8)  # bottom of the left nostril's pocket
RING = 4  # level-2 edges per level-0 ring


@dataclass(frozen=True)
class Aperture:
    """Rings of level-2 edges around a loop, and which side of it (upper or lower) each vertex hangs on."""

    ring: np.ndarray
    upper: np.ndarray


def named_loops(quads: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """The four boundary loops by name; each starts at its vertex farthest to the person's left."""
    found = {}
    for loop in boundary_loops(quads):
        center = points[loop].mean(0)
        if np.ptp(points[loop, 0]) > 80:
            name = "neck"
        elif abs(center[0]) < 5:
            name = "lips"
        else:
            name = "eye_left" if center[0] > 0 else "eye_right"
        found[name] = np.roll(loop, -int(np.argmax(points[loop, 0].round(2))))
    return {name: found[name] for name in LOOP_NAMES}


def split_loop(loop: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower vertices of a loop between its leftmost and rightmost vertex, both excluded."""
    start, end = int(np.argmax(points[loop, 0])), int(np.argmin(points[loop, 0]))
    turned = np.roll(loop, -start)
    end = (end - start) % len(loop)
    one, other = turned[1:end], turned[end + 1 :]
    return (one, other) if points[one, 1].mean() > points[other, 1].mean() else (other, one)


def aperture(level: QuadLevel, loop: np.ndarray, points: np.ndarray) -> Aperture:
    """Ring number by edge distance; a vertex is upper if the nearest loop vertex is."""
    edges = quad_edges(level.quads)[0]
    n = level.from_level0.shape[0]
    graph = csr_matrix((np.ones(2 * len(edges)), (edges.ravel(), edges[:, ::-1].ravel())), (n, n))
    upper, lower = split_loop(loop, points)
    to_upper = dijkstra(graph, indices=upper, min_only=True, limit=80)
    to_lower = dijkstra(graph, indices=lower, min_only=True, limit=80)
    return Aperture(np.minimum(dijkstra(graph, indices=loop, min_only=True, limit=80), 80), to_upper <= to_lower)


def smoothstep(zero: float, one: float, value: np.ndarray) -> np.ndarray:
    """0 at `zero`, 1 at `one`, smooth between."""
    t = np.clip((value - zero) / (one - zero), 0, 1)
    return t * t * (3 - 2 * t)


def brow_distance(points: np.ndarray) -> np.ndarray:
    """Distance in front view (mm) to the left brow's line, thinner towards its tail."""
    line = np.array(BROW)
    best = np.full(len(points), np.inf)
    for k, (a, b) in enumerate(itertools.pairwise(line)):
        t = np.clip(((points[:, :2] - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
        away = np.linalg.norm(points[:, :2] - a - t[:, None] * (b - a), axis=1)
        best = np.minimum(best, away * (1 + 0.22 * (k + t)))
    return best


def moved_by(wheel: Wheel, level: QuadLevel, *targets: str) -> np.ndarray:
    """How far targets move each level-2 vertex, relative to the most moved one."""
    size = np.zeros(level.from_level0.shape[0])
    for name in targets:
        shape = level.from_level0 @ wheel.target(f"mpfb2/targets/{name}")[: level.from_level0.shape[1]]
        length = np.linalg.norm(shape, axis=1)
        size = np.maximum(size, length / length.max())
    return size


def paint(wheel: Wheel, level: QuadLevel, points: np.ndarray, loops: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All region masks (n,) in 0..1 at level 2; `points` is the base mesh there."""
    x, y, z = points.T
    lips, eyes = (
        aperture(level, loops["lips"], points),
        {side: aperture(level, loops[f"eye_{side}"], points) for side in ("left", "right")},
    )
    masks = {}
    red = smoothstep(6.4 * RING, 5.4 * RING, lips.ring)
    masks["lips_upper"], masks["lips_lower"] = red * lips.upper, red * ~lips.upper
    for side, eye in eyes.items():
        masks[f"eyelid_{side}"] = smoothstep(8 * RING, 5.5 * RING, eye.ring)
        mirrored = points if side == "left" else points * [-1, 1, 1]
        masks[f"brow_{side}"] = smoothstep(4.8, 2.6, brow_distance(mirrored)) * smoothstep(80, 100, z)
        masks[f"under_eye_{side}"] = smoothstep(17, 8, np.hypot(mirrored[:, 0] - 31, (y - 714) * 1.6)) * (z > 80)
    masks["ear_left"] = smoothstep(0.3, 0.55, moved_by(wheel, level, "ears/l-ear-scale-incr", "ears/l-ear-wing-incr"))
    masks["ear_right"] = smoothstep(0.3, 0.55, moved_by(wheel, level, "ears/r-ear-scale-incr", "ears/r-ear-wing-incr"))
    ears = np.maximum(masks["ear_left"], masks["ear_right"])
    masks["scalp"] = smoothstep(-4, 6, y - (797 - 0.95 * (145 - z))) * (1 - ears)
    masks["neck"] = smoothstep(4, -6, y - (614 + 0.55 * np.clip(118 - z, 0, 110))) * (1 - masks["scalp"]) * (1 - ears)
    outside = np.maximum.reduce([ears, masks["scalp"], masks["neck"]])
    masks["nose"] = smoothstep(0.12, 0.4, moved_by(wheel, level, "nose/nose-scale-depth-incr", "nose/nose-width1-incr"))
    masks["nose"] *= 1 - red
    masks["nostrils"] = nostril_openings(points)
    masks["cheek_left"] = smoothstep(24, 12, np.linalg.norm((points - [45, 688, 118]) * [1, 1, 0.5], axis=1))
    masks["cheek_right"] = smoothstep(24, 12, np.linalg.norm((points - [-45, 688, 118]) * [1, 1, 0.5], axis=1))
    masks["chin"] = smoothstep(26, 14, np.hypot(x, (y - 629) * 1.3)) * (z > 90) * (1 - red) * (1 - masks["neck"])
    masks["forehead"] = smoothstep(748, 758, y) * (1 - outside) * smoothstep(60, 90, z)
    mouth_distance = np.maximum(np.hypot(x * 0.62, y - 661) - 9, 0)
    masks["mouth_area"] = smoothstep(14, 6, mouth_distance) * smoothstep(95, 110, z)
    masks["stubble"] = (
        np.maximum(
            smoothstep(655, 640, y) * smoothstep(20, 60, z),
            smoothstep(22, 14, np.hypot(x, (y - 668) * 1.5)) * (z > 120),
        )
        * (1 - masks["neck"] * 0.6)
        * (1 - red)
        * (1 - masks["nose"])
        * (1 - ears)
    )
    inside = np.minimum.reduce([smoothstep(2 * RING, 3 * RING, e.ring) for e in eyes.values()])
    inside = np.minimum(inside, smoothstep(1 * RING, 2.2 * RING, lips.ring))
    frontal = np.clip(level.from_level0 @ front(wheel.base.vertices[wheel.skin]), 0, 1)
    masks["inner_face"] = frontal * (1 - outside) * inside * (1 - masks["nostrils"])
    return masks


def nostril_openings(points: np.ndarray) -> np.ndarray:
    """Soft spots (n,) over the pockets of the two nostrils."""
    folded = np.column_stack([np.abs(points[:, 0]), points[:, 1:]])
    away = np.linalg.norm(folded - NOSTRIL, axis=1)
    return smoothstep(6.0, 4.2, away)


def rings0(quads: np.ndarray, loop: np.ndarray, count: int) -> list[np.ndarray]:
    """The loop and the next `count` rings of level-0 vertices around it, corresponding by index."""
    neighbours: dict[int, list[int]] = {}
    for quad in quads:
        for k in range(4):
            neighbours.setdefault(int(quad[k]), []).append(int(quad[(k + 1) % 4]))
            neighbours.setdefault(int(quad[k]), []).append(int(quad[k - 1]))
    taken = {int(v) for v in loop}
    rings = [np.array(loop)]
    for _ in range(count):
        following = []
        for v in rings[-1]:
            outward = sorted({u for u in neighbours[int(v)] if u not in taken})
            following.append(outward[0] if outward else int(v))
        taken |= set(following)
        rings.append(np.array(following))
    return rings


def contact_pairs(ring: np.ndarray, open_points: np.ndarray, closed_points: np.ndarray) -> np.ndarray:
    """Pairs (upper, lower) of a ring that meet when closed: each lower vertex with the upper one nearest in x."""
    upper, lower = split_loop(ring, open_points)
    return np.array(
        [[upper[np.argmin(np.abs(closed_points[upper, 0] - closed_points[v, 0]))], v] for v in lower], np.int32
    )
