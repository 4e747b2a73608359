"""Compile every kernel before the first picture: cold, that takes about half a minute, once."""

from __future__ import annotations

from f2fcam import kernels
from f2fcam.progress import Progress


def warm_up(progress: Progress) -> None:
    """Load everything that is compiled; what is compiled by its first use is compiled by `f2fcam bench` or the first frame."""
    kernels.compile_all(progress.stage("Compiling"))
