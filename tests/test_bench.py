"""The benchmark measures real work, counts honestly, and its answer has the keys that others read."""

from __future__ import annotations

import csv
import json
import os
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from rich.console import Console

from f2fcam import bench
from f2fcam.benchmark import jobs, report, scaling, svg, touch, yardsticks
from f2fcam.benchmark.chain import STAGES, spread
from f2fcam.benchmark.child import busy, run_child
from f2fcam.benchmark.live import Live, Row, settled
from f2fcam.benchmark.source import Replay, to_and_fro, write_source
from f2fcam.benchmark.spans import Allocations, Spans
from f2fcam.benchmark.stages import Work, kernel_table, stage_table
from f2fcam.benchmark.tables import Rows, clip_growth_ms, summary, tables
from f2fcam.benchmark.target import Zoom, write_zoomed, zoom_to_face
from f2fcam.benchmark.yardsticks import Machine, Measured
from f2fcam.errors import F2FError
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.playback import Playback
from f2fcam.progress import Silent
from f2fcam.reenact import aperture_databases
from f2fcam.track import bundle, energy, samples
from f2fcam.transitions import Transitions
from f2fcam.warmup import warm_up
from tests import enrolled

TINY = replace(
    bench.QUICK, pictures=6, serial_pictures=4, allocated=1, live_s=3.0, settling_s=0.2, lengths_s=(4, 40),
    samples=(256, 1024), scaled=3,
)  # fmt: skip


def test_pictures_run_to_and_fro_without_a_jump():
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]
    assert [int(rgb[0, 0, 0]) for rgb in to_and_fro(pictures, 8)] == [0, 1, 2, 1, 0, 1, 2, 1]
    assert len(list(to_and_fro(pictures[:1], 4))) == 4


def _film(path: Path, count: int = 3) -> Path:
    write_source(path, [np.full((32, 48, 3), 60 * number, np.uint8) for number in range(count)])
    return path


def test_replay_decodes_repeatedly_and_numbers_pictures_by_their_moments(tmp_path: Path):
    replay = Replay(_film(tmp_path / "s.mp4"), fps=100.0, duration_s=0.1)
    assert replay.info.live and replay.size == (48, 32)
    frames = []
    while (picture := replay.grab()) is not None:
        assert time.monotonic_ns() >= picture.timestamp_ns
        frame = picture.frame()
        assert frame is not None
        frames.append((frame.index, frame.timestamp_ns, int(frame.rgb[16, 24, 0])))
    replay.close()
    numbers = [index for index, _, _ in frames]
    assert numbers == sorted(set(numbers)) and numbers[-1] <= 9
    start = frames[0][1] - 10_000_000 * frames[0][0]
    assert all(abs(at - start - 10_000_000 * index) <= 1 for index, at, _ in frames)
    shown = [0, 60, 120, 60] * 3
    assert all(abs(grey - wanted) <= 6 for (_, _, grey), wanted in zip(frames, shown, strict=False))


def test_replay_loses_what_nobody_waited_for(tmp_path: Path):
    replay = Replay(_film(tmp_path / "s.mp4"), fps=1000.0, duration_s=60.0)
    first = replay.grab()
    assert first is not None
    behind = time.monotonic_ns() + 20_000_000
    while time.monotonic_ns() < behind:
        pass
    second = replay.grab()
    replay.close()
    assert second is not None and second.index - first.index >= 20  # not a queue of old ones
    assert second.timestamp_ns > behind - 20_000_000


def test_rate_delay_and_share_of_the_processor():
    rows = [Row(number // 2, number * 50_000_000 - 20_000_000, number * 50_000_000) for number in range(9)]
    live = Live(rows, {}, cpu_s=0.6)
    assert live.fps == pytest.approx(4 / 0.4)
    assert live.latency_ms == {"p50": 20.0, "p95": 20.0}
    assert live.cpu_share == pytest.approx(1.5)
    assert live.growth_ms == pytest.approx(0.0)
    late = [Row(number, number * 50_000_000, number * 51_000_000) for number in range(30)]
    assert Live(late).growth_ms == pytest.approx(20.0)
    assert Live([]).fps == Live([]).cpu_share == Live([]).growth_ms == 0.0


def test_what_settles_a_live_pass_does_not_count():
    rows = [(Row(k, 0, round(k * 1e9)), "idle" if k < 2 else "tracked", 0.5 * k) for k in range(5)]
    live = settled(rows, 1.0)
    assert [row.source_id for row in live.rows] == [2, 3, 4]
    assert live.statuses == {"tracked": 3} and live.cpu_share == pytest.approx(0.5)
    assert len(settled(rows, 60.0).rows) == 5 and settled([], 1.0).rows == []


def test_spans_time_and_give_back_what_they_replaced():
    class Place:
        @staticmethod
        def double(value: int) -> int:
            return 2 * value

    place, spans = Place(), Spans()
    before = place.double
    with spans.replacing((place, "double", "twice")):
        assert place.double(4) == 8
    assert place.double is before
    assert spans.values["twice"] > 0 and spans.arguments["twice"] == ((4,), {})


def test_allocations_are_the_most_that_was_held_by_the_outermost():
    spans, held = Allocations(), []

    def inner() -> None:
        np.ones(1 << 20, np.uint8)

    inside = spans.timed("inner", inner)

    def outer() -> None:
        inside()
        held.append(np.ones(1 << 18, np.uint8))

    tracemalloc.start()
    try:
        spans.timed("outer", outer)()
    finally:
        tracemalloc.stop()
    assert spans.values["outer"] == pytest.approx(1024, rel=0.05)
    assert spans.kept_kb["outer"] == pytest.approx(256, rel=0.05)
    assert "inner" not in spans.values


def test_yardsticks_do_the_work_that_they_claim(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(yardsticks, "REPEATS", 3)
    random = np.random.default_rng(1)
    values = random.standard_normal(1000).astype(np.float32)
    assert touch.read(values) == pytest.approx(float(values.sum()), abs=1e-3)
    weights, basis = (random.standard_normal(shape).astype(np.float32) for shape in ((2, 8), (8, 30)))
    out = np.empty((2, 30), np.float32)
    touch.blend(weights, basis, out)
    np.testing.assert_allclose(out, weights @ basis, atol=1e-5)
    product = yardsticks.solver_product()
    assert product.ratio > 0.5  # nothing is faster than reading what it needs, but for the clock
    assert product.megabytes == pytest.approx(4096 * (3 * 80 * 2 + 4 * (3 + 1 + 9 + 3 + 9)) / 1e6)
    assert yardsticks.colour_conversion((64, 48)).kernel_ms > 0


def test_a_triangle_covers_its_pixels_in_the_rasterisers_yardstick():
    pixels = np.array([[0, 0], [0, 8], [8, 0], [4, 4]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 1]], np.int32)  # one faces the camera, one away
    first, spans = np.empty(3, np.int32), np.empty((16, 3), np.int32)
    count = touch.find_spans(pixels, triangles, 8, 8, first, spans)
    assert list(first) == [0, count, count]
    covered = int((spans[:count, 2] - spans[:count, 1]).sum())
    assert covered == 36 and [tuple(s) for s in spans[:2]] == [(0, 0, 8), (1, 0, 7)]
    depth, triangle = np.empty((8, 8), np.float32), np.empty((8, 8), np.int32)
    points = np.ones((4, 3), np.float32)
    touch.cover(
        points, triangles, first, spans, np.empty_like(points), triangle, depth, np.empty((8, 8, 3), np.float32)
    )
    assert (triangle >= 0).sum() == 36


def test_the_floor_is_the_longer_of_moving_and_computing():
    machine = Machine(memory_gb_per_s=10.0, multiply_gflop_per_s=50.0)
    assert machine.floor_ms(20.0, 10.0) == pytest.approx(2.0)
    assert machine.floor_ms(1.0, 100.0) == pytest.approx(2.0)
    table = kernel_table({"composite": Measured(3.0, 2.0, 20.0, 10.0)}, machine)
    assert table["composite"]["ratio"] == 1.5 and table["composite"]["floor_ms"] == 2.0


def test_a_stages_row_joins_time_allocation_and_work():
    class Times:
        @staticmethod
        def summary() -> dict:
            return {"track": {"p50": 8.0, "p95": 9.0}, "landmarks": {"p50": 4.0, "p95": 5.0}}

    work = {"track": Work(10.0, 5.0, 2.0), "landmarks": Work(1.0, None, None)}
    rows = stage_table(Times(), work, Machine(10.0, 50.0), {"track": {"p50": 7.0, "p95": 8.0}})  # pyright: ignore
    assert rows["track"] == {
        "p50": 8.0, "p95": 9.0, "allocated_kb": 7.0, "megabytes": 10.0, "megaflops": 5.0, "floor_ms": 1.0,
        "yardstick_ms": 2.0, "ratio": 4.0,
    }  # fmt: skip
    assert rows["landmarks"]["ratio"] is None and rows["landmarks"]["floor_ms"] == 0.1


def test_a_zoom_carries_points_camera_and_pictures_alike():
    zoom = Zoom(np.array([10.0, 20.0], np.float32), 2.0, (40, 30))
    camera = zoom.camera(Intrinsics(100.0, 32.0, 24.0, 64, 48))
    point = np.array([[3.0, 5.0, 100.0]])
    before = Intrinsics(100.0, 32.0, 24.0, 64, 48).project(point)
    np.testing.assert_allclose(camera.project(point), zoom.pixels(before), atol=1e-5)
    ramp = np.zeros((48, 64, 3), np.uint8)
    ramp[:] = (2 * np.arange(64) + 1)[None, :, None]  # a pixel's value is twice its centre
    shown = zoom.picture(ramp)
    expected = 2 * (10.0 + (np.arange(40) + 0.5) / 2)
    np.testing.assert_allclose(shown[15, :, 0], expected, atol=1.0)
    np.testing.assert_array_equal(zoom.picture(ramp, (8, 6), (12, 10)), shown[6:16, 8:20])


def test_the_face_is_as_large_as_asked_and_the_part_shown_lies_in_the_picture():
    boxes = np.array([[300, 120, 530, 410]] * 3, np.float32)
    zoom = zoom_to_face(boxes, (848, 480), (1280, 720))
    width, height = zoom.scale * 230, zoom.scale * 290
    assert width >= 450 and height >= 600 and min(width - 450, height - 600) < 2
    assert (zoom.corner >= 0).all() and (zoom.corner + np.array(zoom.size) / zoom.scale <= (848.01, 480.01)).all()
    half = zoom_to_face(boxes, (848, 480), (640, 360))
    assert half.scale == pytest.approx(zoom.scale / 2)
    narrow = zoom_to_face(np.array([[40, 40, 270, 330]], np.float32), (300, 400), (1280, 720))
    assert narrow.corner[0] < 0  # black at both sides


def test_a_zoomed_profile_shows_the_same_face_at_twice_the_size(tmp_path: Path):
    profile, model = enrolled.profile(), load_face_model()
    zoomed = write_zoomed(profile, model, (320, 240), tmp_path, lambda done, total: None)
    old, new = profile.frames, zoomed.frames
    zoom = zoom_to_face(old.boxes, profile.manifest.size, (320, 240))
    assert zoomed.manifest.size == (320, 240)
    points = model.geometry0(profile.person.identity, old.expressions[0])
    seen = old.performance(0).camera_from_model.apply(points)
    before = profile.person.intrinsics.project(seen).astype(np.float32)
    np.testing.assert_allclose(zoomed.person.intrinsics.project(seen), zoom.pixels(before), atol=1e-2)
    np.testing.assert_allclose(new.landmarks, zoom.pixels(old.landmarks), atol=1e-3)
    mouths = aperture_databases(profile)["mouth"], aperture_databases(zoomed)["mouth"]
    entry = len(mouths[0]) // 2
    row = int(mouths[1].frames[entry])
    x, y = mouths[1].corner[entry]
    width, height = mouths[1].size[entry]
    with zoomed.open_target() as video:
        stored = video.frame_at(row).rgb[y : y + height, x : x + width].astype(float)
    assert np.abs(stored - mouths[1].crop(entry)).mean() < 4.0  # but for the film's coding
    rims = [database.rim(entry) for database in mouths]
    corner = rims[0].to_pixels @ np.array([rims[0].first, 0.0, 1.0])
    moved = rims[1].to_pixels @ np.array([rims[1].first, 0.0, 1.0])
    np.testing.assert_allclose(moved, zoom.pixels(corner[None].astype(np.float32))[0], atol=0.05)


def test_log_holds_what_the_figures_come_from(tmp_path: Path):
    path = tmp_path / "frames.csv"
    rows = [[3, 10, 20], [4, 30, 45]]
    bench.write_log(path, [("8x6", "60", 60.0, rows), ("8x6", "30", 30.0, rows[:1])])
    read = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["source_id"], row["capture_ns"], row["publish_ns"]) for row in read[:2]] == [
        ("3", "10", "20"), ("4", "30", "45"),
    ]  # fmt: skip
    assert [(row["source_fps"], row["size"], row["pass"]) for row in read] == [
        ("60", "8x6", "60"), ("60", "8x6", "60"), ("30", "8x6", "30"),
    ]  # fmt: skip
    assert bench.ages_ms([("8x6", "60", 60.0, rows), ("8x6", "30", 30.0, [[0, 0, 2_000_000]])]) == {"8x6": [2.0]}
    with pytest.raises(F2FError, match="cannot be written"):
        bench.write_log(tmp_path / "none" / "frames.csv", [])


def test_percentiles_are_of_the_values_and_the_configuration_is_pinned():
    assert spread([1.0, 2.0, 3.0, 100.0]) == {"p50": 2.0, "p95": 100.0}
    assert bench.configuration() == bench.configuration() and len(bench.configuration()) == 12
    quality = bench.quality()
    assert quality["level"] == 2 and quality["samples"] >= 4096 and quality["gauss_newton_steps"] == 4


def test_a_repeated_clip_keeps_its_own_order_and_what_enrolment_has_room_for(monkeypatch: pytest.MonkeyPatch):
    database = aperture_databases(enrolled.profile())["mouth"]
    own, count = len(enrolled.profile().frames), len(database)
    random = np.random.default_rng(0)
    long = scaling.repeated_database(database, own, 4, 4 * own - 3, random)
    inside = int(np.sum(np.concatenate([database.frames + k * own for k in range(4)]) < 4 * own - 3))
    assert len(long) == inside and (np.diff(long.frames) > 0).all() and len(long.misfit) == 4 * own - 3
    assert long.neighbours.min() >= 0 and long.neighbours.max() < len(long) and long.medoids.max() < len(long)
    assert np.abs(long.shape[count : 2 * count] - database.shape).max() > 0
    room = 2 * count * int(3 * database.size.prod(axis=1).max())
    monkeypatch.setitem(scaling.PIXEL_BUDGET, "mouth", room)
    kept = scaling.repeated_database(database, own, 4, 4 * own, random)
    assert len(kept) == 2 * count and kept.frames[-1] >= 2 * own  # spread over the clip


def test_a_repeated_playback_has_all_its_cuts_up_to_the_most_there_may_be():
    cut = Transitions.of([9], [1], [2], [1], 0.5)
    one = replace(Playback.to_and_fro(np.arange(10) / 10), transitions=cut)
    long = scaling.repeated_playback(one, 3, 30)
    assert list(long.transitions.start) == [9, 19, 29] and list(long.transitions.end) == [2, 12, 22]
    assert len(long) == 30 and (np.diff(long.time_s) > 0).all()
    assert len(scaling.repeated_playback(one, 1000, 10_000).transitions) == scaling.MOST_CUTS


def _texts(drawing: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(drawing).iter() if e.tag.endswith("text")]


def test_plots_are_drawings_whose_heights_are_the_values():
    drawn = svg.stacked_bars("Stages & more", "ms", ["a", "b"], {"x": [1.0, 2.0], "y": [3.0, 2.0]}, limit=3.0)
    boxes = [e for e in ElementTree.fromstring(drawn).iter() if e.tag.endswith("rect") and len(e)]
    heights = [float(e.attrib["height"]) for e in boxes]
    assert heights == pytest.approx([heights[0], 3 * heights[0], 2 * heights[0], 2 * heights[0]], abs=0.2)
    assert {"Stages & more", "ms", "a", "b", "x", "y"} <= set(_texts(drawn))
    line = svg.lines("L", "seconds", "ms", {"one": [(10, 1.0), (100, 2.0), (1000, 4.0)]}, log_x=True)
    (path,) = [e for e in ElementTree.fromstring(line).iter() if e.tag.endswith("polyline")]
    places = np.array([[float(v) for v in p.split(",")] for p in path.attrib["points"].split()])
    assert places[1, 0] - places[0, 0] == pytest.approx(places[2, 0] - places[1, 0], abs=0.2)
    assert places[0, 1] - places[1, 1] == pytest.approx((places[1, 1] - places[2, 1]) / 2, abs=0.2)
    assert svg.shares([3.0, 1.0]) == [(1.0, 50.0), (3.0, 100.0)]
    many = svg.shares(list(range(1000)))
    assert len(many) == 100 and many[0] == (0, 0.1) and many[-1] == (999, 100.0)
    assert "53390" in _texts(svg.lines("L", "v", "ms", {"one": [(3386, 1.0), (53390, 2.0)]}))
    assert {"0", "200", "1000"} <= set(_texts(svg.lines("L", "ms", "%", {"one": many})))


def test_the_pages_own_words_stay_around_the_measured_part():
    page = f"# P\n\nBefore.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n"
    fresh = report.with_section(page, r"new \1")
    assert fresh.startswith("# P\n\nBefore.") and fresh.endswith("After.\n")
    assert "old" not in fresh and r"new \1" in fresh
    assert report.with_section(fresh, r"new \1") == fresh
    added = report.with_section("# P\n", "new")
    assert added.count(report.BEGIN) == added.count(report.END) == 1


def test_rows_become_markdown():
    text = Rows("T", ("a", "b"), (("1", "-"),)).markdown()
    assert text == "**T**\n\n| a | b |\n| --- | --- |\n| 1 | - |"


def test_what_a_longer_clip_costs_is_the_last_length_against_the_first():
    lengths = [{"seconds": 10, "both_ms": 0.5}, {"seconds": 3600, "both_ms": 0.75}]
    assert clip_growth_ms({"clip_length": lengths}) == pytest.approx(0.25)
    assert clip_growth_ms(None) is None and clip_growth_ms({}) is None


def _here(job: str, values: dict, cores: list[int] | None = None) -> dict:
    """Without a process of its own, which would load every library anew."""
    return json.loads(json.dumps(jobs.do(job, values)))


def test_the_whole_bench_answers_every_key(tmp_path: Path):
    """On a small enrolled clip, end to end: target, source, serial pass, kernels, live threads, scaling, log, page."""
    target, log = enrolled.profile(), tmp_path / "log.csv"
    result = bench.run_bench(
        profile="synthetic", profiles=target.directory.parent, sizes=[(320, 240)], source=enrolled.film(enrolled.ACTOR),
        log=log, docs=tmp_path, effort=TINY, run=_here,
    )  # fmt: skip
    json.dumps(result)
    chain = result["chain"]["320x240"]
    assert chain["fps"] > 0 and chain["latency_ms"]["p95"] >= chain["latency_ms"]["p50"] > 0
    assert set(chain["stages_ms"]) == set(STAGES) == set(chain["stages"])
    assert chain["stages"]["composite"]["ratio"] > 0 and chain["stages"]["track"]["allocated_kb"] > 0
    assert chain["face_px"][0] >= 150 and chain["face_px"][1] >= 200 and chain["target_size"] == [320, 240]
    assert result["memory_mb"] is None or result["memory_mb"] > 100
    assert 0 < result["start_s"]["placeholder"] < result["start_s"]["first_frame"]
    wanted = {"solver_product", "model", "rasteriser", "composite", "i420"}
    assert set(result["floors_ms"]) == set(result["ratios"]) == set(result["yardsticks_ms"]) == wanted
    assert "320x240" in result["summary"] and bench.configuration() in result["summary"]
    assert [row["frames"] for row in result["scaling"]["clip_length"]] == [48, 480]
    assert [row["mesh"] for row in result["scaling"]["vertices"]] == ["level 0", "level 1", "level 2", "drawn"]
    assert result["scaling"]["samples"][1]["track_ms"] > 0
    live = chain["live"]
    assert len(log.read_text().splitlines()) == 1 + live["60"]["pictures"] + live["30"]["pictures"]
    page = (tmp_path / "performance.md").read_text()
    assert "composite" in page and (tmp_path / "plots" / "stages.svg").is_file()
    assert all((tmp_path / name).is_file() for name in _linked(page))
    with Console(record=True, width=160) as console:
        console.print(*tables(result))
    shown = console.export_text()
    assert "landmarks" in shown and "rasteriser" in shown and summary(result) == result["summary"]


def _linked(page: str) -> list[str]:
    return [part.split(")")[0] for part in page.split("](")[1:]]


@pytest.mark.skipif(not jobs.allowed_cores(), reason="this system cannot pin a process to cores")
def test_a_child_has_the_cores_that_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = (
        "import os; from f2fcam.benchmark import jobs; jobs.JOBS['c'] = lambda: {'c': sorted(os.sched_getaffinity(0))}"
    )
    core = jobs.allowed_cores()[-1:]
    program = tmp_path / "child.py"
    program.write_text(f"{code}\nfrom f2fcam.benchmark import child\nraise SystemExit(child.main())\n")
    real = __import__("subprocess").run

    def redirected(command: list[str], **named: object):
        return real([command[0], str(program), command[-1]], **named)

    monkeypatch.setattr("f2fcam.benchmark.child.subprocess.run", redirected)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(bench.__file__).parents[1])]))
    assert run_child("c", {}, core) == {"c": core}
    with pytest.raises(F2FError, match=r"failed: .*KeyError"):
        run_child("nothing", {})


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")
def test_the_busy_program_is_gone_afterwards():
    mine = Path(f"/proc/self/task/{os.getpid()}/children")
    before = set(mine.read_text().split())
    with busy(jobs.allowed_cores()[0]):
        started = set(mine.read_text().split()) - before
    assert started and not started & set(mine.read_text().split())


BY_KERNELS_ONLY = energy.encode_with_slope, energy.fill_landmark_rows


def test_warming_up_uses_every_kernel_that_compiles_at_its_first_use():
    stages: list[str] = []

    class Listening(Silent):
        def stage(self, name: str):
            stages.append(name)
            return super().stage(name)

    warm_up(Listening())
    assert stages == ["Compiling", "Trying out"]
    kernels = [
        value
        for module in (energy, samples, bundle)
        for value in vars(module).values()
        if isinstance(value, Dispatcher) and value.targetoptions.get("nogil") and value not in BY_KERNELS_ONLY
    ]
    assert len(kernels) >= 8
    assert all(kernel.signatures for kernel in kernels)
