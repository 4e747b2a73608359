"""A sink that shows nothing and counts: for measuring, and the tests' stand-in for a camera."""

from __future__ import annotations


class NullSink:
    """Counts pictures."""

    device = "null"
    keeps_time = False
    readers: int | None = None

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.frames = 0
        self.closed = False

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Count one picture."""
        self.frames += 1

    def close(self) -> None:
        """Nothing to finish."""
        self.closed = True


def open_null(where: str, size: tuple[int, int], fps: float) -> NullSink:
    """A new counter."""
    return NullSink(size)
