"""The process that makes pictures: stage threads with newest-wins edges between them, writing into the supervisor's ring.

    capture -> Latest -> track -> Latest -> retouch -> Latest -> render -> Latest -> publish

Each thread works on one frame at a time, and begins it when the next stage has taken the last one: a slow stage costs frames at
the source, no work that is thrown away and never a queue. A device or a file that fails ends the process with its reason as a
message; a stage that hangs shows in the reports, and the supervisor ends us.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import UInt8

from f2fcam.capture import FrameSource
from f2fcam.channel import Channel, Message, die_with_parent, from_parent
from f2fcam.control import error_message
from f2fcam.deadline import FULL, PINNED, Deadline, Levels, Quality
from f2fcam.errors import F2FError, InputError
from f2fcam.frame import Frame, Undeveloped, i420_from_rgb
from f2fcam.latest import SLOTS, Closed, Latest
from f2fcam.memory import give_back
from f2fcam.metrics import Rate, Stages
from f2fcam.pacing import Clock
from f2fcam.ring import Ring, RingFiles

log = logging.getLogger(__name__)

STAGES = ("capture", "track", "retouch", "render", "publish")
REPORT_EVERY_S = 0.5
TIDIED_EVERY_S = 60.0
"""Pictures take memory of ever other sizes: what lies between them would add up to megabytes within half an hour."""
OLDEST_CAPTURE_NS = 5_000_000_000
"""A driver's capture time farther away than this is not on our clock."""
CUT_OFF = 0.02
"""Share of a picture that may be lost to fill the camera's."""
BY_AREA = 0.75
"""A picture shrunk to less is averaged by area; from there on two pixels each way do as well, in an eighth of the time."""
CHECK_EVERY_S = 60.0
"""How often the target's consent is looked at: it ends with a day, and a camera may run for weeks."""
STOP_WITHIN_S = 4.0
"""A stage that does not end by then is left behind: the process exits."""


class Output(Protocol):
    """A finished picture: never the actor's own. `timings` are milliseconds of parts of the stages.

    Its pixels are the pipeline's, until the next `render`.
    """

    @property
    def rgb(self) -> UInt8[np.ndarray, "h w 3"]: ...

    @property
    def status(self) -> str: ...

    @property
    def source_index(self) -> int: ...

    @property
    def timings(self) -> dict[str, float]: ...


class Pipeline(Protocol):
    """Reenactment in three stages, each called from one thread only, at the quality that `track` was told.

    What `track` and `retouch` return is its own: neither the frame's pixels (reused for later frames) nor buffers that the
    next call writes to. `report` is what `status` shows (`faces`, `neutral`, ...), from any thread.
    """

    @property
    def levels(self) -> Levels:
        """What the qualities mean that it is made for."""
        ...

    def room(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """Where the pixels of the next `track` are best put; until it returns."""
        ...

    def track(self, frame: Frame, quality: Quality = FULL) -> Any:
        """The actor's performance in `frame`, which knows its quality."""
        ...

    def retouch(self, tracked: Any) -> Any:
        """The target's frame for that performance, its mouth and eyes."""
        ...

    def render(self, retouched: Any) -> Output:
        """The picture of it."""
        ...

    def recalibrate(self) -> None:
        """Take the actor's neutral face anew; called between two `track`."""
        ...

    def check(self) -> None:
        """Raise `ProfileError` once the target may not be acted any more; from any thread."""
        ...

    def report(self) -> dict[str, Any]:
        """Small values for `status`."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """What the supervisor asks for; beside the ring.

    Attributes:
        profiles: folder of profiles, or None for the usual places.
        every_frame: drop nothing and keep no pace: for files.
        loop: play a file over and over.
        quality: `auto` spends on a picture what its time allows (`f2fcam.deadline`), `full` always everything; so does
            `every_frame`.
    """

    profile: str
    source: str
    size: tuple[int, int]
    fps: float
    profiles: str | None = None
    every_frame: bool = False
    loop: bool = True
    quality: str = "auto"

    @property
    def adapts(self) -> bool:
        """Whether the quality gives way to the pace."""
        return self.quality == "auto" and not self.every_frame


@dataclass(slots=True)
class FrameSlot:
    """A place on the edge from capture to track."""

    picture: Undeveloped | None = None
    timestamp_ns: int = 0
    captured_ns: int = 0
    quality: Quality = FULL

    def fill(self, picture: Undeveloped, timestamp_ns: int, captured_ns: int) -> None:
        """Keep a picture, which holds its own memory."""
        self.picture, self.timestamp_ns, self.captured_ns = picture, timestamp_ns, captured_ns


@dataclass(slots=True)
class ValueSlot:
    """A place on the edges from track to retouch and on to render."""

    value: Any = None
    captured_ns: int = 0
    quality: Quality = FULL

    def fill(self, value: Any, captured_ns: int) -> None:
        """Keep what a stage returned, which is its own."""
        self.value, self.captured_ns = value, captured_ns


@dataclass(slots=True)
class Picture:
    """A buffer of the edge from render to publish: a finished picture of one source frame."""

    rgb: UInt8[np.ndarray, "h w 3"] = field(default_factory=lambda: np.empty((0, 0, 3), np.uint8))
    status: str = ""
    source_index: int = 0
    captured_ns: int = 0
    quality: Quality = FULL

    def fill(self, output: Output, captured_ns: int) -> None:
        """Copy an output: the pipeline makes the next one in the same memory."""
        if self.rgb.shape != output.rgb.shape:
            self.rgb = np.empty_like(output.rgb)
        np.copyto(self.rgb, output.rgb)
        self.status, self.source_index, self.captured_ns = output.status, output.source_index, captured_ns


class Waking:
    """How long after the source's first frame a picture of it was out, when the source was last opened anew to go on.

    Attributes:
        took_ms: that; None before it has happened.
    """

    def __init__(self) -> None:
        self.took_ms: float | None = None
        self._opened_ns, self._first_ns = 0, None

    def begin(self) -> None:
        """The source is about to be opened."""
        self._first_ns, self._opened_ns = None, time.monotonic_ns()

    def frame_came(self) -> None:
        """A frame was grabbed; only the first one counts."""
        if self._opened_ns and self._first_ns is None:
            self._first_ns = time.monotonic_ns()

    def picture_out(self, captured_ns: int) -> None:
        """A picture was published, of a frame of that time."""
        if self._first_ns is not None and captured_ns >= self._opened_ns > 0:
            self.took_ms = round((time.monotonic_ns() - self._first_ns) / 1e6, 1)
            self._opened_ns = 0


class Engine:
    """The five stage threads over one source and one pipeline.

    `publish` takes each finished picture, which is valid until it returns. `deadline` chooses each picture's quality; without
    one all are at full. `clock` times the stages, in seconds.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        pipeline: Pipeline,
        publish: Callable[[Picture], None],
        *,
        every_frame: bool = False,
        loop: bool = True,
        stopped: threading.Event | None = None,
        deadline: Deadline | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deadline, self._clock = deadline, clock
        self._open_source, self._pipeline, self._give_out = open_source, pipeline, publish
        self._every_frame, self._loop = every_frame, loop
        self._frames = Latest(FrameSlot() for _ in range(SLOTS))
        self._tracked = Latest(ValueSlot() for _ in range(SLOTS))
        self._retouched = Latest(ValueSlot() for _ in range(SLOTS))
        self._finished = Latest(Picture() for _ in range(SLOTS))
        self._edges: list[Latest[Any]] = [self._frames, self._tracked, self._retouched, self._finished]
        self._stopped = stopped or threading.Event()
        self._running, self._recalibrate = threading.Event(), threading.Event()
        self._running.set()
        self._stages = Stages(STAGES)
        self._rate = Rate()
        self._waking = Waking()
        self._status = "starting"
        self._error: BaseException | None = None

    def run(self) -> None:
        """Work until `stop`, the source's end, or an error, which is raised."""
        loops = (self._capture, self._track, self._retouch, self._render, self._publish)
        threads = [threading.Thread(target=self._guard, args=(f,), name=f.__name__[1:], daemon=True) for f in loops]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self._stopped.is_set():
            threads[-1].join(0.2)
        deadline = time.monotonic() + STOP_WITHIN_S
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the threads after their current frame."""
        self._stopped.set()
        self._running.set()
        for edge in self._edges:
            edge.close()

    def pause(self) -> None:
        """Let go of the source until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._running.set()

    def recalibrate(self) -> None:
        """Take the actor's neutral face anew, from the next frame on."""
        self._recalibrate.set()

    def report(self) -> dict[str, Any]:
        """Rates, times and what the pipeline says.

        `busy` is the stage that has been at one frame for longest; `woke_ms` how long after the source's first frame, when it
        was last opened for a `resume`, a picture of it was out.
        """
        stage, seconds = self._stages.busy()
        return {
            "fps": self._rate.per_second(time.monotonic()),
            "stages_ms": self._stages.summary(),
            "drops": {stage: edge.dropped for stage, edge in zip(STAGES, self._edges, strict=False)},
            "busy": {"stage": stage, "seconds": round(seconds, 2)},
            "woke_ms": self._waking.took_ms,
            "tracking": self._status,
            "quality": PINNED if self._deadline is None else self._deadline.report(),
            **self._pipeline.report(),
        }

    def _guard(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Closed:
            pass
        except BaseException as error:
            self._error = self._error or error
            self.stop()

    def _capture(self) -> None:
        source, clock, frames = self._opened(), Clock(), 0
        check_at = time.monotonic()
        try:
            while not self._stopped.is_set():
                if not self._running.is_set():
                    self._closed(source)
                    self._rest()
                    if self._stopped.is_set():  # a webcam would light up once more
                        return
                    self._waking.begin()
                    source, frames = self._opened(), 0
                    clock.rested()
                    continue
                if time.monotonic() >= check_at:
                    self._pipeline.check()
                    check_at = time.monotonic() + CHECK_EVERY_S
                with self._stages.timed("capture"):
                    picture = source.grab()
                if picture is not None:
                    frames += 1
                    self._waking.frame_came()
                    self._pass_on(picture, clock, live=source.info.live)
                elif self._loop and frames:
                    self._closed(source)
                    source, frames = self._opened(), 0
                    clock.loop()
                elif frames:
                    return
                else:
                    raise InputError("The source has no picture.", hint="Choose another --source.")
        finally:
            self._closed(source)
            self._frames.close()

    def _opened(self) -> FrameSource:
        """The source; a driver that hangs meanwhile, as some do after a suspend, shows in `busy`."""
        with self._stages.timed("capture"):
            return self._open_source()

    def _closed(self, source: FrameSource) -> None:
        with self._stages.timed("capture"):
            source.close()

    def _rest(self) -> None:
        """Until `resume` or `stop`; what is still shown has to be allowed meanwhile."""
        while not self._running.wait(CHECK_EVERY_S):
            self._pipeline.check()
        self._pipeline.check()

    def _pass_on(self, picture: Undeveloped, clock: Clock, *, live: bool) -> None:
        """Hand a picture to the tracker, at its time."""
        timestamp_ns = picture.timestamp_ns if live else clock.place(picture.timestamp_ns)
        if not live and not self._every_frame:
            wait_s = clock.wait_s(timestamp_ns, time.monotonic())
            if wait_s > 0 and self._stopped.wait(wait_s):
                return
        if self._deadline is not None:
            self._deadline.arrived(timestamp_ns)
        now_ns = time.monotonic_ns()
        by_driver = live and 0 <= now_ns - picture.timestamp_ns < OLDEST_CAPTURE_NS
        slot = self._frames.borrow()
        slot.fill(picture, timestamp_ns, picture.timestamp_ns if by_driver else now_ns)
        (self._frames.hand_over if self._every_frame else self._frames.put)(slot)

    def _track(self) -> None:
        self._work("track", self._frames, self._tracked_of, self._tracked)

    def _tracked_of(self, slot: FrameSlot) -> Any:
        """None where the picture is broken."""
        picture, slot.picture = slot.picture, None
        assert picture is not None
        if self._recalibrate.is_set():
            self._recalibrate.clear()
            self._pipeline.recalibrate()
        room = self._pipeline.room(picture.size)
        if not picture.develop(room):
            return None
        slot.quality = FULL if self._deadline is None else self._deadline.quality
        return self._pipeline.track(Frame(room, picture.index, slot.timestamp_ns), slot.quality)

    def _retouch(self) -> None:
        self._work("retouch", self._tracked, lambda slot: self._pipeline.retouch(slot.value), self._retouched)

    def _render(self) -> None:
        self._work("render", self._retouched, self._rendered_of, self._finished)

    def _rendered_of(self, slot: ValueSlot) -> Output:
        output = self._pipeline.render(slot.value)
        for part in output.timings.keys() - set(STAGES):
            self._stages.add(part, output.timings[part])
        return output

    def _work(self, stage: str, before: Latest[Any], work: Callable[[Any], Any], after: Latest[Any]) -> None:
        """Take what the stage before has put, and put what comes of it, if anything."""
        try:
            while not self._stopped.is_set():
                after.wait_taken()
                slot = before.take()
                assert slot is not None
                start = self._clock()
                with self._stages.timed(stage):
                    made = work(slot)
                if made is None:
                    before.give_back(slot)
                    continue
                if self._deadline is not None:
                    now = self._clock()
                    self._deadline.took(stage, now - start, slot.quality, now)
                out = after.borrow()
                out.fill(made, slot.captured_ns)
                out.quality = slot.quality
                before.give_back(slot)
                (after.hand_over if self._every_frame else after.put)(out)
        finally:
            after.close()

    def _publish(self) -> None:
        while not self._stopped.is_set():
            picture = self._finished.take()
            assert picture is not None
            self._status = picture.status
            with self._stages.timed("publish"):
                self._give_out(picture)
            self._finished.give_back(picture)
            self._rate.add(time.monotonic())
            self._waking.picture_out(picture.captured_ns)


class RingPublisher:
    """Writes pictures into the ring as I420, fitted into its size with black bars."""

    def __init__(self, ring: Ring, *, every_frame: bool = False) -> None:
        self._ring, self._every_frame = ring, every_frame
        self._canvas = np.zeros((ring.height, ring.width, 3), np.uint8)
        self.stopped = threading.Event()

    def __call__(self, picture: Picture) -> None:
        """Publish one picture; where every frame counts, wait until it has been sent."""
        rgb = picture.rgb
        if rgb.shape != self._canvas.shape:
            fit(rgb, self._canvas)
            rgb = self._canvas
        planes = np.frombuffer(self._ring.begin(), np.uint8).reshape(self._ring.height * 3 // 2, self._ring.width)
        i420_from_rgb(rgb, planes)
        number = self._ring.publish(picture.captured_ns)
        while self._every_frame and not self._ring.wait_consumed(number, timeout_s=0.5):
            if self.stopped.is_set():
                return


def fit(rgb: UInt8[np.ndarray, "h w 3"], canvas: UInt8[np.ndarray, "H W 3"]) -> None:
    """Scale a picture into the middle of `canvas`, keeping its shape; what is around it stays.

    Bars of a few pixels would look like a fault: up to `CUT_OFF` of the picture is cut off instead.
    """
    (height, width), (canvas_height, canvas_width) = rgb.shape[:2], canvas.shape[:2]
    inside, outside = sorted((canvas_width / width, canvas_height / height))
    scale = outside if outside <= inside * (1 + CUT_OFF) else inside
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < BY_AREA else cv2.INTER_LINEAR
    picture = cv2.resize(rgb, (w, h), interpolation=how)
    x, y = (canvas_width - w) // 2, (canvas_height - h) // 2
    shown = picture[max(-y, 0) : max(-y, 0) + canvas_height, max(-x, 0) : max(-x, 0) + canvas_width]
    x, y = max(x, 0), max(y, 0)
    canvas[y : y + shown.shape[0], x : x + shown.shape[1]] = shown


def main(
    open_pipeline: Callable[[EngineSetup, tuple[int, int]], Pipeline], open_source: Callable[[str], FrameSource]
) -> int:
    """Serve one supervisor: set up from its first message, work, report, obey.

    `open_pipeline` is told the size of the source's pictures, too.
    """
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    cv2.setNumThreads(1)
    channel, values = from_parent()
    ring = Ring(RingFiles(*values.pop("ring")))
    values["size"] = tuple(values["size"])
    setup = EngineSetup(**values)
    try:
        source = open_source(setup.source)  # a missing webcam shows before the models are loaded
        size = source.size
        source.close()
        pipeline = open_pipeline(setup, size)
        try:
            _work(channel, ring, setup, pipeline, open_source)
        finally:
            pipeline.close()
    except F2FError as error:
        channel.send(error_message(error))
        return error.exit_code
    except Exception as error:
        log.exception("the engine failed")
        message = f"The engine failed: {type(error).__name__}: {error}."
        channel.send(
            {"error": message, "hint": "Look into engine.log in the folder that `f2fcam status` names.", "exit_code": 1}
        )
        return 1
    channel.send({"ended": True})
    return 0


def _work(
    channel: Channel, ring: Ring, setup: EngineSetup, pipeline: Pipeline, open_source: Callable[[str], FrameSource]
) -> None:
    publish = RingPublisher(ring, every_frame=setup.every_frame)
    done, ready = threading.Event(), threading.Event()

    def tell_and_publish(picture: Picture) -> None:
        if not ready.is_set():  # only now: the first frame may compile kernels for a minute
            ready.set()
            give_back()
            channel.send({"ready": True, "report": engine.report()})
        publish(picture)

    engine = Engine(
        lambda: open_source(setup.source),
        pipeline,
        tell_and_publish,
        every_frame=setup.every_frame,
        loop=setup.loop,
        stopped=publish.stopped,
        deadline=Deadline(pipeline.levels, setup.fps) if setup.adapts else None,
    )

    def obey() -> None:
        for message in channel.messages():
            _obey(engine, message)
        engine.stop()  # the supervisor is gone

    def tell() -> None:
        tidied = time.monotonic()
        while not done.wait(REPORT_EVERY_S):
            channel.send({"report": engine.report()})
            if time.monotonic() - tidied >= TIDIED_EVERY_S:
                give_back()
                tidied = time.monotonic()

    for function in (obey, tell):
        threading.Thread(target=function, name=function.__name__, daemon=True).start()
    try:
        engine.run()
    finally:
        done.set()
        channel.send({"report": engine.report()})


def _obey(engine: Engine, message: Message) -> None:
    commands = {
        "stop": engine.stop,
        "pause": engine.pause,
        "resume": engine.resume,
        "recalibrate": engine.recalibrate,
    }
    command = commands.get(str(message.get("command")))
    if command is not None:
        command()


def exit_now(code: int) -> None:
    """End the process without waiting for a thread that is deep in a library."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
