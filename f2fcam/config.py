"""What the user can choose, checked: ranges, sizes, paths, and the settings of the running camera.

A stage's own tunables stand in its module, named, with unit and reason; here is what a command line or `config.toml` sets.
Standard library only, since every process reads it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f2fcam.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

MAX_SIDE = 4096
"""Pixels; no camera application takes more."""
FPS_RANGE = (1.0, 120.0)
QUALITIES = ("auto", "full")


@dataclass(frozen=True, slots=True)
class StartConfig:
    """A running camera.

    Attributes:
        profile: name of the target.
        profiles: folder that is searched first; `None`: the user's and the package's.
        source: `webcam:0`, a video file, `synthetic`.
        sink: `auto`, `v4l2[:/dev/videoN]`, `pipewire`, `virtualcam[:DEVICE]`, `preview[:PORT]`, `FILE.mp4`, `null`.
        size: width and height of the output in pixels.
        fps: output rate.
        duration_s: stop after so long; `None`: run until told to stop.
        quality: `auto` lowers it where the machine is too slow for the rate; `full` never.
        always_on: webcam and engine work even while nobody looks at the camera.
        idle_s: so long after the last reader left they rest.
        metrics_port: where a Prometheus server of this machine finds the camera's numbers; 0: a free port.
        sound: `auto`, `off`, or the microphone that becomes "F2F Microphone", delayed like the picture.
        sound_gate: `off`, or the level in dB of full scale under which the microphone is silent, as in `-50`.
        barcode: for tests, put each picture's time of capture into a corner (`publish.barcode`).
    """

    profile: str
    profiles: Path | None = None
    source: str = "webcam:0"
    sink: str = "auto"
    size: tuple[int, int] = (1280, 720)
    fps: float = 30.0
    duration_s: float | None = None
    quality: str = "auto"
    always_on: bool = False
    idle_s: float = 10.0
    metrics_port: int | None = None
    sound: str = "auto"
    sound_gate: str = "off"
    barcode: bool = False

    def __post_init__(self) -> None:
        checked_size(self.size)
        if self.quality not in QUALITIES:
            raise ConfigError(f"There is no quality {self.quality!r}.", hint="Give --quality auto or --quality full.")
        parse_gate(self.sound_gate)
        if not self.sound:
            raise ConfigError("No microphone is named.", hint="Give --sound auto, --sound off or a microphone's name.")
        if not FPS_RANGE[0] <= self.fps <= FPS_RANGE[1]:
            raise ConfigError(f"{self.fps:g} frames a second are out of range.", hint="Give --fps 30, for example.")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise ConfigError(f"{self.metrics_port} is no port number.", hint="Give --metrics 9321, for example.")
        if not 0 <= self.idle_s < math.inf:
            raise ConfigError(
                f"{self.idle_s:g} seconds of idling are out of range.", hint="Set idle_s = 10, for example."
            )
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise ConfigError(
                f"The duration {self.duration_s:g} s is not positive.", hint="Give --seconds 20, for example."
            )


@dataclass(frozen=True, slots=True)
class StartDefaults:
    """What `f2fcam start` takes for options that are not given; `[start]` of `config.toml`."""

    source: str = "webcam:0"
    sink: str = "auto"
    size: str = "1280x720"
    fps: float = 30.0
    quality: str = "auto"
    always_on: bool = False
    idle_s: float = 10.0
    metrics: int | None = None
    sound: str = "auto"
    sound_gate: str = "off"


@dataclass(frozen=True, slots=True)
class Config:
    """The user's `config.toml`.

    Attributes:
        profiles: folder of the profiles instead of the user's data folder.
    """

    profiles: str | None = None
    start: StartDefaults = field(default_factory=StartDefaults)


def config_path() -> Path:
    """The user's settings; `F2FCAM_CONFIG` names another file."""
    if chosen := os.environ.get("F2FCAM_CONFIG"):
        return Path(chosen)
    import platformdirs

    return platformdirs.user_config_path("f2fcam", appauthor=False) / "config.toml"


def data_folder() -> Path:
    """Where the user's profiles and keys live."""
    import platformdirs

    return platformdirs.user_data_path("f2fcam", appauthor=False)


def load_config(path: Path | None = None) -> Config:
    """The settings in `path`; the defaults where there is no such file."""
    file = path or config_path()
    if not file.is_file():
        if path is not None:
            raise ConfigError(f"The settings file {path} does not exist.", hint="Check the path.")
        return Config()
    try:
        table = read_toml(file)
        start = _filled(StartDefaults, table.pop("start", {}), "start.")
        config = dataclasses.replace(_filled(Config, table, ""), start=start)
        StartConfig(
            "check",
            size=parse_size(start.size),
            fps=start.fps,
            quality=start.quality,
            idle_s=start.idle_s,
            metrics_port=start.metrics,
            sound=start.sound,
            sound_gate=start.sound_gate,
        )
    except ConfigError as error:
        raise ConfigError(f"{file}: {error.message}", hint=f"Mend or remove {file}.") from error
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", hint=f"Mend {path}.") from error


def _filled(kind: type, table: Any, prefix: str) -> Any:
    """A dataclass of plain values from a table with the same names."""
    if not isinstance(table, dict):
        raise ConfigError(f"{prefix.rstrip('.')} is not a table.", hint="Write it as a section.")
    defaults = {f.name: f for f in dataclasses.fields(kind)}
    for name, value in table.items():
        if name not in defaults:
            raise ConfigError(f"there is no setting {prefix}{name}.", hint=f"Use one of {', '.join(defaults)}.")
        kinds = {"bool": bool, "float": (int, float), "int": int}
        wanted = next((kinds[kind] for kind in kinds if kind in str(defaults[name].type)), str)
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, wanted):
            raise ConfigError(f"{prefix}{name} has a value of the wrong kind, {value!r}.", hint="Look at the README.")
    return kind(**table)


def parse_range(text: str | None, option: str = "--range") -> tuple[float, float] | None:
    """`A:B` in seconds, half-open; an end that is left out is the video's."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?)?:(\d+(?:\.\d*)?)?", text.strip())
    if not match:
        raise ConfigError(f"{option} {text!r} is not a range in seconds.", hint=f"Write it as in `{option} 0:10`.")
    start, end = float(match[1] or 0), float(match[2] or "inf")
    if not start < end:
        raise ConfigError(f"{option} {text} ends before it starts.", hint=f"Write it as in `{option} 0:10`.")
    return start, end


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size, if a camera can have it."""
    width, height = size
    if not (16 <= width <= MAX_SIDE and 16 <= height <= MAX_SIDE):
        raise ConfigError(f"The size {width}x{height} is out of range.", hint="Give --size 1280x720, for example.")
    return size


def parse_gate(text: str) -> float | None:
    """`off`, or dB of full scale below zero."""
    if text == "off":
        return None
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not -120 <= level < 0:
        raise ConfigError(f"{text!r} is no level for the gate.", hint="Give --sound-gate off or, for example, -50.")
    return level


def parse_size(text: str) -> tuple[int, int]:
    """`WxH` in pixels."""
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip())
    if not match:
        raise ConfigError(f"{text!r} is not a size.", hint="Write it as in `--size 1280x720`.")
    return int(match[1]), int(match[2])
