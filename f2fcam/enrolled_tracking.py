"""Every frame of a shot fitted: in chunks by several threads, each from a warm start, while pictures are read and stored.

A chunk begins some frames before the first one that it keeps, from the landmarks, as tracking begins anywhere: by then the fit
has forgotten where it came from. Chunks have one length, so that what is fitted does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from f2fcam.capture.video import VideoFile
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.overlap import in_order, with_own
from f2fcam.publish.video import VideoWriter
from f2fcam.track.fit import FitConfig, FrameFitter
from f2fcam.track.landmarks import Landmarks
from f2fcam.track.person import Observation, PersonEstimate
from f2fcam.track.samples import choose_samples
from f2fcam.track.scan import Seen, Shot
from f2fcam.track.tracker import BASELINE_FRAMES, Tracked, TrackState, track_step

LENGTH, WARM_UP = 96, 12
"""Frames that a chunk keeps and that it fits before them: long enough that little is fitted twice, short enough to lie in
memory."""
NEAR_OBSERVATIONS = 9
"""From so many of the shot's pictures around a chunk its regions' usual errors are taken: a hand is in fewer of them."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a shot that one thread fits: from `start`, of which those from `first` to `stop` (half-open) are kept."""

    start: int
    first: int
    stop: int


def chunks(count: int, length: int = LENGTH, warm_up: int = WARM_UP) -> list[Chunk]:
    """Chunks that keep each of `count` rows once."""
    return [
        Chunk(max(first - warm_up, 0), first, min(first + length, count)) for first in range(0, count, max(length, 1))
    ]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One row's picture, as far as a fit looks at it: the face's surroundings, in their place when `shown`."""

    crop: Observation | None

    @classmethod
    def of(cls, rgb: UInt8[np.ndarray, "h w 3"], landmarks: Landmarks | None) -> Sighting:
        """Without landmarks nothing is fitted, and nothing kept."""
        return cls(None if landmarks is None else Observation.crop(rgb, landmarks, 0))

    @property
    def landmarks(self) -> Landmarks | None:
        """In the whole picture's pixels."""
        return None if self.crop is None else self.crop.landmarks

    def shown(self, canvas: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The canvas with the crop where it was in the picture; what was there before stays around it."""
        if self.crop is not None:
            (x, y), (height, width) = self.crop.origin, self.crop.rgb.shape[:2]
            canvas[y : y + height, x : x + width] = self.crop.rgb
        return canvas


def track_shot(
    source: VideoFile,
    rows: list[Seen],
    shot: Shot,
    estimate: PersonEstimate,
    model: FaceModel,
    writer: VideoWriter,
    threads: int,
    report: Callable[[int, int], None],
) -> list[Tracked]:
    """Fit every row of the shot, and hand every picture to `writer` on the way."""
    parts, tracked, read = chunks(len(rows)), [], 0

    def pictures() -> Iterator[Sighting]:
        nonlocal read
        for frame in source_frames(source, rows[0].index, rows[-1].index):
            writer.write(frame.rgb, frame.timestamp_ns)
            seen = Sighting.of(frame.rgb, rows[read].landmarks)
            read += 1
            report((read + len(tracked)) // 2, len(rows))
            yield seen

    starts = [_start(part, rows, shot, estimate) for part in parts]
    workers = [_Worker.new(model, estimate.person, source.size) for _ in range(min(threads, len(parts)))]
    work = with_own(_fitted, workers)
    with closing(in_order(work, zip(parts, starts, gathered(pictures(), parts)), len(workers))) as found:
        for outcomes in found:
            tracked += outcomes
            report((read + len(tracked)) // 2, len(rows))
    return tracked


def source_frames(source: VideoFile, first: int, last: int) -> Iterator[Frame]:
    """Frames `first` to `last` of the file, both included."""
    source.rewind()
    while (frame := source.read()) is not None and frame.index <= last:
        if frame.index >= first:
            yield frame


def gathered(items: Iterable[Sighting], parts: list[Chunk]) -> Iterator[list[Sighting]]:
    """Each chunk's items, of a stream that is read once."""
    stream, kept, start = iter(items), [], 0
    for part in parts:
        kept, start = kept[part.start - start :], part.start
        while len(kept) < part.stop - part.start and (item := next(stream, None)) is not None:
            kept.append(item)
        yield list(kept)


def _start(part: Chunk, rows: list[Seen], shot: Shot, estimate: PersonEstimate) -> TrackState:
    """What tracking knows where a chunk begins: the first nothing, the others what the regions' errors usually are."""
    if part.first == 0:
        return TrackState()
    frames = np.array([seen.index for seen in shot.observations])
    return TrackState(
        usual=usual_errors(frames, estimate.region_errors, rows[part.start].index), frames=BASELINE_FRAMES
    )


def usual_errors(
    frames: np.ndarray, errors: Float[np.ndarray, "o r"], frame: int, count: int = NEAR_OBSERVATIONS
) -> Float[np.ndarray, " r"]:
    """Medians of the errors seen in the `count` of `frames` next to `frame`; NaN of a region that none of them shows."""
    near = errors[np.argsort(np.abs(frames - frame), kind="stable")[:count]]
    return np.array(
        [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan for column in near.T]
    )


@dataclass(frozen=True, slots=True)
class _Worker:
    """What one thread at a time may use: a fitter and a picture to paint crops into."""

    fitter: FrameFitter
    canvas: UInt8[np.ndarray, "h w 3"]

    @classmethod
    def new(cls, model: FaceModel, person: Person, size: tuple[int, int]) -> _Worker:
        config = FitConfig()
        fitter = FrameFitter(model, person, choose_samples(model, config.samples), config)
        return cls(fitter, np.zeros((size[1], size[0], 3), np.uint8))


def _fitted(task: tuple[Chunk, TrackState, list[Sighting]], worker: _Worker) -> list[Tracked]:
    """The chunk's kept rows."""
    part, state, pictures = task
    outcomes = []
    for picture in pictures:
        # A shot has no cuts, and a thumbnail of a crop in an old picture would find some.
        state = replace(state, thumbnail=None)
        state, outcome = track_step(state, picture.shown(worker.canvas), picture.landmarks, worker.fitter)
        outcomes.append(outcome)
    return outcomes[part.first - part.start :]
