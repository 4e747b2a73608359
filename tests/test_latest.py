"""The newest item wins, nothing tears, and a file loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from f2fcam.latest import Closed, Latest

WAIT_S = 20.0


def edge() -> Latest[list[int]]:
    return Latest([[0], [0], [0]])


def put(latest: Latest[list[int]], value: int) -> None:
    slot = latest.borrow()
    slot[0] = value
    latest.put(slot)


def until_closed(latest: Latest[list[int]]) -> Iterator[list[int]]:
    """Each item, given back after use."""
    while True:
        try:
            slot = latest.take(WAIT_S)
        except Closed:
            return
        assert slot is not None, "nothing came"
        yield slot
        latest.give_back(slot)


def test_newest_wins_and_the_others_are_counted():
    latest = edge()
    for value in range(5):
        put(latest, value)
    slot = latest.take(0)
    assert slot is not None and slot[0] == 4
    assert latest.dropped == 4
    assert latest.take(0) is None


def test_needs_three_slots():
    with pytest.raises(ValueError):
        Latest([[0], [0]])


def test_closed_edge_gives_what_waits_then_ends():
    latest = edge()
    put(latest, 7)
    latest.close()
    slot = latest.take()
    assert slot == [7]
    with pytest.raises(Closed):
        latest.take()


@given(st.lists(st.sampled_from(["put", "take", "give"]), max_size=60))
def test_a_slot_is_never_in_two_hands(actions: list[str]):
    latest, held, filling = edge(), [], 0
    for action in actions:
        if action == "put":
            slot = latest.borrow()
            assert all(slot is not other for other in held)
            filling += 1
            slot[0] = filling
            latest.put(slot)
        elif action == "take" and not held:
            slot = latest.take(0)
            held += [slot] if slot is not None else []
        elif action == "give" and held:
            latest.give_back(held.pop())


def test_threads_see_whole_items_and_increasing_numbers():
    latest: Latest[list[int]] = Latest([[0] * 64 for _ in range(3)])
    last = 2000

    def write() -> None:
        for number in range(1, last + 1):
            slot = latest.borrow()
            for place in range(64):
                slot[place] = number
            latest.put(slot)
        latest.close()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    for slot in until_closed(latest):
        assert len(set(slot)) == 1
        seen.append(slot[0])
    writer.join(WAIT_S)
    assert seen == sorted(set(seen)) and seen[-1] == last
    assert latest.dropped == last - len(seen)


def test_hand_over_loses_nothing():
    latest = edge()

    def write() -> None:
        for number in range(300):
            slot = latest.borrow()
            slot[0] = number
            latest.hand_over(slot)
        latest.close()

    writer = threading.Thread(target=write)
    writer.start()
    seen = [slot[0] for slot in until_closed(latest)]
    writer.join(WAIT_S)
    assert seen == list(range(300)) and latest.dropped == 0


def test_closing_frees_a_writer_that_waits():
    latest = edge()
    latest.hand_over(latest.borrow())
    writer = threading.Thread(target=lambda: latest.hand_over(latest.borrow()))
    writer.start()
    latest.close()
    writer.join(WAIT_S)
    assert not writer.is_alive()


def test_a_writer_can_wait_until_the_reader_has_taken():
    edge = Latest([[0], [1], [2]])
    edge.wait_taken()
    edge.put(edge.borrow())
    passed = threading.Event()
    waiter = threading.Thread(target=lambda: (edge.wait_taken(), passed.set()))
    waiter.start()
    assert not passed.wait(0.05)
    edge.take()
    waiter.join(5)
    assert passed.is_set()
