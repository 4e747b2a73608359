"""A sink that shows nothing: for measuring, and the tests' stand-in for a camera."""

from __future__ import annotations


class NullSink:
    """Takes pictures of one size and forgets them."""

    device = "null"
    keeps_time = False
    readers: int | None = None

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Nothing to show."""

    def close(self) -> None:
        """Nothing to finish."""


def open_null(where: str, size: tuple[int, int], fps: float) -> NullSink:
    """Another one."""
    return NullSink(size)
