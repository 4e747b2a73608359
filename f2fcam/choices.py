"""What the user told a running camera, kept for the one that the service manager starts in its place after a crash."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from f2fcam.control import runtime_folder
from f2fcam.errors import F2FError


@dataclass(frozen=True, slots=True)
class Choices:
    """Paused: the actor is not to be seen acting. Muted: the microphone is not to be heard. Profile: switched to, if any."""

    paused: bool = False
    muted: bool = False
    profile: str | None = None


def keep(choices: Choices) -> None:
    """Write them down, as far as the disk lets us; only the holder of the camera's lock may."""
    with contextlib.suppress(OSError, F2FError):
        file = _file()
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(choices)), encoding="utf-8")
        new.replace(file)


def kept() -> Choices:
    """Those of a camera that has crashed; none where there are none."""
    with contextlib.suppress(OSError, F2FError, ValueError, AttributeError):
        values = json.loads(_file().read_text(encoding="utf-8"))
        profile = values.get("profile")
        return Choices(bool(values.get("paused")), bool(values.get("muted")), str(profile) if profile else None)
    return Choices()


def forget() -> None:
    """After an end in good order, and before a start by hand."""
    with contextlib.suppress(OSError, F2FError):
        _file().unlink(missing_ok=True)


def _file() -> Path:
    return runtime_folder() / "choices.json"
