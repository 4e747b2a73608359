"""A video file as a sink: every picture for as long as it was shown, complete after `close`, errors told."""

from __future__ import annotations

import contextlib
import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from f2fcam.errors import ConfigError, DeviceError, F2FError
from f2fcam.publish import open_sink
from f2fcam.publish.process import ProcessSink
from tests.fake_engine import index_in, pattern

SIZE = (160, 96)
LOOKAHEAD = 60
"""Pictures that x264 holds back, and those between two fragments' ends."""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / "run"))


def picture(index: int) -> bytes:
    import cv2

    return cv2.cvtColor(pattern(index, SIZE), cv2.COLOR_RGB2YUV_I420).tobytes()


def record(path: Path, times_ms: list[float], fps: float = 25.0) -> list[int]:
    """Record numbered pictures at those times; the numbers in the file."""
    sink = open_sink(str(path), SIZE, fps)
    assert isinstance(sink, ProcessSink) and sink.keeps_time
    for index, time_ms in enumerate(times_ms):
        sink.send(picture(index), round(time_ms * 1e6) + 10**15)
    sink.close()
    return numbers_in(path)


def numbers_in(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [index_in(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


def test_pictures_on_time_come_once(tmp_path: Path):
    assert record(tmp_path / "out.mp4", [40.0 * index for index in range(30)]) == list(range(30))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(25)


def test_gaps_are_filled_and_hasty_pictures_left_out(tmp_path: Path):
    assert record(tmp_path / "out.mp4", [0, 40, 160, 165, 200]) == [0, 1, 1, 1, 2, 4]


def test_colours_survive(tmp_path: Path):
    import cv2

    rgb = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    rgb[:] = (200, 90, 60)
    sink = open_sink(str(tmp_path / "out.mp4"), SIZE, 25.0)
    for index in range(3):
        sink.send(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).tobytes(), index * 40_000_000)
    sink.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        got = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(got.astype(int) - rgb).max() <= 4


def test_an_encoder_that_hangs_is_told_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sink = open_sink(str(tmp_path / "out.mp4"), SIZE, 25.0)
    assert isinstance(sink, ProcessSink)
    sink.send(picture(0), 0)
    monkeypatch.setattr("f2fcam.publish.process.SEND_TIMEOUT_S", 0.5)
    monkeypatch.setattr("f2fcam.publish.process.CLOSE_TIMEOUT_S", 0.5)
    os.kill(sink.pid, signal.SIGSTOP)
    with pytest.raises(DeviceError, match="takes no more pictures"):
        sink.send(picture(1), 40_000_000)
    with pytest.raises(DeviceError, match="could not be finished"):
        sink.close()


def test_nothing_recorded_leaves_no_file(tmp_path: Path):
    open_sink(str(tmp_path / "out.mp4"), SIZE, 25.0).close()
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_places_that_cannot_be_written_are_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        open_sink(str(tmp_path / "nowhere" / "out.mp4"), SIZE, 25.0)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        open_sink(str(tmp_path / "folder.mp4"), SIZE, 25.0)


def test_a_killed_encoder_loses_the_last_seconds_at_most(tmp_path: Path):
    sink = open_sink(str(tmp_path / "out.mp4"), SIZE, 25.0)
    assert isinstance(sink, ProcessSink)
    for index in range(150):
        sink.send(picture(index % 100), index * 40_000_000)
    os.kill(sink.pid, signal.SIGKILL)
    with pytest.raises(DeviceError, match="SIGKILL"):
        sink.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        kept = [index_in(frame.to_ndarray(format="gray")) for frame in decoded(container)]
    sure = 150 - 25 - LOOKAHEAD
    assert kept[:sure] == list(range(sure))  # the very last ones may want for those between them


def decoded(container: av.container.InputContainer) -> list[av.VideoFrame]:
    """Its pictures, as far as they are there."""
    found = []
    with contextlib.suppress(av.error.FFmpegError):
        found.extend(container.decode(video=0))
    return found


@pytest.mark.skipif(not Path("/dev/full").exists() or os.getuid() != 0, reason="needs a small file system to fill")
def test_full_disk_is_told(tmp_path: Path):
    """A file system of 256 KiB, filled by noise."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "small", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("may not mount here")
    noise = np.random.default_rng(0).integers(0, 256, SIZE[0] * SIZE[1] * 3 // 2, np.uint8)
    try:
        sink = open_sink(str(small / "out.mp4"), SIZE, 25.0)

        def fill() -> None:
            for index in range(400):
                sink.send(np.roll(noise, index * 1237).tobytes(), index * 40_000_000)

        with pytest.raises(F2FError, match=r"could not be written.* until then is kept"):
            fill()
        with pytest.raises(F2FError):
            sink.close()
        with av.open(str(small / "out.mp4")) as container:
            assert len(decoded(container)) > 0
        assert [file.name for file in small.iterdir()] == ["out.mp4"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
