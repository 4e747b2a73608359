"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

CLIPS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "clips"


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real test clips beside the checkout; tests that need it are skipped where it is absent."""
    if not CLIPS.is_dir():
        pytest.skip("the real clips (../shared/data/clips) are not on this machine")
    return CLIPS


@pytest.fixture
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that no test reads or writes the user's profiles and keys."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("HOME", str(home))
    return home
