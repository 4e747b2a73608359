"""Work that overlaps in threads, its results in order: the same whatever the number of threads and however they are timed.

Decoders, encoders, the detector and our kernels let the interpreter go, so that threads fill the cores; they share the model,
start at once, and after an error or Ctrl-C no more begins.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
Own = TypeVar("Own")

MOST_WORKERS = 4
"""More would wait for the interpreter; memory grows with them."""


def workers() -> int:
    """How many threads of work this process may keep busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST_WORKERS))


def read_ahead(items: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """The items, made in a thread of their own, at most `depth` before they are wanted. Closing it ends the thread."""
    found: queue.Queue[tuple[str, object]] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in items:
                found.put(("item", item))
                if stop.is_set():
                    return
            found.put(("end", None))
        except BaseException as error:  # handed on
            found.put(("error", error))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = found.get()
            if kind == "end":
                return
            if isinstance(item, BaseException) and kind == "error":
                raise item
            yield item  # pyright: ignore[reportReturnType]
    finally:
        stop.set()
        while thread.is_alive():
            while not found.empty():
                found.get_nowait()
            thread.join(0.02)


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = 0) -> Generator[R, None, None]:
    """`function` of each item, in the items' order; `ahead` more items than there are threads are taken before they are wanted.

    An item's error is raised when its turn comes; items behind it that have not begun never begin. One thread is the caller's.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="in-order") as pool:
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) >= threads + ahead:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def with_own(function: Callable[[T, Own], R], owned: Sequence[Own]) -> Callable[[T], R]:
    """`function` of an item and of one of `owned`, such as buffers, that no other thread uses meanwhile: one for each thread."""
    idle = list(owned)

    def call(item: T) -> R:
        mine = idle.pop()
        try:
            return function(item, mine)
        finally:
            idle.append(mine)

    return call
