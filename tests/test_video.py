"""Reading and writing video files: which frame is which, when, and in what colour."""

from __future__ import annotations

import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from f2fcam.capture import open_source
from f2fcam.capture.video import VideoFile, probe
from f2fcam.errors import ConfigError, F2FError, InputError
from f2fcam.publish.video import VideoWriter
from f2fcam.yuv import Coding, i420_to_rgb, rgb_to_i420
from tests.videos import SIZE, number_of, numbered, pitch_at, white_corner, write_clip, write_sound_only


def test_frames_times_and_info(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", sound=True)
    info = probe(path)
    assert (info.size, info.rate, info.frame_count) == (SIZE, 30, 30)
    assert (info.has_audio, info.rotation, info.variable_rate, info.live) == (True, 0, False, False)
    assert info.duration_s == pytest.approx(1.0)
    with VideoFile(path) as video:
        frames = list(video)
    assert [f.index for f in frames] == [number_of(f.rgb) for f in frames] == list(range(30))
    assert [f.timestamp_ns for f in frames] == [round(i * 1e9 / 30) for i in range(30)]
    assert frames[0].rgb.dtype == np.uint8


def test_frame_at_equals_reading_in_any_order(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", options={"g": "7", "bf": "3"})
    with VideoFile(path) as video:
        wanted = {f.index: f for f in video}
        for index in (29, 0, 7, 6, 8, 8, 21, 13, 14, 28):
            frame = video.frame_at(index)
            assert frame.index == index
            np.testing.assert_array_equal(frame.rgb, wanted[index].rgb)
        with pytest.raises(IndexError):
            video.frame_at(30)
        video.rewind()
        assert [f.index for f in video] == list(range(30))


@pytest.mark.parametrize(
    ("part", "numbers"),
    [((0.0, 1.0), range(30)), ((0.5, 0.6), range(15, 18)), ((0.9, 9.0), range(27, 30)), ((0.501, 0.6), range(16, 18))],
)
def test_range_is_half_open_and_does_not_restart_the_count(tmp_path: Path, part: tuple[float, float], numbers: range):
    with VideoFile(write_clip(tmp_path / "a.mp4", options={"g": "10"}), range_s=part) as video:
        frames = list(video)
    assert [f.index for f in frames] == [number_of(f.rgb) for f in frames] == list(numbers)
    assert len(frames) == len(video)


def test_range_outside_the_video(tmp_path: Path):
    with pytest.raises(InputError, match=r"lasts 1\.0 s"):
        VideoFile(write_clip(tmp_path / "a.mp4"), range_s=(2.0, 3.0))


def test_variable_rate(tmp_path: Path):
    times = [0, 33, 66, 133, 166, 300, 333, 366, 433, 500]
    path = write_clip(tmp_path / "a.mp4", 10, times_ms=times)
    with VideoFile(path) as video:
        frames = list(video)
    assert [round(f.timestamp_ns / 1e6) for f in frames] == times
    assert video.info.variable_rate
    assert video.fps == pytest.approx(9 / 0.5, abs=0.1)


def test_millisecond_stamps_are_a_constant_rate(tmp_path: Path):
    assert probe(write_clip(tmp_path / "a.mkv")).rate == 30
    assert not probe(tmp_path / "a.mkv").variable_rate


@pytest.mark.parametrize(
    ("rotation", "flip", "corner", "turned"),
    [
        (0, False, "top left", False),
        (90, False, "top right", True),
        (180, False, "bottom right", False),
        (270, False, "bottom left", True),
        (0, True, "top right", False),
    ],
)
def test_rotation_is_applied(tmp_path: Path, rotation: int, flip: bool, corner: str, turned: bool):
    with VideoFile(write_clip(tmp_path / "a.mp4", 3, rotation=rotation, flip=flip)) as video:
        frame = video.frame_at(1)
    assert video.size == frame.size == (SIZE[::-1] if turned else SIZE)
    assert white_corner(frame.rgb) == corner
    assert video.info.rotation == (0 if flip else rotation)


@pytest.mark.parametrize(
    ("codec", "pixels"), [("libx265", "yuv420p"), ("libx265", "yuv420p10le"), ("libx264", "yuv444p")]
)
def test_other_codecs_and_depths(tmp_path: Path, codec: str, pixels: str):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with VideoFile(write_clip(tmp_path / "a.mp4", 8, codec=codec, pixels=pixels, options=options)) as video:
        frames = list(video)
    assert [number_of(f.rgb) for f in frames] == list(range(8))
    assert np.abs(frames[5].rgb.astype(int) - numbered(5)).mean() < 3


def test_downscaling_keeps_the_shape(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", 2, size=(3840, 2160), options={"preset": "ultrafast"})
    with VideoFile(path, max_side=640) as video:
        frame = video.frame_at(1)
    assert frame.size == video.size == (640, 360)
    assert white_corner(frame.rgb) == "top left"
    with VideoFile(path) as video:
        assert video.size == (3840, 2160)


def test_edit_list_hides_pictures(clips: Path):
    with VideoFile(clips / "no_face.mp4") as video:  # stores three pictures before the one that it shows first
        frames = list(video)
    assert len(frames) == video.info.frame_count == 95
    assert frames[0].timestamp_ns == 0


def test_real_clips(clips: Path):
    counts = {"expressions.mp4": 1008, "kitchen_talk.mp4": 502, "face_then_cut.mov": 169, "selfie_glasses.mp4": 352}
    for name, count in counts.items():
        info = probe(clips / name)
        assert info.frame_count == count
        assert info.has_audio == (name != "selfie_glasses.mp4")
    assert probe(clips / "face_then_cut.mov").variable_rate
    assert probe(clips / "hand_over_mouth.mp4").rate == Fraction(24000, 1001)


def patches(size: tuple[int, int], side: int = 16) -> np.ndarray:
    """Random flat colours."""
    random = np.random.default_rng(3)
    colours = random.integers(0, 256, (size[1] // side, size[0] // side, 3), dtype=np.uint8)
    return np.repeat(np.repeat(colours, side, 0), side, 1)


def inside(picture: np.ndarray, side: int = 16) -> np.ndarray:
    """The patches' middles, away from chroma that is shared with a neighbour."""
    height, width = picture.shape[:2]
    return picture.reshape(height // side, side, width // side, side, 3)[:, 4:12, :, 4:12].astype(int)


@pytest.mark.parametrize("size", [(320, 240), (1280, 720)])
def test_colours_survive_writing_and_reading(tmp_path: Path, size: tuple[int, int]):
    wanted = patches(size)
    with VideoWriter(tmp_path / "a.mp4", size, 25, intra_only=True, crf=1) as video:
        video.write(wanted)
    with VideoFile(tmp_path / "a.mp4") as video:
        got = video.frame_at(0).rgb
    error = np.abs(inside(got) - inside(wanted))
    assert error.max() <= 3
    assert np.percentile(error, 99.9) <= 2
    assert error.mean() < 0.5
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1 if size[1] >= 720 else 6, 1)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full_range", [False, True])
def test_yuv_round_trip(matrix: str, full_range: bool):
    wanted = patches((320, 240))
    coding = Coding(matrix, full_range)  # pyright: ignore[reportArgumentType]
    y, u, v = np.zeros((240, 320), np.uint8), np.zeros((120, 160), np.uint8), np.zeros((120, 160), np.uint8)
    rgb_to_i420(wanted, coding, y, u, v)
    got = i420_to_rgb(y, u, v, coding, np.empty_like(wanted))
    assert np.abs(inside(got) - inside(wanted)).max() <= 2


@pytest.mark.parametrize(("lines", "weights"), [(480, (0.299, 0.587, 0.114)), (720, (0.2126, 0.7152, 0.0722))])
def test_untagged_stream_follows_its_lines(tmp_path: Path, lines: int, weights: tuple[float, float, float]):
    """Write known luma and chroma of pure red, green and blue without tags; reading must give the colours back."""
    size, colours = (96, lines), np.eye(3) * 255
    kr, _, kb = weights
    picture = av.VideoFrame(*size, "yuv420p")
    for plane, name in zip(picture.planes, "yuv"):
        lines_of = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        for k, (r, g, b) in enumerate(colours / 255):
            luma = kr * r + weights[1] * g + kb * b
            value = {
                "y": 16 + 219 * luma,
                "u": 128 + 112 * (b - luma) / (1 - kb),
                "v": 128 + 112 * (r - luma) / (1 - kr),
            }
            lines_of[:, k * plane.width // 3 : (k + 1) * plane.width // 3] = round(value[name])
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    with VideoFile(tmp_path / "a.mp4") as video:
        rgb = video.frame_at(0).rgb
    for k in range(3):
        np.testing.assert_allclose(rgb[lines // 2, k * 32 + 16], colours[k], atol=4)


def test_stored_clip_is_intra_only_and_good(tmp_path: Path, clips: Path):
    with VideoFile(clips / "kitchen_talk.mp4", range_s=(2.0, 2.4), max_side=640) as source:
        frames = [f.rgb for f in source]
        with VideoWriter(tmp_path / "a.mp4", source.size, source.info.rate, intra_only=True) as video:
            for rgb in frames:
                video.write(rgb)
    with VideoFile(tmp_path / "a.mp4") as video:
        assert video.every_picture_is_key
        for index in (7, 2, 9):
            error = np.mean((video.frame_at(index).rgb.astype(float) - frames[index]) ** 2)
            assert 10 * np.log10(255**2 / error) >= 42


@pytest.mark.parametrize("part", [None, (0.5, 1.5)])
def test_sound_is_copied_in_step(tmp_path: Path, part: tuple[float, float] | None):
    source = write_clip(tmp_path / "a.mp4", 60, sound=True)
    with (
        VideoFile(source, range_s=part) as video,
        VideoWriter(tmp_path / "b.mp4", SIZE, 30, audio_from=source, range_s=part) as written,
    ):
        for frame in video:
            written.write(frame.rgb, frame.timestamp_ns)
    start, length = (part[0], part[1] - part[0]) if part else (0.0, 2.0)
    info = probe(tmp_path / "b.mp4")
    assert info.has_audio
    assert info.frame_count == round(length * 30)
    for time_s in (0.2, 0.7):
        assert pitch_at(tmp_path / "b.mp4", time_s) == pytest.approx(200 + 300 * (time_s + start), abs=8)


def test_source_without_sound_gives_a_silent_video(tmp_path: Path):
    source = write_clip(tmp_path / "a.mp4")
    with VideoWriter(tmp_path / "b.mp4", SIZE, 30, audio_from=source) as video:
        video.write(numbered(1))
    assert not probe(tmp_path / "b.mp4").has_audio


def test_times_are_kept(tmp_path: Path):
    times = [0, 40, 70, 200, 240]
    with VideoWriter(tmp_path / "a.mp4", SIZE, 25) as video:
        for index, time_ms in enumerate(times):
            video.write(numbered(index), 5_000_000_000 + time_ms * 1_000_000)
    with VideoFile(tmp_path / "a.mp4") as video:
        assert [round(f.timestamp_ns / 1e6) for f in video] == times


def test_odd_sides_are_padded(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", (33, 25), 25) as video:
        video.write(np.full((25, 33, 3), 90, np.uint8))
    with VideoFile(tmp_path / "a.mp4") as video:
        assert video.size == (34, 26)
        assert np.abs(video.frame_at(0).rgb.astype(int) - 90).max() <= 2


def test_failure_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), VideoWriter(path, SIZE, 25) as video:
        video.write(numbered(0))
        raise RuntimeError
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_video_appears_only_when_complete(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", SIZE, 25) as video:
        video.write(numbered(0))
        assert not (tmp_path / "a.mp4").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_full_disk(tmp_path: Path):
    """A limit on the file's size stands for the disk's end."""
    code = f"""
import numpy as np, sys
from f2fcam.errors import F2FError
from f2fcam.publish.video import VideoWriter
try:
    with VideoWriter({str(tmp_path / "a.mp4")!r}, (320, 240), 25, crf=0) as video:
        for i in range(40):
            video.write(np.random.default_rng(i).integers(0, 256, (240, 320, 3), dtype=np.uint8))
except F2FError as error:
    print(error.exit_code, error.message, error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )
    assert done.stdout.startswith("1 "), done.stderr
    assert "could not be written" in done.stdout
    assert "--output" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["nowhere/a.mp4", "file/a.mp4", ".", "a.unknown"])
def test_places_that_cannot_be_written(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError) as caught:
        VideoWriter(tmp_path / place, SIZE, 25)
    assert caught.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_read_only_folder():
    with pytest.raises(F2FError) as caught:
        VideoWriter("/proc/a.mp4", SIZE, 25)
    assert caught.value.exit_code == 2


def test_no_picture_is_no_video(tmp_path: Path):
    with pytest.raises(F2FError), VideoWriter(tmp_path / "a.mp4", SIZE, 25):
        pass
    assert not list(tmp_path.iterdir())


def test_grabbed_pictures_are_those_that_are_read(tmp_path: Path, clips: Path):
    """Whenever they are developed: the decoder has gone on, and the file is closed."""
    for path, side in ((write_clip(tmp_path / "a.mp4", 6), None), (clips / "face_then_cut.mov", 320)):
        with VideoFile(path, max_side=side) as video:
            read = [video.read() for _ in range(6)]
            video.rewind()
            grabbed = [video.grab() for _ in range(6)]
        for one, picture in zip(read, grabbed, strict=True):
            assert one is not None and picture is not None
            out = np.full((picture.size[1], picture.size[0], 3), 7, np.uint8)
            assert picture.develop(out)
            assert (picture.index, picture.timestamp_ns) == (one.index, one.timestamp_ns)
            assert np.array_equal(out, one.rgb)


def test_open_source(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", 3)
    for uri in (str(path), f"video:{path}"):
        source = open_source(uri)
        frame = source.grab()
        assert frame is not None
        assert (frame.index, source.size, source.fps, source.info.live) == (0, SIZE, 30.0, False)
        source.close()
    with pytest.raises(ConfigError):
        open_source("")
    with pytest.raises(ConfigError):
        open_source(str(tmp_path / "nothing.mp4"))


def test_sound_only(tmp_path: Path):
    with pytest.raises(InputError, match="no picture"):
        VideoFile(write_sound_only(tmp_path / "a.m4a"))
