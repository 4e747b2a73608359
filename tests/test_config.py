"""Settings and the small languages of the command line: ranges and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from f2fcam.config import Config, StartConfig, load_config, parse_range, parse_size
from f2fcam.errors import ConfigError


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_range_round_trip(start: int, length: int):
    a, b = start / 1000, (start + length) / 1000
    assert parse_range(f"{a:.3f}:{b:.3f}") == (a, b)


def test_open_ranges():
    assert parse_range(None) is None
    assert parse_range("3:") == (3.0, float("inf"))
    assert parse_range(":2.5") == (0.0, 2.5)


@pytest.mark.parametrize("text", ["", "5", "a:b", "5:4", "3:3", "-1:2", "1:2:3", "nan:1", "1e3:2e3", "0:10s"])
def test_bad_ranges(text: str):
    with pytest.raises(ConfigError, match="--test"):
        parse_range(text, "--test")


def test_sizes():
    assert parse_size("1280x720") == parse_size(" 1280X720") == (1280, 720)
    for text in ("", "720p", "1280", "1280x", "-1x5", "1.5x2"):
        with pytest.raises(ConfigError):
            parse_size(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (8, 720)},
        {"size": (1280, 9000)},
        {"fps": 0.0},
        {"fps": 1000.0},
        {"fps": float("nan")},
        {"duration_s": -1.0},
    ],
)
def test_impossible_cameras(wrong: dict):
    with pytest.raises(ConfigError):
        StartConfig("alice", **wrong)


def test_no_file_means_defaults(user_folders: Path):
    assert load_config() == Config()
    assert user_folders.is_dir()


def test_file(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text('profiles = "~/faces"\n[start]\nsink = "preview"\nfps = 25\n')
    config = load_config(path)
    assert config.profiles == "~/faces"
    assert (config.start.sink, config.start.fps, config.start.size) == ("preview", 25, "1280x720")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("profile = 'x'", "no setting profile"),
        ("[start]\nfpz = 3", "no setting start.fpz"),
        ("[start]\nfps = '30'", "start.fps has a value of the wrong kind"),
        ("[start]\nfps = true", "start.fps has a value of the wrong kind"),
        ("[start]\nfps = 900", "out of range"),
        ("[start]\nsize = 'big'", "not a size"),
        ("start = 3", "not a table"),
        ("[start", "not valid TOML"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, text: str, complaint: str):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(path)
    assert "config.toml" in caught.value.message


def test_named_file_has_to_exist(tmp_path: Path):
    with pytest.raises(ConfigError):
        load_config(tmp_path / "nothing.toml")
