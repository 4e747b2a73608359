"""Small test videos, good and bad, made on the spot."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (64, 48)


def numbered(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture that tells its number: grey level 5 * index, with a white top-left quarter."""
    width, height = size
    picture = np.full((height, width, 3), (5 * index) % 200, np.uint8)
    picture[: height // 2, : width // 2] = 255
    return picture


def number_of(rgb: np.ndarray) -> int:
    """The number in a picture of `numbered`, upright or not: the darkest quarter's level."""
    height, width = rgb.shape[:2]
    middle = [rgb[y, x].mean() for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return round(min(middle) / 5)


def white_corner(rgb: np.ndarray) -> str:
    """Where the white quarter of a picture of `numbered` lies."""
    height, width = rgb.shape[:2]
    places = {"top left": (1, 1), "top right": (1, 3), "bottom left": (3, 1), "bottom right": (3, 3)}
    return max(places, key=lambda name: rgb[places[name][0] * height // 4, places[name][1] * width // 4].mean())


def write_clip(
    path: Path,
    count: int = 30,
    *,
    rate: int = 30,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times_ms: list[int] | None = None,
    rotation: int = 0,
    flip: bool = False,
    sound: bool = False,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """A video of `numbered` pictures; `times_ms` makes the rate vary."""
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=rate, options={"crf": "8"} | (options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation or flip:
            stream.set_display_rotation(-rotation, hflip=flip)
        audio = output.add_stream("aac", rate=48_000) if sound else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(index, size), format="rgb24")
            frame.pts = index if times_ms is None else times_ms[index]
            frame.time_base = Fraction(1, rate) if times_ms is None else Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if audio is not None:
            for block in range(count * 48_000 // rate // 1024):
                output.mux(audio.encode(tone(block)))
            output.mux(audio.encode(None))
    return path


def tone(block: int) -> av.AudioFrame:
    """1,024 samples of a rising sweep: its pitch tells the time."""
    time = (np.arange(1024) + block * 1024) / 48_000
    wave = (0.5 * np.sin(2 * np.pi * (200 * time + 150 * time**2))).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.rate = 48_000
    frame.pts = block * 1024
    return frame


def write_sound_only(path: Path) -> Path:
    """A file without a picture."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48_000)
        for block in range(50):
            output.mux(stream.encode(tone(block)))
        output.mux(stream.encode(None))
    return path


def pitch_at(path: Path, time_s: float) -> float:
    """Hertz of the sound at a time, for `tone`: 200 + 300 t in the file it was made for."""
    with av.open(str(path)) as container:
        blocks = [
            (float(f.pts * f.time_base), f.to_ndarray()[0]) for f in container.decode(audio=0) if f.pts is not None
        ]
    start = blocks[0][0]
    samples = np.concatenate([samples for _, samples in blocks])
    middle = round((time_s - start) * 48_000)
    part = samples[max(0, middle - 1024) : middle + 1024] * np.hanning(
        len(samples[max(0, middle - 1024) : middle + 1024])
    )
    return float(np.abs(np.fft.rfft(part, 1 << 16)).argmax() * 48_000 / (1 << 16))
