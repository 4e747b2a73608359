"""Where each output pixel samples the target frame: p + (old - new projection of its surface point) (`DECISIONS` 9).

Displacements, not positions: where the fit is a pixel off, old and new are off by the same pixel, and it cancels. On the
face the rasterised new geometry gives the displacement exactly. Around it (neck, hair, background) a coarse membrane is
stretched from the face's outline to zero at the mask's edge, so that the old chin never shows below the new one. In the
mouth and the eyes there is no mesh: what lies there stays where bone carries it, and follows lips and lids at their rim.

The field is as fine as the mesh, not as the picture: on a large face one of its cells is several pixels wide (`stride`), and
everything here counts in cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from f2fcam.render import Fragments, Region
from f2fcam.render.membrane import stretch
from f2fcam.render.scratch import Scratch

CELLS_PER_MM = 0.65
"""The field's least resolution: cells of a millimetre and a half, as the drawn mesh has them where it is finest."""

MARGIN = 0.15
"""The mask's reach beyond the face's outline, in face heights (`DECISIONS` 12)."""

CELLS_PER_FACE = 64
"""Rows of the coarse grid over the face's height."""

OUTLINE_BLEND = 1.3
"""Width of the blend from exact to coarse displacement along the outline, in cells."""

RIM_REACH = 0.35
"""How deep into an opening its contents follow the rim, as a part of the opening's height."""

LEAST_SHIFT_PX = 1 / 128
"""Smaller displacements are none: the pixel is copied, bit for bit."""

UNFOLDED = 0.7
"""Largest change of displacement per pixel across an opening: above 1 the picture would fold over."""

PARTING = 0.65
"""Part of an opening's height that shows what the skull carries (upper teeth); the rest moves with the jaw."""

CAVITY_SOFTNESS_PX = 1.5
"""Width of the edge between the mouth's old contents and the dark cavity."""

STRETCH_FULL, STRETCH_NONE = 2.0, 3.5
"""A surface stretched less than the first is the frame's, more than the second the texture's, in between both."""

HIDDEN_NONE_PX = 2.0
"""A point that the old frame hides is the texture's once it moves this far; with no motion nothing is uncovered."""


@dataclass(frozen=True, slots=True)
class Aperture:
    """An opening of the face.

    Attributes:
        rim: the new rim's vertices in order, pixels of the picture.
        lower_shift: displacement (old - new) of what the jaw carries, pixels; None where bone carries everything.
    """

    rim: Float32[np.ndarray, "k 2"]
    lower_shift: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """What to do with the target frame, per cell of `region`. The arrays belong to the `Warper` and are reused.

    Attributes:
        shift: old - new position, cells.
        gain: factors of the encoded colour's channels (`shade.encoded_gain`, `complexion`).
        confidence: 1 for the target frame's own pixel, 0 for the personal texture.
        face: 1 on the face and in its openings, 0 on neck and background.
        cavity: weight of the dark mouth cavity.
        opening: 1 + index of the aperture through which no surface is seen, else 0.
        mask: 255 where the output may differ from the target frame.
        region: in cells. stride: pixels of the picture per cell, across and down.
        sampled: box of the masked cells and of the places within the region that they sample: low x, low y, high x, high y.
    """

    shift: Float32[np.ndarray, "h w 2"]
    gain: Float32[np.ndarray, "h w 3"]
    confidence: Float32[np.ndarray, "h w"]
    face: Float32[np.ndarray, "h w"]
    cavity: Float32[np.ndarray, "h w"]
    opening: UInt8[np.ndarray, "h w"]
    mask: UInt8[np.ndarray, "h w"]
    region: Region
    sampled: tuple[float, float, float, float]
    stride: int = 1


def field_stride(px_per_mm: float) -> int:
    """Pixels per cell for a face of that scale."""
    return max(1, int(px_per_mm / CELLS_PER_MM))


class Warper:
    """Builds the `Field` of one frame after the other in memory of its own."""

    def __init__(self) -> None:
        self._scratch = Scratch()

    def build(
        self,
        fragments: Fragments,
        triangles: np.ndarray,
        attributes: Float32[np.ndarray, "n 7"],
        apertures: tuple[Aperture, ...],
        face_height: float,
        stride: int = 1,
    ) -> Field:
        """The field from the new geometry, rasterised at its resolution.

        `attributes` per vertex: shift x, shift y (cells), gain of red, green and blue, confidence, and 1 on the face, 0 on
        the neck.
        `face_height` in cells fixes the mask's reach and the membrane's grid.
        """
        field = self._field(fragments.region, stride)
        _draw_openings(apertures, fragments.region, field.opening)
        _gather(
            fragments.triangle, fragments.barycentric, triangles, attributes,
            field.shift, field.gain, field.confidence, field.face, field.cavity, field.opening,
        )  # fmt: skip
        for number, aperture in enumerate(apertures, start=1):
            shift = aperture.lower_shift
            x, y = shift or (0.0, 0.0)
            box = _box(aperture.rim, field.region)
            _fill_opening(number, shift is not None, x, y, *box, field.shift, field.cavity, field.opening)
        cell = max(2, round(face_height / CELLS_PER_FACE))
        membrane = stretch(
            field.shift, field.face, field.opening, cell, MARGIN * face_height / cell - 1.0, self._scratch
        )
        width = max(3, int(OUTLINE_BLEND * cell) | 1)
        soft = self._scratch.take("soft", field.face.shape)
        cv2.blur(field.face, (width, width), dst=soft, borderType=cv2.BORDER_REPLICATE)
        sampled = _join(
            membrane, cell, soft, field.face, field.shift, field.gain, field.confidence, field.cavity, field.mask
        )
        return replace(field, sampled=sampled)

    def _field(self, region: Region, stride: int) -> Field:
        shape = (region[3] - region[1], region[2] - region[0])
        take = self._scratch.take
        return Field(
            shift=take("shift", (*shape, 2)),
            gain=take("gain", (*shape, 3)),
            confidence=take("confidence", shape),
            face=take("face", shape),
            cavity=take("cavity", shape),
            opening=take("opening", shape, np.uint8),
            mask=take("mask", shape, np.uint8),
            region=region,
            sampled=(1.0, 1.0, 0.0, 0.0),
            stride=stride,
        )


@njit(
    "void(f4[:,::1], f4[:,::1], i4[:,::1], f4[:,::1], u1[::1], f4[::1], f4[::1], f4[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def vertex_attributes(old, new, triangles, gain, visible, face, textured, out):
    """What `Warper.build` interpolates, (n, 7): shift, gain per channel, confidence, face.

    Confidence is the old picture's density of samples over the new one's: a point that the old frame shows grazing or
    folded away, and the new one openly, is stretched, and the texture knows better. Hidden points have none. `textured`
    (0..1) says where the texture may step in at all.
    """
    for i in range(len(out)):
        out[i, 5] = 0.0
        out[i, 6] = 0.0
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        was = (old[c, 0] - old[a, 0]) * (old[b, 1] - old[a, 1]) - (old[c, 1] - old[a, 1]) * (old[b, 0] - old[a, 0])
        now = (new[c, 0] - new[a, 0]) * (new[b, 1] - new[a, 1]) - (new[c, 1] - new[a, 1]) * (new[b, 0] - new[a, 0])
        for v in (a, b, c):
            out[v, 5] += was
            out[v, 6] += now
    for i in range(len(out)):
        was, now = out[i, 5], out[i, 6]
        stretch = now / max(was, np.float32(1e-4))
        trust = (STRETCH_NONE - stretch) / (STRETCH_NONE - STRETCH_FULL)
        trust = min(max(trust, np.float32(0)), np.float32(1))
        dx, dy = old[i, 0] - new[i, 0], old[i, 1] - new[i, 1]
        if visible[i] == 0:
            trust *= min(max(np.float32(HIDDEN_NONE_PX) - np.sqrt(dx * dx + dy * dy), np.float32(0)), np.float32(1))
        out[i, 0] = dx
        out[i, 1] = dy
        for channel in range(3):
            out[i, 2 + channel] = gain[i, channel]
        out[i, 5] = np.float32(1) - textured[i] * (np.float32(1) - trust)
        out[i, 6] = face[i]


def _box(rim: Float32[np.ndarray, "k 2"], region: Region) -> tuple[int, int, int, int]:
    """The region's columns and rows, first and end, that an opening's polygon can cover."""
    left, top, right, bottom = region
    low, high = np.floor(rim.min(axis=0)).astype(int) - 1, np.ceil(rim.max(axis=0)).astype(int) + 2
    x0, x1 = (int(np.clip(x - left, 0, right - left)) for x in (low[0], high[0]))
    y0, y1 = (int(np.clip(y - top, 0, bottom - top)) for y in (low[1], high[1]))
    return x0, y0, x1, y1


def _draw_openings(apertures: tuple[Aperture, ...], region: Region, out: np.ndarray) -> None:
    """Paint each rim's polygon with the aperture's number; its edge too, so that no rim pixel is missed."""
    out[:] = 0
    for number, aperture in enumerate(apertures, start=1):
        corners = np.round((aperture.rim - np.array(region[:2], np.float32) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(out, [corners], (number,), lineType=cv2.LINE_8, shift=4)


@njit(
    "void(i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1],"
    " f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1], u1[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _gather(triangle, barycentric, triangles, attributes, shift, gain, confidence, face, cavity, opening):
    """Interpolate the vertices' attributes; openings count as face where no surface covers them."""
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            cavity[y, x] = 0.0
            if t < 0:
                shift[y, x, 0] = 0.0
                shift[y, x, 1] = 0.0
                gain[y, x, 0] = gain[y, x, 1] = gain[y, x, 2] = 1.0
                confidence[y, x] = 1.0
                face[y, x] = 1.0 if opening[y, x] > 0 else 0.0
                continue
            opening[y, x] = 0
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            u, v, w = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            shift[y, x, 0] = u * attributes[a, 0] + v * attributes[b, 0] + w * attributes[c, 0]
            shift[y, x, 1] = u * attributes[a, 1] + v * attributes[b, 1] + w * attributes[c, 1]
            for k in range(3):
                gain[y, x, k] = u * attributes[a, 2 + k] + v * attributes[b, 2 + k] + w * attributes[c, 2 + k]
            confidence[y, x] = u * attributes[a, 5] + v * attributes[b, 5] + w * attributes[c, 5]
            face[y, x] = u * attributes[a, 6] + v * attributes[b, 6] + w * attributes[c, 6]


@njit(inline="always")
def _fill_run(first, end, x, top_x, top_y, low_x, low_y, lower_x, lower_y, is_mouth, shift, cavity):
    """One column's run of rows [first, end): upper contents above the old opening's parting, lower ones below it.

    Where the new opening is higher than the old one, neither reaches the middle: the cavity shows.
    """
    extent = end - first
    upper_reach = max(RIM_REACH * extent, max(abs(top_x), abs(top_y)) / UNFOLDED, 1.0)
    lower_reach = max(RIM_REACH * extent, max(abs(low_x - lower_x), abs(low_y - lower_y)) / UNFOLDED, 1.0)
    highest, lowest = first + top_y, max(end - 1 + low_y, first + top_y)
    parting = highest + PARTING * (lowest - highest)
    for y in range(first, end):
        upper = np.exp(-(y - first) / upper_reach)
        lower = np.exp(-(end - 1 - y) / lower_reach)
        from_top = y + top_y * upper
        from_low = y + lower_y + (low_y - lower_y) * lower
        above, below = parting - from_top, from_low - parting
        if above >= below:
            shift[y, x, 0] = top_x * upper
            shift[y, x, 1] = min(max(from_top, highest), lowest) - y
        else:
            shift[y, x, 0] = lower_x + (low_x - lower_x) * lower
            shift[y, x, 1] = min(max(from_low, highest), lowest) - y
        if is_mouth:
            missing = min(max(-max(above, below) / CAVITY_SOFTNESS_PX, 0.0), 1.0)
            rim = min((min(y - first, end - 1 - y) + 0.5) / CAVITY_SOFTNESS_PX, 1.0)
            cavity[y, x] = missing * rim


@njit("void(i8, b1, f8, f8, i8, i8, i8, i8, f4[:,:,::1], f4[:,::1], u1[:,::1])", nogil=True, cache=True, fastmath=True)
def _fill_opening(number, is_mouth, lower_x, lower_y, x0, y0, x1, y1, shift, cavity, opening):
    """Displacement behind one opening, column by column: still bone (above) and jaw (below), pulled along at the rim.

    The opening lies within columns [x0, x1) and rows [y0, y1).
    """
    height = opening.shape[0]
    for x in range(x0, x1):
        y = y0
        while y < y1:
            if opening[y, x] != number:
                y += 1
                continue
            first = y
            while y < y1 and opening[y, x] == number:
                y += 1
            top_x = shift[first - 1, x, 0] if first > 0 else np.float32(0)
            top_y = shift[first - 1, x, 1] if first > 0 else np.float32(0)
            low_x = shift[y, x, 0] if y < height else np.float32(lower_x)
            low_y = shift[y, x, 1] if y < height else np.float32(lower_y)
            _fill_run(first, y, x, top_x, top_y, low_x, low_y, lower_x, lower_y, is_mouth, shift, cavity)


@njit(
    "UniTuple(f4, 4)(f4[:,:,::1], i8, f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], u1[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _join(membrane, cell, soft, face, shift, gain, confidence, cavity, mask):
    """Blend the exact displacement into the membrane's along the outline, and say which pixels are touched.

    Returns the box of these and of the places that they sample: low x, low y, high x, high y; low > high if there are none.
    """
    low_x, low_y, high_x, high_y = np.float32(1e9), np.float32(1e9), np.float32(-1e9), np.float32(-1e9)
    rows, columns = membrane.shape[:2]
    inverse, half, one, zero = np.float32(1.0 / cell), np.float32(0.5), np.float32(1), np.float32(0)
    line = np.empty((columns, 2), np.float32)
    for y in range(face.shape[0]):
        fy = (y + half) * inverse - half
        r = min(max(int(np.floor(fy)), 0), rows - 2)
        v = min(max(fy - r, zero), one)
        for c in range(columns):
            line[c, 0] = membrane[r, c, 0] + v * (membrane[r + 1, c, 0] - membrane[r, c, 0])
            line[c, 1] = membrane[r, c, 1] + v * (membrane[r + 1, c, 1] - membrane[r, c, 1])
        for x in range(face.shape[1]):
            w = zero
            if face[y, x] > 0:
                w = min(max((soft[y, x] - half) * np.float32(2.2), zero), one)
            dx, dy, k = shift[y, x, 0], shift[y, x, 1], confidence[y, x]
            if w < 1:
                fx = max((x + half) * inverse - half, zero)
                c = min(int(fx), columns - 2)
                u = min(fx - c, one)
                coarse_x = line[c, 0] + u * (line[c + 1, 0] - line[c, 0])
                coarse_y = line[c, 1] + u * (line[c + 1, 1] - line[c, 1])
                dx, dy = coarse_x + w * (dx - coarse_x), coarse_y + w * (dy - coarse_y)
                k = one + w * (k - one)
                shift[y, x, 0], shift[y, x, 1], confidence[y, x] = dx, dy, k
                for channel in range(3):
                    gain[y, x, channel] = one + w * (gain[y, x, channel] - one)
            moved = max(abs(dx), abs(dy)) > np.float32(LEAST_SHIFT_PX)
            tint = max(abs(gain[y, x, 0] - one), abs(gain[y, x, 1] - one), abs(gain[y, x, 2] - one))
            changed = tint > np.float32(1e-3) or k < np.float32(0.999)
            if moved or changed or cavity[y, x] > 0:
                mask[y, x] = 255
                at_x, at_y = np.float32(x) + dx, np.float32(y) + dy
                low_x, high_x = min(low_x, at_x, np.float32(x)), max(high_x, at_x, np.float32(x))
                low_y, high_y = min(low_y, at_y, np.float32(y)), max(high_y, at_y, np.float32(y))
            else:
                mask[y, x] = 0
    return low_x, low_y, high_x, high_y
