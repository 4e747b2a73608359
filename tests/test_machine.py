"""The doctor on machines that are made of files: each fault is seen and comes with what mends it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from f2fcam import doctor, machine
from f2fcam.machine import Check, Machine

KERNEL = "6.1.0-test"


class Programs:
    """What the machine's programs print."""

    def __init__(self, **said: str | None) -> None:
        self.said = said

    def run(self, *command: str) -> str | None:
        return self.said.get(command[0])

    def has(self, program: str) -> bool:
        return program.replace("-", "_") in self.said


def place(root: Path, path: str, content: str | bytes = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content.encode() if isinstance(content, str) else content)


def bare(root: Path, **programs: str | None) -> Machine:
    said = Programs(**programs)
    return Machine(root, root / "home", KERNEL, said.run, said.has, lambda path: True)


def one(found: list[Check]) -> Check:
    assert len(found) == 1
    return found[0]


def with_module(root: Path, *, loaded: bool = False, secure: bool = False) -> None:
    place(root, f"lib/modules/{KERNEL}/modules.dep", "updates/dkms/v4l2loopback.ko: kernel/x.ko\n")
    place(root, machine.SECURE_BOOT, b"\x06\0\0\0" + (b"\x01" if secure else b"\0"))
    if loaded:
        place(root, "sys/module/v4l2loopback/version", "0.12.7\n")
        place(root, "sys/module/v4l2loopback/parameters/exclusive_caps", "Y,N,N\n")
        place(root, "sys/class/video4linux/video4/name", "F2F Camera\n")


def test_closed_devices_need_the_group(tmp_path: Path):
    place(tmp_path, "dev/video0")
    place(tmp_path, "dev/video2")
    ours = bare(tmp_path)
    assert one(machine.permissions(ours)).state == "ok"
    theirs = replace(ours, access=lambda path: path.name != "video2")
    found = one(machine.permissions(theirs))
    assert found.state == "fault" and "/dev/video2" in found.finding and "video0" not in found.finding
    assert "usermod -aG video" in found.remedy
    assert machine.permissions(bare(tmp_path / "none")) == []


def test_module_that_is_not_there(tmp_path: Path):
    found = one(machine.loopback(bare(tmp_path)))
    assert found.state == "warning" and KERNEL in found.finding
    assert "v4l2loopback-dkms" in found.remedy and "pipewire" in found.remedy


def test_module_that_is_not_loaded(tmp_path: Path):
    with_module(tmp_path)
    found = one(machine.loopback(bare(tmp_path)))
    assert "not loaded" in found.finding and found.remedy.startswith("sudo modprobe") and "mokutil" not in found.remedy


def test_secure_boot_wants_a_signed_module_and_an_enrolled_key(tmp_path: Path):
    with_module(tmp_path, secure=True)
    place(tmp_path, "var/lib/dkms/mok.pub")
    found = one(machine.loopback(bare(tmp_path, modinfo="")))
    assert "not signed" in found.finding and "mokutil --import /var/lib/dkms/mok.pub" in found.remedy
    assert "apt-get install mokutil" in found.remedy and "Enroll MOK" in found.remedy
    found = one(machine.loopback(bare(tmp_path, modinfo="DKMS module signing key", mokutil="")))
    assert "signed by DKMS" in found.finding and "apt-get install mokutil" not in found.remedy


@pytest.mark.parametrize(("value", "said", "state"), [(b"\6\0\0\0\1", None, "on"), (b"\6\0\0\0\0", None, "off")])
def test_secure_boot_is_read_from_the_firmware(tmp_path: Path, value: bytes, said: str | None, state: str):
    place(tmp_path, machine.SECURE_BOOT, value)
    assert one(machine.secure_boot(bare(tmp_path))).finding == state


def test_secure_boot_by_mokutil_or_not_at_all(tmp_path: Path):
    assert one(machine.secure_boot(bare(tmp_path))).finding == "not there"
    (tmp_path / "sys/firmware/efi").mkdir(parents=True)
    assert one(machine.secure_boot(bare(tmp_path, mokutil="SecureBoot enabled"))).finding == "on"


def test_loaded_module_with_our_device_and_its_users(tmp_path: Path):
    with_module(tmp_path, loaded=True)
    place(tmp_path, "proc/77/comm", "chromium\n")
    (tmp_path / "proc/77/fd").mkdir()
    (tmp_path / "proc/77/fd/5").symlink_to("/dev/video4")
    found = machine.loopback(bare(tmp_path))
    assert [check.state for check in found] == ["ok", "ok", "ok"]
    assert "0.12.7" in found[0].finding and "/dev/video4" in found[1].finding and found[2].finding == "chromium (77)"


def test_device_of_another_label(tmp_path: Path):
    with_module(tmp_path, loaded=True)
    place(tmp_path, "sys/class/video4linux/video4/name", "Dummy\n")
    assert "modprobe -r" in machine.loopback(bare(tmp_path))[1].remedy


def test_device_that_browsers_leave_out(tmp_path: Path):
    with_module(tmp_path, loaded=True)
    place(tmp_path, "sys/module/v4l2loopback/parameters/exclusive_caps", "N,N,N\n")
    found = machine.loopback(bare(tmp_path))[1]
    assert found.state == "warning" and "exclusive_caps=1" in found.remedy


def test_portal(tmp_path: Path):
    assert machine.portal(bare(tmp_path)) == []
    assert one(machine.portal(bare(tmp_path, busctl="b true"))).finding == "answers; it sees a camera"
    assert "no camera" in one(machine.portal(bare(tmp_path, busctl="b false"))).finding
    found = one(machine.portal(bare(tmp_path, busctl=None)))
    assert found.state == "warning" and "xdg-desktop-portal" in found.remedy


def test_browsers_need_a_setting_each(tmp_path: Path):
    found = machine.browsers(bare(tmp_path, chromium="", firefox=""))
    assert [check.state for check in found] == ["warning", "warning"]
    assert "chrome://flags" in found[0].remedy and "about:config" in found[1].remedy
    place(
        tmp_path,
        "home/.config/chromium/Local State",
        json.dumps({"browser": {"enabled_labs_experiments": [machine.CHROMIUM_FLAG]}}),
    )
    place(tmp_path, "home/.mozilla/firefox/a.b/prefs.js", 'user_pref("media.webrtc.camera.allow-pipewire", true);\n')
    found = machine.browsers(bare(tmp_path, chromium="", firefox=""))
    assert [check.state for check in found] == ["ok", "ok"] and not any(check.remedy for check in found)


def test_browsers_need_nothing_with_a_loopback_device(tmp_path: Path):
    with_module(tmp_path, loaded=True)
    assert one(machine.browsers(bare(tmp_path, firefox=""))).state == "ok"


def test_service(tmp_path: Path, user_folders: Path):
    assert machine.service(bare(tmp_path)) == []
    assert "not installed" in one(machine.service(bare(tmp_path, systemctl=""))).finding
    place(user_folders, "xdg_config_home/systemd/user/f2fcam.service", "[Unit]")
    assert (
        one(machine.service(bare(tmp_path, systemctl="ActiveState=active\nSubState=running"))).finding
        == "installed, active"
    )
    failed = one(machine.service(bare(tmp_path, systemctl="ActiveState=failed")))
    assert failed.state == "fault" and "journalctl" in failed.remedy
    assert one(machine.service(bare(tmp_path, systemctl=None))).state == "warning"


def test_service_that_fails_in_a_loop(tmp_path: Path, user_folders: Path):
    place(user_folders, "xdg_config_home/systemd/user/f2fcam.service", "[Unit]")
    said = "ActiveState=activating\nSubState=auto-restart\nNRestarts=12"
    found = one(machine.service(bare(tmp_path, systemctl=said)))
    assert found.state == "warning" and "12 times" in found.finding and "supervisor.log" in found.remedy
    calm = one(machine.service(bare(tmp_path, systemctl="ActiveState=active\nSubState=running\nNRestarts=2")))
    assert calm.state == "ok" and calm.finding == "installed, active, started again 2 times"


def test_running_camera_and_its_readers(tmp_path: Path, user_folders: Path, monkeypatch: pytest.MonkeyPatch):
    assert one(machine.running(bare(tmp_path))).finding == "none is running"
    status = {"profile": "anna", "device": "there", "state": "running", "readers": 2, "logs": "/l"}
    monkeypatch.setattr("f2fcam.control.request", lambda command: status)
    assert one(machine.running(bare(tmp_path))).finding == "anna on there: running, 2 look; logs in /l"
    status["device"] = None
    assert one(machine.running(bare(tmp_path))).state == "fault"


def test_what_warns_says_what_mends_it_and_nothing_raises(user_folders: Path):
    for check in doctor.run_checks():
        assert check.remedy or check.state == "ok", check
        assert "Error" not in check.finding, check
