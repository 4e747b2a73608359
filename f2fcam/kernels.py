"""Where numba keeps compiled kernels: a folder of our own, chosen before numba is imported (`DECISIONS` 20).

numba notices a changed file, but not a changed kernel in another file that it inlined, nor a machine whose home is shared;
so the folder's name carries a hash of every kernel's source, the versions and the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path


def cache_folder(root: Path) -> Path:
    """The folder below `root` for the kernels as they are now."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if b"njit" in source:
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + source)
    for item in (_version("numba"), _version("llvmlite"), _version("numpy"), sys.version, _processor()):
        digest.update(item.encode() + b"\0")
    return root / f"kernels-{digest.hexdigest()[:16]}"


def prepare_cache() -> None:
    """Point numba at our cache, unless the user has chosen one or numba is loaded already."""
    if "NUMBA_CACHE_DIR" in os.environ or "numba" in sys.modules:
        return
    for root in (_user_cache(), Path(tempfile.gettempdir()) / f"f2fcam-{_user_number()}"):
        folder = cache_folder(root)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and _is_ours(folder):
            os.environ["NUMBA_CACHE_DIR"] = str(folder)
            return


def _user_cache() -> Path:
    """The user's cache folder; platformdirs would cost its import at every start."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "f2fcam" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/f2fcam"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "f2fcam"


def _user_number() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _is_ours(folder: Path) -> bool:
    """A cache that somebody else can write would run their code in our process."""
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    wanted = ("model name", "flags", "Features")
    return "".join(sorted({line for line in lines if line.startswith(wanted)})) or platform.machine()
