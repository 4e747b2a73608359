"""The camera tests itself: what comes back is counted and aged, through the preview page and through a real PipeWire server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from f2fcam import cli
from f2fcam.cli.console import fields
from f2fcam.control import ControlServer
from f2fcam.errors import DeviceError
from f2fcam.panel.listener import listen
from f2fcam.publish.barcode import code_of
from f2fcam.readback import open_reader
from f2fcam.selftest import card_i420, findings
from f2fcam.trust.badge import stamp_i420
from tests.pipewire_session import Session, missing_programs
from tests.test_supervisor import runtime

__all__ = ["runtime"]

START_MS = 65_500
"""Just before the time code begins anew."""


def sent(count: int) -> list[int]:
    return [code_of(START_MS + 33 * n) for n in range(count)]


def seen(codes: list[int], delay_ms: float = 40.0) -> list[tuple[int | None, float]]:
    return [(code, START_MS + 33 * n + delay_ms) for n, code in enumerate(codes)]


def test_all_is_well():
    found = findings("there", "a reader", sent(100), seen(sent(100)), 30.0)
    assert found.faults == () and found.lost == 0 and found.received == found.sent == 100
    assert found.latency_ms == (40.0, 40.0) and found.fps == pytest.approx(30.3, abs=0.1)


def test_lost_damaged_and_slow_pictures_are_faults():
    came = [one for n, one in enumerate(seen(sent(100))) if n % 2 == 0]
    found = findings("there", "a reader", sent(100), [*came[:20], (None, came[20][1]), *came[21:]], 30.0)
    assert found.damaged == 1 and found.lost == 50 and len(found.faults) == 3


def test_repeated_pictures_count_once():
    twice = [one for one in seen(sent(50)) for _ in range(2)]
    found = findings("there", "a reader", sent(50), twice, 30.0)
    assert found.received == 50 and found.lost == 0


def test_foreign_pictures_are_a_fault():
    assert "ours" in findings("there", "a reader", sent(5), [(code_of(1), 1.0), (code_of(2), 2.0)], 30.0).faults[-1]


def test_nothing_of_ours_has_no_age():
    found = findings("there", "a reader", sent(5), [(code_of(1), 1.0), (code_of(2), 2.0)], 30.0)
    assert found.latency_ms is None and "NaN" not in json.dumps(fields(found))


def test_a_page_that_does_not_answer_is_a_missing_device():
    with listen(0, "a test") as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DeviceError, match="does not answer"):
        open_reader(f"http://127.0.0.1:{port}/", (320, 180), 30.0)


def test_card_carries_the_badge():
    card = bytearray(card_i420(320, 180))
    stamped = bytearray(card)
    stamp_i420(stamped, 320, 180)
    assert stamped == card


def test_through_the_preview_page(capsys: pytest.CaptureFixture[str]):
    code = cli.run("selftest --sink preview:0 --size 320x180 --seconds 1 --json".split())
    found = json.loads(capsys.readouterr().out)
    assert found["read_by"] == "HTTP" and found["received"] > 5 and found["damaged"] == 0
    assert code == (0 if found["ok"] else 1), "a busy machine may lose some"


def test_what_cannot_be_read_back_is_said(capsys: pytest.CaptureFixture[str]):
    assert cli.run("selftest --sink null --size 64x48 --seconds 1".split()) == 3
    assert "nobody can read them back" in capsys.readouterr().err


def test_a_running_camera_is_not_disturbed(capsys: pytest.CaptureFixture[str]):
    server = ControlServer()
    assert cli.run("selftest --sink null".split()) == 1
    assert "running already" in capsys.readouterr().err
    server.close()


def test_through_a_real_pipewire_server(tmp_path: Path):
    if missing := missing_programs() + missing_programs(["gst-launch-1.0"]):
        pytest.skip(f"not installed: {', '.join(missing)}; run `bash tools/e2e_setup.sh`")
    with Session(tmp_path / "session") as session:
        done = subprocess.run(
            [sys.executable, "-m", "f2fcam", *"selftest --sink pipewire --size 320x180 --seconds 2 --json".split()],
            env=session.environment | {"F2FCAM_RUNTIME_DIR": os.environ["F2FCAM_RUNTIME_DIR"]},
            capture_output=True, text=True, cwd=Path(__file__).parent.parent,
        )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert found["device"] == "F2F Camera (PipeWire)" and found["received"] > 10 and found["damaged"] == 0, found
