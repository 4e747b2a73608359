"""v4l2loopback and a webcam's driver, which need a kernel of their own: the checks of `guest.inside`, in an emulated machine.

Correctness only: such a machine says nothing of speed. Results and logs go to `build/e2e/guest`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from f2fcam.trust.badge import badge_box
from tests.e2e.guest.inside import CHECKS
from tests.e2e.guest.machine import ENDED, FOLDER, ROOT, Unavailable, build
from tests.e2e.seen import Seen
from tests.e2e.test_browsers import OUT

LIMIT_S = 900.0
"""A machine that others use too may need most of it."""
KERNELS = {"NUMBA_CACHE_DIR": str(FOLDER / "kernels"), "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
"""Compiled here for a plain processor: it would take the emulated one minutes, and it lacks some of this one's instructions."""
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "F2FCAM_RUNTIME_DIR": "/run/f2fcam",
    "XDG_RUNTIME_DIR": "/run",
    "XDG_CACHE_HOME": "/run/cache",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    **KERNELS,
}


@pytest.fixture(scope="module")
def results() -> Path:
    """What all the checks have left behind."""
    try:
        machine = build()
    except Unavailable as reason:
        pytest.skip(str(reason))
    subprocess.run([sys.executable, "-c", "import f2fcam.yuv"], env=os.environ | KERNELS, cwd=ROOT, check=True)
    folder = OUT / "guest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = ENVIRONMENT | {"F2FCAM_MODULES": str(machine.modules), "F2FCAM_LOOPBACK": machine.loopback}
    printed = machine.run([sys.executable, "-m", "tests.e2e.guest.inside"], folder, environment, LIMIT_S)
    (folder / "console.log").write_text(printed, encoding="utf-8")
    return folder


def told_of(results: Path, name: str) -> dict:
    """What a check has left behind; where there is nothing, why."""
    file = results / f"{name}.json"
    if not file.exists():
        console = (results / "console.log").read_text(encoding="utf-8")
        begun = "it was under way" if f"{name} begins" in console else "its turn had not come"
        ended = f"the machine was ended after {LIMIT_S:g} s" if ENDED in console else "the machine ended by itself"
        pytest.fail(f"There is no result: {ended} and {begun}. The console's end:\n{console[-3000:]}", pytrace=False)
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CHECKS)
def test_in_the_guest(results: Path, name: str, capsys: pytest.CaptureFixture[str]):
    told = told_of(results, name)
    if told["failure"]:
        pytest.fail(f"{told['failure']}", pytrace=False)
    with capsys.disabled():
        sys.stderr.write(f"\nin the guest: {name} took {told['seconds']} s\n")


def test_what_the_browser_played(results: Path):
    """The engine's bright picture with its time code and the badge."""
    told = told_of(results, "check_a_browser_plays_the_camera")
    assert not told["failure"], "it did not play"
    near = told["facts"]["near"]
    seen = Seen.of(near, near["samples"][-1]["at"] / 1000)
    (results / "browser.png").write_bytes(seen.png)
    torn = round(
        seen.unread * seen.shown
    )  # v4l2loopback may write to what a reader that stalls for seconds still reads
    assert torn <= 1 and seen.distinct >= 3 and seen.back == 0, (torn, seen.summary)
    height, width = seen.rgb.shape[:2]
    x0, y0, x1, y1 = badge_box(width, height)
    around = seen.rgb[y1 + 4 :, width // 2 :]
    assert around.mean() > 150 and around.std() < 10
    assert seen.rgb[y0:y1, x0:x1].std() > 20
