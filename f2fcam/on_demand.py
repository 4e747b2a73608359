"""Whether anybody looks at the camera: nobody does, and webcam and engine rest. Pure state with time as an argument."""

from __future__ import annotations

import math

IDLE_FPS = 1.0
"""Pictures a second while nobody looks: a device that is opened in between has something to show."""


class Attention:
    """Awake while somebody reads the camera, and `patience_s` longer; always where nobody can tell.

    Nobody has looked yet in the beginning: a camera that is started with the session lets go of the webcam as soon as it
    has shown that it works.

    Attributes:
        awake: as of the last `look`.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._seen = -math.inf
        self.awake = True

    def look(self, readers: int | None, now: float) -> bool:
        """Take note of how many `readers` there are at `now`, None: unknown; whether that changed `awake`."""
        if readers is None or readers > 0:
            self._seen = now
        before, self.awake = self.awake, now - self._seen < self._patience_s or self._seen == now
        return before != self.awake
