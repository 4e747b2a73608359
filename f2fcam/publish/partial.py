"""Where a video lies until it is complete, and what becomes of one that never will be. Standard library only."""

from __future__ import annotations

from pathlib import Path

LEAST_BYTES = 4096
"""A lasting file's head alone is shorter."""


def partial_path(path: Path) -> Path:
    """The hidden file beside `path` that is being written."""
    return path.parent / f".{path.stem}.partial{path.suffix or '.mp4'}"


def keep_partial(path: Path) -> bool:
    """Put what there is of an unfinished lasting video in its place; whether there was anything worth it."""
    partial = partial_path(path)
    if not partial.exists():
        return False
    if partial.stat().st_size < LEAST_BYTES:
        partial.unlink()
        return False
    partial.replace(path)
    return True
