"""Film the synthetic person who acts where no camera is there: `f2fcam start --source synthetic`.

    python tools/make_actor.py

The same code and face model give the same pictures. Takes a minute or two. The sensor's noise is left out: it would make
the file many times as large, and a webcam that sends compressed pictures has as little of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from f2fcam.capture.synthetic import DEFAULT_PERSON, FILM, FILM_FPS, FILM_LOOP_S, FILM_SIZE, perform  # noqa: E402
from f2fcam.publish.video import VideoWriter  # noqa: E402

CRF, PRESET = 20, "slow"


def main() -> None:
    """Write it into its place in the package."""
    clip = perform(DEFAULT_PERSON, FILM_SIZE, noise=0.0, loop_s=FILM_LOOP_S)
    with VideoWriter(FILM, FILM_SIZE, FILM_FPS, crf=CRF, preset=PRESET) as writer:
        for number in range(round(FILM_LOOP_S * FILM_FPS)):
            writer.write(clip.frame(number / FILM_FPS))
    print(f"{FILM.name}: {FILM.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
