"""What is checked inside the guest, one `check_` after the other: `/f2fcam/NAME.json` tells how each went.

Standard library only, as the camera's own process is: loading arrays takes an emulated processor longer than most checks.
A check may return facts for the test outside.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from f2fcam.config import StartConfig
from f2fcam.control import request as ask
from f2fcam.daemon import start_detached
from f2fcam.errors import F2FError
from f2fcam.publish.v4l2 import LABEL, open_v4l2
from f2fcam.ring import i420_bytes
from tests.e2e.browser import headless_shell, visit
from tests.e2e.guest.reader import BLACK, Reader, read_time, reading

RESULTS = Path("/f2fcam")
HERE = Path(__file__).resolve().parent
PATTERN = [sys.executable, str(HERE / "pattern_engine.py")]
WEBCAM = [sys.executable, str(HERE / "webcam_engine.py")]
NUMBER, WEBCAM_NUMBER = 9, 5
DEVICE = f"/dev/video{NUMBER}"
SIZE, FPS = (320, 180), 15.0
WAIT_S = 150.0
"""For one step, on a processor that is emulated on a machine that others use too."""
CHECK_S = 240
"""For a whole check: one that hangs must not take the time of those after it."""
PICTURES, BROWSER_S, BROWSER_PICTURES, BROWSER_FPS = 30, 3, 6, 5.0
TOO_LATE = "did not come within"
"""Stands in the failure of a check that waited in vain: for what takes too long here, or for what will never come."""
SHARED = contextlib.ExitStack()
"""Holds the camera of the checks that only look at one."""
TALLY = "/sys/module/v4l2loopback/refcnt"
OPENCV = """
import cv2, sys
camera = cv2.VideoCapture(sys.argv[1], cv2.CAP_V4L2)
for _ in range(10):
    good, bgr = camera.read()
    assert good, "OpenCV reads nothing"
    sys.stdout.buffer.write(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).tobytes())
"""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a browser runs in the guest."""

    folder: Path
    environment: dict[str, str]


def check_programs_list_the_camera() -> dict[str, Any]:
    on_air()
    listed = output("v4l2-ctl", "-d", DEVICE, "--list-devices")
    assert LABEL in listed and DEVICE in listed, listed
    every = output("v4l2-ctl", "-d", DEVICE, "--all")
    caps = every.partition("Device Caps")[2].partition("Priority")[0]
    assert "Video Capture" in caps, every
    for what in (LABEL, f"{SIZE[0]}/{SIZE[1]}", "'YU12'"):
        assert what in every, every
    return {"v4l2-ctl": every.splitlines()[:30]}


def check_ffmpeg_reads_pictures_with_their_time_codes() -> dict[str, Any]:
    on_air()
    with reading(DEVICE, SIZE, RESULTS / "ffmpeg.log") as reader:
        wait(lambda: len(reader.pictures) >= PICTURES, f"{PICTURES} pictures", reader.complaints)
        times = [picture.time_ms for picture in reader.pictures[:PICTURES]]
        assert None not in times, times
        assert len(set(times)) > PICTURES // 3, times
        assert not reader.complaints(), reader.complaints()
        return {"time codes": times}


def check_opencv_reads_the_camera() -> dict[str, Any]:
    on_air()
    done = subprocess.run([sys.executable, "-c", OPENCV, DEVICE], capture_output=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr.decode()
    count = SIZE[0] * SIZE[1]
    greys = [done.stdout[at : at + count] for at in range(0, len(done.stdout), count)]
    times = [read_time(grey, *SIZE) for grey in greys]
    assert len(times) == 10 and None not in times and len(set(times)) > 2, times
    return {"time codes": times}


def check_a_browser_plays_the_camera() -> dict[str, Any]:
    """At a rate at which its four buffers outlast most of its pauses: after that the module writes to what is still in use."""
    home = Home(Path("/run"), dict(os.environ))
    asked = {"camera": LABEL, "near": BROWSER_S, "least": BROWSER_PICTURES, "width": SIZE[0], "height": SIZE[1]}
    with loopback(), camera(BROWSER_FPS):
        report = visit(home, headless_shell, WAIT_S, lambda: None, **asked)
    shutil.copy("/run/headless_shell.log", RESULTS)
    assert "error" not in report, (report["error"], report["log"])
    assert report["track"]["label"] == LABEL, report["track"]
    return report


def check_a_reader_survives_restarts_and_a_killed_engine() -> dict[str, Any]:
    """What it sees: the engine's pictures, and where there are none the placeholder; never black, never an error."""
    with loopback(), contextlib.ExitStack() as stack:
        stack.callback(stop)
        start()
        reader = stack.enter_context(reading(DEVICE, SIZE, RESULTS / "restarts.log"))
        until_engine(reader)
        for _ in range(2):
            stop()
            start()
            until_engine(reader)
        status = ask("status")
        os.kill(status["engine_pid"], signal.SIGKILL)
        wait(lambda: ask("status")["restarts"] >= 1, "the restart of the engine", reader.complaints)
        wait(lambda: ask("status")["state"] == "running", "the new engine", reader.complaints)
        until_engine(reader)
        story, status = reader.story(), ask("status")
        assert reader.darkest() >= BLACK, reader.darkest()
        assert not reader.complaints(), reader.complaints()
        assert set(story) <= {"engine", "STARTING", "RESTARTING"}, story
        assert story.count("STARTING") >= 2 and story[-1] == "engine", story
        assert "SIGKILL" in status["reasons"][0]["reason"], status["reasons"]
        times = [picture.time_ms for picture in reader.pictures if picture.time_ms is not None]
        held = max(len(list(same)) for _, same in itertools.groupby(times))
        assert held > 3, "the last picture did not stay"
        return {"story": story, "pictures": len(reader.pictures), "darkest": reader.darkest(), "held": held}


def check_selftest_reads_its_card_back() -> dict[str, Any]:
    """By mapped buffers. How many came back in time says nothing on an emulated processor."""
    from f2fcam.selftest import run_selftest

    with loopback():
        found = run_selftest("v4l2", SIZE, FPS / 3, 6.0)
    assert DEVICE in found.device and found.read_by == "V4L2 capture", found
    assert found.received >= 10 and found.damaged <= 1 and found.latency_ms is not None, found
    return {"findings": str(found)}


def check_the_stuck_device_is_healed() -> dict[str, Any]:
    """v4l2loopback 0.12.7 with `exclusive_caps=1` has no capability left once its producer has gone."""
    with loopback():
        start()
        stop()
        stuck = capabilities()
        refused = subprocess.run(
            ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=red:s=320x180", "-frames:v", "3", "-f", "v4l2", DEVICE],
            capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        with camera(), reading(DEVICE, SIZE, RESULTS / "healed.log") as reader:
            until_engine(reader)
            healed = capabilities()
        assert "Video Capture" in healed, healed
        version = os.environ["F2FCAM_LOOPBACK"]
        if version == "0.12.7":
            assert "Video" not in stuck and refused.returncode, (stuck, refused.stderr)
        return {"version": version, "stuck": stuck, "another producer": refused.stderr.strip(), "healed": healed}


def check_a_webcam_is_shown_unplugged_and_plugged_in_again() -> dict[str, Any]:
    """vivid's test pattern has no face: what is seen are the pictures of a target without its actor."""
    with loopback(), webcam(), contextlib.ExitStack() as stack:
        stack.callback(stop)
        start(WEBCAM, source=f"webcam:{WEBCAM_NUMBER}")
        reader = stack.enter_context(reading(DEVICE, SIZE, RESULTS / "webcam.log"))
        until_engine(reader)
        shown = wait(lambda: good(ask("status"), lambda s: s["fps"]["engine"] > 0), "a rate")
        words = ask("status")
        assert words["tracking"] == "lost" and words["contrast"] > 20 and "capture" in words["drops"], words
        assert words["source"] == f"webcam:{WEBCAM_NUMBER}" and words["stages_ms"]["capture"], words

        unplug()
        gone = wait(lambda: good(ask("status"), lambda s: s["restarts"] > 0), "word of the webcam's end")
        assert "was unplugged" in gone["reasons"][0]["reason"], gone["reasons"]
        wait(lambda: reader.story()[-1] == "NO WEBCAM", "the placeholder", reader.complaints)
        output("rmmod", "vivid")
        plug()
        until_engine(reader)
        assert reader.darkest() >= BLACK, reader.darkest()
        assert not reader.complaints(), reader.complaints()
        story, back = reader.story(), wait(lambda: good(ask("status"), lambda s: s["state"] == "running"), "the webcam")
        assert story[-2:] == ["NO WEBCAM", "engine"], story
        reasons = [reason["reason"] for reason in back["reasons"]]
        return {"status": words, "shown": shown["fps"], "reasons": reasons, "story": story}


def check_readers_are_counted() -> dict[str, Any]:
    """Another user's too, but not those of another loopback device."""
    with loopback("devices=2", f"video_nr={NUMBER},{NUMBER + 1}", f"card_label={LABEL},Other", "exclusive_caps=0,0"):
        sink = open_v4l2("", SIZE, FPS)
        neighbour = open_v4l2(f"/dev/video{NUMBER + 1}", SIZE, FPS)
        over = threading.Event()
        picture = bytearray([128]) * i420_bytes(*SIZE)
        feeder = threading.Thread(target=lambda: [sink.send(picture, 0) for _ in iter(lambda: over.wait(0.1), True)])
        feeder.start()
        counts = [sink.readers]
        Path(DEVICE).chmod(0o666)
        stream = ["v4l2-ctl", "-d", DEVICE, "--stream-mmap", "--stream-count=100000"]
        readers = []
        try:
            for prefix in ([], ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]):
                readers.append(
                    subprocess.Popen([*prefix, *stream], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
                wait(lambda: sink.readers == len(readers), f"{len(readers)} readers", lambda: str(sink.readers))
                counts.append(sink.readers)
        finally:
            for reader in readers:
                reader.kill()
                reader.wait()
            over.set()
            feeder.join()
        wait(lambda: sink.readers == 0, "no readers", lambda: str(sink.readers))
        begin = time.thread_time()
        for _ in range(100):
            assert sink.readers == 0
        cost_ms = (time.thread_time() - begin) * 10
        neighbour.close()
        sink.close()
        assert counts == [0, 1, 2], counts
        return {"counts": counts, "ms each": cost_ms}


@contextlib.contextmanager
def loopback(*options: str) -> Iterator[None]:
    """The module, fresh; the shared camera is over with that."""
    SHARED.close()
    usual = (f"card_label={LABEL}", f"video_nr={NUMBER}", "exclusive_caps=1")
    output("modprobe", "-d", os.environ["F2FCAM_MODULES"], "v4l2loopback", *map(quoted, options or usual))
    try:
        yield
    finally:
        wait(lambda: Path(TALLY).read_text().strip() == "0", "the end of all that use v4l2loopback")
        output("rmmod", "v4l2loopback")


def quoted(option: str) -> str:
    """The kernel splits a module's options at spaces."""
    name, _, value = option.partition("=")
    return f'{name}="{value}"' if " " in value else option


@contextlib.contextmanager
def webcam() -> Iterator[None]:
    """vivid as a webcam."""
    plug()
    try:
        yield
    finally:
        output("rmmod", "vivid")


def plug() -> None:
    """A capture device with a webcam's input."""
    options = ("n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0", f"vid_cap_nr={WEBCAM_NUMBER}")
    output("modprobe", "-d", os.environ["F2FCAM_MODULES"], "vivid", *options)


def unplug() -> None:
    """Take the device from its driver while it is open, as the USB bus does."""
    Path("/sys/bus/platform/drivers/vivid/unbind").write_text("vivid.0")


def start(engine: list[str] = PATTERN, source: str = "none", fps: float = FPS) -> None:
    """A detached camera on the loopback device, on the air."""
    config = StartConfig("nobody", source=source, sink="v4l2", size=SIZE, fps=fps, barcode=True)
    device = start_detached(config, engine=engine)
    assert device in (f"{LABEL} ({DEVICE})", None), device  # None: not yet on the air


def stop() -> None:
    """End it and wait until its process, which this one has started, is gone."""
    with contextlib.suppress(F2FError):
        process = int(ask("status")["pid"])
        ask("stop")
        wait(lambda: os.waitpid(process, os.WNOHANG)[0], "the camera's end")


@contextlib.contextmanager
def camera(fps: float = FPS) -> Iterator[None]:
    """A running one."""
    start(fps=fps)
    try:
        yield
    finally:
        stop()


def on_air() -> None:
    """The shared camera runs: from the first check on that wants it until one wants the module for itself."""
    with contextlib.suppress(F2FError):
        ask("status")
        return
    SHARED.enter_context(loopback())
    SHARED.enter_context(camera())


def until_engine(reader: Reader) -> None:
    """Wait for a picture that the engine makes from now on."""
    since = time.monotonic()

    def new() -> bool:
        last = reader.pictures[-1] if reader.pictures else None
        return last is not None and last.made_after(since)

    wait(new, "the engine's pictures", lambda: f"{reader.complaints()} {reader.story()}")


def good(status: dict[str, Any], want: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The status if it is as wanted."""
    return status if want(status) else None


def wait(ready: Callable[[], Any], what: str, told: Callable[[], str] = str) -> Any:
    """Ask until the answer is true, and what it was; `told` says more when it takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not (answer := ready()):
        assert time.monotonic() < deadline, f"{what} {TOO_LATE} {WAIT_S:g} s: {told()}"
        time.sleep(0.1)
    return answer


def capabilities() -> str:
    """What the device says it can."""
    return output("v4l2-ctl", "-d", DEVICE, "-D").partition("Device Caps")[2]


def output(*command: str) -> str:
    """What a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout} {done.stderr}"
    return done.stdout


CHECKS: dict[str, Callable[[], dict[str, Any]]] = {
    name: value for name, value in list(globals().items()) if name.startswith("check_")
}


def main(wanted: list[str]) -> None:
    """Run them all, or those named."""
    signal.signal(signal.SIGALRM, too_long)
    for name in wanted or CHECKS:
        say(f"{name} begins {time.monotonic():.0f} s after the start")
        begin, failure, facts = time.monotonic(), None, {}
        try:
            signal.alarm(CHECK_S)
            facts = CHECKS[name]()
        except BaseException:
            failure = traceback.format_exc()
            for log in Path(os.environ["XDG_RUNTIME_DIR"]).rglob("*.log"):
                failure += f"\n{log.name}:\n{log.read_text(errors='replace')[-3000:]}"
        finally:
            signal.alarm(0)
        seconds = round(time.monotonic() - begin, 1)
        (RESULTS / f"{name}.json").write_text(json.dumps({"seconds": seconds, "failure": failure, "facts": facts}))
        say(f"{name}: {'failed' if failure else 'good'}, {seconds} s")
    SHARED.close()


def say(text: str) -> None:
    """On the console, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def too_long(*_: object) -> None:
    """The check's alarm."""
    raise TimeoutError(f"the check's end {TOO_LATE} {CHECK_S} s")


if __name__ == "__main__":
    main(sys.argv[1:])
