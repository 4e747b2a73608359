"""How well fits explain pictures that they did not learn their texture from.

Each way of fitting gets the texture and the light that suit it best: reflectance per surface sample from half of the
pictures, then light alone from the other half, whose error counts.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from f2fcam.face.lighting import sh_basis
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.frame import srgb_decode, srgb_encode
from f2fcam.track.samples import SampleSet

ROUNDS = 6
LEAST_FACING = 0.3


def seen_samples(
    model: FaceModel, person: Person, samples: SampleSet, rgb: UInt8[np.ndarray, "h w 3"], performance: Performance
) -> tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, "p 9"], Bool[np.ndarray, " p"]]:
    """Linear colours and harmonics of the samples in one picture, and which of them face the camera inside of it."""
    vertices = model.geometry0(person.identity, performance.expression)
    pose = performance.camera_from_model
    points = pose.apply(samples.position @ vertices)
    normals = np.cross(samples.tangent_u @ vertices, samples.tangent_v @ vertices) @ pose.rotation.T
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    pixel = person.intrinsics.project(points) - 0.5
    height, width = rgb.shape[:2]
    inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] < width - 1) & (pixel[:, 1] < height - 1)
    facing = -np.einsum("pc,pc->p", normals, points) / np.linalg.norm(points, axis=1)
    x, y = np.where(inside[:, None], pixel, 0).T
    column, row = x.astype(int), y.astype(int)
    u, v = (x - column)[:, None], (y - row)[:, None]
    picture = rgb.astype(np.float64) / 255
    top = picture[row, column] * (1 - u) + picture[row, column + 1] * u
    bottom = picture[row + 1, column] * (1 - u) + picture[row + 1, column + 1] * u
    return srgb_decode(top * (1 - v) + bottom * v), sh_basis(normals), inside & (facing > LEAST_FACING)


def held_out_error(
    model: FaceModel,
    person: Person,
    samples: SampleSet,
    pictures: list[UInt8[np.ndarray, "h w 3"]],
    performances: list[Performance],
) -> float:
    """Mean norm of the sRGB-encoded difference over the odd pictures, with the texture of the even ones."""
    looks = [seen_samples(model, person, samples, *pair) for pair in zip(pictures, performances, strict=True)]
    learnt, tested = looks[::2], looks[1::2]
    texture = np.mean([color for color, _, _ in learnt], axis=0)
    for _ in range(ROUNDS):
        shadings = [basis @ _light(color, basis, seen, texture) for color, basis, seen in learnt]
        top = sum(seen[:, None] * color * shading for (color, _, seen), shading in zip(learnt, shadings, strict=True))
        bottom = sum(seen[:, None] * shading**2 for (_, _, seen), shading in zip(learnt, shadings, strict=True))
        texture = np.clip(top / np.maximum(bottom, 1e-6), 1e-3, 1.0)
    errors = []
    for color, basis, seen in tested:
        shown = texture * (basis @ _light(color, basis, seen, texture))
        apart = srgb_encode(np.clip(shown, 0, None)) - srgb_encode(color)
        errors.append(np.linalg.norm(apart[seen], axis=1).mean())
    return float(np.mean(errors))


def _light(
    color: Float[np.ndarray, "p 3"],
    basis: Float[np.ndarray, "p 9"],
    seen: Bool[np.ndarray, " p"],
    texture: Float[np.ndarray, "p 3"],
) -> Float[np.ndarray, "9 3"]:
    """Least-squares light of one picture."""
    columns = [np.linalg.lstsq(basis[seen] * texture[seen, c : c + 1], color[seen, c], rcond=None)[0] for c in range(3)]
    return np.stack(columns, axis=1)
