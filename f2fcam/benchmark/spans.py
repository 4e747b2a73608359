"""Times, or allocations, of functions of other modules, taken by replacing them for a while."""

from __future__ import annotations

import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Spans:
    """Milliseconds per name since the last `clear`, and the last arguments of each call."""

    unit = "ms"

    def __init__(self) -> None:
        self.values: dict[str, float] = defaultdict(float)
        self.arguments: dict[str, tuple[tuple, dict[str, Any]]] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, adding to `values[name]`."""

        def measured(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            answer = function(*arguments, **named)
            self.values[name] += (time.perf_counter() - start) * 1e3
            self.arguments[name] = arguments, named
            return answer

        return measured

    def clear(self) -> None:
        """Begin a picture."""
        self.values.clear()

    @contextmanager
    def replacing(self, *places: tuple[Any, str, str]) -> Iterator[None]:
        """Measure `place.attribute` as `name` inside the block."""
        kept = [(place, attribute, getattr(place, attribute)) for place, attribute, _ in places]
        for (place, attribute, name), (_, _, function) in zip(places, kept, strict=True):
            setattr(place, attribute, self.timed(name, function))
        try:
            yield
        finally:
            for place, attribute, function in kept:
                setattr(place, attribute, function)


class Allocations(Spans):
    """Kilobytes per name: the most that was held at once beyond what there was before; of the outermost names only.

    Python's and numpy's own memory, which is what the interpreter traces; not OpenCV's, FFmpeg's or MediaPipe's.
    """

    unit = "kB"

    def __init__(self) -> None:
        super().__init__()
        self.kept_kb: dict[str, float] = defaultdict(float)
        self._inside = False

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, taking the largest of its calls to `values[name]`, and what stays of them to `kept_kb`."""

        def measured(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return function(*arguments, **named)
            self._inside = True
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                return function(*arguments, **named)
            finally:
                after, peak = tracemalloc.get_traced_memory()
                self.values[name] = max(self.values[name], (peak - before) / 1024)
                self.kept_kb[name] += (after - before) / 1024
                self._inside = False

        return measured

    def clear(self) -> None:
        """Begin a picture."""
        super().clear()
        self.kept_kb.clear()
