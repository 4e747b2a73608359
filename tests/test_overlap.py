"""Work in threads: order, errors, and nothing left behind."""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import count

import pytest

from f2fcam.errors import InputError
from f2fcam.overlap import in_order, read_ahead, with_own, workers


def broken(items, error: Exception):
    yield from items
    raise error


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("read-ahead", "in-order"))]


@pytest.mark.parametrize("depth", [1, 4])
def test_what_is_read_ahead_comes_in_order(depth: int):
    assert list(read_ahead(range(50), depth)) == list(range(50))
    assert not alive()


def test_reading_stays_within_its_depth():
    taken = []
    with closing(read_ahead((taken.append(k) or k for k in count()), depth=3)) as items:
        assert next(items) == 0
    assert len(taken) <= 3 + 3  # in the queue, one in each hand, and what was taken on the way out
    assert not alive()


def test_a_readers_error_comes_after_what_it_read():
    found = []
    with pytest.raises(InputError, match="torn") as raised:
        for item in read_ahead(broken(range(3), InputError("torn", hint="Mend it."))):
            found.append(item)
    assert found == [0, 1, 2] and raised.value.hint == "Mend it."
    assert not alive()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [0, 3])
def test_results_come_in_order_whoever_is_first(threads: int, ahead: int):
    released = threading.Event()

    def work(item: int) -> int:
        if item == 0 and threads > 1:
            released.wait(10)  # the first item is the last one done
        else:
            released.set()
        return item * item

    assert list(in_order(work, range(20), threads, ahead)) == [k * k for k in range(20)]
    assert not alive()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_workers_error_arrives_as_it_is_and_ends_the_work(threads: int):
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 4:
            raise InputError("The face went away.", hint="Come back.")
        return item

    found = []
    with pytest.raises(InputError, match="went away") as raised:
        for item in in_order(work, range(1000), threads):
            found.append(item)
    assert found == [0, 1, 2, 3] and raised.value.hint == "Come back."
    assert len(begun) < 20
    assert not alive()


@pytest.mark.parametrize("threads", [1, 3])
def test_work_that_nobody_waits_for_ends(threads: int):
    with closing(in_order(lambda k: k, count(), threads, ahead=4)) as found:
        assert [next(found) for _ in range(5)] == list(range(5))
    assert not alive()


def test_nobody_shares_what_is_their_own():
    held: set[int] = set()
    lock = threading.Lock()

    def work(item: int, own: list[int]) -> int:
        with lock:
            assert id(own) not in held
            held.add(id(own))
        own.append(item)
        with lock:
            held.discard(id(own))
        return item

    buffers: list[list[int]] = [[], [], []]
    assert list(in_order(with_own(work, buffers), range(200), 3, ahead=3)) == list(range(200))
    assert sorted(item for buffer in buffers for item in buffer) == list(range(200))


def test_there_is_always_a_worker():
    assert workers() >= 1
