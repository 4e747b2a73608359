"""When to send the next picture and when to try again: pure state with time as an argument, so that no test sleeps."""

from __future__ import annotations

from collections import deque

MOST_DOUBLINGS = 30
"""More of them lead past every limit, and in the end past what a number can hold."""


class Pacer:
    """Sends new pictures at once and repeats the last one, so that a reader gets `fps` on average.

    A bucket fills with `fps` tokens a second and each picture takes one. A new picture may go with half a token, so that
    it need not wait for a clock tick; a repeat needs one and a half, so that it does not get in just before a new one.
    """

    FRESH, REPEAT, FULL = 0.5, 1.5, 2.0

    def __init__(self, fps: float, now: float) -> None:
        self._fps = fps
        self._tokens = self.FULL
        self._time = now

    def change(self, fps: float, now: float) -> None:
        """Another rate, from `now` on."""
        self._fill(now)
        self._fps = fps

    def due(self, now: float, *, fresh: bool) -> bool:
        """Whether to send at `now`: a new picture (`fresh`) or the last one again."""
        self._fill(now)
        return self._tokens >= (self.FRESH if fresh else self.REPEAT) - 1e-9

    def sent(self, now: float) -> None:
        """One picture went out."""
        self._fill(now)
        self._tokens -= 1.0

    def wait_s(self, now: float, *, fresh: bool) -> float:
        """Seconds from `now` until `due`."""
        self._fill(now)
        return max(0.0, ((self.FRESH if fresh else self.REPEAT) - self._tokens) / self._fps)

    def _fill(self, now: float) -> None:
        self._tokens = min(self.FULL, self._tokens + max(0.0, now - self._time) * self._fps)
        self._time = max(now, self._time)


class Backoff:
    """How long to wait before the next try: doubles from `first_s` to `most_s`, forgotten after `calm_s` of success."""

    def __init__(self, first_s: float = 0.25, most_s: float = 30.0, calm_s: float = 30.0) -> None:
        self._first_s, self._most_s, self._calm_s = first_s, most_s, calm_s
        self.failures = 0

    def failed(self, lived_s: float) -> float:
        """Seconds to wait after a failure that followed `lived_s` seconds of good work."""
        if lived_s >= self._calm_s:
            self.failures = 0
        self.failures += 1
        return min(self._most_s, self._first_s * 2.0 ** min(self.failures - 1, MOST_DOUBLINGS))


class Clock:
    """Places presentation times on the wall clock, so that a file plays at its own pace, over and over."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None
        self._gaps: deque[int] = deque(maxlen=64)
        self._last_ns: int | None = None
        self._offset_ns = 0

    def place(self, timestamp_ns: int) -> int:
        """Presentation time without the jump back at the end of a loop, in nanoseconds."""
        placed = timestamp_ns + self._offset_ns
        if self._last_ns is not None and placed > self._last_ns:
            self._gaps.append(placed - self._last_ns)
        self._last_ns = placed
        return placed

    def wait_s(self, placed_ns: int, now: float) -> float:
        """Seconds from `now` until the frame's turn; starts the clock at the first frame. Negative: late."""
        if self._start is None:
            self._start = (now, placed_ns)
        start_s, start_ns = self._start
        return start_s + (placed_ns - start_ns) / 1e9 - now

    def loop(self) -> None:
        """The file starts again: its first frame follows the last one by the usual gap."""
        usual = sorted(self._gaps)[len(self._gaps) // 2] if self._gaps else 33_000_000
        self._offset_ns = (self._last_ns or 0) + usual

    def rested(self) -> None:
        """The file starts again after a while in which nothing was wanted of it: its first frame is due when it comes."""
        self.loop()
        self._start = None
