"""v4l2loopback and a webcam's driver, which need a kernel of their own: the checks of `guest.inside`, in an emulated machine.

Correctness only: such a machine says nothing of speed. Results and logs go to `build/e2e/guest`. It may take `F2FCAM_GUEST_S`
seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from f2fcam.trust.badge import badge_box
from tests.e2e.company import Company, missed
from tests.e2e.guest.inside import CHECKS, TOO_LATE
from tests.e2e.guest.machine import ENDED, FOLDER, ROOT, Unavailable, build
from tests.e2e.seen import Seen
from tests.e2e.test_browsers import OUT

LIMIT_S = float(os.environ.get("F2FCAM_GUEST_S", 900.0))
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


@dataclass(frozen=True, slots=True)
class Results:
    """What all the checks have left behind in `folder`, while others had that share of the processors."""

    folder: Path
    others: float

    def of(self, name: str) -> dict[str, Any]:
        """The facts of a check that has passed; otherwise the test ends here."""
        file = self.folder / f"{name}.json"
        if not file.exists():
            console = (self.folder / "console.log").read_text(encoding="utf-8")
            begun = "it was under way" if f"{name} begins" in console else "its turn had not come"
            if ENDED in console:
                missed(f"no result: {begun} when the machine was ended after {LIMIT_S:g} s", self.others, heavy=True)
            pytest.fail(
                f"The machine ended by itself and {begun}. The console's end:\n{console[-3000:]}", pytrace=False
            )
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["failure"]:
            if TOO_LATE in told["failure"]:
                missed(told["failure"], self.others)
            pytest.fail(told["failure"], pytrace=False)
        return told


@pytest.fixture(scope="module")
def results() -> Results:
    """Boot the machine and let it do them all."""
    try:
        machine = build()
    except Unavailable as reason:
        pytest.skip(str(reason))
    subprocess.run([sys.executable, "-c", "import f2fcam.yuv"], env=os.environ | KERNELS, cwd=ROOT, check=True)
    folder = OUT / "guest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = ENVIRONMENT | {"F2FCAM_MODULES": str(machine.modules), "F2FCAM_LOOPBACK": machine.loopback}
    company = Company(folder)
    company.look()
    printed = machine.run([sys.executable, "-m", "tests.e2e.guest.inside"], folder, environment, LIMIT_S)
    (folder / "console.log").write_text(printed, encoding="utf-8")
    return Results(folder, company.look())


@pytest.mark.parametrize("name", CHECKS)
def test_in_the_guest(results: Results, name: str, capsys: pytest.CaptureFixture[str]):
    told = results.of(name)
    with capsys.disabled():
        sys.stderr.write(f"\nin the guest: {name} took {told['seconds']} s\n")


def test_what_the_browser_played(results: Results):
    """The engine's bright picture with its time code and the badge."""
    near = results.of("check_a_browser_plays_the_camera")["facts"]["near"]
    seen = Seen.of(near, near["samples"][-1]["at"] / 1000)
    (results.folder / "browser.png").write_bytes(seen.png)
    torn = round(
        seen.unread * seen.shown
    )  # v4l2loopback may write to what a reader that stalls for seconds still reads
    assert torn <= 1 and seen.distinct >= 3 and seen.back == 0, (torn, seen.summary)
    height, width = seen.rgb.shape[:2]
    x0, y0, x1, y1 = badge_box(width, height)
    around = seen.rgb[y1 + 4 :, width // 2 :]
    assert around.mean() > 150 and around.std() < 10
    assert seen.rgb[y0:y1, x0:x1].std() > 20
