"""The benchmark measures real work, counts honestly, and its answer has the keys that others read."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from rich.console import Console

from f2fcam import bench
from f2fcam.benchmark import chain as chain_pass
from f2fcam.benchmark import yardsticks
from f2fcam.benchmark.chain import Live, Replay, Row, Spans, spread, to_and_fro
from f2fcam.benchmark.tables import tables
from f2fcam.errors import F2FError
from f2fcam.progress import Silent
from f2fcam.track import bundle, energy, samples
from f2fcam.warmup import warm_up
from tests import enrolled


def test_pictures_run_to_and_fro_without_a_jump():
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]
    assert [int(rgb[0, 0, 0]) for rgb in to_and_fro(pictures, 8)] == [0, 1, 2, 1, 0, 1, 2, 1]
    assert len(list(to_and_fro(pictures[:1], 4))) == 4


def test_replay_gives_numbered_pictures_not_before_their_time_and_ends():
    replay = Replay([np.zeros((4, 6, 3), np.uint8)] * 2, fps=200.0, duration_s=0.05)
    assert replay.info.live and replay.size == (6, 4)
    frames = []
    while (frame := replay.read()) is not None:
        frames.append(frame)
    assert [frame.index for frame in frames] == list(range(10))
    steps = np.diff([frame.timestamp_ns for frame in frames])
    assert np.abs(steps - 5_000_000).max() <= 1


def test_rate_and_latency_count_distinct_pictures():
    rows = [Row(number // 2, number * 50_000_000 - 20_000_000, number * 50_000_000) for number in range(9)]
    live = Live(rows, {})
    assert live.fps == pytest.approx(4 / 0.4)
    assert live.latency_ms == {"p50": 20.0, "p95": 20.0}
    assert Live([], {}).fps == 0.0


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
    assert spans.ms["twice"] > 0 and spans.arguments["twice"] == (4,)


def test_yardsticks_do_the_work_that_they_claim(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(yardsticks, "REPEATS", 3)
    values = np.arange(1000, dtype=np.float32)
    assert yardsticks._read(values) == pytest.approx(values.sum(), rel=1e-5)
    assert yardsticks._read_short(values.astype(np.int16)) == values.sum()
    product = yardsticks.solver_product()
    assert product.ratio > 0.5  # nothing is faster than reading what it needs, but for the clock
    assert product.megabytes == pytest.approx(4096 * 3 * 80 * 2 / 1e6)
    assert yardsticks.colour_conversion((64, 48)).kernel_ms > 0


def test_log_holds_what_the_figures_come_from(tmp_path):
    path = tmp_path / "frames.csv"
    rows = [Row(3, 10, 20), Row(4, 30, 45)]
    bench.write_log(path, {60.0: Live(rows, {}), 30.0: Live(rows[:1], {})})
    read = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["source_id"], row["capture_ns"], row["publish_ns"]) for row in read[:2]] == [
        ("3", "10", "20"), ("4", "30", "45"),
    ]  # fmt: skip
    assert [row["source_fps"] for row in read] == ["60", "60", "30"]
    with pytest.raises(F2FError, match="cannot be written"):
        bench.write_log(tmp_path / "none" / "frames.csv", {})


def test_percentiles_are_of_the_values():
    assert spread([1.0, 2.0, 3.0, 100.0]) == {"p50": 2.0, "p95": 100.0}
    assert bench.configuration() == bench.configuration() and len(bench.configuration()) == 12


def test_the_whole_bench_answers_every_key(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """On a small enrolled clip, end to end: serial pass, kernels, live threads, log, tables."""
    monkeypatch.setattr(chain_pass, "SETTLING_S", 0.1)
    target, log = enrolled.profile(), tmp_path / "log.csv"
    result = bench.run_bench(
        profile="synthetic", profiles=target.directory.parent, size=(320, 240), source=enrolled.film(enrolled.ACTOR),
        log=log, pictures=8, serial_pictures=4, live_s=4.0, enrolment_s=0,
    )  # fmt: skip
    json.dumps(result)
    chain = result["chain"]["320x240"]
    assert chain["fps"] > 0 and chain["latency_ms"]["p95"] >= chain["latency_ms"]["p50"] > 0
    wanted = {"landmarks", "track", "transfer", "target_frame", "mouth_eyes", "render", "composite", "i420"}
    assert set(chain["stages_ms"]) == wanted
    assert result["memory_mb"] is None or result["memory_mb"] > 100
    assert set(result["floors_ms"]) == set(result["ratios"]) >= {"solver_product", "model", "i420"}
    assert "320x240" in result["summary"]
    assert len(log.read_text().splitlines()) == 1 + chain["pictures"]["live"] + chain["pictures"]["live_30"]
    with Console(record=True, width=100) as console:
        console.print(*tables(result))
    assert "landmarks" in console.export_text()


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
        if isinstance(value, Dispatcher) and value.targetoptions.get("nogil") and value is not energy.encode_with_slope
    ]  # that one is called by kernels only
    assert len(kernels) >= 9
    assert all(kernel.signatures for kernel in kernels)
