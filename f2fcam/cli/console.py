"""What the commands print: answers on stdout, errors and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def complain(message: str, hint: str) -> None:
    err.print(f"Error: {message}", markup=False)
    err.print(f"Hint: {hint}", markup=False)


def answer(facts: dict[str, Any], as_json: bool, message: str) -> None:
    if as_json:
        print_json(facts)
    else:
        out.print(message, markup=False)


def print_json(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts, ensure_ascii=False, default=str) + "\n")


def fields(value: Any) -> dict[str, Any]:
    """A result's values, whether it is a dictionary or a dataclass."""
    if isinstance(value, dict):
        return value
    import dataclasses

    return dataclasses.asdict(value)


class _Bars:
    """A bar per stage, on stderr; none before the first stage."""

    def __init__(self, bars: Any) -> None:
        self._bars, self._task = bars, None

    def stage(self, name: str) -> Callable[[int, int], None]:
        self._bars.start()
        self.finish()
        task = self._task = self._bars.add_task(name, total=None)

        def report(done: int, total: int) -> None:
            self._bars.update(task, completed=done, total=total or None)

        return report

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False)

    def finish(self) -> None:
        """The stage is over."""
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, completed=total, total=total)

    def forget(self) -> None:
        """The stage failed; where nothing of it was done, the error alone says so."""
        if self._task is not None and not self._bars.tasks[self._task].completed:
            self._bars.update(self._task, visible=False)


@contextmanager
def progress_bars(quiet: bool = False) -> Iterator[Any]:
    """Somebody who draws the work's progress, or nobody."""
    from f2fcam.progress import Silent

    if quiet:
        yield Silent()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=err)
    drawn = _Bars(bars)
    try:
        yield drawn
        drawn.finish()
    except BaseException:
        drawn.forget()
        raise
    finally:
        if any(task.visible for task in bars.tasks):
            bars.stop()
        else:
            bars.live.stop()
