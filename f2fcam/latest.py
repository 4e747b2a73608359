"""The edge between two stage threads: three rotating buffers, of which the newest filled one wins."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

SLOTS = 3
"""One being filled, one waiting, one being read: the writer never waits and nothing is written while it is read."""


class Closed(Exception):
    """The edge was closed and nothing is left in it."""


class Latest(Generic[T]):
    """A one-item mailbox in which the newest item wins; a live camera must not queue.

    The writer borrows a slot, fills it and puts it; the reader takes it and gives it back. A slot is in one pair of
    hands at a time, so that no picture tears. One writer, one reader.

    Attributes:
        dropped: items that were replaced before anybody read them.
    """

    def __init__(self, slots: Iterable[T]) -> None:
        self._free = list(slots)
        if len(self._free) != SLOTS:
            raise ValueError(f"an edge has {SLOTS} slots, got {len(self._free)}")
        self._waiting: list[T] = []
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def borrow(self) -> T:
        """A slot that nobody reads, to be filled and `put`. Never waits."""
        with self._changed:
            return self._free.pop()

    def put(self, slot: T) -> None:
        """Publish `slot`, replacing any that nobody has read."""
        with self._changed:
            self.dropped += len(self._waiting)
            self._free += self._waiting
            self._waiting = [slot]
            self._changed.notify_all()

    def hand_over(self, slot: T) -> None:
        """Publish `slot` once the one before it has been taken: for files, where every frame counts."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._closed)
            if self._closed:
                self._free.append(slot)
                return
            self._waiting = [slot]
            self._changed.notify_all()

    def wait_taken(self) -> None:
        """Wait until nothing is waiting to be taken: what is made sooner would only be dropped."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._closed)

    def take(self, timeout_s: float | None = None) -> T | None:
        """The newest slot, to be given back; waits for one. None after `timeout_s`; `Closed` at the stream's end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
            if self._waiting:
                slot = self._waiting.pop()
                self._changed.notify_all()
                return slot
            if self._closed:
                raise Closed
            return None

    def give_back(self, slot: T) -> None:
        """Return a slot that was taken, or one that was borrowed and never filled."""
        with self._changed:
            self._free.append(slot)

    def close(self) -> None:
        """No more items: the reader gets what is waiting, then `Closed`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
