"""A started camera: what its processes load and hold, and in which order things come; no time is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from f2fcam.benchmark.start import run_start
from f2fcam.engine_process import EngineProcess
from f2fcam.memory import family, give_back, shared_out_mb
from f2fcam.supervisor import ENGINE, Supervisor
from tests import enrolled

ROOT = Path(__file__).resolve().parent.parent

LOADED = """
import sys
from f2fcam import engine_main, source_process
{what}
wanted = {unwanted!r}
print(*sorted(name for name in wanted if name in sys.modules))
"""
NEVER = "matplotlib pandas jax tensorflow torch PIL sounddevice scipy.optimize scipy.stats scipy.signal typer rich starlette"
"""What no process of a running camera has a use for."""

ENGINE_LOADS = "import f2fcam.engine, f2fcam.live, f2fcam.capture.video"
TRACKER_LOADS = """
from f2fcam.track.landmarks import MediaPipeDetector
MediaPipeDetector().close()
"""
TRACKER_NEVER = f"{NEVER} f2fcam.live f2fcam.mouth.retouch f2fcam.render.composite f2fcam.render.view av cryptography"

FORKED = """
import os
import sys
from pathlib import Path
from f2fcam.channel import Forked
from f2fcam.source_process import start_tracker

ours = open("/dev/zero")
tracker = start_tracker(Path(sys.argv[1]))
assert isinstance(tracker._child, Forked), "not forked"

from f2fcam.face.camera import Intrinsics
from f2fcam.source_person import nobody
from f2fcam.source_side import Casting
from tests import enrolled

frames = enrolled.frames(enrolled.ACTOR)[:2]
size = frames[0].size
tracker.cast(Casting.of(enrolled.profile(), actor=nobody(Intrinsics.guess(*size)), size=size))
print([tracker.track(frame).acted.status for frame in frames])
files = [os.readlink(path).split(":")[0] for path in Path(f"/proc/{tracker.pid}/fd").iterdir() if int(path.name) > 2]
print(sorted(files))
print(tracker.pid)
tracker.close()
print(tracker._child.ended())
"""


@pytest.mark.parametrize(("what", "unwanted"), [(ENGINE_LOADS, NEVER), (TRACKER_LOADS, TRACKER_NEVER)])
def test_a_live_process_loads_only_what_it_uses(what: str, unwanted: str):
    code = LOADED.format(what=what, unwanted=unwanted.split())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_the_supervisor_finds_the_profile_without_arrays():
    code = (
        "import sys, f2fcam.cli.camera, f2fcam.supervisor; from f2fcam.profile_search import find_profile;"
        "find_profile('alice'); print(*[m for m in 'numpy cv2 numba scipy cryptography'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_the_placeholder_is_shown_while_the_engine_loads(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []

    class Sink:
        device, size, keeps_time, readers = "sink", (64, 48), False, None

        def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
            order.append("picture")
            raise KeyboardInterrupt

        def close(self) -> None:
            order.append("closed")

    def begin(self: EngineProcess, setup: dict, now: float) -> None:
        order.append("engine")

    monkeypatch.setattr("f2fcam.output.open_sink", lambda *_: Sink())
    monkeypatch.setattr(EngineProcess, "start", begin)
    from f2fcam.config import StartConfig

    with pytest.raises(KeyboardInterrupt):
        Supervisor(StartConfig("alice", sink="null", size=(64, 48))).run()
    assert order == ["engine", "picture", "closed"]
    assert ENGINE[-1] == "f2fcam.engine_main"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
def test_the_tracker_is_forked_and_keeps_nothing_of_the_engines(tmp_path: Path):
    enrolled.profile()  # made here, where it is kept for other tests
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "tracker.log")], capture_output=True, text=True, check=False,
        cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    statuses, files, pid, ended = done.stdout.splitlines()
    assert statuses == "['tracked', 'tracked']"
    assert files == "['/memfd', '/memfd', 'socket']"  # the picture and its mapping, and the way to us
    assert not Path(f"/proc/{pid}").exists()
    assert ended == "exit code 0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
def test_a_forked_process_that_hangs_is_not_waited_for(tmp_path: Path):
    code = """
import sys, time
from pathlib import Path
from f2fcam.channel import Forked

child = Forked(lambda: time.sleep(600), (), Path(sys.argv[1]))
begun = time.monotonic()
assert not child.wait(0.2)
child.close()
assert time.monotonic() - begun < 60, "waited for it"
print(child.ended())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "child.log")], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout.strip()) == (0, "killed by SIGKILL"), done.stderr


def test_memory_of_a_family_counts_shared_pages_once():
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("the system does not tell")
    give_back()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    try:
        assert child.pid in family(os.getpid())
        alone, both = shared_out_mb([child.pid]), shared_out_mb(family(os.getpid()))
        assert alone is not None and both is not None and 0 < alone < both
    finally:
        child.communicate("\n")
    assert family(child.pid) == [child.pid]
    assert shared_out_mb([child.pid]) is None


def test_a_running_camera_stays_within_its_memory(tmp_path: Path):
    """All its processes together, while the actor is watched; learning them adds some 130 MB."""
    started = run_start(
        "synthetic", enrolled.profile().directory.parent, enrolled.film(enrolled.ACTOR), (640, 480), 2.0
    )
    assert started.after_s["placeholder"] < started.after_s["first_frame"]
    if started.memory_mb is not None:
        assert 100 < started.memory_mb < 560
