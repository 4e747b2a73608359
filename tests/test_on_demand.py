"""Webcam and engine work while somebody looks: the rule, the camera with a reader who comes and goes, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from f2fcam.on_demand import Attention
from f2fcam.pacing import Clock, Pacer
from tests.test_supervisor import Watcher, ask, new_pictures, play, runtime, until_status

__all__ = ["runtime"]


def test_rests_when_nobody_has_looked_for_a_while():
    attention = Attention(10.0)
    assert attention.look(0, 0.0) and not attention.awake, "nobody has looked yet"
    assert attention.look(1, 5.0) and attention.awake
    assert not attention.look(0, 6.0) and attention.awake, "a program may look again at once"
    assert not attention.look(2, 12.0)
    assert not attention.look(0, 21.9) and attention.awake
    assert attention.look(0, 22.0) and not attention.awake


def test_works_always_where_nobody_can_tell():
    attention = Attention(0.0)
    assert not any(attention.look(None, float(t)) for t in range(100)) and attention.awake


def test_without_patience_it_rests_at_once():
    attention = Attention(0.0)
    attention.look(1, 1.0)
    assert attention.awake
    assert attention.look(0, 1.1) and not attention.awake


def test_pace_changes_without_a_burst_or_a_gap():
    pacer, sent = Pacer(30.0, 0.0), []
    pacer.change(1.0, 0.0)
    for tick in range(1000):
        now = tick / 100
        if tick == 500:
            pacer.change(30.0, now)
        if pacer.due(now, fresh=False):
            pacer.sent(now)
            sent.append(now)
    slow, fast = [t for t in sent if t < 5], [t for t in sent if t >= 5]
    assert 4 <= len(slow) <= 7 and fast[0] <= 5.1 and 145 <= len(fast) <= 152


def test_film_goes_on_in_time_after_a_rest():
    clock = Clock()
    for index in range(10):
        placed = clock.place(index * 40_000_000)
        clock.wait_s(placed, index * 0.04)
    clock.rested()
    placed = clock.place(0)
    assert placed == 10 * 40_000_000, "time never runs backwards"
    assert clock.wait_s(placed, 1000.0) == 0.0, "nothing has to be made up for"


def test_sleeps_until_somebody_looks(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from until_status(lambda status: status["state"] == "asleep")
        assert watcher.caption is None, "a still of the target waits for the first reader"
        still, rested_at = watcher.picture, watcher.times[-1]
        for _ in range(2):
            yield
            assert watcher.picture == still
        assert watcher.times[-1] - rested_at > 1e9, "one picture a second"
        watcher.readers = 1
        while watcher.picture == still:
            yield
        yield from new_pictures(watcher)
        status = yield from ask("status")
        assert status["state"] == "running" and status["readers"] == 1 and not status["always_on"]
        watcher.readers = 0
        yield from until_status(lambda status: status["state"] == "asleep")
        assert (yield from ask("status"))["restarts"] == 0

    code, watcher = play(monkeypatch, plan, readers=0, idle_s=0.2)
    assert code == 0 and watcher.done


def test_always_on_works_without_readers(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher, 40)
        status = yield from ask("status")
        assert status["state"] == "running" and status["always_on"] and status["readers"] == 0

    code, watcher = play(monkeypatch, plan, readers=0, idle_s=0.0, always_on=True)
    assert code == 0 and watcher.done


def test_pause_outlasts_readers_and_a_crash(monkeypatch: pytest.MonkeyPatch):
    import os
    import signal

    def plan(watcher: Watcher) -> Iterator[None]:
        yield from new_pictures(watcher)
        assert (yield from ask("pause"))["state"] == "paused"
        still = watcher.picture
        os.kill((yield from ask("status"))["engine_pid"], signal.SIGKILL)
        yield from until_status(lambda status: status["restarts"] == 1 and status["engine_pid"])
        yield from until_status(lambda status: status.get("faces") == 1)
        watcher.readers = 0
        yield
        watcher.readers = 3
        for _ in range(20):
            yield
            assert watcher.picture == still
        assert (yield from ask("status"))["state"] == "paused"
        assert (yield from ask("resume"))["state"] == "running"
        yield from new_pictures(watcher)

    code, watcher = play(monkeypatch, plan, readers=1, idle_s=0.0)
    assert code == 0 and watcher.done


def test_profile_is_switched_while_it_sleeps(monkeypatch: pytest.MonkeyPatch):
    def plan(watcher: Watcher) -> Iterator[None]:
        yield from until_status(lambda status: status["state"] == "asleep")
        assert (yield from ask("switch", profile="other"))["profile"] == "other"
        yield from until_status(lambda status: status["state"] == "asleep")

    code, watcher = play(monkeypatch, plan, readers=0, idle_s=0.0)
    assert code == 0 and watcher.done
