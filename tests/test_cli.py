"""The command line's contract: what is parsed, what is called, what is printed where, with which exit code."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from f2fcam import cli, profile_store
from f2fcam.cli import console
from f2fcam.cli.tables import status_table
from f2fcam.errors import DeviceError
from tests.profiles import make_profile
from tests.videos import write_clip

pytestmark = pytest.mark.usefixtures("user_folders")

COMMANDS = (
    "enroll start stop status switch pause resume recalibrate render evaluate bench profile service doctor selftest verify warmup"
).split()


class Recorder:
    """A module that remembers how it was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: str, function: str, answer: object = None) -> None:
        self.calls: list[tuple[tuple, dict]] = []
        fake = types.ModuleType(module)

        def called(*arguments: object, **named: object) -> object:
            self.calls.append((arguments, named))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        setattr(fake, function, called)
        monkeypatch.setitem(sys.modules, module, fake)
        parent, _, name = module.rpartition(".")
        monkeypatch.setattr(sys.modules[parent], name, fake, raising=False)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "a.mp4", 3)


def test_every_command_is_there(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command} " in text
        assert cli.run([command, "--help"]) == 0


def test_version(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("f2fcam 0.")


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["frobnicate"],
        ["render"],
        ["enroll"],
        ["start", "--profile", "a", "--fps", "x"],
        ["profile", "show"],
        ["stop", "now"],
    ],
)
def test_usage_errors(line: list[str], capsys: pytest.CaptureFixture[str]):
    assert cli.run(line) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err
    assert "Traceback" not in printed.err


def test_enroll_passes_everything_on(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    made = make_profile(tmp_path / "p")
    enroll = Recorder(monkeypatch, "f2fcam.enroll", "enroll_video", made)
    line = ["enroll", str(video), "--name", "me", "--self", "--profiles", str(tmp_path), "--range", "1:2.5", "--json"]
    assert cli.run(line) == 0
    ((path, name, consent, profiles, part, _), _) = enroll.calls[0]
    assert (path, name, consent.own, profiles, part) == (video, "me", True, tmp_path, (1.0, 2.5))
    answer = json.loads(capsys.readouterr().out)
    assert answer["profile"] == "alice"
    assert answer["frames"] == 4


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"video": "nothing.mp4"}, "not a file"),
        ({"name": "a/b"}, "cannot be a profile's name"),
        ({"name": "a.b"}, "cannot be a profile's name"),
        ({"--self": None}, "No consent"),
        ({"--consent": "nothing.toml", "--self": None}, "does not exist"),
        ({"--range": "5:1"}, "--range"),
    ],
)
def test_enroll_refuses_before_it_works(
    video: Path, change: dict, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    enroll = Recorder(monkeypatch, "f2fcam.enroll", "enroll_video")
    options = {"--self": "", "--consent": None, "--range": None} | {
        k: v for k, v in change.items() if k.startswith("--")
    }
    line = ["enroll", change.get("video", str(video)), "--name", change.get("name", "me")]
    for option, value in options.items():
        line += [] if value is None else [option, value] if value else [option]
    assert cli.run(line) == 2
    error, hint = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("Error: ")
    assert complaint in error
    assert hint.startswith("Hint: ")
    assert not enroll.calls


def test_render_passes_everything_on(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    render = Recorder(monkeypatch, "f2fcam.render_file", "render_video", {"frames": 3})
    monkeypatch.setattr(profile_store, "open_profile", lambda name, profiles: ("opened", name, profiles))
    line = ["render", "--profile", "alice", "--source", str(video), "--output", str(tmp_path / "o.mp4")]
    assert cli.run([*line, "--target-frames", "nearest-pose", "--appearance", "model", "--range", ":2"]) == 0
    (arguments, _) = render.calls[0]
    assert arguments[:6] == (("opened", "alice", None), video, tmp_path / "o.mp4", (0.0, 2.0), "nearest-pose", "model")
    assert render.calls[0][1]["causal"] is False
    assert cli.run([*line, "--causal"]) == 0 and render.calls[1][1]["causal"] is True
    assert cli.run([*line, "--appearance", "cartoon"]) == 2


def test_start_passes_everything_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_profile(tmp_path)
    start = Recorder(monkeypatch, "f2fcam.supervisor", "start", 0)
    line = ["start", "--profile", "alice", "--profiles", str(tmp_path), "--foreground"]
    assert (
        cli.run(
            [
                *line,
                "--source",
                "synthetic",
                "--sink",
                "null",
                "--size",
                "640x480",
                "--fps",
                "25",
                "--seconds",
                "3",
                "--quality",
                "full",
            ]
        )
        == 0
    )
    ((config,), _) = start.calls[0]
    assert (config.profile, config.profiles, config.source, config.sink) == ("alice", tmp_path, "synthetic", "null")
    assert (config.size, config.fps, config.duration_s, config.quality) == ((640, 480), 25.0, 3.0, "full")
    assert cli.run(line) == 0
    assert (start.calls[1][0][0].source, start.calls[1][0][0].quality) == ("webcam:0", "auto")
    assert not start.calls[1][0][0].barcode
    assert cli.run([*line, "--source", "/dev/video2", "--sink", "/dev/video9"]) == 0
    ((config,), _) = start.calls[2]
    assert (config.source, config.sink) == ("webcam:/dev/video2", "v4l2:/dev/video9")


def test_start_takes_defaults_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_profile(tmp_path / "faces")
    settings = tmp_path / "config.toml"
    settings.write_text(
        f'profiles = "{tmp_path / "faces"}"\n[start]\nsink = "preview"\nsize = "640x360"\nquality = "full"\n'
    )
    monkeypatch.setenv("F2FCAM_CONFIG", str(settings))
    start = Recorder(monkeypatch, "f2fcam.supervisor", "start", 0)
    assert cli.run(["start", "--profile", "alice", "--foreground"]) == 0
    ((config,), _) = start.calls[0]
    assert (config.sink, config.size, config.quality) == ("preview", (640, 360), "full")


def test_device_error_is_exit_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    make_profile(tmp_path)
    Recorder(monkeypatch, "f2fcam.supervisor", "start", DeviceError("No webcam.", hint="Plug one in."))
    assert cli.run(["start", "--profile", "alice", "--profiles", str(tmp_path), "--foreground"]) == 3
    assert capsys.readouterr().err.splitlines() == ["Error: No webcam.", "Hint: Plug one in."]


@pytest.mark.parametrize(
    ("failure", "code"), [(KeyboardInterrupt(), 130), (MemoryError(), 1), (ValueError("odd"), 1), (SystemExit(7), 7)]
)
def test_no_traceback_ever(
    failure: BaseException, code: int, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Recorder(monkeypatch, "f2fcam.evaluate", "evaluate_video", failure)
    if isinstance(failure, SystemExit):
        with pytest.raises(SystemExit):
            cli.run(["evaluate", str(video)])
        return
    assert cli.run(["evaluate", str(video)]) == code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert printed.err.strip()


def test_evaluate_and_bench_pass_everything_on(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    evaluate = Recorder(monkeypatch, "f2fcam.evaluate", "evaluate_video", {"summary": "good", "n": 1})
    assert cli.run(["evaluate", str(video), "--enroll", "0:10", "--test", "10:20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"summary": "good", "n": 1}
    assert evaluate.calls[0][0] == (video, (0.0, 10.0), (10.0, 20.0))
    bench = Recorder(monkeypatch, "f2fcam.bench", "run_bench", {"summary": "fast"})
    assert cli.run(["bench", "--size", "640x480", "--profile", "bob", "--log", str(tmp_path / "l.csv")]) == 0
    assert capsys.readouterr().out == "fast\n"
    assert bench.calls[0][1]["sizes"] == ((640, 480),)
    assert bench.calls[0][1]["log"] == tmp_path / "l.csv"
    assert cli.run(["bench", "--quick", "--size", "640x480", "--size", "320x240"]) == 0
    assert bench.calls[1][1]["sizes"] == ((640, 480), (320, 240))
    assert (bench.calls[0][1]["quick"], bench.calls[1][1]["quick"]) == (False, True)


def test_profile_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_profile(tmp_path / "p", "bob")
    where = ["--profiles", str(tmp_path / "p")]
    assert cli.run(["profile", "list", "--json", *where]) == 0
    (entry,) = [e for e in json.loads(capsys.readouterr().out)["profiles"] if not e["bundled"]]
    assert (entry["name"], entry["subject"], entry["fault"]) == ("bob", "Alice", None)
    assert cli.run(["profile", "list", *where]) == 0
    assert "bob" in capsys.readouterr().out
    assert cli.run(["profile", "show", "bob", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["consent"]["subject"] == "Alice"
    assert cli.run(["profile", "show", "bob", *where]) == 0
    assert cli.run(["profile", "export", "bob", str(tmp_path / "a.zip"), *where]) == 0
    capsys.readouterr()
    assert cli.run(["profile", "export", "bob", str(tmp_path / "a.zip"), *where]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.run(["profile", "export", "bob", str(tmp_path / "a.zip"), "--force", *where]) == 0
    assert cli.run(["profile", "delete", "bob", *where]) == 0
    assert cli.run(["profile", "show", "bob", *where]) == 4
    assert cli.run(["profile", "list", "--profiles", str(tmp_path / "nowhere")]) == 2
    assert cli.run(["profile", "import", str(tmp_path / "a.zip"), *where]) == 0
    assert cli.run(["profile", "show", "bob", *where]) == 0


def test_commands_for_a_camera_that_does_not_run(capsys: pytest.CaptureFixture[str]):
    for line in (["stop"], ["status"], ["pause"], ["resume"], ["recalibrate"], ["switch", "bob"]):
        assert cli.run(line) == 1
        assert "f2fcam start" in capsys.readouterr().err
    assert cli.run(["switch", "a/b"]) == 2


def test_switch_to_nobody_leaves_the_running_camera_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make_profile(tmp_path, "bob")
    asked = []

    def request(command: str, **arguments: str) -> dict:
        asked.append(command)
        return {"profiles": str(tmp_path)}

    monkeypatch.setattr("f2fcam.control.request", request)
    assert cli.run(["switch", "nobody"]) == 4
    assert asked == ["status"] and "nobody" in capsys.readouterr().err
    assert cli.run(["switch", "bob"]) == 0
    assert asked == ["status", "status", "switch"]


def test_doctor_prints_one_object(capsys: pytest.CaptureFixture[str]):
    code = cli.run(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == (0 if answer["ok"] else 1)
    names = {check["name"] for check in answer["checks"]}
    assert {"python", "libraries", "processor", "kernels", "settings", "disk", "profiles"} <= names
    for check in answer["checks"]:
        assert check["state"] in ("ok", "warning", "fault")
        assert (check["state"] == "ok") == (check["remedy"] == ""), check


def test_verify(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]):
    import numpy as np

    from f2fcam.publish.video import VideoWriter
    from f2fcam.trust.badge import stamp_rgb
    from f2fcam.trust.verify import LABEL

    assert cli.run(["verify", str(video), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made_by_f2fcam"] is False
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for badge, label in ((True, None), (False, LABEL)):
        shown = picture.copy()
        if badge:
            stamp_rgb(shown)
        with VideoWriter(tmp_path / "b.mp4", (320, 240), 25, crf=26, comment=label) as written:
            for _ in range(5):
                written.write(shown)
        assert cli.run(["verify", str(tmp_path / "b.mp4"), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["made_by_f2fcam"], found["label"], found["badge_seen"] == 5) == (True, not badge, badge)


def test_status_is_laid_out_for_people(capsys: pytest.CaptureFixture[str]):
    facts = {
        "state": "running", "uptime_s": 75.0, "profile": "alice", "source": "webcam:0", "sink": "v4l2",
        "device": "F2F Camera", "readers": 0, "size": [1280, 720], "badge": "AI MODIFIED",
        "tracking": "tracked", "confidence": 0.87, "faces": 2, "actor": "done",
        "fps": {"engine": 29.7, "output": 30.0}, "latency_ms": {"p50": 41.0, "p95": 55.5}, "drops": {"track": 3}, "frames": 2250,
        "restarts": 1, "reasons": [{"time": 1.0, "reason": "the engine was killed"}], "pid": 12, "engine_pid": 13,
        "quality": {"mode": "auto", "summary": "tracking 1 of 3 (fewer steps), because track took 36 ms of 33 ms"},
        "stages_ms": {"track": {"p50": 9.1, "p95": 12.0}, "idle": {"p50": None, "p95": None}},
    }  # fmt: skip
    console.out.print(status_table(facts))
    shown = capsys.readouterr().out
    for text in (
        "running",
        "alice",
        "F2F Camera",
        "1280",
        "nobody looks",
        "AI MODIFIED",
        "87 % sure",
        "30.0",
        "41",
        "the engine was killed",
        "9.1",
        "3 before mouth and eyes",
        "track took 36 ms",
    ):
        assert text in shown
    assert "{" not in shown and "None" not in shown
