"""The enrolled clip at hand: which of its frames comes next, decoded with all that was fitted to it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from f2fcam.face.morphable import load_face_model
from f2fcam.face.rigid import RigidTransform
from f2fcam.nearest_pose import links_of, nearest
from f2fcam.playback import Playback, PlaybackState, advance, duration_s
from f2fcam.profile import STATUSES, Profile, damaged
from f2fcam.reenact import TargetFrame
from f2fcam.render.view import TargetView
from f2fcam.speech import SpeechPauses
from f2fcam.track.neutral import shape_sizes

TargetFrames = Literal["loop", "nearest-pose"]
Expression = Float32[np.ndarray, " 76"] | None
Rgb = UInt8[np.ndarray, "h w 3"]

LONGEST_INTERVAL_S = 0.5
"""Pictures farther apart do not follow each other."""
INTERVAL_SHARE = 0.2
"""How fast the expected interval follows the last ones."""


class TargetClip:
    """Reads frames of a profile's clip by row; in memory are the present one and, decoded ahead, the likely next one."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.usable: Bool[np.ndarray, " n"] = profile.frames.status == STATUSES["tracked"]
        self._video = profile.open_target()
        self._last: TargetFrame | None = None
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="target")
        self._ahead: tuple[int, Future[Rgb]] | None = None

    def __len__(self) -> int:
        return len(self.profile.frames)

    def frame(self, row: int) -> TargetFrame:
        """A row's picture and fit."""
        last = self._last
        if last is None or last.row != row:
            frames = self.profile.frames
            view = TargetView(self._picture(row), self.profile.person, frames.performance(row), frames.visible(row))
            last = self._last = TargetFrame(row, int(frames.index[row]), view, bool(self.usable[row]))
        return last

    def expect(self, row: int) -> None:
        """Begin to decode what will probably be asked for next."""
        if (self._ahead is None or self._ahead[0] != row) and (self._last is None or self._last.row != row):
            self._ahead = row, self._decoder.submit(self._decode, row)

    def _picture(self, row: int) -> Rgb:
        """Of a row. All decoding is one thread's."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] != row:
            ahead[1].cancel()
        future = ahead[1] if ahead is not None and ahead[0] == row else self._decoder.submit(self._decode, row)
        return future.result()

    def _decode(self, row: int) -> Rgb:
        return self._video.frame_at(row).rgb

    def close(self) -> None:
        """Close the file."""
        self._decoder.shutdown(cancel_futures=True)
        self._video.close()


class Loop:
    """Plays the clip for ever, by time (`f2fcam.playback`); while the actor pauses, its idle stretch.

    The row that was expected is shown if it is due within half a frame's time: it is decoded already, and where output
    pictures come as they can nobody sees the difference.
    """

    def __init__(self, playback: Playback, pauses: SpeechPauses | None = None) -> None:
        self._playback, self._pauses, self._state = playback, pauses, PlaybackState()
        self._expected, self._time_s, self._interval_s = -1, 0.0, 0.0

    def row(
        self, time_s: float, pose: RigidTransform | None = None, acted: Expression = None, wanted: Expression = None
    ) -> int:
        """The row to show at `time_s`; `acted` is the actor's expression."""
        idle = self._pauses is not None and self._pauses.pausing(acted, time_s)
        before = self._state
        self._state, row = advance(before, self._playback, time_s, idle)
        passed = time_s - self._time_s
        if 0 < passed < LONGEST_INTERVAL_S:
            self._interval_s += INTERVAL_SHARE * (passed - self._interval_s) if self._interval_s else passed
        self._time_s = time_s
        if self._expected not in (-1, row):
            slack_s = duration_s(self._playback, row) / 2
            near = (advance(before, self._playback, time_s + way * slack_s, idle)[1] for way in (-1, 1))
            row = self._expected if self._expected in near else row
        return row

    def expected(self) -> int:
        """The row that the next picture will probably show."""
        time_s = self._time_s + self._interval_s
        self._expected = advance(self._state, self._playback, time_s, self._state.idle)[1]
        return self._expected


class NearestPose:
    """Follows the actor's head by rows of like pose (`f2fcam.nearest_pose`); without a pose, the last one again."""

    def __init__(self, playback: Playback, expressions: Float32[np.ndarray, "f 76"]) -> None:
        self._playback, self._links, self._state = playback, links_of(playback), PlaybackState()
        self._way = 1
        self._sizes = shape_sizes(load_face_model())
        self._shown: Float32[np.ndarray, "f 76"] = expressions * self._sizes

    def row(
        self, time_s: float, pose: RigidTransform | None = None, acted: Expression = None, wanted: Expression = None
    ) -> int:
        """The row for an actor's pose; `wanted` is the expression that the target is to show."""
        before = self._state.frame
        if pose is not None:
            other_mm = 0.0 if wanted is None else np.linalg.norm(self._shown - wanted * self._sizes, axis=1)
            self._state, _ = nearest(self._state, self._playback, self._links, pose.rotation, time_s, other_mm)
        self._way = -1 if self._state.frame < before else 1
        return self._state.frame

    def expected(self) -> int:
        """The row that the next picture will probably show: one more in the same direction."""
        return min(max(self._state.frame + self._way, 0), len(self._playback) - 1)


def playback_of(clip: TargetClip, how: TargetFrames) -> Loop | NearestPose:
    """The way of choosing target frames that `--target-frames` names."""
    profile = clip.profile
    try:
        playback = Playback.from_arrays(dict(profile.playback))
        if len(playback) != len(clip):
            raise ValueError(f"{len(playback)} frames instead of {len(clip)}")
    except (KeyError, ValueError) as error:
        raise damaged(profile.directory / "playback.npz", f"{type(error).__name__}: {error}") from error
    if how == "nearest-pose":
        return NearestPose(playback, profile.frames.expressions)
    return Loop(playback, SpeechPauses(load_face_model()))
