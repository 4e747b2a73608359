"""Stage threads around a pipeline that counts: newest wins live, nothing is lost from a file, errors end it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from f2fcam.deadline import FULL
from f2fcam.engine import Engine, EngineSetup, Picture, RingPublisher, Waking, fit
from f2fcam.errors import InputError
from f2fcam.frame import Undeveloped, rgb_from_i420
from f2fcam.ring import Ring, i420_bytes
from tests.fake_engine import FakePipeline, FakeSource, index_in, pattern

SIZE = (160, 96)
SETUP = EngineSetup("good", "fake", SIZE, 30.0)
WAIT_S = 20.0


def run_in_thread(engine: Engine) -> threading.Thread:
    thread = threading.Thread(target=engine.run)
    thread.start()
    return thread


def test_a_file_through_the_threads_without_drops_equals_one_after_the_other():
    frames = 120
    pipeline = FakePipeline(SETUP)
    expected = [pipeline.render(pipeline.retouch(index)).rgb for index in range(frames)]
    got: list[np.ndarray] = []
    engine = Engine(
        lambda: FakeSource(length=frames),
        FakePipeline(SETUP),
        lambda picture: got.append(picture.rgb.copy()),
        every_frame=True,
        loop=False,
    )
    engine.run()
    assert len(got) == frames
    assert all(np.array_equal(one, other) for one, other in zip(got, expected))
    assert set(engine.report()["drops"].values()) == {0}


def test_a_slow_stage_costs_frames_not_order_and_no_work():
    """The renderer waits until the source is far ahead: frames are lost at the source, not after they were tracked."""
    seen: list[int] = []
    tracked: list[int] = []
    read = threading.Condition()
    source = FakeSource(fps=1000.0)

    class Counted:
        info, close = source.info, source.close

        def grab(self):
            with read:
                read.notify_all()
            return source.grab()

    class Slow(FakePipeline):
        def track(self, frame, quality=FULL):
            tracked.append(frame.index)
            return super().track(frame, quality)

        def render(self, value):
            ahead = source._index + 10
            with read:
                assert read.wait_for(lambda: source._index >= ahead, WAIT_S)
            return super().render(value)

    def publish(picture: Picture) -> None:
        seen.append(picture.source_index)
        if len(seen) == 8:
            engine.stop()

    engine = Engine(Counted, Slow(SETUP), publish)
    engine.run()
    assert seen == sorted(set(seen))
    assert seen[-1] - seen[0] >= 5 * (len(seen) - 1)
    assert len(tracked) <= len(seen) + 4  # one waits before each stage
    drops = engine.report()["drops"]
    assert drops["capture"] >= 5 * (len(seen) - 1)
    assert all(drops[stage] <= 1 for stage in ("track", "retouch", "render"))  # one at the end, when nobody waits


def test_only_pictures_that_are_tracked_are_developed_and_a_broken_one_is_left_out():
    developed: list[int] = []
    shown: list[int] = []
    source = FakeSource(fps=1000.0)

    def watched(picture: Undeveloped) -> Undeveloped:
        def develop(out: np.ndarray) -> bool:
            developed.append(picture.index)
            return picture.develop(out) and len(developed) % 3 != 0

        return replace(picture, develop=develop)

    class Watched:
        info, close = source.info, source.close

        def grab(self):
            picture = source.grab()
            return None if picture is None else watched(picture)

    class Slow(FakePipeline):
        def track(self, frame, quality=FULL):
            ahead = source._index + 10
            wait_until(lambda: source._index >= ahead)
            return super().track(frame, quality)

    def publish(picture: Picture) -> None:
        shown.append(picture.source_index)
        if len(shown) == 6:
            engine.stop()

    engine = Engine(Watched, Slow(SETUP), publish)
    engine.run()
    assert len(developed) * 5 < source._index
    broken = developed[2::3]
    assert not set(broken) & set(shown)
    assert shown == [index for index in developed if index not in broken][: len(shown)]


def test_a_file_loops_until_stopped_with_rising_times():
    times: list[int] = []
    sources: list[FakeSource] = []

    class Timed(FakePipeline):
        def track(self, frame, quality=FULL):
            times.append(frame.timestamp_ns)
            if len(times) == 25:
                engine.stop()
            return super().track(frame, quality)

    def open_source() -> FakeSource:
        sources.append(FakeSource(length=10, fps=500.0))
        return sources[-1]

    engine = Engine(open_source, Timed(SETUP), lambda picture: None)
    engine.run()
    assert len(sources) >= 3 and all(source.closed for source in sources)
    assert times == sorted(set(times))


def test_an_error_in_a_stage_ends_the_engine_with_that_error():
    source = FakeSource()

    class Broken(FakePipeline):
        def render(self, tracked):
            raise ZeroDivisionError

    engine = Engine(lambda: source, Broken(SETUP), lambda picture: None)
    with pytest.raises(ZeroDivisionError):
        engine.run()
    assert source.closed


def test_an_empty_source_is_refused():
    engine = Engine(lambda: FakeSource(length=0), FakePipeline(SETUP), lambda picture: None)
    with pytest.raises(InputError):
        engine.run()


def test_pause_lets_the_source_go_and_resume_takes_it_again():
    opened: list[FakeSource] = []
    published = threading.Semaphore(0)

    def open_source() -> FakeSource:
        opened.append(FakeSource(fps=500.0))
        return opened[-1]

    engine = Engine(open_source, FakePipeline(SETUP), lambda picture: published.release())
    thread = run_in_thread(engine)
    assert published.acquire(timeout=WAIT_S)
    engine.pause()
    wait_until(lambda: opened[0].closed)
    assert len(opened) == 1
    assert engine.report()["woke_ms"] is None, "it has not slept yet"
    engine.resume()
    wait_until(lambda: len(opened) == 2)
    wait_until(lambda: engine.report()["woke_ms"] is not None)
    assert published.acquire(timeout=WAIT_S)
    engine.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive() and opened[1].closed
    assert 0 <= engine.report()["woke_ms"] < WAIT_S * 1000


def test_waking_counts_from_the_first_frame_to_its_picture(monkeypatch: pytest.MonkeyPatch):
    now = [1_000]
    monkeypatch.setattr("f2fcam.engine.time.monotonic_ns", lambda: now[0])
    waking = Waking()
    waking.frame_came()
    waking.picture_out(900)
    assert waking.took_ms is None, "nothing has been opened anew"
    for opened_ns, took_ms in ((10_000_000_000, 250.0), (20_000_000_000, 100.0)):
        now[0] = opened_ns
        waking.begin()
        now[0] += 300_000_000
        waking.frame_came()
        before = waking.took_ms
        waking.picture_out(opened_ns - 1)
        assert waking.took_ms == before, "a picture of before"
        now[0] += round(took_ms * 1e6)
        waking.frame_came()
        waking.picture_out(opened_ns + 290_000_000)
        assert waking.took_ms == took_ms
        now[0] += 1_000_000_000
        waking.picture_out(opened_ns + 400_000_000)
        assert waking.took_ms == took_ms, "the first one counts"


def test_stopping_while_paused_does_not_open_the_source_again():
    opened: list[FakeSource] = []
    published = threading.Semaphore(0)

    def open_source() -> FakeSource:
        opened.append(FakeSource(fps=500.0))
        return opened[-1]

    engine = Engine(open_source, FakePipeline(SETUP), lambda picture: published.release())
    thread = run_in_thread(engine)
    assert published.acquire(timeout=WAIT_S)
    engine.pause()
    wait_until(lambda: opened[0].closed)
    engine.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive() and len(opened) == 1


def test_recalibration_happens_between_frames():
    pipeline = FakePipeline(SETUP)
    engine = Engine(lambda: FakeSource(fps=500.0), pipeline, lambda picture: None)
    thread = run_in_thread(engine)
    engine.recalibrate()
    wait_until(lambda: pipeline.recalibrated == 1)
    engine.stop()
    thread.join(WAIT_S)
    assert engine.report()["recalibrated"] == 1


def test_a_hanging_stage_shows_in_the_report():
    hanging, let_go = threading.Event(), threading.Event()

    class Hanging(FakePipeline):
        def track(self, frame, quality=FULL):
            hanging.set()
            let_go.wait(WAIT_S)
            return super().track(frame, quality)

    engine = Engine(lambda: FakeSource(), Hanging(SETUP), lambda picture: None)
    thread = run_in_thread(engine)
    assert hanging.wait(WAIT_S)
    first = engine.report()["busy"]
    assert first["stage"] == "track"
    wait_until(lambda: engine.report()["busy"]["seconds"] > first["seconds"])
    engine.stop()
    let_go.set()
    thread.join(WAIT_S)
    assert engine.report()["busy"]["seconds"] == 0.0


def test_a_source_that_hangs_while_it_is_opened_shows_in_the_report():
    hanging, go_on = threading.Event(), threading.Event()
    sources: list[FakeSource] = []

    def open_it() -> FakeSource:
        if sources:
            hanging.set()
            assert go_on.wait(WAIT_S)
        sources.append(FakeSource())
        return sources[-1]

    engine = Engine(open_it, FakePipeline(SETUP), lambda picture: engine.pause())
    thread = threading.Thread(target=engine.run)
    thread.start()
    wait_until(lambda: sources and sources[0].closed)
    engine.resume()
    assert hanging.wait(WAIT_S)
    wait_until(lambda: engine.report()["busy"]["seconds"] > 0.05)
    assert engine.report()["busy"]["stage"] == "capture"
    engine.stop()
    go_on.set()
    thread.join(WAIT_S)


def test_publisher_writes_the_picture_into_the_ring():
    ring = Ring.create(*SIZE)
    publish = RingPublisher(ring)
    picture = bytearray(i420_bytes(*SIZE))
    for index in (5, 40_000):
        publish(Picture(pattern(index, SIZE), "tracked", index, 123))
        frame = ring.newest(picture, 0)
        assert frame is not None and frame.captured_ns == 123
        luma = np.frombuffer(picture[: SIZE[0] * SIZE[1]], np.uint8).reshape(SIZE[1], SIZE[0])
        assert index_in(luma) == index
    ring.close()


def test_other_shapes_are_fitted_with_black_bars():
    ring = Ring.create(*SIZE)
    RingPublisher(ring)(Picture(np.full((200, 100, 3), 180, np.uint8), "tracked"))
    picture = bytearray(i420_bytes(*SIZE))
    assert ring.newest(picture, 0) is not None
    rgb = rgb_from_i420(picture, *SIZE)
    assert rgb[:, :50].max() < 12 and rgb[:, -50:].max() < 12
    assert np.abs(rgb[:, 60:100].astype(int) - 180).max() <= 3
    ring.close()


@pytest.mark.parametrize("shape", [(720, 1280), (1280, 720), (48, 64), (97, 33), (1, 1)])
def test_fit_keeps_the_shape(shape: tuple[int, int]):
    canvas = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    fit(np.full((*shape, 3), 255, np.uint8), canvas)
    rows, columns = canvas.any(axis=(1, 2)).sum(), canvas.any(axis=(0, 2)).sum()
    assert rows == SIZE[1] or columns == SIZE[0]
    assert abs(columns / rows - shape[1] / shape[0]) < 0.05 * shape[1] / shape[0]


@pytest.mark.parametrize("scale", [0.5, 0.6, 0.75, 0.9])
def test_fit_is_near_the_band_limited_picture(scale: float):
    noise = np.random.default_rng(3).normal(128, 200, (360, 480, 3)).astype(np.float32)
    rgb = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.0), 0, 255).astype(np.uint8)
    size = round(480 * scale), round(360 * scale)
    blurred = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), 0.5 * (scale**-2 - 1) ** 0.5)
    ideal = cv2.resize(blurred, size, interpolation=cv2.INTER_CUBIC)
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    fit(rgb, canvas)
    error = float(np.sqrt(np.mean((canvas - ideal) ** 2)))
    nearest = float(np.sqrt(np.mean((cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST) - ideal) ** 2)))
    assert error < 0.4 * nearest, (error, nearest)


def test_an_all_but_fitting_picture_fills_the_canvas():
    canvas = np.zeros((720, 1280, 3), np.uint8)
    picture = np.full((480, 848, 3), 120, np.uint8)
    picture[:, 424:] = 200
    fit(picture, canvas)
    assert canvas.min() >= 119 and canvas[0, 638].max() < 160 < canvas[0, 641].min()
    tall = np.zeros((480, 848, 3), np.uint8)
    fit(np.full((720, 1280, 3), 90, np.uint8), tall)
    assert tall.min() == 90


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; bounded."""
    tick = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it never happened")
