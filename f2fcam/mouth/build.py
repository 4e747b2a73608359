"""Enrolment: from a tracked clip to the databases of mouth and eyes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from numba import njit
from scipy.ndimage import gaussian_filter1d

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.mouth.aperture import APERTURES, HEIGHTS, Aperture, ApertureName, PersonAperture, Placed, apertures
from f2fcam.mouth.contour import Straight, inside_evidence, rim_shifts, straighten
from f2fcam.mouth.database import ApertureDatabase, embedding, k_medoids, nearest_neighbours, squared_distances
from f2fcam.mouth.descriptor import (
    GAPS,
    felt,
    fill_gaps,
    gaze,
    local_binary_patterns,
    pair_distances,
    rotation_vectors,
    thumbnail,
)
from f2fcam.mouth.interior import COLUMNS, ROWS, Content, Rim, content, darkness, even_content
from f2fcam.mouth.patch import PatchMaker
from f2fcam.overlap import in_order, with_own

PIXEL_BUDGET = {"mouth": 64 << 20, "eye_left": 20 << 20, "eye_right": 20 << 20}
"""Bytes of crops that a database keeps; of longer clips the most different frames stay."""
BLOCK = 512
"""Frames whose landmarks are compared at once."""
MOST_HELD = 1.5
"""Budgets' worth of crops that are held before the most different ones are chosen."""
CROP_MARGIN_PX = 8
SHAPE_RANK = 16
MISFIT_SMOOTHING = 1.0
"""Frames over which landmark noise is averaged."""
LEAST_SPREAD = {"shape": 0.3, "turn": 0.10, "measures": 1.0, "gaze": 0.05}
"""Millimetres, radians and eye widths below which a clip's spread is noise."""
USUALLY_SHARP = 0.8
"""Share of the clip's pictures of like openings that are less sharp than what a sharp one is taken to be."""
FEWEST_LIKE, LIKE_SHARE = 16, 0.1
"""How many pictures, the nearest in openness, are like openings: teeth have edges, shut lips have few."""
NATURAL_DARK = 0.2
"""Share of an opening that may be dark beside its teeth and tongue."""
SHUT_PERCENT = 30
"""An eye less open than this share of its range hides its gaze."""


@dataclass(frozen=True, slots=True)
class TrackedClip:
    """What tracking found in each frame of a clip, in the stored frames' pixels.

    Attributes:
        performances: per frame; any for frames that are not usable.
        xy, z: the detector's points. usable: the frame was tracked well.
    """

    performances: list[Performance]
    xy: Float32[np.ndarray, "f 478 2"]
    z: Float32[np.ndarray, "f 478"]
    usable: Bool[np.ndarray, " f"]


@dataclass(frozen=True, slots=True)
class _Outline:
    """An opening's visible outline in a frame, and what is within."""

    rim: Rim
    heights: Float32[np.ndarray, " 7"]
    content: Content
    gloom: float


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the fits alone say of each frame: the descriptor before it is scaled, in mm, radians and eye widths."""

    metric: np.ndarray
    shape: np.ndarray
    turn: np.ndarray
    measures: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    gaze: np.ndarray
    misfit: np.ndarray


@dataclass(frozen=True, slots=True)
class _Glance:
    """What one frame's picture shows of an opening; the outline only where it is final already, of an eye."""

    row: int
    crop: UInt8[np.ndarray, "h w 3"]
    corner: tuple[int, int]
    pattern: np.ndarray
    thumbnail: np.ndarray
    sharpness: float
    mouth: Straight | None
    outline: _Outline | None


class DatabaseBuilder:
    """The databases of mouth and eyes, from one picture after the other.

    `look` may be called by as many threads at once as were named; `add` takes its results. Crops are thinned out on the way,
    so that memory grows by landmarks, coefficients and a mouth's straightened colours only.
    """

    def __init__(self, model: FaceModel, person: Person, clip: TrackedClip, threads: int = 1) -> None:
        self._clip, self._threads, self._camera = clip, threads, person.intrinsics
        self._apertures = apertures(model)
        self._geometry = {name: PersonAperture(model, person, self._apertures[name]) for name in APERTURES}
        found = in_order(lambda name: _facts(self._geometry[name], clip), APERTURES, threads)
        self._facts = dict(zip(APERTURES, found))
        self._rows: dict[ApertureName, list[int]] = {name: [] for name in APERTURES}
        self._kept: dict[ApertureName, list[_Glance]] = {name: [] for name in APERTURES}
        self._bytes = dict.fromkeys(APERTURES, 0)
        self._mouths: list[tuple[int, Straight]] = []
        self._makers = {name: [PatchMaker(self._apertures[name]) for _ in range(threads)] for name in APERTURES}
        own = [{name: makers[k] for name, makers in self._makers.items()} for k in range(threads)]
        self._with_makers = with_own(self._looked, own)

    def look(self, row: int, picture: UInt8[np.ndarray, "h w 3"]) -> list[_Glance | None]:
        """What the picture shows of each opening; nothing where the row is not usable."""
        return self._with_makers((row, picture)) if self._clip.usable[row] else []

    def _looked(
        self, item: tuple[int, UInt8[np.ndarray, "h w 3"]], makers: dict[ApertureName, PatchMaker]
    ) -> list[_Glance | None]:
        row, picture = item
        glances = []
        for name in APERTURES:
            placed = self._geometry[name].place(self._clip.performances[row], self._facts[name].misfit[row])
            glance = _look(self._apertures[name], placed, self._camera, row, picture)
            if glance is not None and not self._apertures[name].controls:
                glance = replace(glance, outline=_outline(makers[name], placed, self._camera, glance))
            glances.append(glance)
        return glances

    def add(self, glances: list[_Glance | None]) -> None:
        """Take in what `look` saw, in the order of time."""
        for name, glance in zip(APERTURES, glances):
            if glance is None:
                continue
            self._rows[name].append(glance.row)
            self._kept[name].append(glance)
            if glance.mouth is not None:
                self._mouths.append((glance.row, glance.mouth))
            self._bytes[name] += glance.crop.size
            if self._bytes[name] > MOST_HELD * PIXEL_BUDGET[name]:
                self._thin(name)

    def held(self) -> dict[ApertureName, int]:
        """Bytes of crops in memory."""
        return dict(self._bytes)

    def _thin(self, name: ApertureName) -> None:
        """Keep as many crops as the budget holds."""
        seen, facts = self._kept[name], self._facts[name]
        vectors = _vectors(facts, _scales(facts, self._rows[name]), seen)
        kept = _most_different(vectors, np.array([glance.crop.size for glance in seen]), PIXEL_BUDGET[name])
        self._kept[name] = [seen[k] for k in kept]
        self._bytes[name] = sum(glance.crop.size for glance in self._kept[name])

    def build(self) -> dict[ApertureName, ApertureDatabase]:
        """The databases of all that was added."""
        _correct_rims(self._apertures["mouth"], self._facts["mouth"].misfit, self._mouths, self._threads)
        for name in APERTURES:
            self._kept[name].sort(key=lambda glance: glance.row)
            self._thin(name)
        outlines = {name: self._outlines(name) for name in APERTURES}

        def assembled(name: ApertureName) -> ApertureDatabase:
            facts, scales = self._facts[name], _scales(self._facts[name], self._rows[name])
            return _assemble(self._geometry[name], self._clip, facts, scales, self._kept[name], outlines[name])

        return dict(zip(APERTURES, in_order(assembled, APERTURES, self._threads)))

    def _outlines(self, name: ApertureName) -> list[_Outline]:
        geometry, misfit = self._geometry[name], self._facts[name].misfit

        def outlined(glance: _Glance, maker: PatchMaker) -> _Outline:
            if glance.outline is not None:
                return glance.outline
            placed = geometry.place(self._clip.performances[glance.row], misfit[glance.row])
            return _outline(maker, placed, self._camera, glance)

        work = with_own(outlined, self._makers[name])
        return list(in_order(work, self._kept[name], self._threads, ahead=self._threads))


def build_databases(
    model: FaceModel, person: Person, clip: TrackedClip, pictures: Iterable[tuple[int, UInt8[np.ndarray, "h w 3"]]]
) -> dict[ApertureName, ApertureDatabase]:
    """One pass over `pictures`, pairs of row and picture in any order; rows that are not usable are passed over."""
    builder = DatabaseBuilder(model, person, clip)
    for row, picture in pictures:
        builder.add(builder.look(row, picture))
    return builder.build()


def _facts(geometry: PersonAperture, clip: TrackedClip) -> _Facts:
    name, camera = geometry.aperture.name, geometry.intrinsics
    count = len(clip.performances)
    numbers, known = geometry.aperture.landmarks, clip.usable
    projected = np.zeros((count, len(numbers), 2), np.float32)
    model_distance, measured = [], []
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        fitted_mm = np.zeros((block.stop - start, 478, 3), np.float32)
        depth = np.ones(block.stop - start, np.float32)
        for row in start + np.flatnonzero(known[block]):
            performance = clip.performances[row]
            points = geometry.landmarks(performance.expression)
            fitted_mm[row - start, numbers] = points
            in_camera = performance.camera_from_model.apply(points)
            projected[row] = camera.project(in_camera)
            depth[row - start] = in_camera[:, 2].mean()
        detected = np.concatenate([clip.xy[block], clip.z[block, :, None]], axis=2)
        detected *= (depth / camera.focal)[:, None, None]
        model_distance.append(pair_distances(fitted_mm, name))
        measured.append(pair_distances(detected, name).astype(np.float32))
    model_distance, measured = np.concatenate(model_distance), np.concatenate(measured)
    opening = measured[:, GAPS[name]].mean(axis=1)
    slope, offset = _regression(model_distance[known], measured[known])
    metric = geometry.shape_metric(SHAPE_RANK)
    expression = np.stack([p.expression for p in clip.performances])
    look = np.zeros((count, 2), np.float32)
    if name != "mouth":
        low, high = np.percentile(opening[known], [2, 95])
        look = fill_gaps(gaze(clip.xy, name), known & (opening > low + SHUT_PERCENT / 100 * (high - low)))
    misfit = clip.xy[:, numbers] - projected
    misfit -= np.median(misfit[known], axis=0)
    misfit = fill_gaps(misfit.reshape(count, -1), known).reshape(misfit.shape)
    misfit = gaussian_filter1d(misfit, MISFIT_SMOOTHING, axis=0)
    misfit = np.concatenate([misfit, np.zeros((count, 2 * geometry.aperture.controls, 2))], axis=1)
    rotations = np.stack([p.camera_from_model.rotation for p in clip.performances])
    return _Facts(
        metric,
        (expression @ metric.T).astype(np.float32),
        rotation_vectors(rotations),
        felt(measured, name),
        slope,
        offset,
        look,
        misfit.astype(np.float32),
    )


def _regression(model: np.ndarray, detected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per column, the line that takes the model's distances to the detector's, its slope within reason."""
    middle, goal = model.mean(axis=0), detected.mean(axis=0)
    apart = model - middle
    slope = ((apart * (detected - goal)).sum(axis=0) + 1.0) / ((apart**2).sum(axis=0) + 1.0)
    slope = np.clip(slope, 0.6, 1.6)
    return slope.astype(np.float32), (goal - slope * middle).astype(np.float32)


def _look(
    aperture: Aperture, placed: Placed, intrinsics: Intrinsics, row: int, picture: UInt8[np.ndarray, "h w 3"]
) -> _Glance | None:
    """Crop one frame and describe the crop; None where the opening leaves the picture."""
    left, top, right, bottom = _bounds(placed.pixels, aperture.alpha, 0.0)
    x0, y0 = int(np.floor(left)) - CROP_MARGIN_PX, int(np.floor(top)) - CROP_MARGIN_PX
    x1, y1 = int(np.ceil(right)) + CROP_MARGIN_PX, int(np.ceil(bottom)) + CROP_MARGIN_PX
    height, width = picture.shape[:2]
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return None
    # A crop that is a view would keep the whole picture in memory.
    crop = picture[y0:y1, x0:x1].copy()
    left, top, right, bottom = _bounds(placed.pixels, aperture.alpha, 0.99)
    core = picture[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    gray = cv2.cvtColor(core, cv2.COLOR_RGB2GRAY)
    mouth = None
    if aperture.controls:
        px_per_mm = intrinsics.pixels_per_mm(float(placed.points[:, 2].mean()))
        mouth = straighten(crop, (x0, y0), placed, aperture, px_per_mm)
    return _Glance(
        row=row,
        crop=crop,
        corner=(x0, y0),
        pattern=local_binary_patterns(core),
        thumbnail=thumbnail(core),
        sharpness=float(cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_32F))[1][0, 0]),
        mouth=mouth,
        outline=None,
    )


@njit("UniTuple(f4, 4)(f4[:,::1], f4[::1], f8)", nogil=True, cache=True)
def _bounds(pixels, alpha, above):
    """Least x and y, greatest x and y of pixels (v, 2) whose alpha (v,) is above something."""
    low_x, low_y, high_x, high_y = np.float32(1e9), np.float32(1e9), np.float32(-1e9), np.float32(-1e9)
    for i in range(len(pixels)):
        if alpha[i] > np.float32(above):
            low_x, high_x = min(low_x, pixels[i, 0]), max(high_x, pixels[i, 0])
            low_y, high_y = min(low_y, pixels[i, 1]), max(high_y, pixels[i, 1])
    return low_x, low_y, high_x, high_y


def _correct_rims(
    aperture: Aperture, misfit: Float32[np.ndarray, "f m 2"], known: list[tuple[int, Straight]], threads: int
) -> None:
    """Write where lips end to the last points of `misfit`."""
    if not known:
        return
    rows, mouths = zip(*known)
    evidence = inside_evidence(mouths)
    shifts = in_order(lambda mouth: rim_shifts(mouth, evidence, aperture.controls), mouths, threads, ahead=threads)
    for row, shift in zip(rows, shifts):
        misfit[row, len(aperture.landmarks) :] = shift


def _outline(maker: PatchMaker, placed: Placed, intrinsics: Intrinsics, glance: _Glance) -> _Outline:
    """A crop's visible opening, and what it shows."""
    outline = maker.outline(placed, intrinsics)
    heights = _heights(outline, placed, maker.aperture, intrinsics)
    if not maker.aperture.has_jaw:
        return _Outline(outline, heights, even_content(), 0.0)
    shown = content(glance.crop, outline, glance.corner)
    return _Outline(outline, heights, shown, darkness(glance.crop, outline, glance.corner))


def _heights(outline: Rim, placed: Placed, aperture: Aperture, intrinsics: Intrinsics) -> Float32[np.ndarray, " 7"]:
    """The visible opening's heights, mm, at even places between its corners."""
    right, left = placed.pixels[aperture.upper[[0, -1]]]
    width = float(np.linalg.norm(left - right))
    along = width * np.arange(1, HEIGHTS + 1) / (HEIGHTS + 1)
    columns = np.linspace(outline.first, outline.last, COLUMNS)
    heights = np.interp(along, columns, outline.lower - outline.upper, left=0.0, right=0.0)
    return (heights * float(placed.points[:, 2].mean()) / intrinsics.focal).astype(np.float32)


def blur_of(sharpness: Float64[np.ndarray, " n"], openness: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """How much less sharp each picture is than sharp ones of openings as wide, in octaves, at least 0."""
    count = len(sharpness)
    half = max(FEWEST_LIKE, round(LIKE_SHARE * count)) // 2
    if not count:
        return np.zeros(0, np.float32)
    order = np.argsort(openness, kind="stable")
    width = min(2 * half + 1, count)
    like = np.lib.stride_tricks.sliding_window_view(sharpness[order], width)
    blocks = [np.quantile(like[k : k + BLOCK], USUALLY_SHARP, axis=1) for k in range(0, len(like), BLOCK)]
    usual = np.empty(count)
    usual[order] = np.concatenate(blocks)[np.clip(np.arange(count) - half, 0, count - width)]
    return np.maximum(np.log2(usual / np.maximum(sharpness, 1e-3)), 0).astype(np.float32)


def _scales(facts: _Facts, rows: list[int]) -> Float32[np.ndarray, " 4"]:
    """Units of the descriptor's terms, from all frames that were seen."""
    frames = np.array(sorted(rows), np.int32)
    terms = {"shape": facts.shape, "turn": facts.turn, "measures": facts.measures, "gaze": facts.gaze}
    return np.array([_spread(term[frames], LEAST_SPREAD[name]) for name, term in terms.items()], np.float32)


def _vectors(facts: _Facts, scales: np.ndarray, seen: list[_Glance]) -> np.ndarray:
    """What frames are compared by, a row each."""
    rows = [glance.row for glance in seen]
    terms = (facts.shape, facts.turn, facts.measures, facts.gaze)
    columns = [(term / scale)[rows] for term, scale in zip(terms, scales)]
    return embedding(*columns, _stack([glance.pattern for glance in seen], (354,)))


def _assemble(
    geometry: PersonAperture,
    clip: TrackedClip,
    facts: _Facts,
    scales: Float32[np.ndarray, " 4"],
    seen: list[_Glance],
    outlines: list[_Outline],
) -> ApertureDatabase:
    name = geometry.aperture.name
    rows = np.array([glance.row for glance in seen], np.int32)
    vectors = _vectors(facts, scales, seen)
    crops, sizes = [glance.crop for glance in seen], np.array([glance.crop.size for glance in seen], np.int64)
    cluster, medoids = k_medoids(vectors) if len(rows) else (np.zeros(0, np.int32), np.zeros(0, np.int32))
    terms = zip((facts.shape, facts.turn, facts.measures, facts.gaze), scales)
    shape, turn, measures, look = ((term / scale)[rows].astype(np.float32) for term, scale in terms)
    openness = measures[:, GAPS[name]].mean(axis=1)
    gloom = np.array([outline.gloom for outline in outlines], np.float32)
    performances = [clip.performances[row] for row in rows]
    return ApertureDatabase(
        name=name,
        frames=rows,
        expression=_stack([p.expression for p in performances], (76,)),
        rotation=_stack([p.camera_from_model.rotation for p in performances], (3, 3)),
        translation=_stack([p.camera_from_model.translation for p in performances], (3,)),
        lighting=_stack([p.lighting for p in performances], (9, 3)),
        misfit=facts.misfit,
        frame_gaze=facts.gaze,
        shape=shape,
        turn=turn,
        measures=measures,
        gaze=look,
        pattern=_stack([glance.pattern for glance in seen], (354,)),
        thumbnail=_stack([glance.thumbnail for glance in seen], (384,)),
        blur=blur_of(np.array([glance.sharpness for glance in seen]), openness),
        gloom=np.maximum(gloom - max(float(gloom.min(initial=1.0)), NATURAL_DARK), 0.0).astype(np.float32),
        metric=facts.metric,
        scales=scales,
        slope=facts.slope,
        offset=facts.offset,
        gap_range=np.percentile(openness, [3, 80]).astype(np.float32) if len(rows) else np.array([0, 1], np.float32),
        cluster=cluster,
        medoids=medoids,
        neighbours=nearest_neighbours(vectors),
        heights=_stack([outline.heights for outline in outlines], (HEIGHTS,)),
        fitted_heights=_stack([geometry.heights(p.expression) for p in performances], (HEIGHTS,)),
        rim_axes=_stack([outline.rim.to_axes for outline in outlines], (2, 3)),
        rim_ends=_stack([np.array([outline.rim.first, outline.rim.last]) for outline in outlines], (2,)),
        rim_edges=_stack([np.stack([outline.rim.upper, outline.rim.lower]) for outline in outlines], (2, COLUMNS)),
        seam=np.array([outline.content.seam for outline in outlines], np.float32),
        give=_stack([outline.content.give for outline in outlines], (ROWS + 1,)),
        pixels=np.concatenate([c.ravel() for c in crops]) if crops else np.zeros(0, np.uint8),
        start=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)[: len(rows)],
        size=np.array([(c.shape[1], c.shape[0]) for c in crops], np.int32).reshape(-1, 2),
        corner=np.array([glance.corner for glance in seen], np.int32).reshape(-1, 2),
    )


def _stack(items: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(items).astype(np.float32) if items else np.zeros((0, *shape), np.float32)


def _spread(values: np.ndarray, least: float) -> float:
    """Root mean squared distance of two random rows; the unit in which a term counts."""
    return max(float(np.sqrt(2 * values.var(axis=0).sum())) if len(values) else 0.0, least)


def _most_different(vectors: np.ndarray, sizes: np.ndarray, budget: int) -> np.ndarray:
    """All rows, or as many as the budget holds: farthest-first, so that rare mouths stay; in order."""
    if len(vectors) == 0 or sizes.sum() <= budget:
        return np.arange(len(vectors))
    room = max(1, int(budget // sizes.max()))
    chosen = [0]
    nearest = squared_distances(vectors, vectors[:1])[:, 0]
    while len(chosen) < room and nearest.max() > 0:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, squared_distances(vectors, vectors[chosen[-1:]])[:, 0])
    return np.sort(np.array(chosen))
