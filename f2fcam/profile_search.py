"""Where profiles are looked for (`DECISIONS` 22). Standard library only: `start` shows its picture before arrays are loaded."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import f2fcam
from f2fcam.config import data_folder
from f2fcam.errors import ConfigError, ProfileError

NAME_LENGTH = 64
MANIFEST = "manifest.toml"

_WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}


def checked_name(name: str) -> str:
    """`name` if it can be a profile's: letters, digits, `-` and `_`; it becomes a folder's name."""
    good = re.fullmatch(r"\w[\w-]*", name) and len(name) <= NAME_LENGTH and name.lower() not in _WINDOWS_DEVICES
    if not good:
        raise ConfigError(
            f"{name!r} cannot be a profile's name.", hint="Use letters, digits, `-` and `_`, as in --name alice."
        )
    return name


def user_profiles() -> Path:
    """The user's own profiles."""
    return data_folder() / "profiles"


def package_profiles() -> Path:
    """The profiles that the installation brings: inside the package, or beside it in a source checkout."""
    package = Path(f2fcam.__file__).resolve().parent
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"


def search_path(profiles: Path | None) -> list[Path]:
    """Where a profile is looked for, first match wins (`DECISIONS` 22)."""
    own = [profiles] if profiles else []
    return [*own, user_profiles(), package_profiles()]


def find_profile(name: str, profiles: Path | None = None) -> Path:
    """The folder of the profile; `ProfileError` if there is none, with the names that there are."""
    checked_name(name)
    if profiles is not None:
        require_folder(profiles)
    for root in search_path(profiles):
        recover(root, name)
        if (root / name / MANIFEST).is_file():
            return root / name
    for root in search_path(profiles):
        if (root / name).is_dir():  # damaged: whoever opens it says how
            return root / name
    known = ", ".join(sorted({folder.name for root in search_path(profiles) for folder in _kept_in(root)})) or "none"
    raise ProfileError(
        f"There is no profile {name!r}; there are: {known}.",
        hint=f"See `f2fcam profile list`, or enrol it: `f2fcam enroll VIDEO --name {name} --self`.",
    )


def profile_mark(name: str, profiles: Path | None = None) -> tuple[tuple[int, int] | None, ...]:
    """What changes when the profile is made, made anew, put back or removed; a few calls to the system."""
    return tuple(_mark(path) for root in search_path(profiles) for path in (root / name, root / name / MANIFEST))


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def require_folder(profiles: Path) -> None:
    """`ConfigError` where profiles are looked for in a folder that is none."""
    if not profiles.is_dir():
        what = f"{profiles} is not a folder." if profiles.exists() else f"The folder {profiles} does not exist."
        raise ConfigError(what, hint="Check --profiles DIR, or `profiles` in the settings file.")


def _kept_in(root: Path) -> list[Path]:
    """The profiles of a folder."""
    return [path.parent for path in root.glob(f"[!.]*/{MANIFEST}")] if root.is_dir() else []


def recover(root: Path, name: str) -> None:
    """A crash between the two renames of `commit` left only the old profile, aside."""
    old = root / f".{name}.old"
    if old.is_dir() and not (root / name).exists():
        with suppress(OSError):
            old.rename(root / name)
