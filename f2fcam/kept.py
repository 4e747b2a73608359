"""Arrays that take long to find and follow from others alone: kept in the user's cache, beside the compiled kernels.

That folder is ours, goes with the version of the kernels' sources and is cleared with it; where there is none, or it cannot
be written, the work is done each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from f2fcam.kernels import prepare_cache

DIGEST_SIZE = hashlib.sha256().digest_size


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
    path = folder / f"{name}-{digest.hexdigest()[:16]}.kept"
    found = _read(path)
    if found is not None:
        return found
    made = make()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        content = io.BytesIO()
        np.save(content, made)
        partial.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        partial.replace(path)
    return made


def _read(path: Path) -> np.ndarray | None:
    """What was kept; None where there is nothing, or something that was cut off, damaged or another's."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        return None
    return np.load(io.BytesIO(content), allow_pickle=False)
