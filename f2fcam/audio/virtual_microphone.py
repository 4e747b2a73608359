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
TIMEOUT_S = 5.0


def server_reason() -> str | None:
    """Why there is no sound server to talk to; None where one should be."""
    if os.environ.get("PULSE_SERVER"):
        return None
    runtime = os.environ.get("PULSE_RUNTIME_PATH") or os.environ.get("XDG_RUNTIME_DIR", "") + "/pulse"
    if not (Path(runtime) / "native").exists():
        return "no PulseAudio or PipeWire sound server runs"
    return None


def make_virtual_microphone() -> None:
    """Make it, if it is not there; halves of one are exchanged."""
    if len(_module_numbers()) == 2:
        return
    remove_virtual_microphone()
    sink = f"sink_properties='device.description=\"{MICROPHONE} (input)\"'"
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
    for number in reversed(_module_numbers()):
        _pactl("unload-module", number)


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


def _module_numbers() -> list[str]:
    """Our modules, the oldest first."""
    ours = (f"sink_name={SINK}", f"source_name={SOURCE}")
    return [line[0] for line in _listed("modules") if len(line) > 2 and any(mark in line[2].split() for mark in ours)]


def _listed(what: str) -> list[list[str]]:
    return [line.split("\t") for line in _pactl("list", "short", what).splitlines()]


def _pactl(*arguments: str) -> str:
    program = shutil.which("pactl")
    if program is None:
        raise DeviceError("The program pactl is missing.", hint="sudo apt-get install pulseaudio-utils")
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            "The sound server does not answer.", hint="Restart it: systemctl --user restart pipewire-pulse"
        ) from error
    if done.returncode:
        raise DeviceError(
            f"pactl {arguments[0]}: {done.stderr.strip()}.", hint="Does a sound server run? See `pactl info`."
        )
    return done.stdout
