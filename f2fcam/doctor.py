"""What `f2fcam doctor` looks at: each check is ok, a warning or a fault, with the command that mends it.

Here is the program itself; `machine` has what the system offers for a camera.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

from f2fcam import kernels
from f2fcam.config import config_path, data_folder, load_config
from f2fcam.errors import F2FError
from f2fcam.machine import CHECKS, Check, Machine, State

NEEDED = ("mediapipe", "numpy", "opencv-contrib-python", "numba", "scipy", "av", "cryptography")
FREE_GB = 1.0
"""An enrolled minute takes about 0.1 GB, a rendered hour about 2 GB."""


def run_checks(profiles: Path | None = None) -> list[Check]:
    """Look at everything; a check that fails itself is a fault."""
    found: list[Check] = []
    for look in (_python, _libraries, _processor, _face_model, _kernels, _settings, _disk):
        found += _guarded(look)
    if sys.platform == "linux":
        for look in (_webcams, _pipewire, _sound):
            found += _guarded(look)
        machine = Machine()
        for look in CHECKS:
            found += _guarded(partial(look, machine), look.__name__)
    return found + _guarded(lambda: _profiles(profiles))


def _guarded(look: Callable[[], Check | list[Check]], called: str = "") -> list[Check]:
    name = (called or look.__name__).strip("_<>")
    try:
        found = look()
    except F2FError as error:
        found = Check(name, "fault", error.message, error.hint)
    except Exception as error:  # a doctor must not fall ill
        found = Check(name, "fault", f"{type(error).__name__}: {error}", "Install f2fcam again.")
    return found if isinstance(found, list) else [found]


def _python() -> Check:
    good = (3, 10) <= sys.version_info[:2] < (3, 13)
    remedy = "" if good else "Install Python 3.10, 3.11 or 3.12 and f2fcam with it."
    return Check("python", "ok" if good else "fault", platform.python_version(), remedy)


def _libraries() -> list[Check]:
    found = []
    for name in NEEDED:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            return [Check("libraries", "fault", f"{name} is missing", "pip install --force-reinstall f2fcam")]
    checks = [Check("libraries", "ok", ", ".join(found))]
    rivals = [
        n for n in ("opencv-python", "opencv-python-headless") if importlib.util.find_spec("cv2") and _installed(n)
    ]
    if rivals:
        remedy = f"pip uninstall {' '.join(rivals)} && pip install --force-reinstall opencv-contrib-python==4.11.0.86"
        checks.append(Check("opencv", "warning", f"{rivals[0]} owns the same files as opencv-contrib-python", remedy))
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        checks.append(Check("opencv", "fault", str(error), "sudo apt-get install libgl1 libglib2.0-0"))
    return checks


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = kernels.processor_flags()
    vector = next((name for name in ("avx512f", "avx2", "asimd", "sse4_2") if name in flags), "unknown")
    finding = f"{cores} cores, {vector}"
    if cores < 2:
        return Check("processor", "warning", finding, "Two cores are needed for full frame rate: use a smaller --size.")
    if flags and vector in ("sse4_2", "unknown"):
        return Check("processor", "warning", finding, "Without AVX2 it is slow: use --size 640x480.")
    return Check("processor", "ok", finding)


def _face_model() -> Check:
    from f2fcam.face.morphable import load_face_model

    return Check("face model", "ok", f"{load_face_model().hash[:12]}")


def _kernels() -> Check:
    kernels.prepare_cache()
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if not folder:
        return Check(
            "kernels", "warning", "no folder for compiled code is writable", "Set NUMBA_CACHE_DIR to a folder of yours."
        )
    cold = kernels.cold_modules()
    if cold:
        return Check("kernels", "warning", f"{len(cold)} modules are not compiled yet", "f2fcam warmup")
    return Check("kernels", "ok", f"compiled, in {folder}")


def _settings() -> Check:
    path = config_path()
    load_config()
    return Check("settings", "ok", f"{path}" if path.is_file() else "defaults")


def _disk() -> Check:
    folder = data_folder()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return Check("disk", "fault", f"{folder} cannot be written", f"chmod u+w {folder}")
    free = shutil.disk_usage(folder).free / 1e9
    state: State = "ok" if free >= FREE_GB else "warning"
    return Check("disk", state, f"{free:.1f} GB free in {folder}", "" if state == "ok" else "Free some space.")


def _webcams() -> list[Check]:
    from f2fcam.capture.v4l2_camera import capture_devices

    devices = capture_devices()
    if not devices:
        return [Check("webcam", "warning", "none is plugged in", "Plug one in, or use --source VIDEO.")]
    checks = []
    for path, label in devices:
        if os.access(path, os.R_OK | os.W_OK):
            checks.append(Check("webcam", "ok", f"{label} ({path}), --source webcam:{path}"))
        else:
            remedy = "sudo usermod -aG video $USER, then log in again"
            checks.append(Check("webcam", "fault", f"{label} ({path}) may not be opened", remedy))
    return checks


def _pipewire() -> Check:
    from f2fcam.errors import DeviceError
    from f2fcam.publish.libpipewire import Connection

    try:
        Connection().close()
    except DeviceError as error:
        return Check("pipewire", "warning", error.message, error.hint)
    return Check("pipewire", "ok", 'a server answers: --sink pipewire makes "F2F Camera" without root')


def _sound() -> Check:
    from f2fcam.audio.virtual_microphone import chosen_microphone, server_reason
    from f2fcam.errors import DeviceError

    reason = server_reason()
    if reason is not None:
        remedy = "sudo apt-get install pipewire-pulse pulseaudio-utils, then systemctl --user start pipewire-pulse"
        return Check("sound", "warning", reason, remedy)
    try:
        return Check("sound", "ok", f'{chosen_microphone("auto")} would be heard as "F2F Microphone"')
    except DeviceError as error:
        return Check("sound", "warning", error.message, error.hint)


def _profiles(profiles: Path | None) -> list[Check]:
    from f2fcam.profile_store import list_profiles

    entries = list_profiles(profiles)
    if not entries:
        return [Check("profiles", "warning", "none", "f2fcam enroll VIDEO --name NAME --self")]
    usable = [entry.name for entry in entries if entry.fault is None]
    checks = [Check("profiles", "ok", ", ".join(usable))] if usable else []
    return checks + [
        Check("profiles", "fault", entry.fault, f"f2fcam profile delete {entry.name}, then enrol again")
        for entry in entries
        if entry.fault is not None
    ]
