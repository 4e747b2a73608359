"""Where compiled kernels are kept: a folder of our own that follows the sources, also from a read-only installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from f2fcam import kernels

ROOT = Path(kernels.__file__).resolve().parent.parent


def python(code: str, **environment: str) -> str:
    """Output of a fresh interpreter with no cache chosen."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**kept, **environment}, cwd="/"
    )
    return done.stdout.strip()


def test_folder_is_the_users(tmp_path: Path):
    shown = "import os, f2fcam, numba; print(os.environ['NUMBA_CACHE_DIR'])"
    folder = Path(python(shown, XDG_CACHE_HOME=str(tmp_path), PYTHONPATH=str(ROOT)))
    assert folder.parent == tmp_path / "f2fcam"
    assert folder.is_dir()
    assert python(shown, NUMBA_CACHE_DIR="chosen", PYTHONPATH=str(ROOT)) == "chosen"


def test_folder_follows_the_kernels_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "f2fcam"
    package.mkdir()
    (package / "plain.py").write_text("x = 1\n")
    (package / "table.py").write_text("GAIN = 1\n")
    (package / "fast.py").write_text("from f2fcam.table import (\n    GAIN,\n)\n@njit(cache=True)\ndef f(): ...\n")
    monkeypatch.setattr(kernels, "PACKAGE", package)
    first = kernels.cache_folder(tmp_path)
    (package / "plain.py").write_text("x = 2\n")
    assert kernels.cache_folder(tmp_path) == first
    (package / "table.py").write_text("GAIN = 2\n")
    second = kernels.cache_folder(tmp_path)
    assert second != first
    (package / "fast.py").write_text("@njit(cache=True)\ndef f(): pass\n")
    assert kernels.cache_folder(tmp_path) != second


def test_read_only_installation_and_home(tmp_path: Path):
    """Nothing beside the sources nor in the home can be written: kernels are still cached, and found again."""
    installed = tmp_path / "site" / "f2fcam"
    installed.mkdir(parents=True)
    for name in ("__init__.py", "kernels.py", "yuv.py"):
        shutil.copy(ROOT / "f2fcam" / name, installed / name)
    installed.chmod(0o555)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    code = (
        "import os, f2fcam.yuv as y; from pathlib import Path; k = y._i420_to_planes; "
        "print(os.environ['NUMBA_CACHE_DIR'], len(k.stats.cache_hits), sum(k.stats.cache_misses.values()))"
    )
    runs = [
        python(
            code, PYTHONPATH=str(installed.parent), HOME="/proc", TMPDIR=str(temporary), PYTHONDONTWRITEBYTECODE="1"
        ).split()
        for _ in range(2)
    ]
    assert runs[0][0] == runs[1][0]
    assert temporary in Path(runs[0][0]).parents
    assert list(Path(runs[0][0]).rglob("*.nbi"))
    assert [run[1:] for run in runs] == [["0", "1"], ["1", "0"]]
    assert not list(installed.rglob("*.nbi"))


def test_cold_modules_are_those_without_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert "yuv" in kernels.cold_modules()
    (tmp_path / "f2fcam_1").mkdir()
    (tmp_path / "f2fcam_1" / "yuv._i420_to_planes-87.py311.nbi").write_bytes(b"")
    assert "yuv" not in kernels.cold_modules()


def test_old_caches_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(7):
        folder = tmp_path / f"kernels-{number}"
        folder.mkdir()
        os.utime(folder, (1000 + number, 1000 + number))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kernels-0"))
    kernels._remove_old_caches()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kernels-0", *(f"kernels-{n}" for n in range(3, 7))]
