"""The output picture: the target frame sampled along the field, relit, patched, and untouched everywhere else."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numba import njit

from f2fcam.render import Fragments, Region
from f2fcam.render.sampling import ACROSS, CATMULL_ROM, PHASE_BITS, PHASES, place_of
from f2fcam.render.scratch import Scratch
from f2fcam.render.shade import ENCODED_OFFSET
from f2fcam.render.warp import Field
from f2fcam.simd import bicubic, colour, lane, lanes8, low4, mix, put8, put_colour, relit

LEAST_DOUBT = 1e-3
"""A frame's own pixel that is trusted but for this is taken as it is."""

FOLD_CELLS = 1.5
"""Shifts of neighbouring cells that differ by more cells than this are of two parts of the face, one in front of the other."""

GAIN, SHIFT_X, SHIFT_Y, MASKED, DOUBT, CAVITY = 0, 3, 4, 5, 6, 7
"""Lanes of a cell: the gain is three, the shift in phases of a pixel, the doubt what confidence lacks to 1."""
CELL = 8


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels from elsewhere that replace part of the picture: a retrieved mouth or eye, warped to the output already.

    Attributes:
        rgb: sRGB-encoded colours.
        alpha: coverage, 0 to 255.
        x, y: where in the picture the patch's first pixel lies.
        rows, pull: level-0 vertices that the patch shows elsewhere than the target frame would, and how far aside, pixels.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    alpha: UInt8[np.ndarray, "h w"]
    x: int
    y: int
    rows: Int32[np.ndarray, " c"] = field(default_factory=lambda: np.empty(0, np.int32))
    pull: Float32[np.ndarray, "c 2"] = field(default_factory=lambda: np.empty((0, 2), np.float32))


def composite(
    frame: UInt8[np.ndarray, "H W 3"],
    field: Field,
    fragments: Fragments,
    triangles: np.ndarray,
    texture: Float32[np.ndarray, "n 4"],
    cavity: Float32[np.ndarray, " 3"],
    patches: tuple[Patch, ...],
    out: UInt8[np.ndarray, "H W 3"],
    scratch: Scratch,
) -> tuple[UInt8[np.ndarray, "rows columns"], Region]:
    """Write the whole output picture; `fragments` are the field's, `texture` is `shade.shade_uncertain`'s per vertex,
    `cavity` (0..255) the mouth's darkness.

    Returns the mask, 255 where pixels may differ from the frame's, and the region of the picture that it covers; everywhere
    else the picture is the frame's, bit for bit.
    """
    np.copyto(out, frame)
    region = pixels_of(field.region, field.stride, frame.shape)
    x0, y0, x1, y1 = region
    mask = scratch.take("mask", (y1 - y0, x1 - x0), np.uint8)
    left, top, right, bottom = _window(field.sampled, field.stride, x0, y0, frame.shape[1], frame.shape[0])
    if right > left:
        source, left, top = _window_of(frame, left, top, right, bottom, scratch)
        lines = scratch.take("lines", (3, (field.mask.shape[1] + 1) * CELL))
        _sample(
            source, x0 - left, y0 - top, x0, y0, field.stride,
            field.mask, field.shift, field.gain, field.confidence, field.cavity, field.face,
            fragments.triangle, fragments.barycentric, triangles, texture, cavity, CATMULL_ROM, ACROSS, lines,
            scratch.take("columns", (2, x1 - x0)), mask, out,
        )  # fmt: skip
    else:
        mask[:] = 0
    for patch in patches:
        _paste(patch.rgb, patch.alpha, patch.x, patch.y, x0, y0, mask, out)
    return mask, region


def pixels_of(region: Region, stride: int, shape: tuple[int, ...]) -> Region:
    """The pixels that the cells of a region cover."""
    x0, y0, x1, y1 = (stride * side for side in region)
    return x0, y0, min(x1, shape[1]), min(y1, shape[0])


def _window(
    sampled: tuple[float, float, float, float], stride: int, x0: int, y0: int, width: int, height: int
) -> tuple[int, int, int, int]:
    """The part of the frame that the masked cells sample, with the kernel's margin; it may reach past the border."""
    low_x, low_y, high_x, high_y = sampled
    if high_x < low_x:
        return 0, 0, 0, 0
    around = 0 if stride == 1 else stride  # pixels between two cells, of which one may not be masked
    low, high = (stride * (low_x + 0.5) - 0.5 - around, stride * (low_y + 0.5) - 0.5 - around), (
        stride * (high_x + 0.5) - 0.5 + around, stride * (high_y + 0.5) - 0.5 + around)  # fmt: skip
    left, right = (min(max(int(np.floor(x)) + x0, 0), width - 1) for x in (low[0], high[0]))
    top, bottom = (min(max(int(np.floor(y)) + y0, 0), height - 1) for y in (low[1], high[1]))
    return left - 1, top - 1, right + 4, bottom + 4


def _window_of(
    frame: UInt8[np.ndarray, "H W 3"], left: int, top: int, right: int, bottom: int, scratch: Scratch
) -> tuple[UInt8[np.ndarray, "h w 3"], int, int]:
    """A picture that may be read all over the window, and which of the frame's pixels is its first.

    The frame itself where the window lies well inside; else a copy that repeats the border, with a row and a column to spare.
    """
    height, width = frame.shape[:2]
    if left >= 0 and top >= 0 and right < width and bottom < height:
        return frame, 0, 0
    inside = frame[max(top, 0) : min(bottom + 1, height), max(left, 0) : min(right + 1, width)]
    copy = scratch.take("window", (bottom - top + 1, right - left + 1, 3), np.uint8)
    over = max(-top, 0), max(bottom + 1 - height, 0), max(-left, 0), max(right + 1 - width, 0)
    cv2.copyMakeBorder(inside, *over, cv2.BORDER_REPLICATE, dst=copy)
    return copy, left, top


@njit(inline="always")
def _lay_out(row, scale, cells, shift, gain, confidence, cavity, line):
    """A row of cells, lanes side by side and the last cell twice; whether any is masked."""
    count = cells.shape[1]
    any_masked = False
    for c in range(count + 1):
        k, at = min(c, count - 1), c * CELL
        line[at + GAIN], line[at + GAIN + 1], line[at + GAIN + 2] = gain[row, k, 0], gain[row, k, 1], gain[row, k, 2]
        line[at + SHIFT_X], line[at + SHIFT_Y] = scale * shift[row, k, 0], scale * shift[row, k, 1]
        line[at + MASKED] = np.float32(1) if cells[row, k] > 0 else np.float32(0)
        line[at + DOUBT], line[at + CAVITY] = np.float32(1) - confidence[row, k], cavity[row, k]
        any_masked |= cells[row, k] > 0
    return any_masked


@njit(inline="always")
def _apart(one, other, limit):
    """Whether the shifts of two cells jump."""
    aside, down = lane(one, SHIFT_X) - lane(other, SHIFT_X), lane(one, SHIFT_Y) - lane(other, SHIFT_Y)
    return max(abs(aside), abs(down)) > limit


@njit(inline="always")
def _mark_folds(upper, lower, above, below, face, limit, folds):
    """Between which cells of two rows, and the next ones in them, the face hides a part of itself: the shift jumps.

    Not along the jaw: what a shift between the face's and the neck's shows there is the jaw's own outline.
    """
    last = len(folds) - 1
    for c in range(len(folds)):
        at, right = CELL * c, min(c + 1, last)
        if min(face[upper, c], face[lower, c], face[upper, right], face[lower, right]) < np.float32(0.5):
            folds[c] = False
            continue
        one, other = lanes8(above, at), lanes8(below, at)
        beside, across = lanes8(above, at + CELL), lanes8(below, at + CELL)
        jumps = _apart(one, other, limit) or _apart(beside, across, limit)
        folds[c] = jumps or _apart(one, beside, limit) or _apart(other, across, limit)


@njit(inline="always")
def _seen_by(cell, at_x, at_y, source, limit_x, limit_y, kernel, across):
    """What a cell's own shift and gain make of a pixel."""
    row_size, lowest = np.intp(3 * source.shape[1]), PHASES
    # bounded as whole numbers, so that no place, not even one that is no number, is read outside
    sx = min(max(np.intp(np.int32(at_x + lane(cell, SHIFT_X))), lowest), limit_x)
    sy = min(max(np.intp(np.int32(at_y + lane(cell, SHIFT_Y))), lowest), limit_y)
    first = ((sy >> PHASE_BITS) - 1) * row_size + 3 * ((sx >> PHASE_BITS) - 1)
    shown = bicubic(source, first, row_size, kernel, across, sy & (PHASES - 1), sx & (PHASES - 1))
    return relit(shown, low4(cell), np.float32(255 * ENCODED_OFFSET))


@njit(nogil=True, cache=True, fastmath=True)
def _seen_at_fold(above, below, left, u, v, at_x, at_y, source, limit_x, limit_y, kernel, across):
    """The same between four cells of two surfaces: a mean of what they see. A shift between theirs would show all that lies
    between the two in the frame, squeezed into a line: under a lip that hangs over the skin, the lip's shadow."""
    upper = mix(
        _seen_by(lanes8(above, left), at_x, at_y, source, limit_x, limit_y, kernel, across),
        _seen_by(lanes8(above, left + CELL), at_x, at_y, source, limit_x, limit_y, kernel, across), u,
    )  # fmt: skip
    lower = mix(
        _seen_by(lanes8(below, left), at_x, at_y, source, limit_x, limit_y, kernel, across),
        _seen_by(lanes8(below, left + CELL), at_x, at_y, source, limit_x, limit_y, kernel, across), u,
    )  # fmt: skip
    return mix(upper, lower, v)


@njit(inline="always")
def _textured(row, column, weight, triangle, barycentric, triangles, texture, sums):
    """Add what the texture gives for a cell."""
    t = triangle[row, column]
    if weight <= 0 or t < 0:
        return
    for corner in range(3):
        share, vertex = weight * barycentric[row, column, corner], triangles[t, corner]
        for k in range(4):
            sums[k] += share * texture[vertex, k]


@njit(inline="always")
def _textured_between(row, row_share, column, column_share, triangle, barycentric, triangles, texture, sums):
    """What the texture gives between four cells: premultiplied colour, weight."""
    below, beside = min(row + 1, triangle.shape[0] - 1), min(column + 1, triangle.shape[1] - 1)
    rest, one = np.float32(1) - row_share, np.float32(1)
    sums[:] = np.float32(0)
    _textured(row, column, (one - column_share) * rest, triangle, barycentric, triangles, texture, sums)
    _textured(row, beside, column_share * rest, triangle, barycentric, triangles, texture, sums)
    _textured(below, column, (one - column_share) * row_share, triangle, barycentric, triangles, texture, sums)
    _textured(below, beside, column_share * row_share, triangle, barycentric, triangles, texture, sums)


@njit(
    "void(u1[:,:,::1], i8, i8, i8, i8, i8, u1[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1],"
    " i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], u1[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _sample(
    source, dx, dy, x0, y0, stride,
    cells, shift, gain, confidence, cavity, face, triangle, barycentric, triangles, texture, dark, kernel, across, lines,
    columns, mask, out,
):  # fmt: skip
    """Per pixel: the field between its cells -> bicubic sample -> gain -> texture -> cavity; and which pixels change."""
    zero, two, phases = np.float32(0), np.intp(2), np.float32(PHASES)
    limit_x, limit_y = PHASES * (source.shape[1] - 4), PHASES * (source.shape[0] - 4)
    high, wide = cells.shape
    per_pixel, scale = np.float32(1) / np.float32(stride), np.float32(stride) * phases
    sums, line, laid_out = np.empty(4, np.float32), lines[2], -1
    masked, folds, jump = np.zeros(2, np.bool_), np.zeros(wide, np.bool_), np.float32(FOLD_CELLS) * scale
    # what is the same in all rows: the cell to the left of each pixel, the share of the next, the pixel's own place
    beside, share, across_at = np.empty(mask.shape[1], np.intp), columns[0], columns[1]
    for x in range(mask.shape[1]):
        beside[x], share[x] = place_of(x, per_pixel, wide)
        across_at[x] = phases * np.float32(x + dx) + np.float32(0.5)
    for y in range(mask.shape[0]):
        upper, v = place_of(y, per_pixel, high)
        lower = min(upper + 1, high - 1)
        if upper != laid_out:  # two rows of cells serve `stride` rows of pixels
            for row in (upper, lower):
                masked[row % two] = _lay_out(row, scale, cells, shift, gain, confidence, cavity, lines[row % two])
            laid_out = upper
            _mark_folds(upper, lower, lines[upper % two], lines[lower % two], face, jump, folds)
        if not (masked[0] or masked[1]):
            mask[y, :] = 0
            continue
        above, below = lines[upper % two], lines[lower % two]
        for at in range(0, len(line), CELL):
            put8(mix(lanes8(above, at), lanes8(below, at), v), line, at)
        down_at, target = phases * np.float32(y + dy) + np.float32(0.5), 3 * ((y + y0) * out.shape[1] + x0)
        for x in range(mask.shape[1]):
            left = CELL * beside[x]
            cell = mix(lanes8(line, left), lanes8(line, left + CELL), share[x])
            if lane(cell, MASKED) == zero:
                mask[y, x] = 0
                continue
            mask[y, x] = 255
            if folds[beside[x]]:
                shown = _seen_at_fold(
                    above, below, left, share[x], v, across_at[x], down_at, source, limit_x, limit_y, kernel, across
                )
            else:
                shown = _seen_by(cell, across_at[x], down_at, source, limit_x, limit_y, kernel, across)
            doubt, hollow = lane(cell, DOUBT), lane(cell, CAVITY)
            if doubt + hollow > np.float32(LEAST_DOUBT):
                _textured_between(upper, v, beside[x], share[x], triangle, barycentric, triangles, texture, sums)
                if sums[3] > np.float32(1e-4):
                    known = np.float32(1) / sums[3]
                    shown = mix(shown, colour(known * sums[0], known * sums[1], known * sums[2]), doubt)
                shown = mix(shown, colour(dark[0], dark[1], dark[2]), hollow)
            put_colour(shown, out, target + 3 * x)


@njit(
    "void(u1[:,:,:], u1[:,:], i8, i8, i8, i8, u1[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _paste(rgb, alpha, left, top, x0, y0, mask, out):
    """Blend a patch in. Stays within the field's region."""
    rows, columns = mask.shape
    for j in range(alpha.shape[0]):
        y = top + j - y0
        if y < 0 or y >= rows:
            continue
        for i in range(alpha.shape[1]):
            x = left + i - x0
            if x < 0 or x >= columns or alpha[j, i] == 0:
                continue
            mask[y, x] = 255
            if alpha[j, i] == 255:
                for k in range(3):
                    out[y + y0, x + x0, k] = rgb[j, i, k]
                continue
            a = np.float32(alpha[j, i]) / np.float32(255)
            for k in range(3):
                old = np.float32(out[y + y0, x + x0, k])
                out[y + y0, x + x0, k] = np.uint8(old + a * (np.float32(rgb[j, i, k]) - old) + np.float32(0.5))
