"""`f2fcam selftest`: a test card goes out by the camera and is read back through the device, as another program sees it.

Each picture carries the time at which it was made (`publish.barcode`), so that what comes back says how old it is and which
ones are missing. No profile and no webcam are needed.
"""

from __future__ import annotations

import contextlib
import select
import statistics
import threading
import time
from dataclasses import dataclass

from f2fcam.control import ControlServer
from f2fcam.errors import DeviceError, F2FError
from f2fcam.metrics import percentile
from f2fcam.publish import AttendedSink, FrameSink, open_sink
from f2fcam.publish.barcode import TIME_BITS, code_of, read_barcode, stamp_barcode
from f2fcam.readback import QUIET_S, Reader, open_reader
from f2fcam.trust.badge import stamp_i420

LOST_SHARE = 0.02
"""A reader that misses more of the pictures than this sees it stutter."""
RATE_SHARE = 0.9
SETTLE_S = 0.5
"""From the first picture until a camera is known to the system."""
BARS = (235, 200, 165, 130, 95, 60)


@dataclass(frozen=True, slots=True)
class Findings:
    """What came back.

    Attributes:
        device: where the card went. read_by: who looked.
        sent, received, lost: pictures, from the first that came back to the last.
        damaged: pictures whose time code could not be read.
        fps: pictures that came back a second. latency_ms: median from being made until read, and what 95 % stay within; None
            where none of ours came back.
        faults: what is not as it should be; nothing where all is well.
    """

    device: str
    read_by: str
    sent: int
    received: int
    lost: int
    damaged: int
    fps: float
    latency_ms: tuple[float, float] | None
    faults: tuple[str, ...]


class Audience:
    """Reads the camera in a thread and notes what it saw when."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.seen: list[tuple[int | None, float]] = []
        self.error: F2FError | None = None
        self._thread = threading.Thread(target=self._look, name="reader", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            for picture in self.reader.pictures():
                code = read_barcode(picture.luma, *picture.size)
                self.seen.append((code if code == code_of(code >> 4) else None, time.time() * 1000))
        except (F2FError, OSError, ValueError) as error:
            told = isinstance(error, F2FError)
            self.error = error if told else DeviceError(f"Reading back failed: {error}.", hint="Run `f2fcam doctor`.")

    def leave(self) -> None:
        """Look away."""
        self.reader.close()
        self._thread.join(QUIET_S)


def run_selftest(sink_uri: str, size: tuple[int, int], fps: float, seconds: float) -> Findings:
    """Publish the card for `seconds` after it was first seen. `DeviceError` where it cannot be published or read back."""
    with contextlib.closing(ControlServer()):  # a running camera has the device
        sink = open_sink(sink_uri, size, fps)
        try:
            return _tested(sink, fps, seconds)
        finally:
            sink.close()


def _tested(sink: FrameSink, fps: float, seconds: float) -> Findings:
    card, sent = bytearray(card_i420(*sink.size)), []
    _publish(sink, card, fps, sent, time.monotonic() + SETTLE_S)
    reader = open_reader(sink.device, sink.size, fps)
    if reader is None:
        raise DeviceError(
            f"{sink.device} took {len(sent)} pictures; nobody can read them back.",
            hint="Try --sink v4l2, pipewire or preview.",
        )
    audience = Audience(reader)
    try:
        deadline = time.monotonic() + QUIET_S
        while not audience.seen and audience.error is None and time.monotonic() < deadline:
            _publish(sink, card, fps, sent, time.monotonic() + 0.1)
        if audience.seen:
            audience.seen.clear()  # the first pictures waited for the reader to get ready
            _publish(sink, card, fps, sent, time.monotonic() + seconds)
    finally:
        audience.leave()
    if audience.error is not None:
        raise audience.error
    if not audience.seen:
        raise DeviceError(
            f"{sink.device} gives no pictures to {reader.name}.", hint="Run `f2fcam doctor`, and close other readers."
        )
    return findings(sink.device, reader.name, sent, audience.seen, fps)


def _publish(sink: FrameSink, card: bytearray, fps: float, sent: list[int], until: float) -> None:
    """Send the card at its pace."""
    due = time.monotonic()
    while due < until:
        while (wait := due - time.monotonic()) > 0:
            attended = [sink] if isinstance(sink, AttendedSink) else []
            if select.select(attended, [], [], wait)[0] and isinstance(sink, AttendedSink):
                sink.attend()
        now_ms = time.time_ns() // 1_000_000
        stamp_barcode(card, *sink.size, now_ms)
        sink.send(memoryview(card), time.monotonic_ns())
        sent.append(code_of(now_ms))
        due += 1 / fps


def findings(device: str, read_by: str, sent: list[int], seen: list[tuple[int | None, float]], fps: float) -> Findings:
    """Compare what came back with what was sent; `sent` in order, all within a minute."""
    places = {code: place for place, code in enumerate(sent)}
    good = [(code, when) for code, when in seen if code in places]
    received = {code for code, _ in good}
    ages = [(when - (code >> 4)) % (1 << TIME_BITS) for code, when in good if code is not None]
    at = [places[code] for code in received if code is not None]
    between = max(at) - min(at) + 1 if at else 0
    lasted = (seen[-1][1] - seen[0][1]) / 1000
    rate = (len(seen) - 1) / lasted if lasted > 0 else 0.0
    damaged = sum(code is None for code, _ in seen)
    lost = between - len(received)
    faults = [
        *([f"{damaged} of {len(seen)} pictures came back damaged"] if damaged else []),
        *([f"{lost} of {between} pictures did not come back"] if lost > LOST_SHARE * between else []),
        *([f"{rate:.1f} pictures a second came back instead of {fps:g}"] if rate < RATE_SHARE * fps else []),
        *([] if good else ["none of the pictures that came back was ours"]),
    ]
    latency_ms = (round(statistics.median(ages), 1), round(percentile(ages, 0.95), 1)) if ages else None
    return Findings(
        device, read_by, between, len(received), lost, damaged, round(rate, 2), latency_ms,
        tuple(faults),
    )  # fmt: skip


def card_i420(width: int, height: int) -> bytes:
    """Grey bars from light to dark, with the badge, as I420."""
    row = bytes(BARS[x * len(BARS) // width] for x in range(width))
    picture = bytearray(row * height + bytes([128]) * (width * height // 2))
    stamp_i420(picture, width, height)
    return bytes(picture)
