"""Meshes of quads whose texture needs no atlas: every quad carries its own small grid of texels.

Neighbouring quads share the texels on their common side in value, so a texture that is a function of space has no seams,
and folds (lips, nostrils, ears) get texels of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, Int32, UInt16

TEXEL_ONE = 65535


class Material(IntEnum):
    """How a surface shines."""

    SKIN = 0
    EYE = 1
    WET = 2
    HAIR = 3
    MATT = 4


@dataclass(frozen=True, slots=True)
class Surface:
    """A textured quad mesh; its vertices move, everything here stays.

    Attributes:
        quads: counter-clockwise seen from outside.
        texels: linear red, green, blue and gloss (or opacity, for layers) as 16-bit fractions, (cells + 1)^2 per quad, rows
            along the quad's first side.
        cells: texture cells along a quad's side.
        material: kind of gloss.
    """

    quads: Int32[np.ndarray, "q 4"]
    texels: UInt16[np.ndarray, "t 4"]
    cells: int
    material: Material

    @property
    def triangles(self) -> Int32[np.ndarray, "2*q 3"]:
        """Triangles 2k and 2k + 1 make quad k."""
        return split_quads(self.quads)


def split_quads(quads: Int32[np.ndarray, "q 4"]) -> Int32[np.ndarray, "2*q 3"]:
    """Each quad along its first diagonal, as the face model does."""
    return np.ascontiguousarray(quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3), np.int32)


def paired_quads(triangles: Int32[np.ndarray, "2*q 3"]) -> Int32[np.ndarray, "q 4"]:
    """The inverse of `split_quads`."""
    return np.ascontiguousarray(np.column_stack([triangles[0::2], triangles[1::2, 2]]), np.int32)


def texel_weights(cells: int) -> Float32[np.ndarray, "t 4"]:
    """Bilinear weights of a quad's corners at its (cells + 1)^2 texels."""
    v, u = np.mgrid[0 : cells + 1, 0 : cells + 1].reshape(2, -1) / np.float32(cells)
    return np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], axis=1).astype(np.float32)


def at_texels(values: np.ndarray, quads: Int32[np.ndarray, "q 4"], cells: int) -> np.ndarray:
    """Per-vertex values (n,) or (n, k) interpolated to all texels (t,) or (t, k)."""
    values = np.asarray(values, np.float32)
    flat = values.reshape(len(values), -1)
    out = np.einsum("ts,qsk->qtk", texel_weights(cells), flat[quads], optimize=True)
    return np.ascontiguousarray(out.reshape(-1, *values.shape[1:]))


def pack_texels(
    colour: Float32[np.ndarray, "t 3"], fourth: Float32[np.ndarray, " t"] | float
) -> UInt16[np.ndarray, "t 4"]:
    """Linear colour and gloss (or opacity) as texels."""
    out = np.empty((len(colour), 4), np.uint16)
    out[:, :3] = np.clip(colour, 0, 1) * TEXEL_ONE
    out[:, 3] = np.clip(fourth, 0, 1) * TEXEL_ONE
    return out


def grid_quads(rows: int, columns: int, closed: bool) -> Int32[np.ndarray, "q 4"]:
    """Quads of a grid of `rows` x `columns` vertices, row-major; `closed` joins the last column to the first."""
    across = columns if closed else columns - 1
    row, column = np.mgrid[0 : rows - 1, 0:across].reshape(2, -1)
    after = (column + 1) % columns
    a, b = row * columns + column, row * columns + after
    return np.stack([a, b, b + columns, a + columns], axis=1).astype(np.int32)


def joined(surfaces: list[Surface]) -> Surface:
    """Several surfaces of the same material and cells as one; each one's vertices follow the last one's."""
    quads, start = [], 0
    for surface in surfaces:
        quads.append(surface.quads + np.int32(start))
        start += int(surface.quads.max()) + 1
    texels = np.concatenate([surface.texels for surface in surfaces])
    return Surface(np.concatenate(quads), texels, surfaces[0].cells, surfaces[0].material)
