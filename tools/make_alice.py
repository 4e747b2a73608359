"""Film the synthetic person alice and enrol her as the bundled profile `profiles/alice`.

    python tools/make_alice.py [--clip FILE.mp4] [--profiles FOLDER] [--film-only]

The same code and face model give the same pictures. Takes some minutes.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from f2fcam.synthetic.alice import LIGHT, alice, alice_script  # noqa: E402
from f2fcam.synthetic.clip import SyntheticClip, write_clip  # noqa: E402
from f2fcam.synthetic.scene import Camera  # noqa: E402
from f2fcam.trust.consent import Consent  # noqa: E402

FPS = 25.0
SIZE = (848, 480)
"""Small enough that no file of the shipped profile exceeds a few megabytes; the stored clip is intra-only."""
FILM_CRF = 10
CONSENT = Consent(
    subject="alice, a synthetic person who does not exist",
    statement="Nobody is shown: tools/make_alice.py generated this face, so nobody's consent is needed.",
    scope="anything",
    expires=datetime.date(2099, 12, 31),
    contact="the authors of f2fcam",
)


def main() -> None:
    """Film, then enrol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, help="keep the film here")
    parser.add_argument("--profiles", type=Path, default=ROOT / "profiles", help="where the profile is stored")
    parser.add_argument("--film-only", action="store_true", help="do not enrol")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.clip or Path(folder) / "alice.mp4"
        film(path)
        if not arguments.film_only:
            enrol(path, arguments.profiles)


def film(path: Path) -> None:
    """Write the looping clip."""
    started = time.monotonic()
    script = alice_script()
    scene = SyntheticClip(
        alice(),
        script,
        Camera.facing(*SIZE, distance_mm=550.0, drop_mm=16.0),
        LIGHT,
        cells=6,
        supersampling=2.0,
        blur_px=0.5,
    )
    truths = write_clip(path, [scene], script.loop_s or 10.0, FPS, crf=FILM_CRF)
    print(f"{path.name}: {len(truths)} frames, {path.stat().st_size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s")


def enrol(path: Path, profiles: Path) -> None:
    """Make the profile and say how large it is."""
    from f2fcam.enroll import enroll_video

    started = time.monotonic()
    enroll_video(path, "alice", CONSENT, profiles)
    for file in sorted((profiles / "alice").iterdir()):
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
    print(f"enrolled in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
