"""Arrays kept between starts: made once, made anew when what they come from changes, never needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from f2fcam import kept
from f2fcam.kept import forget, kept_array, kept_bytes


class Maker:
    def __init__(self) -> None:
        self.calls = 0

    def array(self) -> np.ndarray:
        self.calls += 1
        return np.arange(6).reshape(2, 3)


def test_made_once_for_the_same_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    maker, given = Maker(), np.ones(3, np.float32)
    for _ in range(2):
        assert kept_array("six", [given], maker.array).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert maker.calls == 1
    kept_array("six", [given * 2], maker.array)
    kept_array("six", [given.astype(np.float64)], maker.array)
    assert maker.calls == 3
    assert len(list(tmp_path.iterdir())) == 3  # nothing partial


@pytest.mark.parametrize("place", [0, 40, -40, -1])
def test_one_wrong_bit_is_found(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    maker = Maker()
    for _ in range(2):
        kept_array("six", [], maker.array)
        (file,) = tmp_path.iterdir()
        content = bytearray(file.read_bytes())
        content[place] ^= 4
        file.write_bytes(content)
    assert kept_array("six", [], maker.array).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert maker.calls == 3


def test_a_damaged_file_and_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    maker = Maker()
    kept_array("six", [], maker.array)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-8])
    assert kept_array("six", [], maker.array).shape == (2, 3)
    assert kept_array("six", [], maker.array).shape == (2, 3)
    assert maker.calls == 2
    for folder in ("", str(tmp_path / "nowhere")):
        monkeypatch.setenv("NUMBA_CACHE_DIR", folder)
        assert kept_array("six", [], maker.array).shape == (2, 3)
    assert maker.calls == 4


ORIGIN = "0123456789abcdef" * 4


def there() -> bool:
    return True


class Bytes:
    def __init__(self) -> None:
        self.calls = 0

    def array(self) -> np.ndarray:
        self.calls += 1
        return np.arange(200, dtype=np.uint8)


def test_bytes_are_mapped_checked_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    maker = Bytes()
    for _ in range(2):
        found = kept_bytes(ORIGIN, "mouth", maker.array, there)
        assert found.tolist() == list(range(200))
        assert maker.calls == 1
        found[3] = 99  # ours alone
    (file,) = (tmp_path / "pictures").iterdir()
    for place in (5, 100, -1):
        content = bytearray(file.read_bytes())
        content[place] ^= 4
        replace_file(file, bytes(content))
        assert kept_bytes(ORIGIN, "mouth", maker.array, there).tolist() == list(range(200))
    replace_file(file, b"")
    kept_bytes(ORIGIN, "mouth", maker.array, there)
    assert maker.calls == 5
    kept_bytes(ORIGIN, "eye", maker.array, there)
    kept_bytes(ORIGIN[::-1], "eye", maker.array, there)
    assert maker.calls == 7
    forget(ORIGIN)
    assert len(list((tmp_path / "pictures").iterdir())) == 1
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    (tmp_path / "file").write_text("no folder")
    assert kept_bytes(ORIGIN, "eye", maker.array, there).tolist() == list(range(200))


def replace_file(file: Path, content: bytes) -> None:
    """Another file under its name: one that is mapped is never changed."""
    file.with_name("new").write_bytes(content)
    file.with_name("new").replace(file)


def test_nothing_is_left_of_what_was_removed_or_cut_off_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    maker, folder = Bytes(), tmp_path / "pictures"
    assert kept_bytes(ORIGIN, "mouth", maker.array, lambda: False).tolist() == list(range(200))
    assert list(folder.iterdir()) == []
    cut_off = folder / f".{ORIGIN[:32]}-mouth-00000000.kept.abc{kept.PARTIAL}"
    cut_off.write_bytes(b"half")
    forget(ORIGIN)
    assert list(folder.iterdir()) == []
    cut_off.write_bytes(b"half")
    os.utime(cut_off, (1, 1))
    kept_bytes(ORIGIN[::-1], "mouth", maker.array, there)
    (left,) = folder.iterdir()
    assert left.name.startswith(ORIGIN[::-1][:32])
    assert left.stat().st_mode & 0o077 == 0


def test_what_was_used_longest_ago_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kept, "MOST_BYTES", 500)
    maker = Bytes()
    for number, origin in enumerate("abcd"):
        kept_bytes(origin * 64, "mouth", maker.array, there)
        for path in (tmp_path / "pictures").iterdir():
            if path.name.startswith(origin):
                os.utime(path, (number, number))
        kept_bytes("a" * 64, "mouth", maker.array, there)
    assert {path.name[0] for path in (tmp_path / "pictures").iterdir()} == {"a", "d"}
    assert maker.calls == 4
