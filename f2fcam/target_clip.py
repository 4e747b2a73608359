"""The enrolled clip at hand: which of its frames comes next, decoded with all that was fitted to it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from f2fcam.face.morphable import load_face_model
from f2fcam.face.rigid import RigidTransform
from f2fcam.nearest_pose import links_of, nearest
from f2fcam.playback import Playback, PlaybackState, advance
from f2fcam.profile import STATUSES, Profile, damaged
from f2fcam.reenact import TargetFrame
from f2fcam.render.view import TargetView
from f2fcam.speech import SpeechPauses
from f2fcam.track.neutral import shape_sizes

TargetFrames = Literal["loop", "nearest-pose"]
Expression = Float32[np.ndarray, " 76"] | None


class TargetClip:
    """Reads frames of a profile's clip by row; only the present one is in memory."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.usable: Bool[np.ndarray, " n"] = profile.frames.status == STATUSES["tracked"]
        self._video = profile.open_target()
        self._last: TargetFrame | None = None

    def __len__(self) -> int:
        return len(self.profile.frames)

    def frame(self, row: int) -> TargetFrame:
        """A row's picture and fit."""
        if self._last is None or self._last.row != row:
            frames = self.profile.frames
            view = TargetView(
                self._video.frame_at(row).rgb, self.profile.person, frames.performance(row), frames.visible(row)
            )
            self._last = TargetFrame(row, int(frames.index[row]), view, bool(self.usable[row]))
        return self._last

    def close(self) -> None:
        """Close the file."""
        self._video.close()


class Loop:
    """Plays the clip for ever, by time (`f2fcam.playback`); while the actor pauses, its idle stretch."""

    def __init__(self, playback: Playback, pauses: SpeechPauses | None = None) -> None:
        self._playback, self._pauses, self._state = playback, pauses, PlaybackState()

    def row(
        self, time_s: float, pose: RigidTransform | None = None, acted: Expression = None, wanted: Expression = None
    ) -> int:
        """The row to show at `time_s`; `acted` is the actor's expression."""
        idle = self._pauses is not None and self._pauses.pausing(acted, time_s)
        self._state, row = advance(self._state, self._playback, time_s, idle)
        return row


class NearestPose:
    """Follows the actor's head by rows of like pose (`f2fcam.nearest_pose`); without a pose, the last one again."""

    def __init__(self, playback: Playback, expressions: Float32[np.ndarray, "f 76"]) -> None:
        self._playback, self._links, self._state = playback, links_of(playback), PlaybackState()
        self._sizes = shape_sizes(load_face_model())
        self._shown: Float32[np.ndarray, "f 76"] = expressions * self._sizes

    def row(
        self, time_s: float, pose: RigidTransform | None = None, acted: Expression = None, wanted: Expression = None
    ) -> int:
        """The row for an actor's pose; `wanted` is the expression that the target is to show."""
        if pose is not None:
            other_mm = 0.0 if wanted is None else np.linalg.norm(self._shown - wanted * self._sizes, axis=1)
            self._state, _ = nearest(self._state, self._playback, self._links, pose.rotation, time_s, other_mm)
        return self._state.frame


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
