"""Which enrolled frame shows the wanted mouth or eye: frame-to-cluster match and in-between frame (section 8).

`retrieve(state, ...) -> (state, choice)`: the state is explicit, time is an argument, the cost per frame is constant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32
from numba import njit

from f2fcam.face.state import Performance
from f2fcam.mouth.aperture import PersonAperture
from f2fcam.mouth.database import W_MEASURES, ApertureDatabase, Query, distances, edges, shape_distance, tear
from f2fcam.mouth.descriptor import GAPS, PAIRS, felt_gap, rotation_vectors

DISPLAYED = -1
"""Entry that stands for the displayed frame's own pixels."""
NONE = -2

CLUSTERS_SEARCHED = 2
NEAREST_FOLLOWED = 3
"""Of the best found in the clusters the neighbours are looked at too: the likest frame may lie across a cluster's border."""
OWN_ENOUGH = 0.02
"""The displayed frame's own mouth is shown if it is as near as this, whatever else is nearer."""
OWN_FAVOUR = {"mouth": 0.5, "eye_left": 0.25, "eye_right": 0.25}
"""Factor on the displayed frame's distance: it needs no match of pose, light or gaze."""
KEEP_FAVOUR, KEEP_SLACK = 0.65, 0.03
"""What is shown stays unless another frame's distance is below this share of its own, less the slack."""
MOST_FAVOUR = 0.5
"""Most that either takes off a distance: what is far from what is wanted is not worth keeping."""
HELD, HELD_SLACK = 1.15, 0.05
"""What is shown stays while its distance is within this factor and slack of the least there is, or was when it was chosen: a
mouth that hardly moves keeps its teeth and tongue, although another frame is a little nearer now that the head has turned."""
HELD_AT_MOST = 0.75
"""Beyond the least distance nothing is held by that."""
GIVEN_UP = 1.5
"""A frame this much farther from what is wanted than another is left even while it fades in, and without a fade."""
BETWEEN_SLACK = 1.15
"""An in-between frame may be this much farther from what is wanted than the goal."""
W_COHERENCE = 0.3
"""Of likeness to the last retrieved frame, while the mouth moves little (w_c of the paper)."""
W_COMPANION = 0.1
"""What it costs to take the right eye from another frame than the left one."""
FADE_S = {"mouth": 0.07, "eye_left": 0.04, "eye_right": 0.04}
"""How long a change of frame takes; a lid is as fast."""
SUCCESSIVE = 2
"""Entries this many frames of the clip apart follow each other without a fade."""


@dataclass(frozen=True, slots=True)
class RetrievalState:
    """What one output picture hands to the next.

    Attributes:
        entry: what is shown: an entry, `DISPLAYED`, or `NONE` at the start.
        previous: what it replaces, while `mix` < 1.
        mix: the share of `entry`.
        time_s: of the last output picture.
        row: the target frame that was displayed.
        best: the least distance of any frame when `entry` was chosen.
    """

    entry: int = NONE
    previous: int = NONE
    mix: float = 1.0
    time_s: float = 0.0
    row: int = -1
    best: float = 0.0


def make_query(
    database: ApertureDatabase,
    geometry: PersonAperture,
    expression: Float32[np.ndarray, " 76"],
    row: int,
    pose: np.ndarray,
) -> Query:
    """What an expression looks like in the displayed target frame `row` with head rotation `pose`."""
    shape, measures = look_of(database, geometry, expression)
    shut, wide = (float(v) for v in database.gap_range)
    entry = database.entry_of(row)
    open_share = (float(measures[GAPS[database.name]].mean()) - shut) / max(wide - shut, 1e-6)
    return Query(
        shape,
        rotation_vectors(pose[None])[0] / database.scales[1],
        measures,
        database.frame_gaze[row] / database.scales[3],
        geometry.heights(expression),
        min(max(2 * open_share, 0.0), 1.0),
        float(database.blur[entry]) if entry >= 0 else 0.0,
    )


def look_of(
    database: ApertureDatabase, geometry: PersonAperture, expression: Float32[np.ndarray, " 76"]
) -> tuple[Float32[np.ndarray, " r"], Float32[np.ndarray, " p"]]:
    """Shape and measures of an expression in the database's units.

    The measures are the distances (`descriptor.felt`) that the detector would find between its landmarks.
    """
    gaps, (still, basis) = GAPS[database.name], geometry.pair_rows(PAIRS[database.name])
    shape, measures = np.empty(len(database.metric), np.float32), np.empty(len(still), np.float32)
    _look(
        np.asarray(expression, np.float32), database.metric, still, basis, database.slope, database.offset,
        database.scales, gaps.start, gaps.stop, shape, measures,
    )  # fmt: skip
    return shape, measures


@njit(
    "void(f4[::1], f4[:,::1], f4[:,::1], f4[:,:,::1], f4[::1], f4[::1], f4[::1], i8, i8, f4[::1], f4[::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _look(expression, metric, still, basis, slope, offset, scales, first_gap, end_gap, shape, measures):
    for r in range(len(shape)):
        total = np.float32(0)
        for k in range(len(expression)):
            total += metric[r, k] * expression[k]
        shape[r] = total / scales[0]
    for p in range(len(measures)):
        square = np.float32(0)
        for axis in range(3):
            apart = still[p, axis]
            for k in range(len(expression)):
                apart += basis[p, axis, k] * expression[k]
            square += apart * apart
        value = slope[p] * np.sqrt(square) + offset[p]
        if first_gap <= p < end_gap:
            value = felt_gap(value)
        measures[p] = value / scales[2]


def own_distance(
    database: ApertureDatabase, geometry: PersonAperture, query: Query, row: int, performance: Performance
) -> float:
    """Distance of the displayed frame's own mouth: same head, same light, so only shape counts.

    What is shut cannot be torn open, as in `distances`.
    """
    apart = shape_distance(database, query, *look_of(database, geometry, performance.expression))
    entry = database.entry_of(row)
    if entry >= 0:
        apart += tear(database.heights[entry], database.fitted_heights[entry], query.heights)
    return float(apart)


def _lasting(own: float, database: ApertureDatabase, geometry: PersonAperture, query: Query, row: int) -> float:
    """The displayed frame's own distance, or its neighbours' where that is more: what will do for one picture is no choice."""
    for beside in (row - 1, row + 1):
        entry = database.entry_of(beside)
        if entry >= 0:
            own = max(own, own_distance(database, geometry, query, beside, database.performance(entry)))
    return own


def retrieve(
    state: RetrievalState,
    database: ApertureDatabase,
    geometry: PersonAperture,
    row: int,
    displayed: Performance,
    expression: Float32[np.ndarray, " 76"],
    time_s: float,
    companion: int | None = None,
) -> RetrievalState:
    """What to show of the opening when the target frame `row` is to wear `expression`.

    `companion` is the row that the other eye is taken from: two eyes of one frame look the same way.
    """
    query = make_query(database, geometry, expression, row, displayed.camera_from_model.rotation)
    own = own_distance(database, geometry, query, row, displayed)
    passed = max(time_s - state.time_s, 0.0)
    mix = min(state.mix + passed / FADE_S[database.name], 1.0)
    state = replace(state, mix=mix, time_s=time_s, previous=NONE if mix >= 1 else state.previous)
    if len(database) == 0:
        return RetrievalState(DISPLAYED, time_s=time_s, row=row)
    lasting = own if own <= OWN_ENOUGH else _lasting(own, database, geometry, query, row)
    wanted = _choose(state, database, query, lasting, row, companion)
    if mix < 1 and (wanted.entry == state.entry or not _may_change(state, database, query, own, wanted)):
        return replace(state, row=row)
    if wanted.entry != state.entry:
        if database.name == "mouth" and _has_gone_wrong(state, database, query, own, wanted.best):
            passed = FADE_S["mouth"]  # two mouths that differ so much would be seen through each other
        state = replace(_change(state, database, wanted.entry, row, passed), best=wanted.best)
    return replace(state, row=row)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to show now, an entry or `DISPLAYED`, and the least distance of any entry."""

    entry: int
    best: float


def _may_change(state: RetrievalState, database: ApertureDatabase, query: Query, own: float, wanted: _Wanted) -> bool:
    """Whether a fade may be broken off: eyes do not wait for its end, a blink is as short; a mouth that has gone wrong."""
    if database.name != "mouth":
        return True
    return _has_gone_wrong(state, database, query, own, wanted.best)


def _has_gone_wrong(state: RetrievalState, database: ApertureDatabase, query: Query, own: float, best: float) -> bool:
    """Whether the mouth has moved so far that what is shown does not do even for the way to another."""
    if state.entry == NONE:
        return False
    shown = own if state.entry == DISPLAYED else float(distances(database, query, np.array([state.entry]))[0])
    return shown > best + GIVEN_UP


def _still_good(state: RetrievalState, database: ApertureDatabase, query: Query, best: float) -> bool:
    shown = float(distances(database, query, np.array([state.entry]))[0])
    return shown <= min(HELD * max(state.best, best) + HELD_SLACK, best + HELD_AT_MOST)


def _favoured(distance: float, factor: float, slack: float = 0.0) -> float:
    return max(factor * distance, distance - MOST_FAVOUR) - slack


def _choose(
    state: RetrievalState, database: ApertureDatabase, query: Query, own: float, row: int, companion: int | None
) -> _Wanted:
    if own <= OWN_ENOUGH and companion in (None, row):
        return _Wanted(DISPLAYED, own)
    last = state.entry if state.entry >= 0 else database.entry_of(state.row)
    candidates, cost = _match(database, query, last)
    own_cost = _favoured(own, OWN_FAVOUR[database.name])
    if companion is not None:
        own_cost += W_COMPANION * (companion != row)
        cost = cost + np.float32(W_COMPANION) * (np.abs(database.frames[candidates] - companion) > SUCCESSIVE)
    goal = int(candidates[cost.argmin()])
    best = float(cost.min())
    if state.entry == DISPLAYED:
        own_cost = _favoured(own_cost, KEEP_FAVOUR, KEEP_SLACK)
    if own_cost <= best:
        return _Wanted(DISPLAYED, best)
    if companion is None and state.entry >= 0 and _still_good(state, database, query, best):
        return _Wanted(state.entry, best)
    if state.entry >= 0:
        at = np.flatnonzero(candidates == state.entry)
        if len(at) and _favoured(float(cost[at[0]]), KEEP_FAVOUR, KEEP_SLACK) <= best:
            return _Wanted(state.entry, best)
    if last < 0 or last == goal:
        return _Wanted(goal, best)
    return _Wanted(in_between(database, query, last, goal, BETWEEN_SLACK * best + KEEP_SLACK), best)


def _match(database: ApertureDatabase, query: Query, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Entries of the best clusters, the last one, and the neighbours of it and of the best, with their distances."""
    to_medoids = distances(database, query, database.medoids.astype(np.int64))
    candidates = np.empty(len(database), np.int64)
    found = _members(database.cluster, database.neighbours, to_medoids, last, candidates)
    cost = distances(database, query, candidates[:found])
    count = _near_the_best(database.neighbours, cost, candidates, found)
    candidates = candidates[:count]
    cost = np.concatenate([cost, distances(database, query, candidates[found:])])
    if last >= 0:
        still = np.exp(-W_MEASURES * float(((database.measures[last] - query.measures) ** 2).sum()))
        _prefer_alike(database.thumbnail, candidates, last, W_COHERENCE * still, cost)
    return candidates, cost


@njit("i8(i4[::1], i4[:,::1], f4[::1], i8, i8[::1])", nogil=True, cache=True)
def _members(cluster, neighbours, to_medoids, last, candidates):
    """Entries of the nearest clusters, and `last` (unless -1) with its neighbours, in order; their number."""
    chosen = np.zeros(len(to_medoids), np.bool_)
    for _ in range(min(CLUSTERS_SEARCHED, len(to_medoids))):
        best = -1
        for k in range(len(to_medoids)):
            if not chosen[k] and (best < 0 or to_medoids[k] < to_medoids[best]):
                best = k
        chosen[best] = True
    related = np.zeros(len(cluster), np.bool_)
    if last >= 0:
        related[last] = True
        for near in neighbours[last]:
            related[near] = True
    count = 0
    for e in range(len(cluster)):
        candidates[count] = e  # kept if it counts; a jump that nobody can guess would cost more
        count += chosen[cluster[e]] | related[e]
    return count


@njit("i8(i4[:,::1], f4[::1], i8[::1], i8)", nogil=True, cache=True)
def _near_the_best(neighbours, cost, candidates, found):
    """Add the neighbours of the best of the `found` candidates; how many there are then."""
    followed = np.zeros(found, np.bool_)
    known = np.zeros(len(neighbours), np.bool_)
    for k in range(found):
        known[candidates[k]] = True
    count = found
    for _ in range(min(NEAREST_FOLLOWED, found)):
        best = -1
        for k in range(found):
            if not followed[k] and (best < 0 or cost[k] < cost[best]):
                best = k
        followed[best] = True
        for near in neighbours[candidates[best]]:
            if not known[near]:
                known[near] = True
                candidates[count] = near
                count += 1
    return count


@njit("void(f4[:,::1], i8[::1], i8, f8, f4[::1])", nogil=True, cache=True, fastmath=True)
def _prefer_alike(thumbnail, candidates, last, weight, cost):
    """Add `weight` times how unlike `last`'s picture each candidate's is."""
    for k in range(len(candidates)):
        alike = np.float32(0)
        for p in range(thumbnail.shape[1]):
            alike += thumbnail[candidates[k], p] * thumbnail[last, p]
        cost[k] += np.float32(weight) * (np.float32(1) - alike)


def in_between(database: ApertureDatabase, query: Query, last: int, goal: int, limit: float) -> int:
    """The neighbour of both with the least sum of edges to the last frame and to the goal, no farther than `limit`."""
    near = np.unique(np.concatenate([database.neighbours[last], database.neighbours[goal], [goal]])).astype(np.int64)
    near = near[(distances(database, query, near) <= limit) | (near == goal)]
    total = edges(database, last, near) + edges(database, goal, near)
    total[near == goal] -= 1e-6
    return int(near[total.argmin()])


def _change(state: RetrievalState, database: ApertureDatabase, entry: int, row: int, passed_s: float) -> RetrievalState:
    """Show `entry` from now on: at once where it follows what was shown, else fading, which this picture begins."""
    if entry == state.entry or state.entry == NONE:
        return replace(state, entry=entry, previous=NONE, mix=1.0)
    then = state.row if state.entry == DISPLAYED else int(database.frames[state.entry])
    now = row if entry == DISPLAYED else int(database.frames[entry])
    if abs(then - now) <= SUCCESSIVE:
        return replace(state, entry=entry, previous=NONE, mix=1.0)
    shown = state.previous if state.previous != NONE and state.mix < 0.5 else state.entry
    mix = min(passed_s / FADE_S[database.name], 1.0)
    return replace(state, entry=entry, previous=NONE if mix >= 1 else shown, mix=mix)
