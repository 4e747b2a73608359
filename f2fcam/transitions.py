"""Where a clip may leave its own order without being seen to, found at enrolment (Schödl et al., Video Textures, 2000).

A *cut* leads from frame i to a frame j that looks like the one that was due, from a frame that looks like j's predecessor: place
and motion fit. Played backwards it is a cut too, and so is one that lands in the other direction where the motion is mirrored.
A *turn* goes back the way it came, where next to nothing moves. Looks are compared region by region, so that a still
background has to stay still however much the head moves, and by the head's own points; what counts is the worst of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int32, UInt8
from numba import njit
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

PICTURE_PX, GRID = 48, 8
"""Side of the small pictures, and into how many regions across and down they are divided."""
LIMIT_PERCENTILE = 99.0
"""Of the clip's own changes from frame to frame: more is seen as a jump."""
LASTING = 5
"""Changes from frame to frame of which the middle one counts."""
LEAST_GREY, LEAST_MOVE = 2.5, 0.003
"""Limits are at least this many grey levels of noise, and this share of the head's width."""
SHARPNESS_LIMIT = 0.10
"""A frame that much less sharp than the one that was due is seen."""
LEAST_APART_S = 0.7
"""A cut over less than this would be a stutter."""
LEAST_STAY_S = 1.5
"""How long to play between two transitions, if the clip allows."""
WINDOW = (0.5, 1.0, 1.0, 0.5)
"""Weights of the frames around a cut: motion has to fit, not only place."""
SEAM_FRAMES = 3
"""From the clip's ends: where a clip that is a loop may be joined."""
TURN_FRAMES = 3
"""A turn shows so many frames again at once; the head must hardly have moved in them."""
TURNS_APART_S = 0.8
END_S = 1.5
"""How near to a clip's end is its end."""
RANK = 24
"""Numbers per frame that stand for its look where many are compared."""
NEIGHBOURS, MOST_CANDIDATES, MOST_CUTS, MOST_ROWS = 16, 12_000, 256, 5000
CUTS_APART_S = 0.3
"""Of cuts whose starts and ends are nearer than this only the best stays."""
ENOUGH, ENOUGH_S = 0.5, 15.0
"""Playing has to show this share of the clip, or that much of it, lest it looks like a loop."""

Ways = Int8[np.ndarray, " t"]


@dataclass(frozen=True, slots=True)
class Looks:
    """What is compared of f frames.

    Attributes:
        time_s: of the frames. pictures: from `look_at`. sharpness: likewise.
        heads: points of the head that no expression moves, pixels. usable: frames that may be shown after a cut.
    """

    time_s: Float[np.ndarray, " f"]
    pictures: UInt8[np.ndarray, "f 48 48 3"]
    heads: Float32[np.ndarray, "f p 2"]
    sharpness: Float32[np.ndarray, " f"]
    usable: Bool[np.ndarray, " f"]


@dataclass(frozen=True, slots=True)
class Transitions:
    """After frame `start`, played in the direction `start_way`, comes `end`, played in `end_way` (1 on, -1 back).

    `size` is the largest change against its limit: above 1 it would be seen.
    """

    start: Int32[np.ndarray, " t"]
    start_way: Ways
    end: Int32[np.ndarray, " t"]
    end_way: Ways
    size: Float32[np.ndarray, " t"]

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def none(cls) -> Transitions:
        """No transition."""
        nothing = np.zeros(0, np.int32)
        return cls(nothing, nothing.astype(np.int8), nothing, nothing.astype(np.int8), nothing.astype(np.float32))

    @classmethod
    def of(cls, start: object, start_way: object, end: object, end_way: object, size: object) -> Transitions:
        """From anything that becomes arrays; numbers stand for all rows."""
        rows = np.broadcast_arrays(start, start_way, end, end_way, size)
        kinds = (np.int32, np.int8, np.int32, np.int8, np.float32)
        return cls(*(np.array(row, kind).reshape(-1) for row, kind in zip(rows, kinds, strict=True)))

    def __getitem__(self, rows: np.ndarray) -> Transitions:
        return Transitions(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __add__(self, other: Transitions) -> Transitions:
        return Transitions(
            *(np.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self))
        )

    @property
    def turns(self) -> Bool[np.ndarray, " t"]:
        """Which are turns."""
        return (self.end == self.start - self.start_way) & (self.end_way == -self.start_way)


def look_at(
    rgb: UInt8[np.ndarray, "h w 3"], mouth_box: tuple[int, int, int, int]
) -> tuple[UInt8[np.ndarray, "48 48 3"], float]:
    """The picture in small, the mouth's box (x0, y0, x1, y1) painted over, and its sharpness: its Laplacian's mean square."""
    height, width = rgb.shape[:2]
    factor = np.array([PICTURE_PX / width, PICTURE_PX / height] * 2)
    # In two steps: averaging all pixels at once costs twice as much.
    quarter = cv2.resize(rgb, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) if min(height, width) > 400 else rgb
    small = cv2.resize(quarter, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA)
    x0, y0 = np.floor(np.array(mouth_box[:2]) * factor[:2]).astype(int).clip(0)
    x1, y1 = np.ceil(np.array(mouth_box[2:]) * factor[2:]).astype(int).clip(0)
    small[y0:y1, x0:x1] = 128
    return small, _edge_energy(np.ascontiguousarray(rgb)) / (height * width)


@njit("f8(u1[:,:,::1])", nogil=True, cache=True)
def _edge_energy(rgb):
    """Sum of the green channel's squared Laplacians; beyond the edges the picture is mirrored."""
    height, width = rgb.shape[:2]
    total = 0
    for y in range(height):
        above, below = abs(y - 1), y + 1 if y + 1 < height else max(height - 2, 0)
        above = min(above, height - 1)
        line = 0
        for x in range(1, width - 1):
            around = int(rgb[above, x, 1]) + int(rgb[below, x, 1]) + int(rgb[y, x - 1, 1]) + int(rgb[y, x + 1, 1])
            apart = around - 4 * int(rgb[y, x, 1])
            line += apart * apart
        for x in (0, width - 1):
            left, right = min(abs(x - 1), width - 1), x + 1 if x + 1 < width else max(width - 2, 0)
            around = int(rgb[above, x, 1]) + int(rgb[below, x, 1]) + int(rgb[y, left, 1]) + int(rgb[y, right, 1])
            apart = around - 4 * int(rgb[y, x, 1])
            line += apart * apart
        total += line
    return float(total)


class Comparison:
    """Changes between frames of a clip, per region of the picture and of the head, as shares of their limits."""

    def __init__(self, looks: Looks) -> None:
        side, count = PICTURE_PX // GRID, len(looks.pictures)
        blocks = looks.pictures.reshape(count, GRID, side, GRID, side, 3).transpose(0, 1, 3, 2, 4, 5)
        self._blocks: UInt8[np.ndarray, "f r c"] = np.ascontiguousarray(blocks).reshape(count, GRID * GRID, -1)
        self._heads = looks.heads.astype(np.float32)
        self._sharpness = np.log(np.maximum(looks.sharpness, 1e-3))
        least = np.full(GRID * GRID + 1, LEAST_GREY, np.float32)
        least[-1] = LEAST_MOVE * float(np.median(np.ptp(self._heads[..., 0], axis=1))) if self._heads.size else 1.0
        self.limits = np.maximum(self._own_limits(looks.usable), least)

    def _own_limits(self, usable: np.ndarray) -> np.ndarray:
        """The clip's largest changes from frame to frame that last: single bad frames and stutters are none of them."""
        first = np.flatnonzero(usable[1:] & usable[:-1])
        if len(first) < LASTING:
            return np.zeros(GRID * GRID + 1)
        own = self.changes(first, first + 1)
        around = np.stack([own[k : len(own) - LASTING + 1 + k] for k in range(LASTING)])
        return np.percentile(np.median(around, axis=0), LIMIT_PERCENTILE, axis=0)

    def changes(self, first: np.ndarray, second: np.ndarray) -> Float32[np.ndarray, "k 65"]:
        """Root mean square per region in grey levels, then of the head's points in pixels."""
        out = np.empty((len(first), GRID * GRID + 1), np.float32)
        for k in range(0, len(first), 512):
            a, b = first[k : k + 512], second[k : k + 512]
            apart = self._blocks[a].astype(np.float32)
            apart -= self._blocks[b]
            out[k : k + 512, :-1] = np.sqrt(np.einsum("krc,krc->kr", apart, apart) / apart.shape[2])
            moved = ((self._heads[a] - self._heads[b]) ** 2).sum(axis=2)
            out[k : k + 512, -1] = np.sqrt(moved.mean(axis=1)) if moved.shape[1] else 0
        return out

    def sizes(self, first: np.ndarray, second: np.ndarray) -> Float32[np.ndarray, " k"]:
        """The worst change of pairs of frames against its limit, sharpness included."""
        blurred = np.abs(self._sharpness[first] - self._sharpness[second]) / np.float32(SHARPNESS_LIMIT)
        return np.maximum((self.changes(first, second) / self.limits).max(axis=1, initial=0), blurred).astype(
            np.float32
        )

    def codes(self) -> Float32[np.ndarray, "f e"]:
        """Few numbers per frame whose distance is about the root mean square of the changes against their limits."""
        count, regions, cells = self._blocks.shape
        weight = np.repeat(1 / (self.limits[:-1] * np.sqrt(regions * cells)), cells).astype(np.float32)
        head = self._heads.reshape(count, -1) / np.float32(self.limits[-1] * np.sqrt(max(self._heads.shape[1], 1)))
        picked = np.unique(np.linspace(0, count - 1, min(count, 500)).astype(int))

        def joint(rows: np.ndarray) -> np.ndarray:
            return np.concatenate([self._blocks[rows].reshape(len(rows), -1) * weight, head[rows]], axis=1)

        sample = joint(picked)
        mean = sample.mean(axis=0)
        sample -= mean
        strength, vectors = np.linalg.eigh((sample @ sample.T).astype(np.float64))
        kept = np.argsort(strength)[::-1][: min(RANK, len(picked))]
        kept = kept[strength[kept] > 1e-6 * max(strength.max(), 1e-12)]
        basis = (sample.T @ (vectors[:, kept] / np.sqrt(strength[kept]))).astype(np.float32)
        out = np.empty((count, len(kept)), np.float32)
        for k in range(0, count, 256):
            rows = np.arange(k, min(k + 256, count))
            out[rows] = (joint(rows) - mean) @ basis
        return out


def find_transitions(looks: Looks, comparison: Comparison, codes: Float32[np.ndarray, "f e"]) -> Transitions:
    """The transitions by which the clip plays for ever: forwards alone where that shows enough of it, else both ways."""
    straight = _straight_cuts(looks, comparison, codes)
    forwards = straight[endless(straight, looks.time_s)]
    if _shown_s(forwards, looks.time_s) >= _enough_s(looks.time_s):
        return forwards
    back = Transitions(straight.end, -straight.end_way, straight.start, -straight.start_way, straight.size)
    cuts = straight + back + _mirrored_cuts(looks, comparison, codes)
    either = cuts + find_turns(looks, comparison)
    either = either[endless(either, looks.time_s)]
    if _shown_s(either, looks.time_s) >= _enough_s(looks.time_s):
        return either
    either = cuts + find_turns(looks, comparison, at_ends=True)
    return either[endless(either, looks.time_s)]


def _shown_s(found: Transitions, time_s: Float[np.ndarray, " f"]) -> float:
    """How much of the clip is shown by playing from one transition to the other."""
    if not len(found):
        return 0.0
    ends = time_s[np.concatenate([found.start, found.end])]
    return float(ends.max() - ends.min())


def _enough_s(time_s: Float[np.ndarray, " f"]) -> float:
    return min(ENOUGH * float(time_s[-1] - time_s[0]), ENOUGH_S)


def _straight_cuts(looks: Looks, comparison: Comparison, codes: np.ndarray) -> Transitions:
    """Cuts from playing on to playing on: frames a, a + 1 look like b, b + 1, so that after a may come b + 1."""
    a, b = _alike(looks, codes, mirrored=False)
    size = _sizes(comparison, a, b, mirrored=False)
    found = Transitions.of(a, 1, b + 1, 1, size)[size <= 1.0]
    return found[_thinned(found, looks.time_s)] + _seam(looks, comparison)


def _seam(looks: Looks, comparison: Comparison) -> Transitions:
    """The best cut from the clip's last frames to its first ones, of a clip that was made to be a loop.

    Nothing is due behind the last frame: the step itself is looked at, and the change of the head's motion around it.
    """
    count = len(looks.time_s)
    if count <= 4 * SEAM_FRAMES or looks.time_s[-1] - looks.time_s[0] < 2 * LEAST_STAY_S:
        return Transitions.none()
    last, first = np.meshgrid(np.arange(count - SEAM_FRAMES, count), np.arange(SEAM_FRAMES))
    last, first = last.ravel(), first.ravel()
    heads = looks.heads.astype(np.float64)
    ways = heads[last] - heads[last - 1], heads[first] - heads[last], heads[first + 1] - heads[first]
    turned = [np.sqrt(((b - a) ** 2).sum(axis=2).mean(axis=1)) for a, b in pairwise(ways)]
    size = np.maximum(comparison.sizes(last, first), np.max(turned, axis=0) / comparison.limits[-1])
    best = int(size.argmin())
    usable = looks.usable[[last[best] - 1, last[best], first[best], first[best] + 1]].all()
    if size[best] > 1.0 or not usable:
        return Transitions.none()
    return Transitions.of(last[best], 1, first[best], 1, size[best])


def _mirrored_cuts(looks: Looks, comparison: Comparison, codes: np.ndarray) -> Transitions:
    """Cuts that change the direction: frames a, a + 1 look like b + 1, b."""
    a, b = _alike(looks, codes, mirrored=True)
    size = _sizes(comparison, a, b, mirrored=True)
    found = Transitions.of(a, 1, b, -1, size)[size <= 1.0]
    found = found[_thinned(found, looks.time_s)]
    return found + Transitions.of(found.start + 1, -1, found.end + 1, 1, found.size)


def _alike(looks: Looks, codes: np.ndarray, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (a, b) of which the codes of a, a + 1 and b, b + 1 (mirrored: b + 1, b) are near."""
    half, count = len(WINDOW) // 2, len(codes)
    if count < len(WINDOW) + 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = np.arange(half - 1, count - half)
    weights = np.sqrt(np.array(WINDOW, np.float32) / sum(WINDOW))
    order = range(len(WINDOW))
    stack = np.concatenate([w * codes[rows - half + 1 + k] for k, w in zip(order, weights, strict=True)], axis=1)
    other = stack
    if mirrored:
        other = np.concatenate([w * codes[rows + half - k] for k, w in zip(order, weights, strict=True)], axis=1)
    good = np.lib.stride_tricks.sliding_window_view(looks.usable, len(WINDOW)).all(axis=1)
    squares = (other * other).sum(axis=1)
    squares[~good] = np.inf
    every = -(-len(rows) // MOST_ROWS)
    picked = np.flatnonzero(good)[::every]
    pairs: list[tuple[np.ndarray, ...]] = []
    for k in range(0, len(picked), 256):
        block = picked[k : k + 256]
        apart = squares[None] - 2 * stack[block] @ other.T + (stack[block] ** 2).sum(axis=1)[:, None]
        apart[np.abs(looks.time_s[rows[block], None] - looks.time_s[rows][None]) < LEAST_APART_S] = np.inf
        kept = min(NEIGHBOURS, apart.shape[1])
        near = np.argpartition(apart, kept - 1, axis=1)[:, :kept]
        value = np.take_along_axis(apart, near, axis=1)
        rank = value.argsort(axis=1).argsort(axis=1)
        pairs.append((np.repeat(rows[block], kept), rows[near].ravel(), value.ravel(), rank.ravel()))
    if not pairs:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second, apart, rank = (np.concatenate(part) for part in zip(*pairs, strict=True))
    # Every frame's nearest first. A root mean square above the limit has a worst part above it.
    best = np.lexsort((apart, rank))
    best = best[apart[best] <= 1.0][:MOST_CANDIDATES]
    return first[best], second[best]


def _sizes(comparison: Comparison, a: np.ndarray, b: np.ndarray, mirrored: bool) -> Float32[np.ndarray, " k"]:
    """How far the cuts of `_alike` pairs are seen: what is shown against what was due, and the step itself."""
    ahead, behind = (b, b + 1) if mirrored else (b + 1, b)
    due = np.maximum(comparison.sizes(a + 1, ahead), comparison.sizes(a, behind))
    return np.maximum(due, (comparison.changes(a, ahead) / comparison.limits).max(axis=1, initial=0)).astype(np.float32)


def _thinned(found: Transitions, time_s: Float[np.ndarray, " f"]) -> np.ndarray:
    """Of cuts that lie side by side the smallest; at most `MOST_CUTS` in all."""
    taken: list[int] = []
    used: set[tuple[int, int]] = set()
    places = (time_s[np.stack([found.start, found.end], axis=1)] / CUTS_APART_S).astype(int)
    for k in np.argsort(found.size, kind="stable"):
        first, second = (int(p) for p in places[k])
        if not any((first + p, second + q) in used for p in (-1, 0, 1) for q in (-1, 0, 1)):
            used.add((first, second))
            taken.append(int(k))
        if len(taken) == MOST_CUTS:
            break
    return np.array(sorted(taken), np.int64)


def find_turns(looks: Looks, comparison: Comparison, at_ends: bool = False) -> Transitions:
    """Frames to turn at in either direction: calm ones that lie apart; `at_ends` the calmest near each end, calm or not."""
    count, time_s = len(looks.time_s), looks.time_s
    if count <= TURN_FRAMES + 1:
        return Transitions.none()
    rows = np.arange(count)
    found = Transitions.none()
    for way in (1, -1):
        size = np.zeros(count, np.float32)
        for k in range(1, TURN_FRAMES + 1):
            back = rows - way * k
            there = (back >= 0) & (back < count)
            pairs = rows[there], back[there]
            size[there] = np.maximum(size[there], (comparison.changes(*pairs) / comparison.limits).max(axis=1))
            size[~there] = np.inf
        size[~looks.usable] = np.inf
        taken = []
        for row in np.argsort(size, kind="stable"):
            if size[row] <= 1.0 and all(abs(time_s[row] - time_s[k]) >= TURNS_APART_S for k in taken):
                taken.append(int(row))
        end = time_s[-1] - time_s if way > 0 else time_s - time_s[0]
        last = np.flatnonzero(end <= max(END_S, 0.1 * (time_s[-1] - time_s[0])))
        calmest = int(last[size[last].argmin()])
        if at_ends and np.isfinite(size[calmest]) and not any(k in last for k in taken):
            taken.append(calmest)
        at = np.array(sorted(taken), np.int64)
        found += Transitions.of(at, way, at - way, -way, size[at])
    return found


def endless(found: Transitions, time_s: Float[np.ndarray, " f"]) -> Bool[np.ndarray, " t"]:
    """The largest set of transitions of which each can be reached from each other, for ever; none if there is no such set.

    Stays between them are `LEAST_STAY_S` at least; where no set with such stays shows enough of the clip, any stay will do.
    """
    best, most = np.zeros(len(found), bool), -1.0
    for stay_s in (LEAST_STAY_S, 0.0):
        way = found.end_way.astype(int)
        stay = way[:, None] * (time_s[found.start][None] - time_s[found.end][:, None])
        follows = (found.start_way[None] == found.end_way[:, None]) & (stay >= stay_s)
        groups, label = connected_components(csr_matrix(follows), connection="strong")
        for group in range(groups):
            these = label == group
            there = these & (found.start_way > 0)
            # A set of one has to lead back to itself, and the clip begins at its first frame, forwards.
            if follows[np.ix_(these, these)].any() and there.any() and _shown_s(found[these], time_s) > most:
                best, most = these, _shown_s(found[these], time_s)
        if most >= _enough_s(time_s):
            break
    return best
