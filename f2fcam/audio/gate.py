"""Silence that comes and goes softly: mute, the noise gate, and the end of what there is to play."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FADE_S = 0.005
"""Short enough that no syllable loses its beginning, long enough not to click."""


@dataclass(slots=True)
class Fader:
    """A gain that goes from 0 to 1 and back within `fade_s`, as half a cosine.

    Attributes:
        phase: 0 is silent, 1 is open.
    """

    rate: float
    fade_s: float = FADE_S
    phase: float = 0.0

    def gains(self, count: int, *, is_open: bool) -> Float[np.ndarray, " count"]:
        """The gain of the next `count` samples (float32), on the way to open or silent."""
        if self.phase == is_open:
            return np.full(count, self.phase, np.float32)
        step = (1 if is_open else -1) / (self.fade_s * self.rate)
        phases = np.clip(self.phase + step * np.arange(1, count + 1), 0.0, 1.0)
        if count:
            self.phase = float(phases[-1])
        return (0.5 - 0.5 * np.cos(np.pi * phases)).astype(np.float32)


@dataclass(slots=True)
class Gate:
    """Whether a voice is there: louder than `threshold_db` (dB of full scale, RMS of a block), or was `hold_s` ago.

    `None` for the threshold leaves it open. It looks at what is captured, and acts on what is played: it is open by the time
    that a voice comes out, and has to be held for longer than the delay.
    """

    rate: float
    threshold_db: float | None = None
    hold_s: float = 0.6
    _quiet_s: float = 0.0

    def is_open(self, block: Float[np.ndarray, " n"]) -> bool:
        """Look at the next block."""
        if self.threshold_db is None or not len(block):
            return True
        level = float(np.sqrt(np.mean(np.square(block, dtype=np.float64))))
        if level > 10 ** (self.threshold_db / 20):
            self._quiet_s = 0.0
        else:
            self._quiet_s += len(block) / self.rate
        return self._quiet_s < self.hold_s
