"""Sound held back by a delay that changes: no clicks, no drift, whatever the two devices' clocks do.

Every captured sample has a time, every played one too (`SampleClock`); what is played at a time is what was captured the
delay earlier. Where it is not quite so, the sound is read a little faster or slower until it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from f2fcam.audio.clock import SampleClock
from f2fcam.audio.gate import FADE_S, Fader, Gate
from f2fcam.audio.resampling import HALF, interpolated
from f2fcam.metrics import percentile

Push = Callable[[Float[np.ndarray, " n"], float], None]
Pull = Callable[[int, float], Float[np.ndarray, " n"]]

HELD_S = 4.0
MOST_DELAY_S = 3.0
AWAY_S = 0.5
"""Of what is held: what is being written there is not read."""
MOST_STRETCH = 0.02
"""Of the speed; a third of a semitone, and only while the delay is off by 40 ms or more."""
CORRECTED_S = 2.0
"""Time constant with which a wrong delay is corrected."""
SLEW_S = 0.2
"""Until the speed has changed by `MOST_STRETCH`: no sudden change of pitch."""
JUMP_S = 0.25
"""Off by more than this, the delay is put right at once by a cross-fade: a device stood still, or has just come."""
BACK_S = 0.01
"""Too early by this and with nothing to play, it goes back at once: there is nothing to be heard of it. Samples were lost."""
FOLLOWED_S = 1.0
"""Time constant of the wanted delay."""
REMEMBERED = 500
IN_TIME = 0.98
"""Share of the last `REMEMBERED` blocks for which the delay is long enough; a rare hiccup is heard, not made lasting."""
BEGINNING, BEGUN = 150, 250
"""So many blocks are forgotten after so many: a device that was at work for others was later at first. Clocks take a second."""
SPARE_S = 0.002
HICCUP_S = 0.03
"""Too late by more than this is a gap, whose blocks do not count for the delay..."""
LASTING = 60
"""...unless so many have been captured since. The clock of a device that has lost samples is right again after fewer."""
MUTING_S = 0.02
HOLD_S = 0.6
"""The gate stays open for so long, once what was said has been heard."""


@dataclass(frozen=True, slots=True)
class SoundState:
    """What a delay line is doing.

    Attributes:
        delay_s: from capture to being heard, now; NaN before the first block.
        target_s: what it should be.
        floor_s: what the devices allow.
        xruns: blocks that were not there in time, and devices whose samples were lost.
        quiet: the gate is shut.
    """

    delay_s: float
    target_s: float
    floor_s: float
    xruns: int
    quiet: bool


class DelayLine:
    """`push` what was captured, `pull` what is to be played; one at a time.

    Attributes:
        muted: play silence, and forget what is captured meanwhile: it is not heard later either.
    """

    def __init__(self, rate: float, *, gate_db: float | None = None) -> None:
        self._rate = rate
        self._ring = np.zeros(round(HELD_S * rate), np.float32)
        self._captured, self._played = SampleClock(rate), SampleClock(rate)
        self._written = self._given = 0
        self._position = math.nan
        self._speed = 1.0
        self._target_s = self._followed_s = self._delay_s = math.nan
        self._floor_s = 0.0
        self._needed: deque[float] = deque(maxlen=REMEMBERED)
        self._late = self._blocks = 0
        self._starved, self._since = False, 0
        self._gate, self._voice = Gate(rate, gate_db), True
        self._fader, self._rescue, self._deaf = Fader(rate, MUTING_S), Fader(rate), Fader(rate, MUTING_S)
        self.muted = False

    @property
    def state(self) -> SoundState:
        """For a report."""
        lost = self._captured.losses + self._played.losses
        return SoundState(self._delay_s, self._target_s, self._floor_s, self._late + lost, not self._voice)

    def aim(self, delay_s: float) -> None:
        """Let the delay become `delay_s`, from capture to being heard."""
        self._target_s = min(max(delay_s, 0.0), MOST_DELAY_S)
        if not abs(self._target_s - self._followed_s) <= JUMP_S:  # or there is none yet
            self._followed_s = self._target_s

    def push(self, block: Float[np.ndarray, " n"], captured_s: float) -> None:
        """Take the next captured samples (float32); `captured_s` is the time of the one that follows them."""
        places = (self._written + np.arange(len(block))) % len(self._ring)
        self._ring[places] = block * self._deaf.gains(len(block), is_open=not self.muted)
        self._written += len(block)
        self._since += 1
        self._captured.update(self._written, captured_s)
        self._gate.hold_s = HOLD_S + max(self._floor_s, 0.0 if math.isnan(self._target_s) else self._target_s)
        self._voice = self._gate.is_open(block)

    def pull(self, count: int, played_s: float) -> Float[np.ndarray, " count"]:
        """The next `count` samples (float32), the first of which is heard at `played_s`."""
        self._played.update(self._given, played_s)
        heard_s = self._played.time_of(self._given)
        self._given += count
        if not self._captured.known or math.isnan(self._target_s):
            return np.zeros(count, np.float32)
        wanted = self._captured.count_at(heard_s - self._wanted_s(count, heard_s))
        if math.isnan(self._position):
            self._position = wanted
        ahead = self._position - wanted
        jumps = abs(ahead) > JUMP_S * self._rate or (self._starved and ahead > BACK_S * self._rate)
        leaving = self._read(self._advance(count, wanted)) if jumps else None
        if jumps:
            self._position = wanted
        self._delay_s = heard_s - self._captured.time_of(self._position)
        sound = self._read(self._advance(count, wanted))
        if leaving is not None:
            share = Fader(self._rate).gains(count, is_open=True)
            sound = sound * share + leaving * (1 - share)
        return sound * self._fader.gains(count, is_open=self._voice and not self.muted)

    def _wanted_s(self, count: int, heard_s: float) -> float:
        """The delay to be had: the target, followed softly, but never less than the devices allow."""
        share = 1 - math.exp(-count / self._rate / FOLLOWED_S)
        self._followed_s += share * (self._target_s - self._followed_s)
        needed_s = heard_s - self._captured.time_of(self._newest - count)
        if not self._starved or needed_s < self._floor_s + HICCUP_S or self._since > LASTING:
            self._needed.append(needed_s)
        self._blocks += 1
        if self._blocks == BEGUN:
            self._needed = deque(list(self._needed)[BEGINNING - BEGUN :], REMEMBERED)
        if self._blocks % 16 == 1 or self._blocks < 16:
            self._floor_s = percentile(list(self._needed), IN_TIME) + SPARE_S
        return min(max(self._followed_s, self._floor_s), HELD_S - AWAY_S)

    @property
    def _newest(self) -> int:
        """The last position that has all its neighbours."""
        return self._written - HALF - 1

    def _advance(self, count: int, wanted: float) -> Float[np.ndarray, " count"]:
        """The positions of the next samples; the speed bends towards what brings `wanted` about."""
        off_s = (wanted - self._position) / self._rate
        stretch = min(max(off_s / CORRECTED_S, -MOST_STRETCH), MOST_STRETCH)
        aim = self._played.period_s / self._captured.period_s * (1 + stretch)
        most = MOST_STRETCH * count / (SLEW_S * self._rate)
        speed = self._speed + min(max(aim - self._speed, -most), most)
        k = np.arange(count)
        positions = self._position + k * self._speed + (speed - self._speed) / (2 * count) * k**2
        self._position += count * (self._speed + speed) / 2
        self._speed = speed
        return positions

    def _read(self, positions: Float[np.ndarray, " count"]) -> Float[np.ndarray, " count"]:
        """The sound there; where there is none yet, what came last is heard backwards until it has faded out."""
        missing = positions > self._newest
        short = bool(missing.any())
        if short and not self._starved:
            self._late += 1
            self._since = 0
        self._starved = short
        if not short:
            return interpolated(self._ring, positions) * self._rescue.gains(len(positions), is_open=True)
        there = int(np.argmax(missing))
        mirrored = np.where(
            missing, np.maximum(2 * self._newest - positions, self._newest - 2 * FADE_S * self._rate), positions
        )
        gains = np.concatenate(
            [self._rescue.gains(there, is_open=True), self._rescue.gains(len(positions) - there, is_open=False)]
        )
        return interpolated(self._ring, mirrored) * gains
