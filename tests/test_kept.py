"""Arrays kept between starts: made once, made anew when what they come from changes, never needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from f2fcam.kept import kept_array


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
