"""Which target frame comes next, for ever: a clip as a video texture (Schödl et al., SIGGRAPH 2000).

At enrolment every frame is compared with its nearest others in pose, expression (the mouth, which is replaced anyway,
left out), light and the body's picture, each with its direction of motion. A jump from frame i to frame j is allowed where
j looks like i + 1 and moves like it, and where nothing changes by more than the clip itself changes from frame to frame.
Playing follows source time: `advance(state, playback, time_s)`, so that a 25 fps clip keeps its speed in a 30 fps output.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from f2fcam.face.rigid import so3_log
from f2fcam.face.state import Performance

WINDOW = (0.35, 0.7, 1.0, 1.0, 0.7, 0.35)
"""Weights of the frames around a jump, three before it and three after: motion has to fit, not only place."""
PAIRS_AT_ONCE = 2048
NEIGHBOURS = 16
LEAST_JUMP_S = 0.7
"""A jump over less than this would be a stutter."""
LEAST_STAY_S = 1.5
"""How long to play between two jumps, if the clip allows."""
LIMIT_PERCENTILE = 99.0
"""Of the clip's own frame-to-frame changes: a larger one is seen as a jump."""
FLOORS = {"turn": 0.006, "shift": 0.7, "face": 0.15, "light": 0.02, "body": 0.004}
"""Radians, millimetres, expression distance, light and picture differences that nobody sees; the least limits."""
TURN_REACH = 0.15
"""Radians of head turn that weigh as much as a change of the picture by `1 / STEADINESS` limits."""
STEADINESS, CHANGE_LIMIT = 0.04, 4.0
FREE_STEP = 6
"""Frames by which the clip may be wound on or back from one picture to the next: its own motion, faster."""
FRONTAL = np.diag([1.0, -1.0, -1.0])
"""Rotation of a frontal head."""


@dataclass(frozen=True, slots=True)
class Playback:
    """How to play a clip of f frames; arrays only.

    Attributes:
        time_s: of the frames, from the first, increasing.
        jump_from, jump_to: the allowed jumps: after `jump_from` comes `jump_to`, by `jump_from`.
        jump_cost: how visible each is, 1 being the clip's own limit.
        turning: frames of little motion near the clip's two ends, between which it plays to and fro without jumps.
        idle: first and last frame of the calmest stretch with a shut mouth.
        features: what `nearest` and the jumps compare, scaled so that 1 is the limit of one term.
        turn: head rotations as rotation vectors from the frontal one, radians.
    """

    time_s: Float[np.ndarray, " f"]
    jump_from: Int32[np.ndarray, " j"]
    jump_to: Int32[np.ndarray, " j"]
    jump_cost: Float32[np.ndarray, " j"]
    turning: Int32[np.ndarray, " 2"]
    idle: Int32[np.ndarray, " 2"]
    features: Float32[np.ndarray, "f e"]
    turn: Float32[np.ndarray, "f 3"]

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def endless(self) -> bool:
        """Whether the clip has jumps to play for ever; else it plays to and fro."""
        return len(self.jump_from) > 0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All fields, for `from_arrays`."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def to_and_fro(cls, time_s: Float[np.ndarray, " f"]) -> Playback:
        """A clip of frames at `time_s` of which nothing else is known: forwards, backwards and so on."""
        count, none, whole = len(time_s), np.zeros(0, np.int32), np.array([0, len(time_s) - 1], np.int32)
        features, turn = np.zeros((count, 0), np.float32), np.zeros((count, 3), np.float32)
        cost = np.zeros(0, np.float32)
        return cls(np.asarray(time_s, np.float64) - time_s[0], none, none, cost, whole, whole, features, turn)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Playback:
        """The inverse of `to_arrays`; KeyError or ValueError where the arrays are none."""
        playback = cls(**{field.name: np.asarray(arrays[field.name]) for field in fields(cls)})
        count = len(playback)
        indices = np.concatenate([playback.jump_from, playback.jump_to, playback.turning, playback.idle])
        sizes = {len(playback.features), len(playback.turn)}
        if count == 0 or sizes != {count} or indices.min() < 0 or indices.max() >= count:
            raise ValueError("the playback's arrays do not fit each other")
        return playback


@dataclass(frozen=True, slots=True)
class PlaybackState:
    """Where playing stands.

    Attributes:
        frame: what is shown. since_s: the time at which it began.
        jump: the jump that ends the present stretch, or -1.
        direction: 1 forwards; -1 backwards, where the clip plays to and fro.
        draws: how many jumps were drawn; the randomness is a function of it, so that playing is repeatable.
        seed: another one plays the jumps in another order.
        started: whether `since_s` is known.
    """

    frame: int = 0
    since_s: float = 0.0
    jump: int = -1
    direction: int = 1
    draws: int = 0
    seed: int = 0
    started: bool = False


def features_of(
    performances: list[Performance], stable: Float32[np.ndarray, "r 76"], thumbnails: Float32[np.ndarray, "f t"]
) -> dict[str, Float32[np.ndarray, "f d"]]:
    """What is compared, per frame and term, in natural units.

    `stable` carries an expression to what is seen of it outside the mouth; `thumbnails` are small pictures in [0, 1] with
    the mouth left out.
    """
    rotations = [so3_log(FRONTAL @ p.camera_from_model.rotation) for p in performances]
    light = np.stack([p.lighting.mean(axis=1) for p in performances])
    return {
        "turn": np.stack(rotations).astype(np.float32),
        "shift": np.stack([p.camera_from_model.translation * (1, 1, 0.3) for p in performances]).astype(np.float32),
        "face": (np.stack([p.expression for p in performances]) @ stable.T).astype(np.float32),
        "light": light.astype(np.float32),
        "body": (thumbnails / np.sqrt(thumbnails.shape[1])).astype(np.float32),
    }


def build_playback(
    time_s: Float[np.ndarray, " f"],
    features: dict[str, Float32[np.ndarray, "f d"]],
    mouth_gap: Float[np.ndarray, " f"],
    usable: Bool[np.ndarray, " f"],
) -> Playback:
    """Find the jumps, turning points and idle stretch of a clip. `mouth_gap` in any unit."""
    limits = {name: _limit(values, usable, FLOORS[name]) for name, values in features.items()}
    scaled = {name: values / limits[name] for name, values in features.items()}
    joint = np.concatenate(list(scaled.values()), axis=1).astype(np.float32)
    motion = np.sqrt((np.diff(joint, axis=0, prepend=joint[:1]) ** 2).sum(axis=1))
    start, end, cost = _jumps(np.asarray(time_s), joint, scaled, usable)
    return Playback(
        np.asarray(time_s, np.float64),
        start.astype(np.int32),
        end.astype(np.int32),
        cost.astype(np.float32),
        np.array(_turning_points(motion, usable), np.int32),
        np.array(_idle(motion, mouth_gap, usable, np.asarray(time_s)), np.int32),
        joint,
        features["turn"].astype(np.float32),
    )


def _limit(values: np.ndarray, usable: np.ndarray, floor: float) -> float:
    """The clip's own largest change from frame to frame, freak ones apart."""
    change = np.linalg.norm(np.diff(values, axis=0), axis=1)[usable[1:] & usable[:-1]]
    return max(float(np.percentile(change, LIMIT_PERCENTILE)) if len(change) else 0.0, floor)


def _jumps(
    time_s: np.ndarray, joint: np.ndarray, scaled: dict[str, np.ndarray], usable: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Allowed jumps i -> j, their costs; only those from which playing can go on for ever, and frame 0's reach them."""
    half = len(WINDOW) // 2
    count = len(joint)
    if count <= 2 * half + 1:
        return np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)
    # Row r stacks the frames r - half .. r + half - 1: those before a cut in front of r, and those after it.
    rows = np.arange(half, count - half + 1)
    stack = np.concatenate([np.sqrt(w) * joint[rows - half + k] for k, w in enumerate(WINDOW)], axis=1)
    good = np.lib.stride_tricks.sliding_window_view(usable, len(WINDOW)).all(axis=1)
    starts, ends, costs = [], [], []
    total = float(sum(WINDOW))
    squares = (stack * stack).sum(axis=1)
    for first in range(0, len(rows), 256):
        block = slice(first, first + 256)
        apart = squares[block, None] + squares[None] - 2 * stack[block] @ stack.T
        apart[np.abs(time_s[rows[block], None] - time_s[rows][None]) < LEAST_JUMP_S] = np.inf
        apart[:, ~good] = np.inf
        apart[~good[block]] = np.inf
        kept = min(NEIGHBOURS, apart.shape[1])
        near = np.argpartition(apart, kept - 1, axis=1)[:, :kept]
        for r, columns in zip(rows[block], near, strict=True):
            finite = columns[np.isfinite(apart[r - rows[0] - first, columns])]
            starts += [r - 1] * len(finite)
            ends += list(rows[finite])
            costs += list(np.sqrt(np.maximum(apart[r - rows[0] - first, finite], 0) / total))
    start, end, cost = np.array(starts, np.int64), np.array(ends, np.int64), np.array(costs, np.float32)
    if len(start) == 0:
        return start, end, cost
    # The cut itself: no term may change by more than it does within the clip, compared with the frame that was due.
    worst = np.max([_apart(values, end, start) for values in scaled.values()], axis=0)
    due = np.max([_apart(values, end, start + 1) for values in scaled.values()], axis=0)
    allowed = (worst <= 1.0) & (due <= 1.0)
    start, end, cost = start[allowed], end[allowed], cost[allowed]
    best = _thin(start, end, cost)
    start, end, cost = start[best], end[best], cost[best]
    alive = _sustaining(start, end, time_s, LEAST_STAY_S)
    if not alive.any():
        alive = _sustaining(start, end, time_s, 0.0)
    return start[alive], end[alive], cost[alive]


def _apart(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distances of pairs of rows, a few pairs at a time: there are many more pairs than rows."""
    pieces = np.array_split(np.arange(len(first)), max(1, len(first) // PAIRS_AT_ONCE))
    return np.concatenate([np.linalg.norm(values[first[k]] - values[second[k]], axis=1) for k in pieces])


def _thin(start: np.ndarray, end: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Of jumps that lie side by side (both ends within two frames) the cheapest; in order of their start."""
    taken: list[int] = []
    used: set[tuple[int, int]] = set()
    for k in np.argsort(cost, kind="stable"):
        key = int(start[k]) // 3, int(end[k]) // 3
        if not any((key[0] + a, key[1] + b) in used for a in (-1, 0, 1) for b in (-1, 0, 1)):
            used.add(key)
            taken.append(int(k))
    return np.array(sorted(taken, key=lambda k: (int(start[k]), float(cost[k]))), np.int64)


def _sustaining(start: np.ndarray, end: np.ndarray, time_s: np.ndarray, stay_s: float) -> np.ndarray:
    """Which jumps land at least `stay_s` before another such jump, again and again."""
    alive = np.ones(len(start), bool)
    while alive.any():
        kept = alive & (time_s[end] <= time_s[start[alive].max()] - stay_s)
        if (kept == alive).all():
            break
        alive = kept
    return alive


def _turning_points(motion: np.ndarray, usable: np.ndarray) -> tuple[int, int]:
    """The calmest usable frames of the first and of the last tenth of the clip."""
    good = np.flatnonzero(usable) if usable.any() else np.arange(len(motion))
    tenth = max(len(good) // 10, 1)
    head, tail = good[:tenth], good[-tenth:]
    smooth = np.convolve(motion, np.ones(3) / 3, mode="same")
    return int(head[smooth[head].argmin()]), int(tail[smooth[tail].argmin()])


def _idle(motion: np.ndarray, gap: np.ndarray, usable: np.ndarray, time_s: np.ndarray) -> tuple[int, int]:
    """The second with the stillest head and the least open mouth."""
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    length = int(min(max(round(1.0 / max(step, 1e-3)), 2), len(motion)))
    scale = max(float(np.percentile(gap, 90) - np.percentile(gap, 5)), 1e-6)
    unrest = motion / max(float(np.median(motion)), 1e-6) + 4 * (gap - np.percentile(gap, 5)) / scale + 1e3 * ~usable
    mean = np.convolve(unrest, np.ones(length) / length, mode="valid")
    first = int(mean.argmin())
    return first, first + length - 1


def advance(state: PlaybackState, playback: Playback, time_s: float, idle: bool = False) -> tuple[PlaybackState, int]:
    """The frame to show at source time `time_s`; times that go back leave it where it is.

    `idle` asks for the idle stretch: once there, the clip plays to and fro inside it.
    """
    if not state.started:
        state = replace(_planned(state, playback), since_s=time_s, started=True)
        return state, state.frame
    while True:
        following = _following(state, playback, idle)
        ends = state.since_s + _duration(playback, state.frame)
        # A nanosecond: source times are sums of rounded steps.
        if time_s + 1e-9 < ends:
            return state, state.frame
        state = replace(following, since_s=ends)
        if time_s - state.since_s > 1.0:
            # A pause of the source is no reason to race through the clip.
            state = replace(state, since_s=time_s)


def _duration(playback: Playback, frame: int) -> float:
    """How long a frame is shown."""
    time_s = playback.time_s
    if len(time_s) < 2:
        return 1.0
    at = min(frame, len(time_s) - 2)
    return max(float(time_s[at + 1] - time_s[at]), 1e-3)


def _following(state: PlaybackState, playback: Playback, idle: bool) -> PlaybackState:
    """The state one frame later."""
    first, last = (int(v) for v in playback.idle)
    if idle and first <= state.frame <= last:
        return _to_and_fro(state, first, last)
    if not playback.endless:
        return _to_and_fro(state, *(int(v) for v in playback.turning))
    if state.jump < 0 or playback.jump_from[state.jump] < state.frame:
        state = _planned(state, playback)
    if state.jump < 0:
        # Behind the last jump, where only another mode can have left us: back to it.
        return replace(state, frame=max(state.frame - 1, 0), direction=-1)
    if state.frame == playback.jump_from[state.jump]:
        landed = replace(state, frame=int(playback.jump_to[state.jump]), draws=state.draws + 1, direction=1)
        return _planned(landed, playback)
    return replace(state, frame=min(state.frame + 1, len(playback) - 1), direction=1)


def _to_and_fro(state: PlaybackState, first: int, last: int) -> PlaybackState:
    """One frame on, turning at the ends."""
    direction = state.direction
    if state.frame >= last:
        direction = -1
    elif state.frame <= first:
        direction = 1
    if first == last:
        return replace(state, frame=first)
    return replace(state, frame=state.frame + direction, direction=direction)


def _planned(state: PlaybackState, playback: Playback) -> PlaybackState:
    """Draw the jump that will end the stretch that begins at `state.frame`: far enough ahead, unseen if possible."""
    ahead = np.flatnonzero(playback.jump_from >= state.frame)
    if len(ahead) == 0:
        return replace(state, jump=-1)
    stay = playback.time_s[playback.jump_from[ahead]] - playback.time_s[state.frame]
    late = ahead[stay >= LEAST_STAY_S]
    # Where every jump is near, the last one makes the longest stretch.
    choices = late if len(late) else ahead[playback.jump_from[ahead] == playback.jump_from[ahead].max()]
    unseen = choices[playback.jump_cost[choices] <= 1.0]
    choices = unseen if len(unseen) else choices
    weight = np.exp(-3.0 * playback.jump_cost[choices].astype(np.float64))
    # Long stretches look less like a loop.
    weight *= 0.25 + playback.time_s[playback.jump_from[choices]] / max(float(playback.time_s[-1]), 1e-6)
    draw = np.random.default_rng([state.seed, state.draws]).random()
    return replace(state, jump=int(choices[np.searchsorted(np.cumsum(weight) / weight.sum(), draw)]))


def nearest(
    state: PlaybackState, playback: Playback, rotation: Float[np.ndarray, "3 3"], time_s: float
) -> tuple[PlaybackState, int]:
    """The frame whose head is turned most like `rotation`, preferring those that look like what is shown."""
    wanted = so3_log(FRONTAL @ rotation).astype(np.float32)
    cost = np.sqrt(((playback.turn - wanted) ** 2).sum(axis=1)) / np.float32(TURN_REACH)
    if state.started:
        change = np.sqrt(((playback.features - playback.features[state.frame]) ** 2).sum(axis=1))
        change[max(state.frame - FREE_STEP, 0) : state.frame + FREE_STEP + 1] = 0
        cost = cost + np.float32(STEADINESS) * np.minimum(change, np.float32(CHANGE_LIMIT))
    frame = int(cost.argmin())
    return replace(state, frame=frame, since_s=time_s, started=True, jump=-1), frame


def body_thumbnail(
    rgb: UInt8[np.ndarray, "h w 3"], mouth_box: tuple[int, int, int, int], size: tuple[int, int] = (48, 48)
) -> Float32[np.ndarray, " t"]:
    """The picture in small, in [0, 1], for `features_of`; the mouth's box (x0, y0, x1, y1) is painted over."""
    height, width = rgb.shape[:2]
    factor = np.array([size[0] / width, size[1] / height] * 2)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    x0, y0 = np.floor(np.array(mouth_box[:2]) * factor[:2]).astype(int).clip(0)
    x1, y1 = np.ceil(np.array(mouth_box[2:]) * factor[2:]).astype(int).clip(0)
    small[y0:y1, x0:x1] = 128
    return small.astype(np.float32).ravel() / np.float32(255)
