"""Held-out mouth error with the true vertices, on people who do not exist: no detector is part of the ruler.

    python tools/measure_synthetic.py [--people 0 3 7] [--seconds 16] [--json]

The first half of a generated film is enrolled, the second half acts. What an output picture shows is the target frame's
true face, moved by the difference of the fitted model between the expression that is shown and the frame's own; it is
compared with the actor's true face, both as deviations from the person's rest in the head's frame. Some minutes each.
And how well the detector itself, the ruler of `f2fcam evaluate`, reads the true signals of these films.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from f2fcam.enroll import enroll_video  # noqa: E402
from f2fcam.evaluation.clip import Clip, read_clip  # noqa: E402
from f2fcam.evaluation.shape import Template  # noqa: E402
from f2fcam.evaluation.signals import NAMES, deviations, fidelity, measure  # noqa: E402
from f2fcam.face.morphable import load_face_model  # noqa: E402
from f2fcam.reenact import Output  # noqa: E402
from f2fcam.render.rims import rim_distance  # noqa: E402
from f2fcam.render_file import render_video  # noqa: E402
from f2fcam.synthetic.acting import Script  # noqa: E402
from f2fcam.synthetic.clip import SyntheticClip, Truth, write_clip  # noqa: E402
from f2fcam.synthetic.person import SyntheticPerson  # noqa: E402
from f2fcam.synthetic.scene import Camera  # noqa: E402
from f2fcam.track.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER  # noqa: E402
from f2fcam.trust.consent import Consent  # noqa: E402

FPS = 25.0
SIZE = (848, 480)
MOUTH_MM = 12.0
"""Vertices this near to the rim of the lips are the mouth."""
CONSENT = Consent(
    subject="a synthetic person who does not exist",
    statement="Nobody is shown: the face is generated, so nobody's consent is needed.",
    scope="measuring",
    expires=datetime.date(2099, 12, 31),
    contact="the authors of f2fcam",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[0, 3, 7], help="which held-out heads")
    parser.add_argument("--seconds", type=float, default=16.0, help="length of each film")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = {}
    for number in arguments.people:
        found[number] = measured(number, arguments.seconds)
        if not arguments.json:
            print(f"person {number}: " + ", ".join(f"{k} {v:.3f}" for k, v in found[number].items()), flush=True)
    if arguments.json:
        print(json.dumps(found, indent=1))


def measured(number: int, seconds: float) -> dict[str, float]:
    """Mean mouth error in mm of the output and of the unmodified target frames, their ratio, and what of it is constant.

    The constant part comes of bundling the two halves apart: one face, two relaxed expressions. What changes along the face's
    own axis, which one camera before it knows least of, is given for itself.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = folder / "film.mp4"
        scene = SyntheticClip(
            SyntheticPerson.held_out(number),
            Script(seed=number),
            Camera.facing(*SIZE, distance_mm=550.0, drop_mm=16.0),
            supersampling=1.5,
            noise=1.0,
        )
        truths = write_clip(film, [scene], seconds, FPS, crf=12)
        detector = detector_correlations(scene.person, truths, read_clip(film))
        profile = enroll_video(film, "measured", CONSENT, folder / "profiles", (0.0, seconds / 2))
        shown: list[tuple[int, int, np.ndarray]] = []

        def observe(output: Output) -> None:
            shown.append((output.source_index, output.target_index, output.expression.copy()))

        render_video(profile, film, folder / "out.mp4", (seconds / 2, seconds), on_output=observe)
    model = load_face_model()
    mouth = np.unique(np.flatnonzero(rim_distance(model, "lips") < MOUTH_MM))
    basis = np.stack([model.subdivide(shape)[mouth] for shape in np.moveaxis(model.expression_basis, 2, 0)])

    def moved(expression: np.ndarray) -> np.ndarray:
        return np.tensordot(np.asarray(expression, np.float64), basis, axes=1)

    def true_motion(truth: Truth) -> np.ndarray:
        return moved(truth.performance.expression)

    rows = {int(index): row for row, index in enumerate(profile.frames.index)}
    errors, unmodified = [], []
    for source, target, expression in shown:
        wanted, own = true_motion(truths[source]), true_motion(truths[target])
        change = moved(expression - profile.frames.performance(rows[target]).expression)
        errors.append(own + change - wanted)
        unmodified.append(own - wanted)
    apart, plain = np.array(errors), _length(np.array(unmodified))
    offset = apart.mean(axis=0)
    return {
        "error_mm": _length(apart),
        "unmodified_mm": plain,
        "ratio": _length(apart) / plain,
        "offset_mm": _length(offset),
        "ratio_without_offset": _length(apart - offset) / plain,
        "ratio_in_the_frontal_plane": _length(apart[..., :2]) / _length(np.array(unmodified)[..., :2]),
        "error_along_the_face_mm": float(np.sqrt(((apart - offset)[..., 2] ** 2).mean())),
        **detector,
    }


def detector_correlations(person: SyntheticPerson, truths: list[Truth], clip: Clip) -> dict[str, float]:
    """Correlation of every signal as the detector reads it with the true one, of the landmarks' own surface points."""
    model = load_face_model()
    landmarks = model.landmarks
    corners = model.triangles(landmarks.level)[landmarks.triangle]

    def points(truth: Truth) -> np.ndarray:
        surface = model.subdivide(person.geometry0(truth.performance.expression), landmarks.level)
        return np.einsum("lk,lkc->lc", landmarks.barycentric, surface[corners]) * [1, -1, -1]

    true = np.array([points(truth) for truth in truths])
    true /= np.linalg.norm(true[0, LEFT_EYE_OUTER] - true[0, RIGHT_EYE_OUTER])
    read, truly = deviations(clip.points, Template.of(clip.points)), measure(true)
    return {f"detector_{name}": fidelity(truly[name], read[name]).r for name in NAMES}


def _length(vectors: np.ndarray) -> float:
    """Mean length."""
    return float(np.linalg.norm(vectors, axis=-1).mean())


if __name__ == "__main__":
    main()
