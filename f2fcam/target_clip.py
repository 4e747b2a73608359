"""The enrolled clip at hand: which of its frames comes next, decoded with all that was fitted to it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from f2fcam.face.rigid import RigidTransform
from f2fcam.profile import STATUSES, Profile
from f2fcam.reenact import TargetFrame
from f2fcam.render.view import TargetView

TargetFrames = Literal["loop", "nearest-pose"]

UNUSABLE = tuple(STATUSES.index(word) for word in ("diverged", "occluded", "lost"))


class TargetClip:
    """Reads frames of a profile's clip by row; only the present one is in memory."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.usable: Bool[np.ndarray, " n"] = ~np.isin(profile.frames.status, UNUSABLE)
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
    """Plays the clip by time, forwards and backwards by turns, so that it never jumps."""

    def __init__(self, times_s: Float[np.ndarray, " n"]) -> None:
        self._times = times_s - times_s[0]

    def row(self, time_s: float, pose: RigidTransform | None = None) -> int:
        """The row to show `time_s` after the start."""
        length = float(self._times[-1])
        if length <= 0:
            return 0
        phase = time_s % (2 * length)
        at = phase if phase <= length else 2 * length - phase
        # A hair more, so that equal rates do not fall between two frames.
        return int(np.clip(np.searchsorted(self._times, at + 1e-4, side="right") - 1, 0, len(self._times) - 1))


class NearestPose:
    """Picks the usable row whose head pose is nearest to the actor's; without a pose, the last row again."""

    def __init__(self, rotations: Float[np.ndarray, "n 3 3"], usable: Bool[np.ndarray, " n"]) -> None:
        self._rotations, self._usable = rotations.reshape(len(rotations), 9), usable
        self._last = int(np.argmax(usable))

    def row(self, time_s: float, pose: RigidTransform | None = None) -> int:
        """The row for an actor's pose."""
        if pose is not None:
            # The trace of R_a^T R_b grows as the angle between them shrinks.
            likeness = self._rotations @ pose.rotation.reshape(9).astype(np.float32)
            self._last = int(np.argmax(np.where(self._usable, likeness, -np.inf)))
        return self._last


def playback_of(clip: TargetClip, how: TargetFrames) -> Loop | NearestPose:
    """The way of choosing target frames that `--target-frames` names."""
    frames = clip.profile.frames
    return Loop(frames.time_s) if how == "loop" else NearestPose(frames.rotations, clip.usable)
