"""Arrays that take long to find and follow from others alone: kept in the user's cache, beside the compiled kernels.

That folder is ours, goes with the version of the kernels' sources and is cleared with it; where there is none, or it cannot
be written, the work is done each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from f2fcam.kernels import prepare_cache


def kept_array(name: str, given: Sequence[np.ndarray], make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` finds from the arrays `given`, or has found from the same ones before.

    `name` is the file's; the source of the module of `make` counts as given.
    """
    prepare_cache()
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if not folder.name:
        return make()
    digest = hashlib.sha256(Path(str(sys.modules[make.__module__].__file__)).read_bytes())
    for array in given:
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).data)
    path = folder / f"{name}-{digest.hexdigest()[:16]}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, cut off or foreign
        return np.load(path, allow_pickle=False)
    made = make()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        with partial.open("wb") as file:
            np.save(file, made)
        partial.replace(path)
    return made
