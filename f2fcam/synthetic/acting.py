"""What the synthetic person does: expressions and head motion as functions of time, endless or looping, from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.face.rigid import RigidTransform, so3_exp

_BOTH = ("Left", "Right")
VISEMES: tuple[dict[str, float], ...] = tuple(
    {name + side: value for name, value in sided.items() for side in _BOTH} | middle
    for sided, middle in (
        ({"mouthLowerDown": 0.12, "mouthUpperUp": 0.08}, {"jawOpen": 0.30}),
        ({"mouthStretch": 0.22, "mouthSmile": 0.12}, {"jawOpen": 0.17}),
        ({"mouthSmile": 0.22, "mouthLowerDown": 0.20}, {"jawOpen": 0.10}),
        ({}, {"jawOpen": 0.16, "mouthFunnel": 0.50}),
        ({}, {"jawOpen": 0.06, "mouthPucker": 0.60, "mouthFunnel": 0.15}),
        ({"mouthPress": 0.25}, {"jawOpen": 0.02, "mouthClose": 0.02, "mouthRollUpper": 0.08, "mouthRollLower": 0.12}),
        ({"mouthUpperUp": 0.15}, {"jawOpen": 0.05, "mouthRollLower": 0.45}),
        ({"mouthLowerDown": 0.22}, {"jawOpen": 0.12, "mouthShrugUpper": 0.08}),
        ({}, {"jawOpen": 0.22, "mouthFunnel": 0.15}),
    )
)
"""ah, eh, ee, oh, oo, m, f, s, uh."""

REST: dict[str, float] = {"mouthPressLeft": 0.06, "mouthPressRight": 0.06, "mouthClose": 0.0}
CEILING = {"mouthFunnel": 0.7, "mouthPucker": 0.85, "jawOpen": 0.7}
"""No speech goes further."""

NECK_PIVOT = np.array([0.0, -95.0, -88.0])
"""The head turns about this point of model space, mm."""

LID_CLOSE_S, LID_HOLD_S, LID_OPEN_S = 0.075, 0.035, 0.13


@dataclass(frozen=True, slots=True)
class Script:
    """How lively a person is. Everything follows from the time and the seed.

    Attributes:
        seed: of all random choices.
        talk: strength of speech, 0 for silence.
        smile: strength of the smiles that come and go.
        brows: strength of brow motion.
        blink_s: mean time between blinks.
        blink_depth: lid weight at which the eyes are shut; large eyes need more than 1.
        sway_deg: spread of the head's small motion.
        yaw_deg: amplitude of a slow turn to both sides on top.
        loop_s: repeat after this time without a jump; `None` for endless variety.
    """

    seed: int = 0
    talk: float = 1.0
    smile: float = 0.6
    brows: float = 0.6
    blink_s: float = 3.2
    blink_depth: float = 1.0
    sway_deg: float = 3.0
    yaw_deg: float = 0.0
    loop_s: float | None = None

    def expression(self, model: FaceModel, t: float) -> Float32[np.ndarray, " 76"]:
        """Expression weights at time `t` in seconds."""
        named: dict[str, float] = {}
        self._speak(named, t)
        smile = self.smile * max(self.wander(t, 2.7, 11), 0.0) ** 1.3
        brow = self.wander(t, 1.3, 12)
        up, down = self.brows * max(brow, 0.0) ** 1.5, self.brows * max(-brow, 0.0) ** 2 * 0.5
        cock = 0.25 * self.brows * self.wander(t, 2.3, 13)
        squint = 0.15 + 0.1 * self.wander(t, 2.1, 14)
        for side, lean in (("Left", 1.0), ("Right", -1.0)):
            _add(named, f"mouthSmile{side}", smile * (1 + 0.12 * lean * self.wander(t, 3.1, 15)))
            _add(named, f"cheekSquint{side}", 0.55 * smile)
            _add(named, f"eyeSquint{side}", 0.4 * smile + squint * 0.5)
            _add(named, f"mouthDimple{side}", 0.25 * smile)
            _add(named, f"browOuterUp{side}", up * 0.7 + max(cock * lean, 0.0))
            _add(named, f"browDown{side}", down)
            _add(named, f"noseSneer{side}", 0.12 * down)
        _add(named, "browInnerUp", up * 0.8)
        self._look(named, t)
        weights = np.zeros(len(model.expression_names), np.float32)
        for name, value in named.items():
            weights[model.expression_names.index(name)] = min(max(value, 0.0), CEILING.get(name, 1.2))
        return weights

    def head(self, t: float) -> RigidTransform:
        """The head's motion from its resting place, model space."""
        yaw = self.sway_deg * self.wander(t, 1.9, 21) + 0.35 * self.sway_deg * self.wander(t, 0.7, 22)
        turn = self.loop_s / max(1, round(self.loop_s / 6.0)) if self.loop_s else 6.0
        yaw += self.yaw_deg * np.sin(2 * np.pi * t / turn)
        pitch = 0.6 * self.sway_deg * (self.wander(t, 1.6, 23) + 0.5 * self.talk * self.wander(t, 0.45, 24))
        roll = 0.5 * self.sway_deg * self.wander(t, 2.4, 25)
        rotation = so3_exp(np.deg2rad([pitch, yaw, roll]))
        shift = np.array([self.wander(t, 2.9, 26), 0.5 * self.wander(t, 2.2, 27), 1.5 * self.wander(t, 3.3, 28)])
        return RigidTransform(rotation, NECK_PIVOT - rotation @ NECK_PIVOT + shift * self.sway_deg * 0.8)

    def blink(self, t: float) -> float:
        """How far the lids are closed at time `t`, 0 to 1."""
        step, count = self._grid(self.blink_s)
        k = int(np.floor(t / step))
        closed = 0.0
        for event in (k - 1, k, k + 1):
            start = (event + 0.5 + 0.32 * self._random(event, count, 31)) * step
            closed = max(closed, _lid(t - start))
            if self._random(event, count, 32) > 0.7:  # a double blink now and then
                closed = max(closed, _lid(t - start - 0.36))
        return closed

    def wander(self, t: float, period_s: float, channel: int) -> float:
        """A smooth random value in about [-1, 1] that changes every `period_s` seconds."""
        step, count = self._grid(period_s)
        k = int(np.floor(t / step))
        f = t / step - k
        f = f * f * f * (f * (6 * f - 15) + 10)
        return (1 - f) * self._random(k, count, channel) + f * self._random(k + 1, count, channel)

    def _speak(self, named: dict[str, float], t: float) -> None:
        """Coarticulated visemes in phrases with pauses; the lips meet in between."""
        voice = self.talk * float(np.clip(1.6 * (self.wander(t, 1.1, 1) + 0.75), 0, 1))
        step, count = self._grid(0.205)
        place = t / step
        k = int(np.floor(place))
        total = 0.0
        mixed: dict[str, float] = {}
        for event in range(k - 2, k + 4):
            weight = float(np.exp(-(((place - event - 0.3 * self._random(event, count, 2)) / 0.52) ** 2)))
            total += weight
            viseme = VISEMES[int((self._random(event, count, 3) * 0.5 + 0.5) * len(VISEMES) * 0.9999)]
            loud = weight * (0.85 + 0.4 * self._random(event, count, 4))
            for name, value in viseme.items():
                _add(mixed, name, value * loud)
        for name, value in mixed.items():
            _add(named, name, 1.3 * voice * value / total)
        for name, value in REST.items():
            _add(named, name, value * (1 - min(voice, 1.0)))

    def _look(self, named: dict[str, float], t: float) -> None:
        """Saccades and blinks; the lids follow the gaze."""
        step, count = self._grid(1.45)
        k = int(np.floor(t / step))
        f = float(np.clip((t - k * step) / 0.06, 0, 1))
        across, up = (
            (1 - f) * self._random(k - 1, count, channel) + f * self._random(k, count, channel) for channel in (41, 42)
        )
        across, up = 0.22 * across**3, 0.10 * up
        open_share = 1 - self.blink(t)
        for side, lean in (("Left", 1.0), ("Right", -1.0)):
            _add(named, f"eyeLookOut{side}", max(across * lean, 0.0))
            _add(named, f"eyeLookIn{side}", max(-across * lean, 0.0))
            _add(named, f"eyeLookUp{side}", max(up, 0.0))
            _add(named, f"eyeLookDown{side}", max(-up, 0.0) * open_share)
            named[f"eyeSquint{side}"] = named.get(f"eyeSquint{side}", 0.0) * open_share
            _add(named, f"eyeBlink{side}", (1 - open_share) * self.blink_depth)

    def _grid(self, period_s: float) -> tuple[float, int]:
        """Length of a step and the number of steps after which it repeats (0: never)."""
        if self.loop_s is None:
            return period_s, 0
        count = max(2, round(self.loop_s / period_s))
        return self.loop_s / count, count

    def _random(self, event: int, count: int, channel: int) -> float:
        """A value in [-1, 1] for an event; SplitMix64 of seed, channel and number."""
        mask = (1 << 64) - 1
        h = ((event % count if count else event) * 0x9E3779B97F4A7C15 + channel * 0xD1B54A32D192ED03) & mask
        h = (h ^ (self.seed * 0x2545F4914F6CDD1D + 0x632BE59BD9B4E019)) & mask
        h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & mask
        h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & mask
        return ((h ^ (h >> 31)) >> 11) / 2**52 - 1.0


def _add(named: dict[str, float], name: str, value: float) -> None:
    named[name] = named.get(name, 0.0) + value


def _lid(since: float) -> float:
    """Closing, closed, opening: about six frames at 30 frames a second."""
    if since <= 0:
        return 0.0
    if since < LID_CLOSE_S:
        return _ease(since / LID_CLOSE_S)
    if since < LID_CLOSE_S + LID_HOLD_S:
        return 1.0
    return 1 - _ease(min((since - LID_CLOSE_S - LID_HOLD_S) / LID_OPEN_S, 1.0))


def _ease(x: float) -> float:
    return x * x * (3 - 2 * x)
