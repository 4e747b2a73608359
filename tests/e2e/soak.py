"""The whole program on the air for long, in a session of its own: does anything grow, drift or slow down?

`python -m tests.e2e.soak --minutes 30` starts the synthetic actor, the bundled target, the PipeWire camera and the sound, reads
the camera all the time, and every now and then compares picture and sound by bursts (`sound_room`). Numbers go to
`build/e2e/soak.json`; exits with 1 when a bound does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from f2fcam.config import StartConfig
from f2fcam.control import request as ask
from f2fcam.daemon import start_detached
from f2fcam.errors import F2FError
from f2fcam.memory import family, shared_out_mb
from tests.e2e.sound_room import EARLY_MS, LATE_MS, MICROPHONE, Pictures, bursts, furnish, heard, recorded, tell
from tests.pipewire_session import Session

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(os.environ.get("F2FCAM_E2E_OUT", ROOT / "build" / "e2e"))
SIZE, FPS = (640, 480), 30.0
SAMPLE_S = 10.0
WARM_S = 300.0
"""The actor is learnt, and the caches have seen what there is."""
SOUND_EVERY_S, SOUND_S = 75.0, 15.0
PART = 1 / 3
"""Of the time after the warm-up: the first so much of it and the last are compared."""
YARD = np.random.default_rng(1).standard_normal((500, 500)).astype(np.float32)
MOST_GROWTH_MB = 5.0
MOST_LATER_MS, MOST_DRIFT_MS = 20.0, 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The camera at one moment. `memory_mb`, `own_mb`, `descriptors` and `threads` are of all its processes together.

    `own_mb` leaves out what is mapped from files: other programs' coming and going changes what share of it is ours.
    `yardstick_ms` is the processor time of a job that is always the same: how fast the machine is just now.
    """

    second: float
    memory_mb: float
    own_mb: float
    descriptors: int
    threads: int
    processes: int
    fps: float
    arrived_fps: float
    latency_ms: float
    age_ms: float
    restarts: int
    xruns: int
    sound_ms: float
    sound_target_ms: float
    stages_ms: dict[str, float]
    levels: list[int]
    yardstick_ms: float


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure and the most that it may be."""

    what: str
    figure: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.figure <= self.most


def sample(began: float, pictures: Pictures) -> Sample:
    """Look at the running camera."""
    status = ask("status")
    pids, now = family(int(status["pid"])), time.time()
    recent = [age for when, age in pictures.ages if when > now - SAMPLE_S]
    return Sample(
        second=round(now - began, 1),
        memory_mb=round(shared_out_mb(pids) or 0.0, 1),
        own_mb=round(sum(own_mb(pid) for pid in pids), 1),
        descriptors=sum(len(entries(pid, "fd")) for pid in pids),
        threads=sum(len(entries(pid, "task")) for pid in pids),
        processes=len(pids),
        fps=status["fps"]["engine"],
        arrived_fps=round(len(set(recent_codes(pictures, now))) / SAMPLE_S, 1),
        latency_ms=status["latency_ms"].get("p50", 0.0),
        age_ms=float(np.median(recent)) if recent else float("inf"),
        restarts=status["restarts"],
        xruns=int(status["sound"].get("xruns", 0)),
        sound_ms=status["sound"].get("delay_ms") or float("nan"),
        sound_target_ms=status["sound"].get("target_ms") or float("nan"),
        stages_ms={name: one.get("p50") for name, one in status["stages_ms"].items()},
        levels=[status["quality"].get(side, {}).get("level", 0) for side in ("tracking", "picture")],
        yardstick_ms=round(yardstick_ms(), 2),
    )


def yardstick_ms() -> float:
    """Arithmetic and memory, some of each; the best of five, in processor time."""
    times = []
    for _ in range(5):
        begin = time.thread_time()
        matrix = np.tile(YARD, (4, 1))
        float((matrix @ YARD).sum())
        times.append(time.thread_time() - begin)
    return 1e3 * min(times)


def own_mb(pid: int) -> float:
    """Memory of a process that is no file's."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def recent_codes(pictures: Pictures, now: float) -> list[float]:
    """The moments of capture of what came in the last seconds, to the millisecond."""
    return [round(when * 1000 - age) for when, age in pictures.ages if when > now - SAMPLE_S]


def entries(pid: int, what: str) -> list[str]:
    """The names in a folder of a process' own."""
    with contextlib.suppress(OSError):
        return [entry.name for entry in Path(f"/proc/{pid}/{what}").iterdir()]
    return []


def offset_ms(session: Session, folder: Path, pictures: Pictures) -> tuple[float, float] | None:
    """How far the sound comes behind the picture now (median of the bursts), and the share of them within bounds.

    An event is seen with the next picture, half an interval later in the mean.
    """
    played, recording = folder / "bursts.raw", folder / "recorded.wav"
    bursts(SOUND_S + 2).tofile(played)
    begin = time.time()
    with recorded(session, played, recording) as linked:
        time.sleep(SOUND_S)
        links = tell(session, "pw-link", "-l").stdout + tell(session, "pactl", "list").stdout
    found = heard(recording, linked)
    if not found:
        recording.replace(OUT / f"unheard_{round(begin)}.wav")
        (OUT / f"unheard_{round(begin)}.txt").write_text(f"{ask('status')}\n{links}", encoding="utf-8")
        return None
    recording.unlink()
    seen_ms = pictures.age_ms(begin, time.time()) + pictures.interval_ms(begin, time.time()) / 2
    offsets = np.array([delay for _, delay in found]) - seen_ms
    return float(np.median(offsets)), float(np.mean((offsets >= -EARLY_MS) & (offsets <= LATE_MS)))


def bounds(samples: list[Sample], offsets: list[tuple[float, float, float]]) -> list[Bound]:
    """What must not grow, from the first minutes after the warm-up to the last ones."""
    part_s = PART * (samples[-1].second - WARM_S)

    def grown(told: list[tuple[float, float]]) -> float:
        """The last part's median less the first one's, of figures that were told at a second."""
        first = [figure for second, figure in told if 0 <= second - WARM_S <= part_s]
        last = [figure for second, figure in told if second >= samples[-1].second - part_s]
        return float(np.median(last) - np.median(first)) if first and last else float("nan")

    def growth(name: str) -> float:
        return grown([(one.second, getattr(one, name)) for one in samples])

    drift = grown([(second, offset) for second, offset, _ in offsets])
    held = [share for second, _, share in offsets if second >= WARM_S]
    outside = 100 * (1 - float(np.mean(held))) if held else float("nan")
    return [
        Bound("growth of memory, MB", growth("own_mb"), MOST_GROWTH_MB),
        Bound("growth of file descriptors", growth("descriptors"), 0),
        Bound("growth of threads", growth("threads"), 0),
        Bound("restarts of the engine", samples[-1].restarts, 0),
        Bound("latency grown by, ms", growth("latency_ms"), MOST_LATER_MS),
        Bound("age at the reader grown by, ms", growth("age_ms"), MOST_LATER_MS),
        Bound("drift of sound against picture, ms", abs(drift), MOST_DRIFT_MS),
        Bound("bursts out of the sound's bounds, %", outside, 5),
    ]


def watch(session: Session, folder: Path, minutes: float) -> tuple[list[Sample], list[tuple[float, float, float]]]:
    """Samples of the camera, and (second, offset in ms, share within bounds) of the sound."""
    pictures, began = Pictures(session, SIZE), time.time()
    session.wait(lambda: ask("status")["sound"].get("delay_ms") is not None, "the sound")
    session.start("parec", "--device=f2f_microphone", "/dev/null")  # a call that listens all the time
    samples, offsets, next_sound = [], [], 60.0
    try:
        while time.time() < began + 60 * minutes:
            time.sleep(SAMPLE_S)
            samples.append(sample(began, pictures))
            if samples[-1].second >= next_sound:
                next_sound += SOUND_EVERY_S
                if (told := offset_ms(session, folder, pictures)) is not None:
                    offsets.append((samples[-1].second, *told))
                print(samples[-1], "sound:", told, flush=True)
    finally:
        pictures.end()
    return samples, offsets


def main() -> int:
    """Run it and print what has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    folder = Path(tempfile.mkdtemp(prefix="f2fcam-soak-"))
    OUT.mkdir(parents=True, exist_ok=True)
    with Session(folder / "session") as session:
        furnish(session)
        os.environ["XDG_RUNTIME_DIR"] = session.environment["XDG_RUNTIME_DIR"]
        for name in ("F2FCAM_RUNTIME_DIR", "PULSE_SERVER", "PULSE_RUNTIME_PATH"):
            os.environ.pop(name, None)
        config = StartConfig(
            "alice", source="synthetic", sink="pipewire", size=SIZE, fps=FPS, barcode=True, sound=MICROPHONE
        )
        try:
            start_detached(config)
            samples, offsets = watch(session, folder, minutes)
        finally:
            with contextlib.suppress(F2FError):
                ask("stop")
    found = bounds(samples, offsets)
    report = {"samples": [asdict(one) for one in samples], "sound": offsets, "bounds": [asdict(one) for one in found]}
    (OUT / "soak.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    steady = [one for one in samples if one.second >= WARM_S]
    print(
        f"{minutes:g} minutes, {np.median([one.fps for one in steady]):.1f} new pictures a second, "
        f"{np.median([one.arrived_fps for one in steady]):.1f} at the reader, "
        f"{np.median([one.age_ms for one in steady]):.0f} ms old, {samples[-1].xruns} xruns"
    )
    thirds = np.array_split([one.yardstick_ms for one in steady], 3)
    print("the machine's yardstick in each third: " + ", ".join(f"{np.median(third):.2f} ms" for third in thirds))
    for bound in found:
        print(f"{'holds ' if bound.holds else 'MISSED'} {bound.what}: {bound.figure:.2f} (at most {bound.most:g})")
    return 0 if all(bound.holds for bound in found) else 1


if __name__ == "__main__":
    sys.exit(main())
