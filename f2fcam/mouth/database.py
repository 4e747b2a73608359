"""All mouths (or eyes) of a target's clip: descriptors, pixels, clusters and the appearance graph (section 8).

A database is arrays only, so that a profile stores it without pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from numba import njit

from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Performance
from f2fcam.kept import kept_bytes
from f2fcam.mouth.aperture import APERTURES, ApertureName
from f2fcam.mouth.descriptor import GAPS, chi_squared
from f2fcam.mouth.interior import Content, Rim

CLUSTERS = 10
MOST_SAMPLES = 3000
"""Descriptors that k-medoids looks at (`DECISIONS` 10)."""
NEIGHBOURS = 16
ROUNDS = 20

W_SHAPE, W_ROTATION, W_MEASURES, W_GAZE = 1.0, 0.25, 1.5, 1.0
"""Weights of the descriptor's terms, each in units of its spread in the clip."""
W_PATTERN, W_CORRELATION = 1.0, 0.5
"""Weights of what the appearance graph's edges add: patterns (chi-squared) and likeness of the pictures."""
W_BLUR = 0.5
"""Of a picture half as sharp as the displayed frame is around its own mouth: a blurred mouth in a sharp face is seen at once.
Counts by the square of how many times the opening is stretched, which enlarges its blur."""
W_GLOOM = 0.5
"""Of a millimetre of the wanted opening's mean height that would show only darkness: a lit inside is better to look at."""
SHORTAGE = 3.0
"""A gap that is smaller in the retrieved frame than wanted counts this many times: what it hides cannot be shown."""
W_TEAR = 10.0
"""Of the squared logarithm of how many times its own height a retrieved opening has to be stretched."""
W_SQUEEZE = 2.0
"""The same for an opening that has to be closed: bright teeth in a thin slit are not this person's."""
TEAR_MM = 1.5
"""Heights are compared with this much added."""


STEPS = "pixel_steps"
"""Name of the stored crops: each pixel less what its left and upper neighbours foretell, modulo 256."""


@dataclass(frozen=True, slots=True)
class ApertureDatabase:
    """One opening's enrolled frames: n entries taken from a clip of f frames.

    Attributes:
        name: which opening.
        frames: the entries' rows in the profile.
        expression, rotation, translation, lighting: what was fitted to them.
        misfit: detected - fitted landmarks, pixels, relative to the clip's median, smoothed over time, of all frames.
        frame_gaze: where each of the clip's frames looks (zeros for the mouth); through blinks, interpolated.
        shape, turn, measures, gaze: the entries' descriptors, each divided by its spread.
        pattern: local binary pattern histograms. thumbnail: small pictures for cross-correlation.
        blur: how much less sharp than the sharp ones an entry is, in octaves, at least 0.
        gloom: the share of the opening that shows neither teeth nor tongue, beyond what is natural (0 in profiles of old).
        metric: (r, 76) carries an expression to `shape`. scales: spread of shape, turn, measures, gaze.
        slope, offset: carry the fitted landmarks' distances (mm) to the detected ones'.
        gap_range: mean gap of the clip's shut and open eyes (or mouths), in `measures`' unit.
        cluster, medoids, neighbours: k-medoids and the appearance graph.
        heights: what the entries' openings really measure where `PersonAperture.heights` does, mm; fitted_heights: by it.
            Neither in profiles of old.
        rim_axes, rim_ends, rim_edges, seam, give: `interior.Rim` and `interior.Content` of the entries.
        pixels, start, size, corner: the crops, one after the other: first byte, width and height, place in the frame.
    """

    name: ApertureName
    frames: Int32[np.ndarray, " n"]
    expression: Float32[np.ndarray, "n 76"]
    rotation: Float32[np.ndarray, "n 3 3"]
    translation: Float32[np.ndarray, "n 3"]
    lighting: Float32[np.ndarray, "n 9 3"]
    misfit: Float32[np.ndarray, "f l 2"]
    frame_gaze: Float32[np.ndarray, "f 2"]
    shape: Float32[np.ndarray, "n r"]
    turn: Float32[np.ndarray, "n 3"]
    measures: Float32[np.ndarray, "n p"]
    gaze: Float32[np.ndarray, "n 2"]
    pattern: Float32[np.ndarray, "n b"]
    thumbnail: Float32[np.ndarray, "n t"]
    blur: Float32[np.ndarray, " n"]
    gloom: Float32[np.ndarray, " n"]
    metric: Float32[np.ndarray, "r 76"]
    scales: Float32[np.ndarray, " 4"]
    slope: Float32[np.ndarray, " p"]
    offset: Float32[np.ndarray, " p"]
    gap_range: Float32[np.ndarray, " 2"]
    cluster: Int32[np.ndarray, " n"]
    medoids: Int32[np.ndarray, " k"]
    neighbours: Int32[np.ndarray, "n g"]
    heights: Float32[np.ndarray, "n 7"]
    fitted_heights: Float32[np.ndarray, "n 7"]
    rim_axes: Float32[np.ndarray, "n 2 3"]
    rim_ends: Float32[np.ndarray, "n 2"]
    rim_edges: Float32[np.ndarray, "n 2 64"]
    seam: Float32[np.ndarray, " n"]
    give: Float32[np.ndarray, "n 25"]
    pixels: UInt8[np.ndarray, " bytes"]
    start: Int64[np.ndarray, " n"]
    size: Int32[np.ndarray, "n 2"]
    corner: Int32[np.ndarray, "n 2"]

    def __len__(self) -> int:
        return len(self.frames)

    def crop(self, entry: int) -> UInt8[np.ndarray, "h w 3"]:
        """An entry's picture."""
        width, height = (int(v) for v in self.size[entry])
        start = int(self.start[entry])
        return self.pixels[start : start + 3 * width * height].reshape(height, width, 3)

    def performance(self, entry: int) -> Performance:
        """What was fitted to an entry's frame."""
        pose = RigidTransform(self.rotation[entry].astype(np.float64), self.translation[entry].astype(np.float64))
        return Performance(self.expression[entry], pose, self.lighting[entry])

    def rim(self, entry: int) -> Rim:
        """The outline of an entry's opening."""
        first, last = (float(v) for v in self.rim_ends[entry])
        upper, lower = self.rim_edges[entry]
        return Rim(self.rim_axes[entry].astype(np.float64), first, last, upper, lower)

    def content(self, entry: int) -> Content:
        """What an entry's opening shows."""
        return Content(float(self.seam[entry]), self.give[entry])

    def entry_of(self, frame: int) -> int:
        """The entry that was taken from a row of the profile, or -1."""
        at = int(np.searchsorted(self.frames, frame))
        return at if at < len(self.frames) and self.frames[at] == frame else -1

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All fields as arrays, for `from_arrays`; the crops as their differences, which deflate to two thirds."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        arrays[STEPS] = np.concatenate([_steps(self.crop(k)) for k in range(len(self))] or [arrays["pixels"]])
        del arrays["pixels"]
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> ApertureDatabase:
        """The inverse of `to_arrays`; KeyError or ValueError where the arrays are no database."""
        arrays = dict(arrays)
        if STEPS in arrays:
            arrays["pixels"] = unpacked(arrays.pop(STEPS), arrays["start"], arrays["size"])
        count = len(arrays["frames"])
        for added, shape in (("heights", (count, 0)), ("fitted_heights", (count, 0)), ("gloom", (count,))):
            arrays.setdefault(added, np.zeros(shape, np.float32))
        values = {field.name: np.asarray(arrays[field.name]) for field in fields(cls)}
        name = str(values.pop("name"))
        if name not in APERTURES:
            raise ValueError(f"{name!r} is no opening of the face")
        database = cls(name=name, **values)
        database._check()
        return database

    def _check(self) -> None:
        """ValueError where indices point outside."""
        count = len(self.frames)
        lengths = {
            len(getattr(self, f)) for f in ("expression", "shape", "cluster", "neighbours", "start", "size", "corner")
        }
        ends = self.start + 3 * self.size.astype(np.int64).prod(axis=1)
        fits = lengths == {count} and (not count or (ends.max() <= len(self.pixels) and self.start.min() >= 0))
        linked = all(not a.size or (a.min() >= 0 and a.max() < count) for a in (self.medoids, self.neighbours))
        if not (fits and linked):
            raise ValueError("the mouth database's arrays do not fit each other")


@dataclass(frozen=True, slots=True)
class Query:
    """A wanted appearance, in the database's units; `sees` is 0 for a shut eye, whose gaze does not matter; `blur` of the
    displayed frame.

    `heights` in mm, as `PersonAperture.heights` has them.
    """

    shape: Float32[np.ndarray, " r"]
    turn: Float32[np.ndarray, " 3"]
    measures: Float32[np.ndarray, " p"]
    gaze: Float32[np.ndarray, " 2"]
    heights: Float32[np.ndarray, " 7"]
    sees: float = 1.0
    blur: float = 0.0


def distances(database: ApertureDatabase, query: Query, entries: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, " m"]:
    """D_p + D_m of the wanted appearance to entries, and what a blurred picture or a black inside costs."""
    gaps, out = GAPS[database.name], np.empty(len(entries), np.float32)
    _distances(
        entries, database.shape, database.turn, database.measures, database.gaze, database.heights,
        database.fitted_heights, database.blur, database.gloom,
        query.shape, query.turn, query.measures, query.gaze, query.heights,
        W_GAZE * query.sees, query.blur, gaps.start, gaps.stop, out,
    )  # fmt: skip
    return out


def shape_distance(
    database: ApertureDatabase, query: Query, shape: Float32[np.ndarray, " r"], measures: Float32[np.ndarray, " p"]
) -> float:
    """What of `distances` the shape alone makes up, the tearing aside."""
    gaps = GAPS[database.name]
    return float(_shape_distance(shape, measures, query.shape, query.measures, gaps.start, gaps.stop))


@njit("f4(f4[::1], f4[::1], f4[::1], f4[::1], i8, i8)", nogil=True, cache=True, fastmath=True)
def _shape_distance(shape, measures, wanted_shape, wanted_measures, first_gap, end_gap):
    total = np.float32(0)
    for k in range(len(measures)):
        apart = measures[k] - wanted_measures[k]
        total += np.float32(W_MEASURES) * apart * apart
        if first_gap <= k < end_gap and apart < 0:
            total += np.float32(W_MEASURES * (SHORTAGE - 1)) * apart * apart
    for k in range(len(shape)):
        total += np.float32(W_SHAPE) * (shape[k] - wanted_shape[k]) ** 2
    return total


@njit("f4(f4[::1], f4[::1], f4[::1])", nogil=True, cache=True)
def shown_height(heights, fitted, wanted):
    """Mean height in mm of an opening of some heights (7,), real and fitted, once the fitted ones are as wanted."""
    total = np.float32(0)
    for k in range(len(heights)):
        total += max(heights[k] + wanted[k] - fitted[k], np.float32(0))
    return total / np.float32(max(len(heights), 1))


@njit("f4(f4[::1], f4[::1], f4[::1])", nogil=True, cache=True)
def tear(heights, fitted, wanted):
    """What it costs to stretch (or close) an opening of heights (7,), real and fitted, until the fitted are as wanted."""
    total, more = np.float32(0), np.float32(TEAR_MM)
    for k in range(len(heights)):
        stretched = max(heights[k] + wanted[k] - fitted[k], np.float32(0)) + more
        factor = stretched / (max(heights[k], np.float32(0)) + more)
        total += np.float32(W_TEAR if factor > 1 else W_SQUEEZE) * np.log(factor) ** 2
    return total / np.float32(max(len(heights), 1))


@njit(
    "void(i8[::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[::1], f4[::1],"
    " f4[::1], f4[::1], f4[::1], f4[::1], f4[::1], f8, f8, i8, i8, f4[::1])",
    nogil=True,
    cache=True,
)
def _distances(
    entries, shape, turn, measures, gaze, heights, fitted, blur, gloom, wanted_shape, wanted_turn, wanted_measures,
    wanted_gaze, wanted_heights, gaze_weight, wanted_blur, first_gap, end_gap, out,
):  # fmt: skip
    for i in range(len(entries)):
        e = entries[i]
        total = _shape_distance(shape[e], measures[e], wanted_shape, wanted_measures, first_gap, end_gap)
        for k in range(3):
            total += np.float32(W_ROTATION) * (turn[e, k] - wanted_turn[k]) ** 2
        for k in range(2):
            total += np.float32(gaze_weight) * (gaze[e, k] - wanted_gaze[k]) ** 2
        total += tear(heights[e], fitted[e], wanted_heights)
        shown = shown_height(heights[e], fitted[e], wanted_heights)
        stretched = (shown + np.float32(TEAR_MM)) / (max(heights[e].mean(), np.float32(0)) + np.float32(TEAR_MM))
        blurred = max(blur[e] - np.float32(wanted_blur), np.float32(0)) * max(stretched, np.float32(1)) ** 2
        total += np.float32(W_BLUR) * blurred + np.float32(W_GLOOM) * gloom[e] * shown
        out[i] = total


def _steps(crop: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, " bytes"]:
    """Second differences of a crop across and down."""
    down = np.diff(crop, axis=0, prepend=np.zeros_like(crop[:1]))
    return np.diff(down, axis=1, prepend=np.zeros_like(down[:, :1])).ravel()


def unpacked(
    steps: UInt8[np.ndarray, " bytes"], start: Int64[np.ndarray, " n"], size: Int32[np.ndarray, "n 2"]
) -> UInt8[np.ndarray, " bytes"]:
    """`pixels` from the crops' differences; ValueError where they do not fit."""
    pixels = np.array(steps, np.uint8)
    whole = all(array.dtype.kind in "iu" for array in (start, size))
    if not whole or start.ndim != 1 or size.shape != (len(start), 2):
        raise ValueError("crops have no places")
    for first, (width, height) in zip(start.tolist(), size.tolist(), strict=True):
        if min(first, width, height) < 0:
            raise ValueError("a crop lies outside its pixels")
        _add_up(pixels[first : first + 3 * width * height].reshape(height, width, 3))
    return pixels


def kept_pixels(
    origin: str,
    name: ApertureName,
    steps: Callable[[], UInt8[np.ndarray, " bytes"]],
    start: Int64[np.ndarray, " n"],
    size: Int32[np.ndarray, "n 2"],
    still: Callable[[], bool],
) -> UInt8[np.ndarray, " bytes"]:
    """`unpacked` of an opening in the file whose SHA-256 is `origin`; its `steps` are fetched the first time only."""
    return kept_bytes(origin, name, lambda: unpacked(steps(), start, size), still)


def _add_up(steps: UInt8[np.ndarray, "h w 3"]) -> None:
    """The inverse of `_steps`, in place."""
    np.cumsum(steps, axis=1, dtype=np.uint8, out=steps)
    np.cumsum(steps, axis=0, dtype=np.uint8, out=steps)


def edges(database: ApertureDatabase, entry: int, others: np.ndarray) -> Float32[np.ndarray, " m"]:
    """Appearance graph: how visible a change from an entry's picture to others' would be."""
    apart = ((database.shape[others] - database.shape[entry]) ** 2).sum(axis=1)
    apart += ((database.measures[others] - database.measures[entry]) ** 2).sum(axis=1)
    pattern = chi_squared(database.pattern[entry], database.pattern[others])
    likeness = database.thumbnail[others] @ database.thumbnail[entry]
    return apart + W_PATTERN * pattern + W_CORRELATION * (1 - likeness)


def embedding(
    shape: np.ndarray, turn: np.ndarray, measures: np.ndarray, gaze: np.ndarray, pattern: np.ndarray
) -> Float32[np.ndarray, "n e"]:
    """Vectors whose squared distances are D; the patterns' by Hellinger's, which chi-squared is to first order."""
    parts = [
        np.sqrt(W_SHAPE) * shape,
        np.sqrt(W_ROTATION) * turn,
        np.sqrt(W_MEASURES) * measures,
        np.sqrt(W_GAZE) * gaze,
        np.sqrt(W_PATTERN) * np.sqrt(pattern),
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def squared_distances(a: Float32[np.ndarray, "n e"], b: Float32[np.ndarray, "m e"]) -> Float32[np.ndarray, "n m"]:
    """All squared Euclidean distances."""
    out = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * (a @ b.T)
    return np.maximum(out, 0)


def k_medoids(vectors: Float32[np.ndarray, "n e"], count: int = CLUSTERS) -> tuple[np.ndarray, np.ndarray]:
    """Each vector's cluster (n,) and the medoids (k,): alternating k-medoids (Park and Jun 2009), farthest-first start.

    Looks at `MOST_SAMPLES` evenly spread vectors; the others join the nearest medoid.
    """
    sample = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), MOST_SAMPLES)).astype(np.int64))
    apart = squared_distances(vectors[sample], vectors[sample])
    medoids = [int(apart.sum(axis=1).argmin())]
    while len(medoids) < min(count, len(sample)):
        nearest = apart[medoids].min(axis=0)
        if nearest.max() <= 0:
            break
        medoids.append(int(nearest.argmax()))
    chosen = np.array(medoids)
    for _ in range(ROUNDS):
        owner = apart[chosen].argmin(axis=0)
        owner[chosen] = np.arange(len(chosen))
        moved = chosen.copy()
        for k in range(len(chosen)):
            members = np.flatnonzero(owner == k)
            moved[k] = members[apart[np.ix_(members, members)].sum(axis=1).argmin()]
        if (moved == chosen).all():
            break
        chosen = moved
    medoid_rows = sample[chosen]
    return squared_distances(vectors, vectors[medoid_rows]).argmin(axis=1).astype(np.int32), medoid_rows.astype(
        np.int32
    )


def nearest_neighbours(vectors: Float32[np.ndarray, "n e"], count: int = NEIGHBOURS) -> Int32[np.ndarray, "n g"]:
    """Each vector's nearest others, nearest first, in blocks; rows are padded with the vector itself."""
    out = np.empty((len(vectors), count), np.int32)
    kept = min(count, len(vectors) - 1)
    for start in range(0, len(vectors), 512):
        rows = np.arange(start, min(start + 512, len(vectors)))
        apart = squared_distances(vectors[rows], vectors)
        apart[np.arange(len(rows)), rows] = np.inf
        out[rows] = rows[:, None]
        if kept > 0:
            near = np.argpartition(apart, kept - 1, axis=1)[:, :kept]
            order = np.take_along_axis(apart, near, axis=1).argsort(axis=1, kind="stable")
            out[rows, :kept] = np.take_along_axis(near, order, axis=1)
    return out
