"""Which target frame comes next, for ever: a clip as a video texture (Schödl et al., SIGGRAPH 2000).

The clip is played by its transitions (`f2fcam.transitions`), forwards only where its cuts allow that for ever, else to and fro
between calm moments, with such cuts as it has. Playing follows source time, `advance(state, playback, time_s)`, so that a
25 fps clip keeps its speed in a 30 fps output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float16, Int32

from f2fcam.face.rigid import so3_log
from f2fcam.transitions import LEAST_STAY_S, Comparison, Looks, Transitions, find_transitions, find_turns

IDLE_S = 1.0, 5.0
"""Length of an idle stretch, at least and at most."""
IDLE_GAIN = 0.3
"""A longer idle stretch is worth more unrest: a stretch of twice the length 2 to that power times as much."""
LONGEST_STEP_S = 1.0
"""A longer pause of the source is no reason to race through the clip."""
EARLY = 0.15
"""A frame comes up to this share of its time too early: where source and clip have one rate, rounded times would now show
a frame twice, now leave one out."""
FRONTAL = np.diag([1.0, -1.0, -1.0])
"""Rotation of a frontal head."""

OLD_FEATURES = 31
"""Profiles of the first months hold thousands of features, of which so many are pose, face and light."""


@dataclass(frozen=True, slots=True)
class Playback:
    """How to play a clip of f frames; arrays only.

    Attributes:
        time_s: of the frames, from the first, increasing.
        transitions: by which it leaves its own order; the clip's ends are turns besides.
        idle: first and last frame of the calmest stretch with a shut mouth.
        looks: `Comparison.codes`, for `nearest_pose`.
        turn: head rotations as rotation vectors from the frontal one, radians.
    """

    time_s: Float[np.ndarray, " f"]
    transitions: Transitions
    idle: Int32[np.ndarray, " 2"]
    looks: Float16[np.ndarray, "f e"]
    turn: Float16[np.ndarray, "f 3"]

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def forwards(self) -> bool:
        """Whether the clip plays on for ever without being played backwards."""
        found = self.transitions
        return len(found) > 0 and bool((found.start_way > 0).all() and (found.end_way > 0).all())

    @property
    def words(self) -> str:
        """How the clip is played."""
        turns = int(self.transitions.turns.sum())
        cuts = len(self.transitions) - turns
        if self.forwards:
            return f"forwards, by {cuts} cut{'s' * (cuts > 1)}"
        between = f"between {turns} calm moments" if turns else "from end to end"
        return f"to and fro {between}" + (f", with {cuts} cut{'s' * (cuts > 1)}" if cuts else "")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All fields, for `from_arrays`."""
        found = self.transitions
        return {
            "time_s": self.time_s, "start": found.start, "start_way": found.start_way, "end": found.end,
            "end_way": found.end_way, "size": found.size, "idle": self.idle, "looks": self.looks, "turn": self.turn,
        }  # fmt: skip

    @classmethod
    def to_and_fro(cls, time_s: Float[np.ndarray, " f"]) -> Playback:
        """A clip of frames at `time_s` of which nothing else is known: forwards, backwards and so on."""
        count = len(time_s)
        whole, looks = np.array([0, count - 1], np.int32), np.zeros((count, 0), np.float16)
        times = np.asarray(time_s, np.float64) - time_s[0]
        return cls(times, Transitions.none(), whole, looks, np.zeros((count, 3), np.float16))

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Playback:
        """The inverse of `to_arrays`; KeyError or ValueError where the arrays are none."""
        if "features" in arrays:
            arrays = _of_old(arrays)
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        found = Transitions.of(*(arrays[name] for name in ("start", "start_way", "end", "end_way", "size")))
        playback = cls(arrays["time_s"], found, arrays["idle"], arrays["looks"], arrays["turn"])
        count = len(playback)
        rows = np.concatenate([found.start, found.end, playback.idle])
        ways = np.abs(np.concatenate([found.start_way, found.end_way]))
        whole = {len(playback.looks), len(playback.turn)} == {count} and playback.idle.shape == (2,)
        if count == 0 or not whole or rows.min() < 0 or rows.max() >= count or (ways != 1).any():
            raise ValueError("the playback's arrays do not fit each other")
        return playback


def _of_old(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of a profile from before transitions had directions: its jumps could be seen, so it plays to and fro."""
    first, last = (int(v) for v in arrays["turning"])
    turns = Transitions.of([last, first], [1, -1], [max(last - 1, 0), min(first + 1, last)], [-1, 1], 1.0)
    if last - first < 2:
        turns = Transitions.none()
    looks = np.asarray(arrays["features"])[:, :OLD_FEATURES].astype(np.float16)
    kept = {"time_s": arrays["time_s"], "idle": arrays["idle"], "turn": np.asarray(arrays["turn"], np.float16)}
    whole = Playback(kept["time_s"], turns, kept["idle"], looks, kept["turn"])
    return whole.to_arrays()


@dataclass(frozen=True, slots=True)
class PlaybackState:
    """Where playing stands.

    Attributes:
        frame: what is shown. since_s: the time at which it began.
        way: 1 forwards, -1 backwards.
        plan: the transition that ends the present stretch, or -1 for the clip's end.
        idle: whether the plan leads to the idle stretch.
        draws: how many plans were drawn; the randomness is a function of it, so that playing is repeatable.
        seed: another one plays the transitions in another order.
        started: whether `since_s` is known.
    """

    frame: int = 0
    since_s: float = 0.0
    way: int = 1
    plan: int = -1
    idle: bool = False
    draws: int = 0
    seed: int = 0
    started: bool = False


def build_playback(looks: Looks, rotations: Float[np.ndarray, "f 3 3"], mouth_gap: Float[np.ndarray, " f"]) -> Playback:
    """Find the transitions and the idle stretch of a clip. `mouth_gap` in any unit; `rotations` of the head."""
    comparison = Comparison(looks)
    codes = comparison.codes()
    turn = np.stack([so3_log(FRONTAL @ rotation) for rotation in rotations])
    return Playback(
        np.asarray(looks.time_s, np.float64) - looks.time_s[0],
        find_transitions(looks, comparison, codes),
        np.array(_idle(codes, mouth_gap, looks.usable, looks.time_s, find_turns(looks, comparison)), np.int32),
        codes.astype(np.float16),
        turn.astype(np.float16),
    )


def _idle(
    codes: np.ndarray, gap: np.ndarray, usable: np.ndarray, time_s: np.ndarray, turns: Transitions
) -> tuple[int, int]:
    """The stretch between two turns with the stillest picture and the least open mouth; without turns the best second."""
    motion = np.sqrt((np.diff(codes, axis=0, prepend=codes[:1]) ** 2).sum(axis=1))
    scale = max(float(np.percentile(gap, 90) - np.percentile(gap, 5)), 1e-6)
    unrest = motion / max(float(np.median(motion)), 1e-6) + 4 * (gap - np.percentile(gap, 5)) / scale + 1e3 * ~usable
    total = np.concatenate([[0.0], np.cumsum(np.maximum(unrest, 0.0))])
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    ends = turns.start[turns.start_way > 0].astype(int), turns.start[turns.start_way < 0].astype(int)
    last, first = (pair.ravel() for pair in np.meshgrid(*ends))
    fits = (time_s[last] - time_s[first] >= IDLE_S[0] - step) & (time_s[last] - time_s[first] <= IDLE_S[1])
    first, last = first[fits], last[fits]
    if not len(first):
        length = int(min(max(round(IDLE_S[0] / max(step, 1e-3)), 2), len(codes)))
        first = np.arange(len(codes) - length + 1)
        last = first + length - 1
    mean = (total[last + 1] - total[first]) / (last + 1 - first)
    best = int((mean / (last + 1 - first) ** IDLE_GAIN).argmin())
    return int(first[best]), int(last[best])


def advance(state: PlaybackState, playback: Playback, time_s: float, idle: bool = False) -> tuple[PlaybackState, int]:
    """The frame to show at source time `time_s`; times that go back leave it where it is.

    `idle` asks for the idle stretch: the clip makes for it by its transitions, and plays to and fro inside.
    """
    if not state.started:
        state = replace(_planned(state, playback, idle), since_s=time_s, started=True)
        return state, state.frame
    if idle != state.idle:
        state = _planned(state, playback, idle)
    while True:
        ends = state.since_s + duration_s(playback, state.frame)
        if time_s < ends - EARLY * (ends - state.since_s):
            return state, state.frame
        state = replace(_following(state, playback), since_s=ends)
        if time_s - state.since_s > LONGEST_STEP_S:
            state = replace(state, since_s=time_s)


def duration_s(playback: Playback, frame: int) -> float:
    """How long a frame is shown."""
    time_s = playback.time_s
    if len(time_s) < 2:
        return 1.0
    at = min(frame, len(time_s) - 2)
    return max(float(time_s[at + 1] - time_s[at]), 1e-3)


def _following(state: PlaybackState, playback: Playback) -> PlaybackState:
    """The state one frame later."""
    first, last = (int(v) for v in playback.idle)
    if state.idle and first <= state.frame <= last:
        return _paced(replace(state, plan=-1), first, last)
    found = playback.transitions
    passed = state.plan >= 0 and (found.start[state.plan] - state.frame) * state.way < 0
    if passed or (state.plan < 0 and len(found)):
        state = _planned(state, playback, state.idle)
    if state.plan >= 0 and state.frame == found.start[state.plan]:
        landed = replace(state, frame=int(found.end[state.plan]), way=int(found.end_way[state.plan]))
        return _planned(landed, playback, state.idle)
    turned = _paced(state, 0, len(playback) - 1)
    return turned if turned.way == state.way else _planned(turned, playback, state.idle)


def _paced(state: PlaybackState, first: int, last: int) -> PlaybackState:
    """One frame on in the same direction, turning at the ends."""
    if first == last:
        return replace(state, frame=first)
    way = -1 if state.frame >= last else 1 if state.frame <= first else state.way
    return replace(state, frame=state.frame + way, way=way)


def _planned(state: PlaybackState, playback: Playback, idle: bool) -> PlaybackState:
    """Draw the transition that will end the stretch that begins at `state.frame`: far enough ahead, the less seen the rather."""
    found, time_s = playback.transitions, playback.time_s
    state = replace(state, idle=idle, draws=state.draws + 1)
    stay = state.way * (time_s[found.start] - time_s[state.frame])
    ahead = np.flatnonzero((found.start_way == state.way) & (stay >= 0))
    if idle:
        return replace(state, plan=_towards_idle(state, playback, ahead, stay))
    if len(ahead) == 0:
        return replace(state, plan=-1)
    late = ahead[stay[ahead] >= LEAST_STAY_S]
    # Where every transition is near, the last one makes the longest stretch.
    choices = late if len(late) else ahead[stay[ahead] == stay[ahead].max()]
    weight = np.exp(-3.0 * found.size[choices].astype(np.float64))
    # Long stretches look less like a loop.
    weight *= 0.25 + stay[choices] / max(float(time_s[-1]), 1e-6)
    draw = np.random.default_rng([state.seed, state.draws]).random()
    return replace(state, plan=int(choices[np.searchsorted(np.cumsum(weight) / weight.sum(), draw)]))


def _towards_idle(state: PlaybackState, playback: Playback, ahead: np.ndarray, stay: np.ndarray) -> int:
    """The transition by which the idle stretch is reached soonest; -1 to play straight into it, or to the clip's end."""
    first, last = (int(v) for v in playback.idle)

    def away(frame: np.ndarray, way: np.ndarray) -> np.ndarray:
        entry = np.where(way > 0, np.maximum(frame, first), np.minimum(frame, last))
        reached = (entry >= first) & (entry <= last)
        return np.where(reached, np.abs(playback.time_s[np.clip(entry, 0, None)] - playback.time_s[frame]), np.inf)

    direct = float(away(np.array([state.frame]), np.array([state.way]))[0])
    if len(ahead) == 0:
        return -1
    found = playback.transitions
    via = stay[ahead] + away(found.end[ahead], found.end_way[ahead])
    best = int(via.argmin())
    if direct <= via[best] and np.isfinite(direct):
        return -1
    # Out of reach by one transition: the last one ahead leads on.
    return int(ahead[best] if np.isfinite(via[best]) else ahead[stay[ahead].argmax()])
