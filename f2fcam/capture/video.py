"""A video file as upright RGB frames in presentation order (`DECISIONS` 2, 13), by index or one after the other.

The file's packets are indexed once, without decoding: frame `i` is the i-th picture that the edit list shows, whatever part is
read. Variable frame rate, rotation and mirroring metadata, HEVC, 10 bit, odd pixel shapes and files without sound are normal.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from jaxtyping import Int64, UInt8

from f2fcam.capture import SourceInfo
from f2fcam.errors import ConfigError, InputError
from f2fcam.frame import Frame, Undeveloped
from f2fcam.yuv import Coding, Matrix, i420_to_rgb

log = logging.getLogger(__name__)

av.logging.set_level(None)  # its lines would go to stderr, past ours  # pyright: ignore[reportPrivateImportUsage]

DAMAGE_LIMIT = 3
"""So many pictures of a file may be undecodable before it counts as damaged."""

_MATRIX_OF_TAG: dict[int, Matrix] = {
    1: "bt709",
    4: "bt601",
    5: "bt601",
    6: "bt601",
    7: "bt709",
    9: "bt2020",
    10: "bt2020",
}
"""ISO/IEC 23091-2 matrix coefficients; SMPTE 240M (7) is nearly BT.709."""

_SCALER_MATRIX = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}

_EXACT = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)

_NOT_A_VIDEO = "Give a video that plays in a video player; `f2fcam doctor` shows what this installation can read."


class VideoFile:
    """A video, read forwards or by index.

    Attributes:
        times_ns: presentation time of every frame of the file from its first picture, also outside the range.
        first, stop: frame numbers of the range, half-open.
        info: of the whole file, except that `size` is the one delivered.
    """

    def __init__(
        self, path: str | Path, range_s: tuple[float, float] | None = None, max_side: int | None = None
    ) -> None:
        self.path = Path(path)
        self._container: av.container.InputContainer | None = None
        self._pictures: Iterator[tuple[int, av.VideoFrame]] | None = None
        self._index: _Index | None = None
        self._lost = 0
        self._scaler = VideoReformatter()
        with self._explained():
            self._open()
            self._index = index = _index_packets(self.path, self._opened, self._stream)
            self._open()
            first = self._first_picture()
        self.times_ns = index.times_ns
        self._upright = _orientation(first)
        self._scaled = _scaled_size(first, self._stream.sample_aspect_ratio, max_side)
        width, height = self._scaled
        self.info = SourceInfo(
            name=self.path.name,
            size=(height, width) if self._upright[0] else (width, height),
            rate=index.rate,
            duration_s=index.duration_s,
            frame_count=len(self.times_ns),
            has_audio=_has_sound(self._opened),
            rotation=_clockwise_degrees(self._upright),
            variable_rate=index.variable_rate,
        )
        self.first, self.stop = self._range(range_s)
        self._next = self.first

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames."""
        return self.info.size

    @property
    def fps(self) -> float:
        return self.info.fps

    def __len__(self) -> int:
        """Frames in the range."""
        return self.stop - self.first

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Frame | None:
        """The next frame of the range, `None` after its last."""
        picture = self.grab()
        return None if picture is None else picture.frame()

    def grab(self) -> Undeveloped | None:
        """The next frame of the range as it was decoded, `None` after its last."""
        if self._next >= self.stop:
            return None
        with self._explained():
            for index, picture in self._pictures_from(self._next):
                if index >= self.stop:
                    break
                if index >= self._next:
                    self._next = index + 1
                    return self._undeveloped(index, picture)
        self._next = self.stop
        return None

    def frame_at(self, index: int) -> Frame:
        """Frame number `index` of the file; one seek and one picture decoded where every picture is a key picture."""
        if not 0 <= index < len(self.times_ns):
            raise IndexError(f"{self.path.name} has no frame {index}")
        with self._explained():
            for found, picture in self._pictures_from(index):
                if found >= index:
                    frame = self._undeveloped(found, picture).frame()
                    assert frame is not None, "what could be decoded can be converted"
                    return frame
        raise InputError(f"Picture {index} of {self.path} cannot be decoded.", hint=_NOT_A_VIDEO)

    def rewind(self) -> None:
        """Start again at the range's first frame."""
        self._next = self.first

    def close(self) -> None:
        self._pictures = None
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def every_picture_is_key(self) -> bool:
        """Any frame is one seek."""
        return self._index is not None and len(self._index.keys) == len(self._index.times_ns)

    @property
    def _opened(self) -> av.container.InputContainer:
        assert self._container is not None, "the video is closed"
        return self._container

    def _open(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = av.open(str(self.path), mode="r")
        stream = next((s for s in self._opened.streams.video if not s.disposition & _COVER), None)
        if stream is None:
            raise InputError(f"{self.path} has no picture, only sound or nothing.", hint=_NOT_A_VIDEO)
        # Threads by frame decode the following pictures too, which a video read by index throws away.
        stream.thread_type = "SLICE" if self.every_picture_is_key else "AUTO"
        self._stream = stream
        self._at = 0
        self._fresh = True

    def _first_picture(self) -> av.VideoFrame:
        for _, picture in self._pictures_from(0):
            return picture
        raise InputError(f"No picture of {self.path} can be decoded.", hint=_NOT_A_VIDEO)

    def _range(self, range_s: tuple[float, float] | None) -> tuple[int, int]:
        if range_s is None:
            return 0, len(self.times_ns)
        start, end = range_s
        first, stop = (int(np.searchsorted(self.times_ns, round(t * 1e9) - 1000)) for t in (start, min(end, 1e9)))
        if first >= stop:
            raise InputError(
                f"No picture of {self.path} lies in the range {start:g}:{end:g}; it lasts {self.info.duration_s:.1f} s.",
                hint="Give a --range inside the video.",
            )
        return first, stop

    def _pictures_from(self, index: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """The running decoder if it is on its way to `index`, else one that starts at the key picture before it."""
        if self._pictures is None or self._at > index or self._key_before(index) > self._at:
            self._pictures = self._decode(index)
        return self._pictures

    def _key_before(self, index: int) -> int:
        """Frame number of the last key picture up to `index`."""
        keys = self._index.keys if self._index else ()
        place = int(np.searchsorted(keys, index, side="right"))
        return int(keys[place - 1]) if place else 0

    def _decode(self, index: int) -> Iterator[tuple[int, av.VideoFrame]]:
        sought = self._seek(index)
        for number, picture in self._decode_on():
            if sought and number > index:  # the container's index is wrong: count from the start
                self._open()
                yield from self._decode_on()
                return
            sought = False
            yield number, picture

    def _decode_on(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pictures from where the container stands."""
        self._fresh = False
        for packet in self._opened.demux(self._stream):
            try:
                pictures = packet.decode()
            except av.error.FFmpegError as error:
                self._count_damage(error)
                continue
            for picture in pictures:
                number = self._number(picture)
                if number is not None:
                    self._at = number + 1
                    yield number, picture

    def _seek(self, index: int) -> bool:
        """Put the container before picture `index`; whether that took a seek, whose landing has to be checked."""
        if self._index and self._index.pts is not None and self._key_before(index) > 0:
            self._opened.seek(int(self._index.pts[index]), backward=True, stream=self._stream)
            return True
        if not self._fresh:
            self._open()
        return False

    def _number(self, picture: av.VideoFrame) -> int | None:
        """Frame number of a decoded picture; `None` where the edit list hides it."""
        pts = self._index.pts if self._index else None
        if pts is None:
            return self._at if self._at < len(self.times_ns) else None
        if picture.pts is None:
            return None
        number = int(np.searchsorted(pts, picture.pts))
        return number if number < len(pts) and pts[number] == picture.pts else None

    def _count_damage(self, error: av.error.FFmpegError) -> None:
        self._lost += 1
        log.debug("%s: a picture near %d cannot be decoded: %s", self.path, self._at, error)
        if self._lost > DAMAGE_LIMIT:
            time_s = self.times_ns[min(self._at, len(self.times_ns) - 1)] / 1e9
            raise InputError(
                f"{self.path} is damaged from {time_s:.1f} s on.",
                hint="Copy or download the video again, or use --range.",
            )

    def _undeveloped(self, index: int, picture: av.VideoFrame) -> Undeveloped:
        return Undeveloped(self.size, index, int(self.times_ns[index]), lambda out: self._develop(picture, out))

    def _develop(self, picture: av.VideoFrame, out: UInt8[np.ndarray, "h w 3"]) -> bool:
        transpose, flip_x, flip_y = self._upright
        turned = transpose or flip_x or flip_y
        with self._explained():
            rgb = to_rgb(picture, self._scaled, self._scaler, None if turned else out)
        if transpose:
            rgb = cv2.transpose(rgb)
        if flip_x or flip_y:
            rgb = cv2.flip(rgb, -1 if flip_x and flip_y else 1 if flip_x else 0)
        if rgb is not out:
            np.copyto(out, rgb)
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the libraries as ours."""
        try:
            yield
        except av.error.FFmpegError as error:
            raise _as_input_error(self.path, error) from error


_COVER = av.stream.Disposition.attached_pic


def probe(path: str | Path) -> SourceInfo:
    """What is known of a video; raises `InputError` if it cannot be used, `ConfigError` if it is not there."""
    with VideoFile(path) as video:
        return video.info


def comment_of(path: str | Path) -> str:
    """The file's `comment` tag, empty where it has none."""
    try:
        with av.open(str(path), mode="r") as container:
            return container.metadata.get("comment", "")
    except av.error.FFmpegError as error:
        raise _as_input_error(Path(path), error) from error


def to_rgb(
    picture: av.VideoFrame,
    size: tuple[int, int] | None = None,
    scaler: VideoReformatter | None = None,
    out: UInt8[np.ndarray, "h w 3"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of a decoded picture, by the matrix and range that it is tagged with or that its lines mean; into `out` if possible."""
    coding = coding_of(picture)
    width, height = size or (picture.width, picture.height)
    scaler = scaler or VideoReformatter()
    span = ColorRange.JPEG if coding.full_range else ColorRange.MPEG
    if picture.format.name in ("yuv420p", "yuvj420p"):
        if (picture.width, picture.height) != (width, height):
            picture = scaler.reformat(
                picture, width, height, picture.format.name, src_color_range=span, dst_color_range=span,
                interpolation=Interpolation.AREA,
            )  # fmt: skip
        planes = [np.frombuffer(memoryview(p), np.uint8).reshape(p.height, p.line_size) for p in picture.planes]
        out = np.empty((height, width, 3), np.uint8) if out is None else out
        return i420_to_rgb(planes[0], planes[1], planes[2], coding, out)
    picture = scaler.reformat(
        picture, width, height, "rgb24", src_colorspace=_SCALER_MATRIX[coding.matrix], src_color_range=span,
        dst_color_range=ColorRange.JPEG, interpolation=_EXACT,
    )  # fmt: skip
    return picture.to_ndarray()


def coding_of(picture: av.VideoFrame) -> Coding:
    """Matrix and range of a decoded picture."""
    plain = Coding.untagged(picture.height)
    full = picture.color_range == ColorRange.JPEG or picture.format.name.startswith("yuvj")
    return Coding(_MATRIX_OF_TAG.get(picture.colorspace, plain.matrix), full)


@dataclass(frozen=True, slots=True)
class _Index:
    """The file's pictures in presentation order.

    Attributes:
        pts: stamps in the stream's time base; `None` where the file has none or they repeat.
        times_ns: from the first picture.
        keys: frame numbers that decoding can start at.
    """

    pts: Int64[np.ndarray, " n"] | None
    times_ns: Int64[np.ndarray, " n"]
    keys: Int64[np.ndarray, " k"]
    rate: Fraction
    variable_rate: bool
    duration_s: float


def _index_packets(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> _Index:
    """Read all packets without decoding them; a file that holds fewer than it declares is cut off."""
    count, corrupt = 0, False
    shown: list[tuple[int | None, bool]] = []
    for packet in container.demux(stream):  # kept, they would be the whole file in memory
        if packet.size:
            count, corrupt = count + 1, packet.is_corrupt
            if not packet.is_discard:
                shown.append((packet.pts, packet.is_keyframe))
    if stream.frames > count or corrupt:
        raise InputError(
            f"{path} is cut off: {count} of {stream.frames} pictures are there.",
            hint="Copy or download the video again.",
        )
    if not shown:
        raise InputError(f"{path} has no picture.", hint=_NOT_A_VIDEO)
    declared = stream.average_rate or Fraction(25)
    stamps = [pts for pts, _ in shown if pts is not None]
    if len(set(stamps)) < len(shown):
        times = np.round(np.arange(len(shown)) * (1e9 / float(declared))).astype(np.int64)
        return _Index(None, times, np.zeros(1, np.int64), declared, False, len(shown) / float(declared))
    pts = np.sort(np.array(stamps, np.int64))
    tick_ns = Fraction(stream.time_base or 1) * 10**9
    times = np.array([round((int(p) - int(pts[0])) * tick_ns) for p in pts], np.int64)
    keys = np.searchsorted(pts, np.sort(np.array([pts for pts, key in shown if key], np.int64)))
    rate, variable = _rate(times, declared)
    return _Index(pts, times, keys, rate, variable, float(times[-1]) / 1e9 + 1 / float(rate))


def _rate(times_ns: Int64[np.ndarray, " n"], declared: Fraction) -> tuple[Fraction, bool]:
    """Rate and whether it varies; stamps rounded to a millisecond are still constant."""
    if len(times_ns) < 2:
        return declared, False
    steady = np.arange(len(times_ns)) * (1e9 / float(declared))
    if np.abs(times_ns - steady).max() < 1.5e6:
        return declared, False
    mean = Fraction(len(times_ns) - 1) * 10**9 / int(times_ns[-1])
    for nice in (mean.limit_denominator(1), Fraction(round(mean * 1001), 1001), mean.limit_denominator(1001)):
        if nice and np.abs(times_ns - np.arange(len(times_ns)) * (1e9 / float(nice))).max() < 1.5e6:
            return nice, False
    return mean.limit_denominator(1001), True


def _scaled_size(picture: av.VideoFrame, pixel_shape: Fraction | None, max_side: int | None) -> tuple[int, int]:
    """Even-sided size with square pixels, before turning."""
    shape = float(pixel_shape) if pixel_shape and 0.1 < pixel_shape < 10 else 1.0
    width, height = picture.width * shape, float(picture.height)
    factor = min(1.0, max_side / max(width, height)) if max_side else 1.0
    if factor == 1.0 and shape == 1.0:
        return picture.width, picture.height
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)


def _orientation(picture: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, then flip x, then flip y) that the display matrix asks for."""
    for data in cast(Any, picture.side_data):
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
            if abs(b) > abs(a):
                return True, c < 0, b < 0
            return False, a < 0, d < 0
    return False, False, False


def _clockwise_degrees(upright: tuple[bool, bool, bool]) -> int:
    transpose, flip_x, flip_y = upright
    if not transpose:
        return 180 if flip_x and flip_y else 0
    return 90 if flip_x else 270 if flip_y else 0


def _has_sound(container: av.container.InputContainer) -> bool:
    return bool(container.streams.audio)


def _as_input_error(path: Path, error: av.error.FFmpegError) -> InputError | ConfigError:
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
        return ConfigError(f"{path} is not a file that exists.", hint="Check the path.")
    if error.errno == errno.EACCES:
        return InputError(f"{path} may not be read.", hint=f"Allow it: `chmod u+r {path}`.")
    if path.is_file() and path.stat().st_size == 0:
        return InputError(f"{path} is empty.", hint="Copy or download the video again.")
    return InputError(f"{path} is not a video, or it is cut off or damaged.", hint=_NOT_A_VIDEO)
