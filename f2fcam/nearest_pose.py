"""The target frame whose head is turned most like the actor's, reached without a jump.

Of frames turned alike the one whose face does most of what is to be shown is the best: what a picture has need not be made.
Frames are linked where one may follow the other unseen: neighbours in the clip, frames few apart, and frames that look alike.
Each picture goes one link along the shortest way to the frame that is worth it; as in the clip, nothing ever leaps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from f2fcam.face.rigid import so3_log
from f2fcam.playback import EARLY, FRONTAL, LONGEST_STEP_S, Playback, PlaybackState, duration_s

FASTEST = 4
"""Frames by which the clip may be wound on or back from one picture to the next, if that changes it by less than a limit."""
WOUND, ALIKE = 1.0, 0.75
"""Differences of looks, in limits of the clip's own changes: of frames wound over, and of frames taken for alike."""
NEIGHBOURS = 8
STEP_COST, MOST_COST = 0.003, 0.036
"""Radians of head turn that a picture's way has to be worth, and the longest way: near frames before far ones."""
LEAST_GAIN = 0.008
"""Radians; for less the picture stays, or it would tremble with the actor's pose."""
LONGEST_WAY = 40.0
"""Steps to look ahead."""
RADIANS_PER_MM = 0.01
"""Head turn that a millimetre of another expression (`shape_sizes`) is worth: a nod of two degrees for a mouth wide open."""


def links_of(playback: Playback) -> csr_matrix:
    """From frame to frame that may follow, the cost in pictures."""
    looks = playback.looks.astype(np.float32)
    count = len(looks)
    rows, columns, costs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]

    def link(first: np.ndarray, second: np.ndarray, cost: np.ndarray) -> None:
        rows.append(first)
        columns.append(second)
        costs.append(cost)

    for k in range(1, min(FASTEST, count - 1) + 1):
        first = np.arange(count - k)
        apart = np.sqrt(((looks[first] - looks[first + k]) ** 2).sum(axis=1))
        kept = first if k == 1 else first[apart <= WOUND]
        cost = np.maximum(apart[kept], 1.0)
        link(kept, kept + k, cost)
        link(kept + k, kept, cost)
    kept = min(NEIGHBOURS, count)
    squares = (looks**2).sum(axis=1)
    for start in range(0, count, 256):
        block = np.arange(start, min(start + 256, count))
        apart = squares[block, None] + squares[None] - 2 * looks[block] @ looks.T
        apart[np.abs(block[:, None] - np.arange(count)[None]) <= FASTEST] = np.inf
        near = np.argpartition(apart, kept - 1, axis=1)[:, :kept]
        value = np.take_along_axis(apart, near, axis=1).ravel()
        alike = value <= ALIKE**2
        cost = 1.0 + np.sqrt(np.maximum(value[alike], 0))
        link(np.repeat(block, kept)[alike], near.ravel()[alike], cost)
    cells = np.concatenate(rows), np.concatenate(columns)
    return csr_matrix((np.concatenate(costs), cells), shape=(count, count))


def nearest(
    state: PlaybackState,
    playback: Playback,
    links: csr_matrix,
    rotation: Float[np.ndarray, "3 3"],
    time_s: float,
    other_mm: Float[np.ndarray, " f"] | float = 0.0,
) -> tuple[PlaybackState, int]:
    """The frame to show for an actor's head; the first one is the best there is, the others follow from it by links.

    `other_mm`: how far each frame's expression is from the one to be shown.
    """
    wanted = so3_log(FRONTAL @ rotation)
    apart = np.sqrt(((playback.turn - wanted) ** 2).sum(axis=1, dtype=np.float64)) + RADIANS_PER_MM * other_mm
    if not state.started:
        frame = int(apart.argmin())
        return replace(state, frame=frame, since_s=time_s, started=True), frame
    duration = duration_s(playback, state.frame)
    steps = int((time_s - state.since_s) / duration + EARLY)
    if steps < 1:
        return state, state.frame
    since = max(state.since_s + steps * duration, time_s - LONGEST_STEP_S)
    frame = state.frame
    cost, before = dijkstra(links, indices=frame, return_predecessors=True, limit=max(LONGEST_WAY, steps))
    goal = int((apart + np.where(np.isfinite(cost), np.minimum(STEP_COST * cost, MOST_COST), np.inf)).argmin())
    if apart[goal] < apart[frame] - LEAST_GAIN:
        way = [goal]
        while way[-1] != frame:
            way.append(int(before[way[-1]]))
        frame = way[max(len(way) - 1 - steps, 0)]
    return replace(state, frame=frame, since_s=since), frame
