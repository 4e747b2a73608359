"""What users really give: broken files, wrong names, full disks. One sentence, a hint, the exit code, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from f2fcam import cli
from f2fcam.capture.video import VideoFile
from f2fcam.errors import InputError
from tests.profiles import make_profile
from tests.videos import write_clip, write_sound_only

pytestmark = pytest.mark.usefixtures("user_folders")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("This is not a video.\n" * 200)


def cut_off_index_last(path: Path) -> None:
    write_clip(path, 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def cut_off_index_first(path: Path) -> None:
    write_clip(path, 60, size=(320, 240), container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def garbage_inside(path: Path) -> None:
    write_clip(path, 60, size=(320, 240), container={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    content[start:] = np.random.default_rng(0).integers(0, 256, len(content) - start, dtype=np.uint8).tobytes()
    path.write_bytes(content)


def sound_only(path: Path) -> None:
    write_sound_only(path)


BAD_FILES: list[Callable[[Path], None]] = [
    empty,
    text,
    cut_off_index_last,
    cut_off_index_first,
    garbage_inside,
    sound_only,
]


@pytest.mark.parametrize("make", BAD_FILES, ids=lambda make: make.__name__)
def test_bad_video_is_an_input_error(tmp_path: Path, make: Callable[[Path], None]):
    path = tmp_path / "bad.mp4"
    make(path)
    with pytest.raises(InputError) as caught, VideoFile(path) as video:
        list(video)
    assert caught.value.exit_code == 5
    assert "bad.mp4" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("make", BAD_FILES, ids=lambda make: make.__name__)
def test_bad_video_to_a_command(tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "bad.mp4"
    make(path)
    assert cli.run(["verify", str(path)]) == 5
    error, hint = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("Error: ")
    assert hint.startswith("Hint: ")


def test_single_damaged_picture_is_lived_with(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", 60, size=(320, 240), options={"g": "1"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    with VideoFile(path) as video:
        numbers = [frame.index for frame in video]
    assert len(numbers) >= 57
    assert numbers == sorted(numbers)


def test_missing_video_and_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for path in (tmp_path / "nothing.mp4", tmp_path):
        assert cli.run(["verify", str(path)]) == 2
        assert "not a file" in capsys.readouterr().err


def test_unknown_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "a.mp4", 3)
    for line in (
        ["start", "--profile", "nobody"],
        ["render", "--profile", "nobody", "--source", str(clip), "--output", str(tmp_path / "o.mp4")],
        ["profile", "show", "nobody"],
        ["profile", "delete", "nobody"],
        ["profile", "export", "nobody"],
    ):
        assert cli.run(line) == 4, line
        assert "nobody" in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()


def test_values_out_of_range_are_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "a.mp4", 3)
    for line in (
        ["start", "--profile", "alice", "--source", str(clip), "--sink", "null", "--fps", "0"],
        ["render", "--profile", "alice", "--source", str(clip), "--output", "."],
        ["render", "--profile", "alice", "--source", str(clip), "--output", str(clip / "o.mp4")],
        ["bench", "--size", "7x7"],
        ["evaluate", str(clip), "--output", str(clip)],
        ["profile", "export", "alice", str(tmp_path / "none" / "x.zip")],
    ):
        assert cli.run(line) == 2, line
        assert "Something went wrong" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a/b", "..", "a.b", "", "/etc"])
def test_name_with_slash_or_dots(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "a.mp4", 3)
    for line in (
        ["enroll", str(clip), "--name", name, "--self"],
        ["start", "--profile", name],
        ["profile", "show", name],
        ["profile", "delete", name],
        ["switch", name],
    ):
        assert cli.run(line) == 2, line
        assert "name" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["target.mp4", "frames.npz", "person.npz", "manifest.toml"])
def test_damaged_profile(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]):
    make_profile(tmp_path)
    path = tmp_path / "alice" / file
    path.write_bytes(path.read_bytes()[:-50])
    clip = write_clip(tmp_path / "a.mp4", 3)
    line = [
        "render",
        "--profile",
        "alice",
        "--profiles",
        str(tmp_path),
        "--source",
        str(clip),
        "--output",
        str(tmp_path / "o.mp4"),
    ]
    assert cli.run(line) == 4
    error, hint = capsys.readouterr().err.strip().splitlines()
    assert file in error
    assert hint.startswith("Hint: ")
    assert not (tmp_path / "o.mp4").exists()


def test_profile_of_another_face_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_profile(tmp_path)
    clip = write_clip(tmp_path / "a.mp4", 3)
    line = [
        "render",
        "--profile",
        "alice",
        "--profiles",
        str(tmp_path),
        "--source",
        str(clip),
        "--output",
        str(tmp_path / "o.mp4"),
    ]
    assert cli.run(line) == 4
    assert "another face model" in capsys.readouterr().err
