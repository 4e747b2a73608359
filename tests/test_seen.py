"""What the gates count of a browser's report: only pictures that get on, over all of the time asked for."""

from __future__ import annotations

import base64
import io

import av
import numpy as np
import pytest

from tests.e2e.seen import CODES, Seen

SECONDS = 4


def seen(times: list[tuple[float, int | None]]) -> Seen:
    """Of (moment in ms, time code)."""
    samples = [{"at": at, "time": time, "age": 7, "cost": 1.0} for at, time in times]
    return Seen.of(
        {"samples": samples, "picture": f"data:image/png;base64,{base64.b64encode(png()).decode()}"}, SECONDS
    )


def png() -> bytes:
    with io.BytesIO() as file:
        with av.open(file, "w", format="image2pipe") as container:
            stream = container.add_stream("png", rate=1)
            stream.width = stream.height = 16
            stream.pix_fmt = "rgb24"
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file.getvalue()


def steady(fps: float, start: int = 0, seconds: float = SECONDS) -> list[tuple[float, int | None]]:
    return [(1000 * n / fps, (start + round(1000 * n / fps)) % CODES) for n in range(round(seconds * fps) + 1)]


@pytest.mark.parametrize("start", [0, CODES - 1500])
def test_steady_pictures_are_counted_across_the_codes_end(start: int):
    counted = seen(steady(25, start))
    assert counted.fps == pytest.approx(25, abs=0.5) and counted.back == 0 and counted.unread == 0
    assert counted.gap_s == pytest.approx(1 / 25, abs=0.01) and counted.age_ms == 7


def test_repeats_are_no_new_pictures():
    shown = [(at + late, time) for at, time in steady(12.5) for late in (0, 40)]
    assert seen(shown).fps == pytest.approx(12.5, abs=0.5)


def test_pictures_that_end_halfway_halve_the_rate():
    counted = seen(steady(30, seconds=SECONDS / 2))
    assert counted.fps == pytest.approx(15, abs=0.5) and counted.gap_s == pytest.approx(SECONDS / 2, abs=0.05)


def test_two_pictures_in_turn_step_back_and_do_not_count():
    counted = seen([(at, 100 + 40 * (n % 2)) for n, (at, _) in enumerate(steady(30))])
    assert counted.distinct == 1 and counted.back == len(steady(30)) // 2


def test_pictures_without_a_code_are_said():
    shown = steady(20)
    shown[::4] = [(at, None) for at, _ in shown[::4]]
    assert seen(shown).unread == pytest.approx(0.25, abs=0.02) and seen(shown).fps == pytest.approx(15, abs=0.5)


def test_nothing_at_all_is_no_picture():
    counted = seen([])
    assert counted.fps == 0 and counted.gap_s == SECONDS and counted.age_ms == float("inf")
