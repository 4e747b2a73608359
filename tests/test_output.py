"""The supervisor's sink comes back, and neither hangs nor hurries: time is an argument, devices are fakes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from f2fcam import output
from f2fcam.errors import DeviceError
from f2fcam.output import Output

SIZE = (64, 48)


class Device:
    """A camera that takes so many pictures."""

    keeps_time = False
    readers: int | None = None
    device = "fake"

    def __init__(self, size: tuple[int, int] = SIZE, pictures: float = float("inf")) -> None:
        self.size, self._left = size, pictures
        self.closed = False

    def send(self, i420: memoryview, timestamp_ns: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise DeviceError("It is gone.", hint="Plug it in.")

    def close(self) -> None:
        self.closed = True


def made(monkeypatch: pytest.MonkeyPatch, devices: Callable[[], Device]) -> tuple[Output, list[float]]:
    """An output, and when (`clock`) each of its tries to open took place."""
    tries: list[float] = []

    def open_sink(uri: str, size: tuple[int, int], fps: float) -> Device:
        tries.append(clock[0])
        return devices()

    monkeypatch.setattr(output, "open_sink", open_sink)
    clock[0] = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: clock[0])
    return Output("fake", SIZE, 30.0), tries


clock = [0.0]


def run(tested: Output, seconds: float, step_s: float = 0.05) -> int:
    """Send pictures for so long, as the loop does; how many were shown."""
    shown, end = 0, clock[0] + seconds
    while clock[0] < end:
        shown += tested.send(b"", 0, clock[0])
        clock[0] += step_s
    return shown


def test_an_odd_size_is_made_even(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(output, "open_sink", lambda uri, size, fps: asked.append(size) or Device(size))
    assert Output("fake", (65, 49), 30.0).size == (64, 48) == asked[0]


def test_a_lost_device_is_opened_again_soon(monkeypatch: pytest.MonkeyPatch):
    devices = iter([Device(pictures=10), Device()])
    tested, tries = made(monkeypatch, lambda: next(devices))
    shown = run(tested, 2.0)
    assert tested.losses == 1 and [why for _, why in tested.reasons] == ["It is gone."] and tested.device == "fake"
    assert len(tries) == 2 and 0.7 <= tries[1] <= 0.85
    assert shown >= 30


def test_one_that_fails_at_once_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch):
    tested, tries = made(monkeypatch, lambda: Device(pictures=1))
    run(tested, 120.0)
    waits = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert len(tries) < 14
    assert waits[0] < 0.5 and waits == sorted(waits) and waits[-1] > 25.0


def test_after_calm_it_is_tried_soon_again(monkeypatch: pytest.MonkeyPatch):
    long = 40 / 0.05
    devices = iter([Device(pictures=1), Device(pictures=1), Device(pictures=1), Device(pictures=long), Device()])
    tested, tries = made(monkeypatch, lambda: next(devices))
    run(tested, 60.0)
    assert len(tries) == 5 and tries[4] - tries[3] < 40 + 0.5


def test_the_wait_begins_when_an_opening_that_hung_has_ended(monkeypatch: pytest.MonkeyPatch):
    """Else each turn of the loop would hang in it again."""
    hung_s, count = 3.0, 0

    def devices() -> Device:
        nonlocal count
        count += 1
        if count > 1:
            clock[0] += hung_s
            raise DeviceError("It does not answer.", hint="Wait.")
        return Device(pictures=1)

    tested, tries = made(monkeypatch, devices)
    run(tested, 30.0)
    free = [later - sooner - hung_s for sooner, later in itertools.pairwise(tries[1:])]
    assert free and min(free) >= 0.25
    assert free == sorted(free) and tested.device is None and tested.readers == 0


def test_another_size_is_refused(monkeypatch: pytest.MonkeyPatch):
    other = Device((32, 24))
    devices = iter([Device(pictures=1), other, Device()])
    tested, _ = made(monkeypatch, lambda: next(devices))
    run(tested, 2.0)
    assert other.closed and tested.size == SIZE and "another size" in [why for _, why in tested.reasons][-1]
    assert tested.device == "fake"


def test_at_the_end_the_error_is_told(monkeypatch: pytest.MonkeyPatch):
    tested, _ = made(monkeypatch, lambda: Device(pictures=0))
    with pytest.raises(DeviceError, match="gone"):
        tested.send(b"", 0, 0.0, ending=True)
