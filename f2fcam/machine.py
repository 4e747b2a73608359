"""What the system has for a camera: devices, the kernel module, PipeWire's portal, browsers, sound, the service.

For `f2fcam doctor`. Everything is read below one root and through one way to run programs, so that tests play any machine.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from f2fcam.errors import DeviceError, F2FError
from f2fcam.logs import log_folder
from f2fcam.publish.v4l2 import LABEL, find_device
from f2fcam.service import UNIT, unit_file

State = Literal["ok", "warning", "fault"]

PATIENCE_S = 5.0
LOAD = f'sudo modprobe v4l2loopback exclusive_caps=1 card_label="{LABEL}"'
RELOAD = f"sudo modprobe -r v4l2loopback && {LOAD}"
OR_PIPEWIRE = "; or use --sink pipewire"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
KEYS = ("var/lib/shim-signed/mok/MOK.der", "var/lib/dkms/mok.pub", "var/lib/dkms/mok.der")
"""Where Ubuntu's and Debian's dkms have the key that they sign modules with."""
PORTAL = ("org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop", "org.freedesktop.portal.Camera")
CHROMIUM_FLAG = "enable-webrtc-pipewire-camera@1"
FIREFOX_SETTING = re.compile(r'user_pref\("media\.webrtc\.camera\.allow-pipewire",\s*true\)')


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `remedy` is the command or step that mends it."""

    name: str
    state: State
    finding: str
    remedy: str = ""


def run_program(*command: str) -> str | None:
    """What it prints; None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to look at.

    Attributes:
        root: the file system's. home: the user's folder. release: the kernel's.
        run: a program's output, or None. has: whether a program is installed. access: whether a file may be used.
    """

    root: Path = Path("/")
    home: Path = field(default_factory=Path.home)
    release: str = field(default_factory=platform.release)
    run: Callable[..., str | None] = run_program
    has: Callable[[str], bool] = lambda program: shutil.which(program) is not None
    access: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK)

    def text(self, path: str) -> str | None:
        """A file's text below the root; None where it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None


def permissions(machine: Machine) -> list[Check]:
    """Whether the user may use the video devices: by the session's rights, or by the group."""
    nodes = sorted((machine.root / "dev").glob("video*"))
    closed = [node for node in nodes if not machine.access(node)]
    if closed:
        names = ", ".join(f"/dev/{node.name}" for node in closed)
        return [
            Check("permissions", "fault", f"you may not use {names}", "sudo usermod -aG video $USER, then log in again")
        ]
    return [Check("permissions", "ok", f"{len(nodes)} video devices, all open to you")] if nodes else []


def loopback(machine: Machine) -> list[Check]:
    """The kernel module: there, loaded, allowed by Secure Boot; its device: our label, seen by browsers."""
    if (machine.root / "sys/module/v4l2loopback").exists():
        version = machine.text("sys/module/v4l2loopback/version") or "of an unknown version"
        return [Check("kernel module", "ok", f"v4l2loopback {version} is loaded"), *_loopback_device(machine)]
    if "v4l2loopback.ko" not in (machine.text(f"lib/modules/{machine.release}/modules.dep") or ""):
        remedy = f"sudo apt-get install v4l2loopback-dkms linux-headers-$(uname -r) && {LOAD}{OR_PIPEWIRE}"
        return [Check("kernel module", "warning", f"v4l2loopback is not there for kernel {machine.release}", remedy)]
    if secure_boot_is_on(machine):
        signer = machine.run("modinfo", "-F", "signer", "v4l2loopback")
        if not signer:
            return [
                Check("kernel module", "warning", "v4l2loopback is not signed; Secure Boot refuses it", mok(machine))
            ]
        finding = f"v4l2loopback is not loaded; it is signed by {signer}"
        return [Check("kernel module", "warning", finding, f"{LOAD}; if that is refused: {mok(machine)}")]
    return [Check("kernel module", "warning", "v4l2loopback is not loaded", f"{LOAD}{OR_PIPEWIRE}")]


def _loopback_device(machine: Machine) -> list[Check]:
    devices = machine.root / "sys/class/video4linux"
    try:
        path = find_device(root=devices)
    except DeviceError as error:
        return [Check("camera device", "warning", error.message, RELOAD + OR_PIPEWIRE)]
    found = [Check("camera device", "ok", f"{LABEL} ({path})")]
    exclusive = (machine.text("sys/module/v4l2loopback/parameters/exclusive_caps") or "").split(",")
    ours = [name.parent.name for name in devices.glob("video*/name") if name.read_text().strip() == LABEL]
    if "Y" not in exclusive[: max(1, len(ours))]:
        finding = f"{path} says that it is an output as well: browsers leave it out (exclusive_caps=0)"
        found = [Check("camera device", "warning", finding, RELOAD)]
    users = open_by(machine, path)
    return [*found, Check("camera users", "ok", ", ".join(users) or f"nobody has {path} open")]


def open_by(machine: Machine, device: str) -> list[str]:
    """Name and number of each process that has the device open, as far as we may look."""
    users = []
    for folder in sorted((machine.root / "proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            links = {str(link.readlink()) for link in (folder / "fd").iterdir()}
        except OSError:
            continue
        if device in links:
            users.append(f"{machine.text(f'proc/{folder.name}/comm') or 'process'} ({folder.name})")
    return users


def secure_boot(machine: Machine) -> list[Check]:
    """Only told: it matters for the kernel module alone."""
    if not (machine.root / "sys/firmware/efi").exists():
        return [Check("secure boot", "ok", "not there")]
    return [Check("secure boot", "ok", "on" if secure_boot_is_on(machine) else "off")]


def secure_boot_is_on(machine: Machine) -> bool:
    """From the firmware's variable (four bytes of attributes, then the value), else from mokutil."""
    try:
        return (machine.root / SECURE_BOOT).read_bytes()[4:5] == b"\x01"
    except OSError:
        return "enabled" in (machine.run("mokutil", "--sb-state") or "")


def mok(machine: Machine) -> str:
    """How the machine's owner lets it trust modules that are built on it."""
    key = next((key for key in KEYS if (machine.root / key).exists()), KEYS[0])
    install = "" if machine.has("mokutil") else "sudo apt-get install mokutil; "
    return (
        f"{install}sudo mokutil --import /{key} (choose a password); reboot, choose 'Enroll MOK' and give it; then "
        f"sudo dkms autoinstall && {LOAD}{OR_PIPEWIRE}"
    )


def portal(machine: Machine) -> list[Check]:
    """Whether browsers can ask the desktop for a PipeWire camera."""
    if not machine.has("busctl"):
        return []
    said = machine.run("busctl", "--user", "get-property", *PORTAL, "IsCameraPresent")
    if said is None:
        remedy = "sudo apt-get install xdg-desktop-portal xdg-desktop-portal-gtk (or your desktop's), then log in again"
        return [Check("camera portal", "warning", "browsers cannot ask for PipeWire cameras", remedy)]
    there = "it sees a camera" if said.endswith("true") else "it sees no camera now"
    return [Check("camera portal", "ok", f"answers; {there}")]


def browsers(machine: Machine) -> list[Check]:
    """Which browsers look for PipeWire cameras; it makes no difference where there is a loopback device."""
    found = []
    chromium = [name for name in ("chromium", "google-chrome", "google-chrome-stable") if machine.has(name)]
    if chromium:
        states = [".config/chromium/Local State", ".config/google-chrome/Local State"]
        found.append((chromium[0], any(_flag_set(machine.home / state) for state in states),
            "set chrome://flags/#enable-webrtc-pipewire-camera to Enabled"))  # fmt: skip
    if machine.has("firefox"):
        settings = _texts(
            [*machine.home.glob(".mozilla/firefox/*/prefs.js"), *machine.home.glob(".mozilla/firefox/*/user.js")]
        )
        found.append(("firefox", any(FIREFOX_SETTING.search(text) for text in settings),
            "set media.webrtc.camera.allow-pipewire to true in about:config"))  # fmt: skip
    needed = not (machine.root / "sys/module/v4l2loopback").exists()
    return [
        Check("browsers", "ok", f"{name} looks for PipeWire cameras")
        if ready
        else Check("browsers", "warning" if needed else "ok", f"{name} sees no PipeWire cameras", f"In {name}, {step}")
        for name, ready, step in found
    ]


def _flag_set(file: Path) -> bool:
    try:
        return CHROMIUM_FLAG in json.loads(file.read_text(encoding="utf-8"))["browser"]["enabled_labs_experiments"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _texts(files: Iterable[Path]) -> list[str]:
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def service(machine: Machine) -> list[Check]:
    """Whether the camera starts with the session, and how it does."""
    if not machine.has("systemctl"):
        return []
    if not unit_file().is_file():
        return [
            Check("service", "ok", "not installed; `f2fcam service install --profile NAME` starts it with the session")
        ]
    said = machine.run("systemctl", "--user", "show", "--property=ActiveState,SubState,NRestarts", UNIT)
    if said is None:
        remedy = "log in again: a session without systemd's user instance starts no services"
        return [Check("service", "warning", "installed; systemd does not answer", remedy)]
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    state, times = facts.get("ActiveState", "unknown"), facts.get("NRestarts", "0")
    again = "" if times in ("", "0") else f", started again {times} times"
    if facts.get("SubState") == "auto-restart":
        remedy = f"see why: journalctl --user -u {UNIT} -n 30, and {log_folder() / 'supervisor.log'}"
        return [
            Check("service", "warning", f"installed; it ends at once, and is{again[1:] or ' started again'}", remedy)
        ]
    if state == "failed":
        remedy = f"journalctl --user -u {UNIT} -n 30, mend it, then systemctl --user restart {UNIT}"
        return [Check("service", "fault", "installed, and it has failed", remedy)]
    return [Check("service", "ok", f"installed, {state}{again}")]


def running(machine: Machine) -> list[Check]:
    """The camera itself, and who looks at it."""
    from f2fcam.control import request

    try:
        status = request("status")
    except F2FError:
        return [Check("camera", "ok", "none is running")]
    readers = {None: "readers unknown", 0: "nobody looks"}.get(status.get("readers"), f"{status.get('readers')} look")
    finding = f"{status['profile']} on {status['device'] or 'no device'}: {status['state']}, {readers}; logs in {status['logs']}"
    if status["device"] is None:
        return [Check("camera", "fault", finding, "Mend what is told below for its output; it comes back by itself.")]
    return [Check("camera", "ok", finding)]


CHECKS = (running, permissions, loopback, secure_boot, portal, browsers, service)
