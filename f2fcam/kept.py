"""What takes long to find and follows from other things alone: kept in the user's cache, with and beside the compiled kernels.

Their folder is ours, goes with the version of the kernels' sources and is cleared with it; where there is none, or it cannot
be written, the work is done each time. Bytes are kept beside it, mapped, so that of many only those count that are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from f2fcam.kernels import is_ours, prepare_cache

DIGEST_SIZE = hashlib.sha256().digest_size
MOST_BYTES = 512 << 20
"""Of all files that are mapped; those that were used longest ago go first, but not the last one."""


PARTIAL = ".partial"
"""How the names of files end that are being written."""
CUT_OFF_S = 600.0
"""A file that has not grown for so long is not being written any more."""


def kept_array(name: str, given: Sequence[np.ndarray], make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` finds from the arrays `given`, or has found from the same ones before.

    `name` is the file's; the source of the module of `make` counts as given.
    """
    folder = _kernels_folder()
    if folder is None:
        return make()
    digest = hashlib.sha256(Path(str(sys.modules[make.__module__].__file__)).read_bytes())
    for array in given:
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).data)
    path = folder / f"{name}-{digest.hexdigest()[:16]}.kept"
    found = _read(path)
    if found is not None:
        return found
    made = make()
    content = io.BytesIO()
    np.save(content, made)
    _write(path, content.getbuffer())
    return made


def kept_bytes(
    origin: str, name: str, make: Callable[[], UInt8[np.ndarray, " n"]], still: Callable[[], bool]
) -> UInt8[np.ndarray, " n"]:
    """What `make` finds of the file whose SHA-256 is `origin`, or has found before: then a file, mapped, as private memory.

    `name` tells apart what comes of one origin; the source of the module of `make` counts too. `forget` removes all of it;
    nothing is kept of a file that is not there any more (`still`).
    """
    folder = _bytes_folder()
    if folder is None:
        return make()
    source = hashlib.sha256(Path(str(sys.modules[make.__module__].__file__)).read_bytes()).hexdigest()
    path = folder / f"{origin[:32]}-{name}-{source[:8]}.kept"
    mapped = _map(path)
    if mapped is not None:
        return mapped
    made = np.ascontiguousarray(make())
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder) or not _write(path, made.data):
        return made
    _make_room(path)
    if not still():  # removed while this was written: nobody would forget it
        forget(origin)
    mapped = _map(path)
    return made if mapped is None else mapped


def forget(origin: str) -> None:
    """Remove what was kept of a file that is gone."""
    folder = _bytes_folder()
    if folder is None:
        return
    for path in (*folder.glob(f"{origin[:32]}-*.kept"), *folder.glob(f".{origin[:32]}-*{PARTIAL}")):
        with contextlib.suppress(OSError):
            path.unlink()


def _kernels_folder() -> Path | None:
    prepare_cache()
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    return folder if folder.name else None


def _bytes_folder() -> Path | None:
    """Beside our kernels' folder, since it outlasts their version; in a folder that the user chose for them."""
    kernels = _kernels_folder()
    if kernels is None:
        return None
    return (kernels.parent if kernels.name.startswith("kernels-") else kernels) / "pictures"


def _is_private(folder: Path) -> bool:
    """Whether it is ours: others could read, or exchange, what is in theirs."""
    try:
        return is_ours(folder)
    except OSError:
        return False


def _write(path: Path, content: memoryview) -> bool:
    """Whether it is there now, whole."""
    partial = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL, delete=False
        ) as file:  # for its owner's eyes only
            partial = Path(file.name)
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        partial.replace(path)
    except OSError:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink()
        return False
    return True


def _map(path: Path) -> UInt8[np.ndarray, " n"] | None:
    """A kept file's bytes; None as in `_read`. They are read once to be checked, which maps none of them."""
    try:
        with path.open("rb") as file:
            digest, found = file.read(DIGEST_SIZE), hashlib.sha256()
            while block := file.read(1 << 20):
                found.update(block)
            if found.digest() != digest:
                return None
            with contextlib.suppress(OSError):  # where nothing can be written nothing makes room either
                os.utime(path)
            # Kernels take arrays that could be written to; what would be is ours alone.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):  # nothing there, or nothing in it
        return None
    return np.frombuffer(content, np.uint8, offset=DIGEST_SIZE)


def _make_room(newest: Path) -> None:
    """Remove what was used longest ago, and what was cut off while it was written."""
    with contextlib.suppress(OSError):
        for path in newest.parent.glob(f".*{PARTIAL}"):
            if time.time() - path.stat().st_mtime > CUT_OFF_S:
                path.unlink()
    with contextlib.suppress(OSError):
        files = [(path.stat().st_mtime, path.stat().st_size, path) for path in newest.parent.glob("*.kept")]
        left = MOST_BYTES
        for _, size, path in sorted(files, reverse=True):
            left -= size
            if left < 0 and path != newest:
                path.unlink()


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
