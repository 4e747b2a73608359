"""Enrolment: from a tracked clip to the databases of mouth and eyes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
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

PIXEL_BUDGET = {"mouth": 64 << 20, "eye_left": 20 << 20, "eye_right": 20 << 20}
"""Bytes of crops that a database keeps; of longer clips the most different frames stay."""
CROP_MARGIN_PX = 8
SHAPE_RANK = 16
MISFIT_SMOOTHING = 1.0
"""Frames over which landmark noise is averaged."""
LEAST_SPREAD = {"shape": 0.3, "turn": 0.10, "measures": 1.0, "gaze": 0.05}
"""Millimetres, radians and eye widths below which a clip's spread is noise."""
NO_LIGHT = np.zeros((9, 3), np.float32)
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


@dataclass(slots=True)
class _Pictures:
    """What the frames' pictures add to a database."""

    crops: list[UInt8[np.ndarray, "h w 3"]]
    corner: list[tuple[int, int]]
    pattern: list[np.ndarray]
    thumbnail: list[np.ndarray]
    sharpness: list[float]
    mouths: list[Straight | None]
    heights: list[np.ndarray]
    gloom: list[float]
    rim: list[Rim]
    content: list[Content]
    frames: list[int]


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


def build_databases(
    model: FaceModel, person: Person, clip: TrackedClip, pictures: Iterable[tuple[int, UInt8[np.ndarray, "h w 3"]]]
) -> dict[ApertureName, ApertureDatabase]:
    """One pass over `pictures`, pairs of row and picture in any order; rows that are not usable are passed over."""
    makers = {name: PatchMaker(aperture) for name, aperture in apertures(model).items()}
    geometry = {name: PersonAperture(model, person, maker.aperture) for name, maker in makers.items()}
    facts = {name: _facts(geometry[name], clip) for name in APERTURES}
    seen = {name: _Pictures(*([] for _ in fields(_Pictures))) for name in APERTURES}
    for row, picture in pictures:
        if clip.usable[row]:
            for name in APERTURES:
                placed = geometry[name].place(clip.performances[row], facts[name].misfit[row])
                _look(makers[name].aperture, placed, person.intrinsics, row, picture, seen[name])
    for name in APERTURES:
        _correct_rims(makers[name].aperture, facts[name].misfit, seen[name])
        _outline(makers[name], geometry[name], clip, facts[name].misfit, seen[name])
    return {name: _assemble(geometry[name], clip, facts[name], seen[name]) for name in APERTURES}


def _facts(geometry: PersonAperture, clip: TrackedClip) -> _Facts:
    name, camera = geometry.aperture.name, geometry.intrinsics
    count = len(clip.performances)
    numbers = geometry.aperture.landmarks
    fitted_mm = np.zeros((count, 478, 3), np.float32)
    projected = np.zeros((count, len(numbers), 2), np.float32)
    depth = np.ones(count, np.float32)
    for row in np.flatnonzero(clip.usable):
        performance = clip.performances[row]
        points = geometry.landmarks(performance.expression)
        fitted_mm[row, numbers] = points
        in_camera = performance.camera_from_model.apply(points)
        projected[row] = camera.project(in_camera)
        depth[row] = in_camera[:, 2].mean()
    known = clip.usable
    detected = np.concatenate([clip.xy, clip.z[..., None]], axis=2) * (depth / camera.focal)[:, None, None]
    model_distance, measured = pair_distances(fitted_mm, name), pair_distances(detected, name).astype(np.float32)
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
    aperture: Aperture,
    placed: Placed,
    intrinsics: Intrinsics,
    row: int,
    picture: UInt8[np.ndarray, "h w 3"],
    out: _Pictures,
) -> None:
    """Crop one frame and describe the crop; frames whose opening leaves the picture are passed over."""
    pixels = placed.pixels[aperture.alpha > 0]
    x0, y0 = (int(v) for v in np.floor(pixels.min(axis=0)) - CROP_MARGIN_PX)
    x1, y1 = (int(v) for v in np.ceil(pixels.max(axis=0)) + CROP_MARGIN_PX)
    height, width = picture.shape[:2]
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return
    crop = np.ascontiguousarray(picture[y0:y1, x0:x1])
    solid = placed.pixels[aperture.alpha > 0.99]
    (cx0, cy0), (cx1, cy1) = solid.min(axis=0).astype(int), solid.max(axis=0).astype(int) + 1
    core = picture[cy0:cy1, cx0:cx1]
    out.crops.append(crop)
    out.corner.append((x0, y0))
    out.pattern.append(local_binary_patterns(core))
    out.thumbnail.append(thumbnail(core))
    gray = cv2.cvtColor(core, cv2.COLOR_RGB2GRAY)
    out.sharpness.append(float(cv2.Laplacian(gray, cv2.CV_32F).std()))
    if aperture.controls:
        px_per_mm = intrinsics.pixels_per_mm(float(placed.points[:, 2].mean()))
        out.mouths.append(straighten(crop, (x0, y0), placed, aperture, px_per_mm))
    out.frames.append(row)


def _correct_rims(aperture: Aperture, misfit: Float32[np.ndarray, "f m 2"], seen: _Pictures) -> None:
    """Write where lips end to the last points of `misfit`."""
    known = [(row, mouth) for row, mouth in zip(seen.frames, seen.mouths, strict=False) if mouth is not None]
    if not known:
        return
    evidence = inside_evidence([mouth for _, mouth in known])
    for row, mouth in known:
        misfit[row, len(aperture.landmarks) :] = rim_shifts(mouth, evidence, aperture.controls)


def _outline(
    maker: PatchMaker,
    geometry: PersonAperture,
    clip: TrackedClip,
    misfit: Float32[np.ndarray, "f m 2"],
    seen: _Pictures,
) -> None:
    """Each crop's visible opening, and what it shows."""
    for row, crop, corner in zip(seen.frames, seen.crops, seen.corner, strict=True):
        placed = geometry.place(clip.performances[row], misfit[row])
        outline = maker.stage(placed, NO_LIGHT, geometry.intrinsics).rim
        seen.rim.append(outline)
        seen.heights.append(_heights(outline, placed, maker.aperture, geometry.intrinsics))
        if maker.aperture.has_jaw:
            seen.content.append(content(crop, outline, corner))
            seen.gloom.append(darkness(crop, outline, corner))
        else:
            seen.content.append(even_content())
            seen.gloom.append(0.0)


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
    order = np.argsort(openness, kind="stable")
    usual = np.ones(count)
    for place, entry in enumerate(order):
        first = min(max(place - half, 0), max(count - 2 * half - 1, 0))
        usual[entry] = np.quantile(sharpness[order[first : first + 2 * half + 1]], USUALLY_SHARP)
    return np.maximum(np.log2(usual / np.maximum(sharpness, 1e-3)), 0).astype(np.float32)


def _assemble(geometry: PersonAperture, clip: TrackedClip, facts: _Facts, seen: _Pictures) -> ApertureDatabase:
    name = geometry.aperture.name
    order = np.argsort(seen.frames, kind="stable")
    frames = np.array(seen.frames, np.int32)[order]
    scales = np.array(
        [
            _spread(facts.shape[frames], LEAST_SPREAD["shape"]),
            _spread(facts.turn[frames], LEAST_SPREAD["turn"]),
            _spread(facts.measures[frames], LEAST_SPREAD["measures"]),
            _spread(facts.gaze[frames], LEAST_SPREAD["gaze"]),
        ],
        np.float32,
    )
    columns = [facts.shape / scales[0], facts.turn / scales[1], facts.measures / scales[2], facts.gaze / scales[3]]
    pattern = np.stack([seen.pattern[k] for k in order]) if len(order) else np.zeros((0, 354), np.float32)
    vectors = embedding(*(c[frames] for c in columns), pattern)
    sizes = np.array([seen.crops[k].size for k in order], np.int64)
    kept = _most_different(vectors, sizes, PIXEL_BUDGET[name])
    rows, picked = frames[kept], order[kept]
    crops = [seen.crops[k] for k in picked]
    sharpness = np.array([seen.sharpness[k] for k in picked])
    gloom = np.array([seen.gloom[k] for k in picked], np.float32)
    cluster, medoids = k_medoids(vectors[kept]) if len(kept) else (np.zeros(0, np.int32), np.zeros(0, np.int32))
    shape, turn, measures, look = (column[rows].astype(np.float32) for column in columns)
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
        pattern=pattern[kept],
        thumbnail=_stack([seen.thumbnail[k] for k in picked], (384,)),
        blur=blur_of(sharpness, measures[:, GAPS[name]].mean(axis=1)),
        gloom=np.maximum(gloom - max(float(gloom.min(initial=1.0)), NATURAL_DARK), 0.0).astype(np.float32),
        metric=facts.metric,
        scales=scales,
        slope=facts.slope,
        offset=facts.offset,
        gap_range=np.percentile(measures[:, GAPS[name]].mean(axis=1), [3, 80]).astype(np.float32)
        if len(rows)
        else np.array([0, 1], np.float32),
        cluster=cluster,
        medoids=medoids,
        neighbours=nearest_neighbours(vectors[kept]),
        heights=_stack([seen.heights[k] for k in picked], (HEIGHTS,)),
        fitted_heights=_stack([geometry.heights(p.expression) for p in performances], (HEIGHTS,)),
        rim_axes=_stack([seen.rim[k].to_axes for k in picked], (2, 3)),
        rim_ends=_stack([np.array([seen.rim[k].first, seen.rim[k].last]) for k in picked], (2,)),
        rim_edges=_stack([np.stack([seen.rim[k].upper, seen.rim[k].lower]) for k in picked], (2, COLUMNS)),
        seam=np.array([seen.content[k].seam for k in picked], np.float32),
        give=_stack([seen.content[k].give for k in picked], (ROWS + 1,)),
        pixels=np.concatenate([c.ravel() for c in crops]) if crops else np.zeros(0, np.uint8),
        start=np.concatenate([[0], np.cumsum(sizes[kept])[:-1]]).astype(np.int64)[: len(kept)],
        size=np.array([(c.shape[1], c.shape[0]) for c in crops], np.int32).reshape(-1, 2),
        corner=np.array([seen.corner[k] for k in picked], np.int32).reshape(-1, 2),
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
