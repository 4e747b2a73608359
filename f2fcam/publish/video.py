"""A video file of RGB pictures: H.264, colours tagged, the source's sound copied, there only when complete."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from f2fcam.errors import ConfigError, F2FError
from f2fcam.publish.partial import keep_partial, partial_path
from f2fcam.yuv import Coding, rgb_to_i420

log = logging.getLogger(__name__)

TICKS_PER_S = 90_000
"""At least so fine is the file's clock."""

CRF = 16
"""x264's quality of a rendered video."""

FRAGMENT_US = 1_000_000
"""So much of a lasting file is lost at most."""

INTRA_CRF = 12
"""x264's quality where every picture is a key picture: at least 42 dB on the clips measured (`DECISIONS` 21)."""

INTRA_PRESET = "ultrafast"
"""Without arithmetic coding a picture is written in a third of the time and read in half; at the same quality a quarter more
bytes."""

_TAGS = {"bt601": (6, 6, 6), "bt709": (1, 1, 1)}
"""ISO/IEC 23091-2 (matrix, primaries, transfer)."""


class VideoWriter:
    """Writes pictures to `path`; it appears there, replacing what was, when `close` is called and not before.

    `audio_from` is a video whose sound packets are copied; `range_s` says which part of it the pictures come from. Pictures
    without a time are `1 / fps` apart. `comment` goes into the file's tags: `trust.verify.LABEL` for what was acted. As a
    context manager it closes, or on an exception removes what it wrote.

    A `lasting` MP4 is worth keeping at any time: where the disk is full, what was written until then gets to `path`, and where
    its process is killed, it lies in `partial_path(path)`.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float | Fraction,
        audio_from: str | Path | None = None,
        range_s: tuple[float, float] | None = None,
        intra_only: bool = False,
        crf: int | None = None,
        preset: str | None = None,
        coding: Coding | None = None,
        comment: str | None = None,
        lasting: bool = False,
    ) -> None:
        self.path = Path(path)
        self._lasting = lasting and _is_mp4(self.path)
        self.size = size
        self.count = 0
        self._rate = Fraction(fps).limit_denominator(1001)
        self._clock = self._rate.numerator * -(-TICKS_PER_S // self._rate.numerator)
        self._coding = coding or Coding.untagged(size[1])
        self._last_pts = -1
        self._first_ns: int | None = None
        self._partial = partial_path(self.path)
        self._container: av.container.OutputContainer | None = self._create()
        self._sound: _Sound | None = None
        try:
            with self._explained():
                if comment:
                    self._opened.metadata["comment"] = comment
                self._stream = self._add_picture_stream(intra_only, crf, preset)
                if audio_from is not None:
                    self._sound = _Sound.copied(audio_from, self._opened, range_s)
                if not self._lasting:  # FFmpeg crashes where a lasting file with a head ends without a packet
                    self._opened.start_encoding()
                width, height = _even(size)
                self._picture = av.VideoFrame(width, height, "yuv420p")
                self._padded = np.zeros((height, width, 3), np.uint8) if (width, height) != size else None
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, rgb: UInt8[np.ndarray, "h w 3"], timestamp_ns: int | None = None) -> None:
        """Append a picture; times are counted from the first one's and have to rise."""
        if rgb.shape[1::-1] != self.size:
            raise ValueError(f"a picture of {rgb.shape[1::-1]} for a video of {self.size}")
        if self._padded is not None:
            self._padded[: rgb.shape[0], : rgb.shape[1]] = rgb
            self._padded[rgb.shape[0] :] = self._padded[rgb.shape[0] - 1]
            self._padded[:, rgb.shape[1] :] = self._padded[:, rgb.shape[1] - 1 : rgb.shape[1]]
            rgb = self._padded
        with self._explained():
            self._picture.make_writable()
            y, u, v = (
                np.frombuffer(memoryview(p), np.uint8).reshape(p.height, p.line_size) for p in self._picture.planes
            )
            rgb_to_i420(np.ascontiguousarray(rgb), self._coding, y, u, v)
            self._append(timestamp_ns)

    def write_i420(self, i420: bytes | bytearray | memoryview, timestamp_ns: int | None = None) -> None:
        """Append planes as the camera shows them (Y, U, V of an even-sided picture, coded as `coding` says)."""
        data = np.frombuffer(i420, np.uint8)
        with self._explained():
            self._picture.make_writable()
            start = 0
            for plane in self._picture.planes:
                lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
                area = plane.width * plane.height
                lines[:, : plane.width] = data[start : start + area].reshape(plane.height, plane.width)
                start += area
            self._append(timestamp_ns)

    def close(self) -> None:
        """Finish the file and put it in its place."""
        if self._container is None:
            return
        try:
            with self._explained():
                if self.count == 0:
                    raise F2FError(f"{self.path} has got no picture.", hint="Choose a source with pictures.")
                self._container.mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.up_to(self._end_s(), self._container)
                self._container.close()
                self._partial.replace(self.path)
        except BaseException:
            if not self._lasting:
                self.abort()
            raise
        self._container = None
        self._close_sound()

    def keep(self) -> bool:
        """Put what a `lasting` file holds so far in its place, whatever else may not work; whether it holds anything."""
        container, self._container = self._container, None
        self._close_sound()
        if container is not None:
            with suppress(av.error.FFmpegError, OSError):
                container.close()
        return keep_partial(self.path)

    def abort(self) -> None:
        """Remove what was written; what was at `path` before stays."""
        container, self._container = self._container, None
        self._close_sound()
        try:
            if container is not None:
                container.close()
        except (av.error.FFmpegError, OSError) as error:
            log.debug("closing %s: %s", self._partial, error)
        self._partial.unlink(missing_ok=True)

    @property
    def _opened(self) -> av.container.OutputContainer:
        assert self._container is not None, "the video is closed"
        return self._container

    def _create(self) -> av.container.OutputContainer:
        if self.path.is_dir() or not self.path.name:
            raise ConfigError(f"{self.path} is a folder.", hint="Name a file, as in --output out.mp4.")
        if self.path.parent.exists() and not self.path.parent.is_dir():
            raise ConfigError(f"{self.path.parent} is no folder.", hint="Name a file in a folder with --output.")
        if not self.path.parent.is_dir():
            raise ConfigError(
                f"The folder {self.path.parent} does not exist.", hint=f"Make it: `mkdir -p {self.path.parent}`."
            )
        try:
            self._partial.open("wb").close()
            return av.open(str(self._partial), "w", options=self._muxing())
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._partial.unlink(missing_ok=True)
            if isinstance(error, ValueError) and not isinstance(error, OSError):
                raise ConfigError(
                    f"{self.path} has an unknown file type.", hint="Name a file that ends in .mp4."
                ) from error
            raise ConfigError(
                f"{self.path} cannot be written: {error.strerror or error}.",
                hint="Choose a folder that you may write to.",
            ) from error

    def _muxing(self) -> dict[str, str]:
        """FFmpeg's options: an index up front, or one for every second that gives way to a single one at the end."""
        if not _is_mp4(self._partial):
            return {}
        if self._lasting:
            return {"movflags": "hybrid_fragmented", "frag_duration": str(FRAGMENT_US), "flush_packets": "1"}
        return {"movflags": "faststart"}

    def _add_picture_stream(self, intra_only: bool, crf: int | None, preset: str | None) -> av.VideoStream:
        options = {
            "crf": str(crf if crf is not None else INTRA_CRF if intra_only else CRF),
            "preset": preset or (INTRA_PRESET if intra_only else "fast"),
        }
        if intra_only:
            options |= {"g": "1", "bf": "0", "x264-params": "keyint=1:scenecut=0:bframes=0"}
        stream = self._opened.add_stream("libx264", rate=self._rate, options=options)
        stream.width, stream.height = _even(self.size)
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, self._clock)
        matrix, primaries, transfer = _TAGS[self._coding.matrix]
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = matrix, primaries, transfer
        context.color_range = 2 if self._coding.full_range else 1
        return stream

    def _append(self, timestamp_ns: int | None) -> None:
        if timestamp_ns is None:
            pts = round(self.count * self._clock / self._rate)
        else:
            if self._first_ns is None:
                self._first_ns = timestamp_ns
            pts = round((timestamp_ns - self._first_ns) * self._clock / 1e9)
        pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        self._picture.pts = pts
        self._picture.time_base = Fraction(1, self._clock)
        self._picture.duration = round(self._clock / self._rate)
        self.count += 1
        self._opened.mux(self._stream.encode(self._picture))
        if self._sound is not None:
            self._sound.up_to(pts / self._clock, self._opened)

    def _end_s(self) -> float:
        return self._last_pts / self._clock + 1 / float(self._rate)

    def _close_sound(self) -> None:
        if self._sound is not None:
            self._sound.close()
            self._sound = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the disk as ours."""
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            hint = "Choose another folder with --output."
            if error.errno == errno.ENOSPC:
                hint = "Free some space on the disk, or choose another folder with --output."
            reason = error.strerror or str(error)
            raise F2FError(f"{self.path} could not be written: {reason}.", hint=hint) from error


class _Sound:
    """The sound packets of another video, written as the pictures get to their time."""

    def __init__(
        self, container: av.container.InputContainer, target: av.AudioStream, start_s: float, end_s: float
    ) -> None:
        self._container = container
        self._target = target
        self._source = container.streams.audio[0]
        self._start_s = start_s
        self._end_s = end_s
        self._waiting: av.Packet | None = None
        self._packets = container.demux(self._source)

    @classmethod
    def copied(
        cls, path: str | Path, into: av.container.OutputContainer, range_s: tuple[float, float] | None
    ) -> _Sound | None:
        """`None` where the video has no sound, or one that the new file's kind cannot hold."""
        container = av.open(str(path), mode="r")
        if not container.streams.audio:
            container.close()
            return None
        source = container.streams.audio[0]
        if source.codec_context.name not in into.supported_codecs:
            log.warning(
                "%s: sound of the kind %s cannot be copied; the video is silent", path, source.codec_context.name
            )
            container.close()
            return None
        target = into.add_stream_from_template(source)
        picture = container.streams.video[0] if container.streams.video else None
        origin = float((picture.start_time or 0) * picture.time_base) if picture and picture.time_base else 0.0
        start, end = range_s or (0.0, float("inf"))
        return cls(container, target, origin + start, origin + end)

    def up_to(self, time_s: float, into: av.container.OutputContainer) -> None:
        """Write the packets that start before `time_s` of the new file."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = None
            if packet.pts is None or packet.dts is None:
                continue
            begin = float(packet.pts * packet.time_base)
            if begin + float((packet.duration or 0) * packet.time_base) <= self._start_s:
                continue
            if begin >= self._end_s:
                return
            if begin - self._start_s >= time_s:
                self._waiting = packet
                return
            shift = round(self._start_s / packet.time_base)
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = self._target
            into.mux(packet)

    def close(self) -> None:
        self._container.close()


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """4:2:0 has no odd sides."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def _is_mp4(path: Path) -> bool:
    return path.suffix.lower() in (".mp4", ".mov", ".m4v")
