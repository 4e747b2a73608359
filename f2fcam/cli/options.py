"""Options that several commands share, and the checks of their values."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from f2fcam.errors import ConfigError


class TargetFrames(str, Enum):
    loop = "loop"
    nearest_pose = "nearest-pose"


class Quality(str, Enum):
    auto = "auto"
    full = "full"


class Look(str, Enum):
    video = "video"
    model = "model"


ProfileName = Annotated[str, typer.Option("--profile", help="Name of the enrolled target.")]
Profiles = Annotated[Optional[Path], typer.Option("--profiles", help="Where profiles are kept.", show_default=False)]
Range = Annotated[Optional[str], typer.Option("--range", help="Part of the video in seconds, A:B.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
FramesChoice = Annotated[TargetFrames, typer.Option("--target-frames", help="Which of the target's frames are shown.")]
Causal = Annotated[
    bool, typer.Option("--causal", help="Learn the actor on the way, as before a camera, instead of beforehand.")
]
LookChoice = Annotated[Look, typer.Option("--appearance", help="The target's own pixels, or the paper's plain model.")]


def require_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path} is not a file that exists.", hint="Check the path.")


def make_folder(path: Path) -> None:
    """Before the work rather than after it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be a folder: {error.strerror}.", hint="Name another with --output."
        ) from error


def configured_profiles(settings: Any) -> Path | None:
    return Path(settings.profiles).expanduser() if settings.profiles else None
