"""The actor who sat before a camera last, so that the next start knows them at once (`DECISIONS` 6).

One file per camera in the user's data folder, readable by the user alone; it holds the actor's shape and reflectance, no
picture. Whatever is wrong with it, the camera starts without.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from f2fcam.config import data_folder
from f2fcam.face.state import Person
from f2fcam.profile import person_arrays, person_from

log = logging.getLogger(__name__)


def remembered_file(camera: str, folder: Path | None = None) -> Path:
    """Where the actor before `camera` (`webcam:0`) is kept."""
    name = hashlib.sha256(camera.encode()).hexdigest()[:16]
    return (folder or data_folder() / "actors") / f"{name}.npz"


def remember(path: Path, person: Person, model_hash: str) -> None:
    """Keep `person`; a failure is logged, since a full disk must not end a call."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            np.savez(file, model=np.array(model_hash), **person_arrays(person))  # pyright: ignore[reportArgumentType]
        partial.replace(path)
    except OSError as error:
        log.warning("the actor could not be remembered: %s", error)
        with suppress(OSError):
            partial.unlink()


def recall(path: Path, model_hash: str, size: tuple[int, int]) -> Person | None:
    """Who was kept there; None if nobody, or not for this face model and picture size."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["model"]) != model_hash:
                return None
            person = person_from({name: arrays[name] for name in arrays.files if name != "model"})
    except FileNotFoundError:
        return None
    except Exception as error:  # a foreign or cut-off file; numpy and zipfile raise many kinds
        log.warning("the remembered actor in %s is of no use: %s", path, error)
        return None
    return person if (person.intrinsics.width, person.intrinsics.height) == size else None
