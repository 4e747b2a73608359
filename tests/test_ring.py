"""Pictures through shared memory: whole, newest first, whatever happens to the writer."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading

import numpy as np
import pytest

from f2fcam.ring import SLOTS, Ring, RingFiles, i420_bytes

WIDTH, HEIGHT = 32, 18
SIZE = i420_bytes(WIDTH, HEIGHT)
WAIT_S = 20.0


@pytest.fixture
def ring():
    ring = Ring.create(WIDTH, HEIGHT)
    yield ring
    ring.close()


def write(ring: Ring, value: int, captured_ns: int = 0) -> int:
    ring.begin()[:] = bytes([value]) * SIZE
    return ring.publish(captured_ns)


def test_newest_picture_with_its_time(ring: Ring):
    picture = bytearray(SIZE)
    assert ring.newest(picture, 0) is None
    for value in range(1, 6):
        write(ring, value, captured_ns=value * 1000)
    frame = ring.newest(picture, 0)
    assert frame is not None and (frame.number, frame.captured_ns) == (5, 5000)
    assert picture == bytes([5]) * SIZE
    assert ring.newest(picture, frame.number) is None


def test_wakes_the_reader(ring: Ring):
    assert select.select([ring], [], [], 0)[0] == []
    write(ring, 1)
    assert select.select([ring], [], [], 0)[0] == [ring]
    ring.newest(bytearray(SIZE), 0)
    assert select.select([ring], [], [], 0)[0] == []


def test_half_written_picture_is_never_read_and_the_next_writer_goes_on(ring: Ring):
    picture = bytearray(SIZE)
    write(ring, 1)
    ring.begin()[: SIZE // 2] = bytes([99]) * (SIZE // 2)  # killed here
    frame = ring.newest(picture, 0)
    assert frame is not None and picture == bytes([1]) * SIZE
    for value in range(2, 2 + 2 * SLOTS):
        number = write(ring, value)
        frame = ring.newest(picture, frame.number)
        assert frame is not None and frame.number == number and picture == bytes([value]) * SIZE


def test_odd_sides_are_refused():
    with pytest.raises(ValueError):
        Ring.create(33, 18)


def test_foreign_memory_is_refused(tmp_path):
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.truncate(file, 8192)
    with pytest.raises(ValueError):
        Ring(RingFiles(file, 0, 0, 0, 0))
    os.close(file)


def test_pictures_written_by_another_process_never_tear(ring: Ring):
    count = 400
    files = ring.files.as_tuple()
    code = (
        "import sys; from f2fcam.ring import *; "
        f"r = Ring(RingFiles(*{files!r}))\n"
        f"for n in range({count}): r.begin()[:] = bytes([n % 251]) * {SIZE}; r.publish(n)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], pass_fds=files)
    picture, last, seen = bytearray(SIZE), 0, 0
    while last < count:
        assert select.select([ring], [], [], WAIT_S)[0], "the writer is gone"
        frame = ring.newest(picture, last)
        if frame is None:
            continue
        assert frame.number > last
        assert picture == bytes([(frame.number - 1) % 251]) * SIZE
        assert frame.captured_ns == frame.number - 1
        last, seen = frame.number, seen + 1
    assert writer.wait(WAIT_S) == 0 and seen > 0


def test_every_frame_arrives_where_the_writer_waits(ring: Ring):
    def write_all() -> None:
        for value in range(50):
            assert ring.wait_consumed(write(ring, value), WAIT_S)

    writer = threading.Thread(target=write_all)
    writer.start()
    picture, seen = bytearray(SIZE), []
    while len(seen) < 50:
        assert select.select([ring], [], [], WAIT_S)[0]
        frame = ring.newest(picture, seen[-1] + 1 if seen else 0)
        if frame is not None:
            seen.append(picture[0])
            assert frame.number == len(seen)
            ring.consumed(frame.number)
    writer.join(WAIT_S)
    assert seen == list(range(50))


def test_wait_ends_without_a_reader(ring: Ring):
    assert not ring.wait_consumed(write(ring, 1), timeout_s=0.0)


def test_memory_is_shared_not_copied(ring: Ring):
    other = Ring(RingFiles(*(os.dup(descriptor) for descriptor in ring.files.as_tuple())))
    np.frombuffer(other.begin(), np.uint8)[:] = 200
    other.publish(1)
    picture = bytearray(SIZE)
    assert ring.newest(picture, 0) is not None and set(picture) == {200}
    other.close()
