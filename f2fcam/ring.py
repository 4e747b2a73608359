"""Pictures from one process to another: three I420 slots in shared memory, no copy waits for a lock (`DECISIONS` 16).

The memory is a file that has no name, inherited by its descriptor: it lives exactly as long as a process that uses it.
Layout, in 64-bit words::

    0 magic   1 width   2 height   3 published: number of the newest frame   4 consumed: number of the last frame used
    8 + 8k .. slot k: sequence (odd while written), frame number, capture time in ns

Frame n lies in slot n % 3 and its pixels are overwritten by frame n + 3 only, so that a reader has two frames' time to
copy; should it be slower than that, the sequence number tells it and it takes the newer one. A writer that is killed in the
middle of a frame leaves an odd sequence number behind, which nobody reads. Two pipes wake the other side.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import tempfile
import time
from dataclasses import dataclass

from f2fcam.errors import F2FError

SLOTS = 3
MAGIC = 0x6632_6663_616D_3031
PAGE = 4096
_PUBLISHED, _CONSUMED = 3, 4
_SEQUENCE, _NUMBER, _CAPTURED = 0, 1, 2


def i420_bytes(width: int, height: int) -> int:
    """Bytes of one I420 picture; both sides are even."""
    return width * height * 3 // 2


@dataclass(frozen=True, slots=True)
class RingFiles:
    """Descriptors of a ring, for a child's `pass_fds`: memory, then both pipes' ends."""

    memory: int
    published_read: int
    published_write: int
    consumed_read: int
    consumed_write: int

    def as_tuple(self) -> tuple[int, ...]:
        """In the order of the constructor."""
        return (self.memory, self.published_read, self.published_write, self.consumed_read, self.consumed_write)


@dataclass(frozen=True, slots=True)
class RingFrame:
    """What the reader learns about a picture it has copied."""

    number: int
    captured_ns: int


class Ring:
    """The mapping that writer and reader share. One writer process and one reader process at a time."""

    def __init__(self, files: RingFiles) -> None:
        self.files = files
        self._map = mmap.mmap(files.memory, os.fstat(files.memory).st_size)
        self._view = memoryview(self._map)
        self._words = self._view[:PAGE].cast("Q")
        if self._words[0] != MAGIC:
            raise ValueError("not a frame ring")
        self.width, self.height = int(self._words[1]), int(self._words[2])
        size = i420_bytes(self.width, self.height)
        stride = -(-size // PAGE) * PAGE
        self._slots = [self._view[PAGE + k * stride : PAGE + k * stride + size] for k in range(SLOTS)]
        self._writing = 0

    @staticmethod
    def create(width: int, height: int) -> Ring:
        """A new ring for pictures of an even `width` x `height`; `F2FError` where the system has no room for it."""
        if width % 2 or height % 2 or width <= 0 or height <= 0:
            raise ValueError(f"I420 needs even sides, got {width}x{height}")
        stride = -(-i420_bytes(width, height) // PAGE) * PAGE
        files: list[int] = []
        try:
            files.append(anonymous_file(PAGE + SLOTS * stride))
            with mmap.mmap(files[0], PAGE) as head:
                words = memoryview(head).cast("Q")
                words[0], words[1], words[2] = MAGIC, width, height
                words.release()
            for _pipe in range(2):
                files += os.pipe()
            for end in files[1:]:
                os.set_blocking(end, False)
            return Ring(RingFiles(*files))
        except OSError as error:
            for descriptor in files:
                os.close(descriptor)
            raise F2FError(
                f"There is no memory for pictures of {width}x{height}: {error.strerror}.", hint="Close other programs."
            ) from error

    def begin(self) -> memoryview:
        """The pixels of the next slot (Y, U, V planes), to be filled before `publish`."""
        number = int(self._words[_PUBLISHED]) + 1
        base = 8 + 8 * (number % SLOTS)
        self._words[base + _SEQUENCE] = self._words[base + _SEQUENCE] | 1
        self._words[base + _NUMBER] = number
        self._writing = number
        return self._slots[number % SLOTS]

    def publish(self, captured_ns: int) -> int:
        """Make the slot of the last `begin` the newest picture; wakes the reader. Returns its number."""
        number = self._writing
        base = 8 + 8 * (number % SLOTS)
        self._words[base + _CAPTURED] = captured_ns
        self._words[base + _SEQUENCE] = self._words[base + _SEQUENCE] + 1
        self._words[_PUBLISHED] = number
        _wake(self.files.published_write)
        return number

    def wait_consumed(self, number: int, timeout_s: float) -> bool:
        """Wait until the reader has used frame `number`; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self._words[_CONSUMED] < number:  # an earlier frame's wake-up may still be in the pipe
            ready, _, _ = select.select([self.files.consumed_read], [], [], max(0.0, deadline - time.monotonic()))
            _drain(self.files.consumed_read)
            if not ready:
                return bool(self._words[_CONSUMED] >= number)
        return True

    def fileno(self) -> int:
        """Readable when a picture was published: for `select`."""
        return self.files.published_read

    def newest(self, into: bytearray | memoryview, after: int) -> RingFrame | None:
        """Copy the newest picture into `into` if its number is above `after`; None otherwise."""
        _drain(self.files.published_read)
        for _attempt in range(8):
            number = int(self._words[_PUBLISHED])
            if number <= after:
                return None
            base = 8 + 8 * (number % SLOTS)
            sequence = self._words[base + _SEQUENCE]
            captured_ns = int(self._words[base + _CAPTURED])
            into[:] = self._slots[number % SLOTS]
            if not sequence & 1 and self._words[base + _SEQUENCE] == sequence and self._words[base + _NUMBER] == number:
                return RingFrame(number, captured_ns)
        return None

    def consumed(self, number: int) -> None:
        """Tell a writer that waits for every frame that `number` was used."""
        self._words[_CONSUMED] = number
        _wake(self.files.consumed_write)

    def close(self) -> None:
        """Unmap and close the descriptors; the memory goes when the last process closes it."""
        for slot in self._slots:
            slot.release()
        self._words.release()
        self._view.release()
        self._map.close()
        for descriptor in self.files.as_tuple():
            with contextlib.suppress(OSError):
                os.close(descriptor)


def anonymous_file(size: int) -> int:
    """Descriptor of memory without a name, for children to inherit."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("f2fcam", os.MFD_CLOEXEC)
    else:  # macOS
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.truncate(memory, size)
    return memory


def _wake(pipe: int) -> None:
    with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full: the other side is awake already
        os.write(pipe, b"\0")


def _drain(pipe: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while len(os.read(pipe, PAGE)) == PAGE:
            pass
