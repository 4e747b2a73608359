"""How the cost of a picture goes with the clip's length, the surface samples and the mesh; thread time, in turn.

A long clip is the profile's rows over and over, descriptors and expressions changed a little, so that no two are alike; as
many mouths and cuts as enrolment keeps of a clip of that length. Only what looks at them is measured, not decoding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from f2fcam.benchmark.source import Pictures, to_and_fro
from f2fcam.benchmark.yardsticks import best_ms
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance
from f2fcam.frame import Frame
from f2fcam.mouth.aperture import APERTURES, ApertureName, PersonAperture, apertures
from f2fcam.mouth.build import PIXEL_BUDGET
from f2fcam.mouth.database import ApertureDatabase
from f2fcam.mouth.retrieve import RetrievalState, retrieve
from f2fcam.playback import Playback
from f2fcam.profile import Profile
from f2fcam.reenact import aperture_databases
from f2fcam.render import bounding_region
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.view import Workspace
from f2fcam.source_person import nobody
from f2fcam.speech import SpeechPauses
from f2fcam.target_clip import Loop
from f2fcam.track.actor import ActorState, follow, make_actor
from f2fcam.track.fit import FitConfig
from f2fcam.track.landmarks import MediaPipeDetector
from f2fcam.transitions import MOST_CUTS

LENGTHS_S = (10, 60, 600, 3600)
SAMPLE_COUNTS = (1024, 2048, 4096, 8192)
PERTURBED = 0.05
"""Of the descriptors, in units of their spread in the clip."""
OF_THE_CLIP = frozenset(
    ("name", "misfit", "frame_gaze", "metric", "scales", "slope", "offset", "gap_range", "medoids", "pixels")
)
"""Fields of a database that do not have a row per entry."""
PICTURE_S = 1 / 30
SETTLING = 12


def clip_lengths(profile: Profile, model: FaceModel, lengths_s: Sequence[float], count: int) -> list[dict[str, float]]:
    """Milliseconds per picture of retrieval (mouth and both eyes) and playback, medians of `count`, per length."""
    clips = [LongClip(profile, model, length) for length in lengths_s]
    times = [[clip.step() for clip in clips] for _ in range(SETTLING + count)][SETTLING:]
    rows = []
    for number, clip in enumerate(clips):
        retrieval, playing = np.array([step[number] for step in times]).T
        rows.append(
            {
                "seconds": lengths_s[number], "frames": clip.frames, "mouths": clip.entries,
                "retrieve_ms": round(float(np.median(retrieval)), 4),
                "playback_ms": round(float(np.median(playing)), 4),
                "both_ms": round(float(np.median(retrieval + playing)), 4),
            }
        )  # fmt: skip
    return rows


class LongClip:
    """A target's clip of a given length, and where acting it stands."""

    def __init__(self, profile: Profile, model: FaceModel, length_s: float) -> None:
        self._profile, self._random = profile, np.random.default_rng(7)
        own = len(profile.frames)
        self.frames = max(round(length_s * float(profile.manifest.rate)), 2)
        copies = -(-self.frames // own)
        self._databases = {
            name: repeated_database(database, own, copies, self.frames, self._random)
            for name, database in aperture_databases(profile).items()
        }
        playback = repeated_playback(Playback.from_arrays(dict(profile.playback)), copies, self.frames)
        self._playing = Loop(playback, SpeechPauses(model))
        self._geometry = {name: PersonAperture(model, profile.person, a) for name, a in apertures(model).items()}
        self._openings: dict[ApertureName, RetrievalState] = {name: RetrievalState() for name in APERTURES}
        self._number = 0

    @property
    def entries(self) -> int:
        """Mouths to choose from."""
        return len(self._databases["mouth"]) if self._databases else 0

    def step(self) -> tuple[float, float]:
        """Milliseconds of retrieval and of playback for one picture; the actor does what the target did half a clip later."""
        frames, time_s = self._profile.frames, self._number * PICTURE_S
        own = len(frames)
        expression = frames.expressions[(self._number + own // 2) % own]
        start = time.thread_time_ns()
        row = self._playing.row(time_s, None, expression, expression)
        played = time.thread_time_ns()
        self._retrieve(row, frames.performance(row % own), expression, time_s)
        done = time.thread_time_ns()
        self._number += 1
        return (done - played) / 1e6, (played - start) / 1e6

    def _retrieve(self, row: int, displayed: Performance, expression: np.ndarray, time_s: float) -> None:
        companion = None
        for name, database in self._databases.items():
            beside = companion if name == "eye_right" else None
            now = retrieve(
                self._openings[name], database, self._geometry[name], row, displayed, expression, time_s, beside
            )
            self._openings[name] = now
            if name == "eye_left":
                companion = row if now.entry < 0 else int(database.frames[now.entry])


def repeated_database(
    database: ApertureDatabase, own: int, copies: int, frames: int, random: np.random.Generator
) -> ApertureDatabase:
    """An opening's database for a clip of `frames` rows, `copies` of the `own` ones; without pixels.

    Whole copies, spread over the clip, as many as enrolment has room for.
    """
    largest = int(3 * database.size.astype(np.int64).prod(axis=1).max(initial=1))
    room = max(PIXEL_BUDGET[database.name] // (largest * max(len(database), 1)), 1)
    kept = min(copies, room)
    offset = np.round(np.arange(kept) * copies / kept).astype(np.int64) * own
    tiled = {f.name: getattr(database, f.name) for f in fields(database)}
    per_entry = set(tiled) - OF_THE_CLIP
    for name in per_entry:
        tiled[name] = np.concatenate([tiled[name]] * kept)
    for name in ("shape", "turn", "measures", "gaze"):
        spread = random.standard_normal(tiled[name].shape).astype(np.float32)
        tiled[name] = tiled[name] + np.float32(PERTURBED) * spread
    tiled["frames"] = np.concatenate([database.frames + o for o in offset]).astype(np.int32)
    inside = tiled["frames"] < frames
    tiled["neighbours"] = np.concatenate([database.neighbours + k * len(database) for k in range(kept)]).astype(
        np.int32
    )
    for name in ("misfit", "frame_gaze"):
        tiled[name] = np.concatenate([getattr(database, name)] * copies)[:frames]
    if not inside.all():
        tiled = _first_entries(tiled, per_entry, int(inside.sum()))
    return ApertureDatabase(**{**tiled, "pixels": database.pixels[:0]})


def _first_entries(arrays: dict[str, Any], per_entry: set[str], count: int) -> dict[str, Any]:
    """The entries before the clip's end; the neighbours of the last ones with them."""
    cut = {name: arrays[name][:count] for name in per_entry}
    cut["neighbours"] = np.minimum(cut["neighbours"], count - 1)
    cut["medoids"] = arrays["medoids"][arrays["medoids"] < count]
    return arrays | cut


def repeated_playback(playback: Playback, copies: int, frames: int) -> Playback:
    """A clip played over and over as one, with its cuts, as many as enrolment keeps."""
    own, time_s = len(playback), playback.time_s
    step = float(np.median(np.diff(time_s))) if own > 1 else PICTURE_S
    found = playback.transitions
    if len(found):
        kept = np.unique(np.linspace(0, copies - 1, min(copies, max(MOST_CUTS // len(found), 1))).astype(int))
        moved = [replace(found, start=found.start + own * int(k), end=found.end + own * int(k)) for k in kept]
        for one in moved[1:]:
            moved[0] = moved[0] + one
        found = moved[0]
        found = found[(found.start < frames) & (found.end < frames)]
    times = np.concatenate([time_s + k * (float(time_s[-1]) + step) for k in range(copies)])[:frames]
    looks, turn = (np.concatenate([a] * copies)[:frames] for a in (playback.looks, playback.turn))
    return Playback(times, found, np.minimum(playback.idle, frames - 1), looks, turn)


def sample_counts(
    profile: Profile, model: FaceModel, pictures: Pictures, counts: Sequence[int], count: int
) -> list[dict[str, float]]:
    """Milliseconds of tracking and transfer per picture, medians of `count`, per number of surface samples."""
    height, width = pictures[0].shape[:2]
    person = nobody(Intrinsics.guess(width, height))
    actors = [make_actor(model, person, profile.person, FitConfig(samples=samples)) for samples in counts]
    states = [ActorState() for _ in actors]
    times: list[list[float]] = []
    detector = MediaPipeDetector()
    try:
        for number, rgb in enumerate(to_and_fro(pictures, SETTLING + count)):
            frame, landmarks = Frame(rgb, number, round(number * PICTURE_S * 1e9)), detector.detect(rgb)
            times.append([])
            for k, actor in enumerate(actors):
                start = time.thread_time_ns()
                states[k], _ = follow(states[k], frame, landmarks, actor)
                times[-1].append((time.thread_time_ns() - start) / 1e6)
    finally:
        detector.close()
    medians = np.median(np.array(times[SETTLING:]), axis=0)
    return [{"samples": s, "track_ms": round(float(ms), 3)} for s, ms in zip(counts, medians, strict=True)]


def vertex_counts(profile: Profile, model: FaceModel) -> list[dict[str, Any]]:
    """Best milliseconds of subdividing and rasterising a frame's mesh per level; and of the thinned one that is drawn."""
    person, performance = profile.person, profile.frames.performance(0)
    shape = model.geometry0(person.identity, performance.expression)
    points0 = performance.camera_from_model.apply(shape).astype(np.float32)
    drawn = Workspace(model).skins["video"].mesh
    meshes = [(f"level {k}", model.subdivision(k) if k else None, model.triangles(k)) for k in range(3)]
    meshes.append(("drawn", drawn.operator, drawn.triangles))
    rasterizer, rows = CpuRasterizer(), []
    for name, operator, triangles in meshes:
        points = points0 if operator is None else np.asarray(operator @ points0, np.float32)
        triangles = np.ascontiguousarray(triangles, np.int32)
        region = bounding_region(person.intrinsics.project(points).astype(np.float32), person.intrinsics, 1)
        subdivided = 0.0 if operator is None else best_ms(lambda operator=operator: operator @ points0)
        rasterised = best_ms(
            lambda points=points, triangles=triangles, region=region: rasterizer.rasterize(
                points, triangles, person.intrinsics, region
            )
        )
        rows.append(
            {
                "mesh": name, "vertices": len(points), "triangles": len(triangles),
                "subdivide_ms": round(subdivided, 3), "rasterise_ms": round(rasterised, 3),
            }
        )  # fmt: skip
    return rows
