"""How long work tells how far it is: stages that count. The command line draws bars, tests listen, others stay silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Report = Callable[[int, int], None]
"""Called with what is done and the total; may be called seldom or often."""


class Progress(Protocol):
    """Somebody who wants to know."""

    def stage(self, name: str) -> Report:
        """Begin a stage (the last one is over); `name` is for the user, as in "Tracking the face"."""
        ...

    def note(self, text: str) -> None:
        """A line that stays, such as what was left out and why."""
        ...


class Silent:
    """Nobody wants to know."""

    def stage(self, name: str) -> Report:
        return lambda done, total: None

    def note(self, text: str) -> None:
        pass
