"""What of a skin's colour goes with the expression, learnt from all frames of the clip (`render.complexion`).

Per frame the picture's colour at every visible level-0 vertex, over a few millimetres, less the fitted light's change of
shading. Over the frames: what goes with the head's pose is light and stays the frame's; what goes with the expression is the
linear appearance model; the rest is each frame's own.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from scipy.linalg import eigh
from scipy.ndimage import gaussian_filter1d

from f2fcam.face.camera import Intrinsics
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.mouth.descriptor import rotation_vectors
from f2fcam.profile import TrackedFrames
from f2fcam.render.complexion import Complexion
from f2fcam.render.rims import ramp, rim_distance
from f2fcam.render.shade import ENCODED_OFFSET, GAIN_SMOOTHING, encoded_gain, smooth_gain

WIDTH_MM = 6.0
"""Of the surface that a vertex' colour is the mean of."""
COMPONENTS = 16
EXPRESSION_RANK = 8
"""Directions of the clip's expressions that colours may follow: all that move the skin by a third of a millimetre."""
FEWEST_FRAMES, MOST_FRAMES = 60, 1000
"""Fewer frames tell nothing of a skin; more need not be fitted at once."""
SEEN_SHARE = 0.5
"""Of the usable frames that have to show a vertex."""
RIDGE_POSE, RIDGE_EXPRESSION = 0.02, 0.05
"""Priors per frame: on standard deviations of the pose, and on millimetres."""
BLOCK_S = 1.0
"""Frames this near are not independent: validation leaves out whole stretches."""
FOLDS = 3
FILLING = 3
"""Rounds in which the model fills in vertices that some frames hide."""
REST_SMOOTHING = 1.0
"""Frames over which the noise of what each frame has beside its expression is averaged."""
MOST_DEVIATIONS = 3.0
"""A frame's rest beyond it is a fault: a hand, a reflection."""


class ComplexionBuilder:
    """Collects colours of one picture after the other; memory grows by a few kilobytes per frame."""

    def __init__(self, model: FaceModel, person: Person, frames: TrackedFrames, usable: Bool[np.ndarray, " n"]) -> None:
        self._model, self._person, self._frames = model, person, frames
        self._triangles = np.ascontiguousarray(model.triangles(0), np.int32)
        self._skin = _skin(model)
        self._usable = usable.copy()
        still = np.zeros(frames.expressions.shape[1], np.float32)
        self._flat = model.geometry0(person.identity, still)
        self._rest = model.geometry0(person.identity, person.neutral)
        self._colours = np.full((len(frames), int(self._skin.sum()), 3), np.nan, np.float16)

    def add(self, row: int, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """The colours of a row's picture."""
        if not self._usable[row]:
            return
        performance, person = self._frames.performance(row), self._person
        basis = self._model.expression_basis
        moved = self._flat + (basis.reshape(-1, basis.shape[2]) @ performance.expression).reshape(-1, 3)
        points, rest = (
            np.ascontiguousarray(performance.camera_from_model.apply(shape), np.float32)
            for shape in (moved, self._rest)
        )
        normals, rest_normals = np.empty_like(points), np.empty_like(points)
        vertex_normals(points, self._triangles, normals)
        vertex_normals(rest, self._triangles, rest_normals)
        gain = np.empty(len(points), np.float32)
        encoded_gain(normals, rest_normals, np.ascontiguousarray(performance.lighting, np.float32), gain)
        smooth_gain(gain, self._triangles, GAIN_SMOOTHING, np.empty((len(points), 2), np.float32))
        shown = self._skin & (self._frames.visible(row)[: len(points)] > 0)
        if not shown.any():
            return
        camera = person.intrinsics
        width_px = WIDTH_MM * camera.focal / float(performance.camera_from_model.translation[2])
        colours = np.log(_mean_colours(rgb, camera, points[shown], width_px) + np.float32(ENCODED_OFFSET))
        self._colours[row, shown[self._skin]] = colours - np.log(gain[shown])[:, None]

    def build(self) -> Complexion | None:
        """The model; None where too few frames are usable."""
        used = np.flatnonzero(self._usable)
        if len(used) < FEWEST_FRAMES:
            return None
        chosen = used[np.linspace(0, len(used) - 1, min(len(used), MOST_FRAMES)).astype(int)]
        known = np.isfinite(self._colours[chosen, :, 0]).mean(axis=0) > SEEN_SHARE
        expressions = self._frames.expressions - self._person.neutral
        features, to_features = _expression_features(self._model, expressions, chosen)
        pose = _pose(self._frames, chosen)
        colours = self._of(chosen, known)
        usual = _fit_usual(colours, pose[chosen], features[chosen])
        own = _own(colours, pose[chosen], features[chosen], usual)
        del colours
        basis = _strongest(own, COMPONENTS)
        follows = _follows(features[chosen], own, (self._frames.time_s[chosen] / BLOCK_S).astype(int)) @ basis.T
        rest = np.zeros((len(self._frames), len(basis)), np.float32)
        for rows in np.array_split(used, -(-len(used) // MOST_FRAMES)):
            own = _own(self._of(rows, known), pose[rows], features[rows], usual)
            rest[rows] = own @ basis.T - features[rows] @ follows
        rest[used] = gaussian_filter1d(rest[used], REST_SMOOTHING, axis=0, mode="nearest")
        most = MOST_DEVIATIONS * rest[used].std(axis=0)
        whole = np.zeros((len(self._model.mean), 3, len(basis)), np.float32)
        whole[np.flatnonzero(self._skin)[known]] = basis.reshape(len(basis), -1, 3).transpose(1, 2, 0)
        shown = self._frames.expressions[used]
        low, high = np.quantile(shown, 0.02, axis=0), np.quantile(shown, 0.98, axis=0)
        return Complexion(
            whole,
            np.ascontiguousarray((to_features @ follows).T, np.float32),
            np.clip(rest, -most, most),
            low.astype(np.float32),
            high.astype(np.float32),
        )

    def _of(self, rows: np.ndarray, known: np.ndarray) -> Float64[np.ndarray, "n p"]:
        return self._colours[rows][:, known].reshape(len(rows), -1).astype(np.float64)


def _strongest(rows: Float64[np.ndarray, "n p"], count: int) -> Float64[np.ndarray, "count p"]:
    """The first right singular vectors, through the rows' inner products: n is a fifth of p."""
    last = len(rows) - 1
    squares, vectors = eigh(rows @ rows.T, subset_by_index=(max(last - count + 1, 0), last))
    basis = (vectors / np.sqrt(np.maximum(squares, 1e-12))).T @ rows
    return basis[::-1]


def _skin(model: FaceModel) -> Bool[np.ndarray, " m"]:
    """Level-0 vertices whose colour is skin: not hair, ears, neck, nostrils, lips, lids."""
    count = len(model.mean)
    away = np.maximum.reduce(
        [
            model.regions[name]
            for name in ("neck", "scalp", "ear_left", "ear_right", "nostrils", "lips_upper", "lips_lower")
        ]
    )
    near = ramp(rim_distance(model, "lips"), 2, 7) * ramp(rim_distance(model, "eye_left", "eye_right"), 1, 4)
    return (away[:count] < 128) & (near[:count] > 0)


def _mean_colours(
    rgb: UInt8[np.ndarray, "h w 3"], camera: Intrinsics, points: Float32[np.ndarray, "v 3"], width_px: float
) -> Float32[np.ndarray, "v 3"]:
    """Encoded colours, 0 to 1, at the points' pixels, each a mean over about `width_px`."""
    pixels = camera.project(points)
    low = np.maximum(np.floor(pixels.min(axis=0) - width_px).astype(int), 0)
    high = np.minimum(np.ceil(pixels.max(axis=0) + width_px).astype(int), (rgb.shape[1], rgb.shape[0]))
    crop = rgb[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
    factor = min(1.0, 2.0 / width_px)
    size = [max(1, round(factor * length)) for length in (crop.shape[1], crop.shape[0])]
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    small = cv2.GaussianBlur(small, (0, 0), max(0.5 * width_px * factor, 0.3))
    x, y = ((pixels - low) * (np.array(size) / (crop.shape[1], crop.shape[0])) - 0.5).astype(np.float32).T
    return cv2.remap(small, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]


def _expression_features(
    model: FaceModel, expressions: Float32[np.ndarray, "n 76"], chosen: np.ndarray
) -> tuple[Float64[np.ndarray, "n r"], Float64[np.ndarray, "76 r"]]:
    """Expressions along the main directions of the `chosen` ones, mm of the skin's mean motion; and the map to them."""
    skin = _skin(model)
    basis = model.expression_basis[skin].reshape(-1, expressions.shape[1]).astype(np.float64)
    metric = np.linalg.cholesky(basis.T @ basis / skin.sum() + 1e-6 * np.eye(basis.shape[1]))
    moved = expressions[chosen] @ metric
    directions = np.linalg.svd(moved - moved.mean(axis=0), full_matrices=False)[2]
    to_features = metric @ directions[:EXPRESSION_RANK].T
    return expressions @ to_features, to_features


def _pose(frames: TrackedFrames, chosen: np.ndarray) -> Float64[np.ndarray, "n 7"]:
    """1, then turn and place of the head in standard deviations of the `chosen` rows: what light goes with."""
    pose = np.concatenate([rotation_vectors(frames.rotations), frames.translations], axis=1).astype(np.float64)
    pose = (pose - pose[chosen].mean(axis=0)) / (pose[chosen].std(axis=0) + 1e-6)
    return np.concatenate([np.ones((len(pose), 1)), pose], axis=1)


def _fit_usual(
    colours: Float64[np.ndarray, "n p"], pose: Float64[np.ndarray, "n 7"], features: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "7+r p"]:
    """Colours as a linear function of pose and expression, counted from the neutral face; hidden ones as that has them."""
    design = np.concatenate([pose, features], axis=1)
    prior = np.array([1e-6] + [RIDGE_POSE] * (pose.shape[1] - 1) + [RIDGE_EXPRESSION] * features.shape[1])
    normal = design.T @ design + np.diag(prior * len(design))
    hidden = ~np.isfinite(colours)
    filled = np.where(hidden, np.nanmean(colours, axis=0), colours)
    for _ in range(FILLING):
        usual = np.linalg.solve(normal, design.T @ filled)
        filled = np.where(hidden, design @ usual, colours)
    return usual


def _own(colours: np.ndarray, pose: np.ndarray, features: np.ndarray, usual: np.ndarray) -> Float64[np.ndarray, "n p"]:
    """Colours less what goes with the pose."""
    own = pose @ usual[: pose.shape[1]]
    np.subtract(colours, own, out=own)
    np.copyto(own, features @ usual[pose.shape[1] :], where=~np.isfinite(colours))
    return own


def _follows(
    features: Float64[np.ndarray, "n r"], own: Float64[np.ndarray, "n p"], blocks: np.ndarray
) -> Float64[np.ndarray, "r p"]:
    """The colours' linear dependence on the features, each shrunk to what it predicts of stretches that it has not seen."""
    predicted = np.empty_like(own)
    for fold in range(FOLDS):
        out = blocks % FOLDS == fold
        if out.all() or not out.any():
            return np.zeros((features.shape[1], own.shape[1]))
        predicted[out] = features[out] @ _ridge(features[~out], own[~out])
    predicted -= predicted.mean(axis=0)  # in place and without products: each array is as large as a thousand faces
    together = np.einsum("np,np->p", predicted, own)
    worth = together / np.maximum(np.einsum("np,np->p", predicted, predicted), 1e-12)
    return _ridge(features, own) * np.clip(worth, 0, 1)


def _ridge(features: np.ndarray, codes: np.ndarray) -> np.ndarray:
    normal = features.T @ features + RIDGE_EXPRESSION * len(features) * np.eye(features.shape[1])
    return np.linalg.solve(normal, features.T @ codes)
