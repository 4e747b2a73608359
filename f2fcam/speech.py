"""Whether the actor pauses: nothing about the mouth moves for a while. The target then shows its own idle stretch."""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.track.neutral import shape_sizes

MOUTH_SHAPES = ("jaw", "mouth")
SPAN_S = 0.5
"""Over such a time a mouth that speaks has moved."""
STILL_MM = 1.6
"""Root mean square over the face, what all mouth shapes together move: trackers tremble by 0.5 to 1.2, speech is above 2."""
PAUSE_S = 1.5
"""A mouth this long still pauses; between two words it is never."""


class SpeechPauses:
    """Watches the expression from picture to picture."""

    def __init__(self, model: FaceModel) -> None:
        sizes = shape_sizes(model)
        mouth = np.array([name.startswith(MOUTH_SHAPES) for name in model.expression_names])
        self._weights: Float32[np.ndarray, " 76"] = sizes * mouth
        self._seen: deque[tuple[float, np.ndarray]] = deque()
        self._moved_s: float | None = None

    def pausing(self, expression: Float32[np.ndarray, " 76"] | None, time_s: float) -> bool:
        """Whether the mouth has been still, or not been seen, for long enough."""
        if self._moved_s is None:
            self._moved_s = time_s
        if expression is not None:
            self._seen.append((time_s, expression * self._weights))
        while self._seen and time_s - self._seen[0][0] > SPAN_S:
            self._seen.popleft()
        if len(self._seen) > 1:
            moved = np.ptp(np.stack([mouth for _, mouth in self._seen]), axis=0)
            if float(np.linalg.norm(moved)) > STILL_MM:
                self._moved_s = time_s
        return time_s - self._moved_s >= PAUSE_S
