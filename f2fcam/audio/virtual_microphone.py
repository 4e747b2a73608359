"""The device "F2F Microphone" of the sound server: a sink that we play into, and a source that repeats it under that name.

Made and removed with `pactl`, which PulseAudio and PipeWire share. One that a crash left behind is taken over, so that a
program that listens to it hears on. Standard library only: the camera's process removes it too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from f2fcam.audio import MICROPHONE, RATE
from f2fcam.errors import DeviceError

SINK = "f2f_sink"
SOURCE = "f2f_microphone"
PARTS = (f"sink_name={SINK}", f"source_name={SOURCE}")
"""What tells our two modules from others."""
LAST_CHOICE = "priority.session=-1"
"""PipeWire makes the sink with the highest priority the default; ours is to be heard of nobody."""
TIMEOUT_S = 5.0


def server_reason() -> str | None:
    """Why there is no sound server to talk to; None where one should be."""
    runtime = os.environ.get("PULSE_RUNTIME_PATH") or os.environ.get("XDG_RUNTIME_DIR", "") + "/pulse"
    if not os.environ.get("PULSE_SERVER") and not (Path(runtime) / "native").exists():
        return "no PulseAudio or PipeWire sound server runs"
    if shutil.which("pactl") is None:
        return "the program pactl (pulseaudio-utils) is missing"
    return None


def make_virtual_microphone() -> None:
    """Make it, if it is not there; halves of one, and what is there twice, are exchanged."""
    if is_whole():
        return
    remove_virtual_microphone()
    sink = f"sink_properties='device.description=\"{MICROPHONE} (input)\" {LAST_CHOICE}'"
    _pactl(
        "load-module", "module-null-sink", f"sink_name={SINK}", f"rate={RATE}", "channels=1", "channel_map=mono", sink
    )
    source = f"source_properties='device.description=\"{MICROPHONE}\"'"
    _pactl(
        "load-module", "module-remap-source", f"master={SINK}.monitor", f"source_name={SOURCE}", "channels=1",
        "channel_map=mono", source,
    )  # fmt: skip


def remove_virtual_microphone() -> None:
    """Take it away, whoever made it."""
    for number, _ in reversed(_modules()):
        _pactl("unload-module", number)


def is_whole() -> bool:
    """It is there, both halves of it, once."""
    return [part for _, part in _modules()] == list(PARTS)


def count_listeners() -> int:
    """How many streams record from it, at least; those that pause included.

    A stream of PipeWire's that records from several sources is listed with one of them only; that ours is at work tells of it.
    """
    numbers = {line[0]: line[-1] for line in _listed("sources") if line[1:2] == [SOURCE]}
    count = sum(line[1] in numbers for line in _listed("source-outputs") if len(line) > 1)
    return max(count, int("RUNNING" in numbers.values()))


def chosen_microphone(wanted: str) -> str:
    """The name of the real microphone: `auto` is the system's default, else a source's name or a part of its description.

    Never our own, which users make the default for other programs, and no other sink's echo unless it is named.
    """
    names = [line[1] for line in _listed("sources") if len(line) > 1 and line[1] not in (SOURCE, f"{SINK}.monitor")]
    if wanted != "auto":
        found = [name for name in names if name == wanted] or [name for name in names if _alike(wanted, name)]
        if found:
            return found[0]
        hint = f"Name one of: {', '.join(names) or 'none is there'}."
        raise DeviceError(f"There is no microphone {wanted!r}.", hint=hint)
    real = [name for name in names if not name.endswith(".monitor")]
    if not real:
        raise DeviceError("There is no microphone.", hint="Plug one in, or name a source with --sound.")
    default = next((line for line in _pactl("info").splitlines() if line.startswith("Default Source:")), "")
    usual = default.partition(":")[2].strip()
    return usual if usual in real else real[0]


def records_itself(process: int) -> bool:
    """What the process with this number records is our own microphone.

    PulseAudio moves streams that record the default source, even one that was asked for by name, when another becomes it.
    """
    ours = {f"Source: {line[0]}" for line in _listed("sources") if line[1:2] in ([SOURCE], [f"{SINK}.monitor"])}
    its = f'application.process.id = "{process}"'
    streams = [list(map(str.strip, block.splitlines())) for block in _pactl("list", "source-outputs").split("\n\n")]
    return any(its in lines and not ours.isdisjoint(lines) for lines in streams)


def _alike(wanted: str, name: str) -> bool:
    return wanted.casefold() in name.casefold() or wanted.casefold() in _descriptions().get(name, "").casefold()


def _descriptions() -> dict[str, str]:
    """Source name -> what desktops call it."""
    found, name = {}, ""
    for line in _pactl("list", "sources").splitlines():
        key, _, value = line.strip().partition(": ")
        if key == "Name":
            name = value
        elif key == "Description":
            found[name] = value
    return found


def _modules() -> list[tuple[str, str]]:
    """Our modules, the oldest first: number, and which part of `PARTS` it is."""
    lines = [line for line in _listed("modules") if len(line) > 2]
    return [(line[0], part) for line in lines for part in PARTS if part in line[2].split()]


def _listed(what: str) -> list[list[str]]:
    return [line.split("\t") for line in _pactl("list", "short", what).splitlines()]


class ServerEvents:
    """What changes in the sound server, for one `select` loop: `pactl subscribe`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [_program(), "subscribe"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=_environment()
        )
        assert self._process.stdout is not None
        self._lines = self._process.stdout
        self._rest = b""

    def fileno(self) -> int:
        """Readable when something has changed."""
        return self._lines.fileno()

    def receive(self) -> set[tuple[str, str]]:
        """What has: ("new", "source"), ("remove", "source-output"), ("change", "server"), ... Waits for the first."""
        data = os.read(self.fileno(), 65536)
        if not data:
            raise DeviceError("The sound server is gone.", hint="systemctl --user restart pipewire-pulse")
        *lines, self._rest = (self._rest + data).split(b"\n")
        words = [line.decode(errors="replace").split() for line in lines]  # Event 'new' on source #5
        return {(line[1].strip("'"), line[3]) for line in words if len(line) > 3}

    def close(self) -> None:
        """Ask no more."""
        self._process.kill()
        self._process.wait()
        self._lines.close()


def _program() -> str:
    program = shutil.which("pactl")
    if program is None:
        raise DeviceError("The program pactl is missing.", hint="sudo apt-get install pulseaudio-utils")
    return program


def _environment() -> dict[str, str]:
    return os.environ | {"LC_ALL": "C.UTF-8"}


def _pactl(*arguments: str) -> str:
    line = [_program(), *arguments]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT_S, env=_environment())
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            "The sound server does not answer.", hint="Restart it: systemctl --user restart pipewire-pulse"
        ) from error
    if done.returncode:
        raise DeviceError(
            f"pactl {arguments[0]}: {done.stderr.strip()}.", hint="Does a sound server run? See `pactl info`."
        )
    return done.stdout
