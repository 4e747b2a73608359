"""Readers of the loopback device are counted in a system of files; the real one is asked in `tests/e2e/guest`."""

from __future__ import annotations

from pathlib import Path

import pytest

from f2fcam.publish.watchers import LOOK_AGAIN_S, Watchers


class System:
    """A root folder with loopback devices and processes."""

    def __init__(self, root: Path, *numbers: int) -> None:
        self.root = root
        (root / "sys/module/v4l2loopback").mkdir(parents=True)
        for number in numbers:
            device = root / f"sys/class/video4linux/video{number}"
            device.mkdir(parents=True)
            (device / "max_openers").write_text("10\n")
        self.opened(0)

    def opened(self, count: int) -> None:
        """So many files are open on all the module's devices."""
        (self.root / "sys/module/v4l2loopback/refcnt").write_text(f"{count}\n")

    def process(self, number: int, *paths: str) -> None:
        """A process with these files."""
        folder = self.root / f"proc/{number}/fd"
        folder.mkdir(parents=True)
        for descriptor, path in enumerate(paths):
            (folder / str(descriptor)).symlink_to(path)

    def ends(self, number: int) -> None:
        """The process is gone."""
        for file in (self.root / f"proc/{number}/fd").iterdir():
            file.unlink()


@pytest.mark.parametrize(("opened", "readers"), [(0, 0), (1, 0), (2, 1), (4, 3)])
def test_all_but_our_own_file_are_readers(tmp_path: Path, opened: int, readers: int):
    System(tmp_path, 9).opened(opened)
    assert Watchers("/dev/video9", tmp_path).count(0.0) == readers


def test_the_files_of_other_loopback_devices_do_not_count(tmp_path: Path):
    system = System(tmp_path, 9, 10)
    watchers = Watchers("/dev/video9", tmp_path)
    system.process(70, "/dev/null", "/dev/video9")
    system.process(71, "/dev/video10", "/dev/video10", "/dev/video1")
    system.opened(3)
    assert watchers.count(0.0) == 0
    system.process(72, "/dev/video9")
    system.opened(4)
    assert watchers.count(0.1) == 1


def test_an_exchange_that_leaves_the_sum_is_seen_after_a_while(tmp_path: Path):
    system = System(tmp_path, 9, 10)
    watchers = Watchers("/dev/video9", tmp_path)
    system.process(71, "/dev/video10")
    system.opened(2)
    assert watchers.count(0.0) == 0
    system.ends(71)
    system.process(72, "/dev/video9")
    assert watchers.count(LOOK_AGAIN_S + 0.1) == 1


def test_a_file_that_nobody_can_be_asked_about_counts(tmp_path: Path):
    system = System(tmp_path, 9, 10)
    system.opened(2)
    assert Watchers("/dev/video9", tmp_path).count(0.0) == 1


def test_other_drivers_tell_nothing(tmp_path: Path):
    assert Watchers("/dev/video9", tmp_path).count(0.0) is None
    System(tmp_path, 9).opened(2)
    (tmp_path / "sys/class/video4linux/video1").mkdir()
    assert Watchers("/dev/video1", tmp_path).count(0.0) is None
