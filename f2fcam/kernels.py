"""Where numba keeps compiled kernels: a folder of our own, chosen just before numba is imported (`DECISIONS` 20).

numba notices a changed file, but not a changed kernel in another file that it inlined, nor a machine whose home is shared;
so the folder's name carries a hash of every kernel's source, the versions and the processor.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^from f2fcam\.([\w.]+) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_CONSTANT = re.compile(r"\b[A-Z][A-Z0-9_]+\b")

KEPT_FOLDERS = 4
"""Caches of so many versions stay, newest first."""


def kernel_files() -> list[Path]:
    """The modules with compiled code, or with what is compiled into it."""
    marks, own = (b"njit(", b"@intrinsic"), Path(__file__).resolve()
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != own and any(mark in p.read_bytes() for mark in marks)]


def _constant_files(files: list[Path]) -> set[Path]:
    """Modules whose constants are compiled into the kernels of `files`: numba does not notice when they change."""
    found = set()
    for path in files:
        for module, names in _IMPORT.findall(path.read_text(encoding="utf-8")):
            source = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
            if _CONSTANT.search(names) and source.is_file():
                found.add(source)
    return found


def cold_modules() -> list[str]:
    """Modules with cached kernels of which none is in the cache yet."""
    prepare_cache()
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    warm = {path.name.split(".")[0] for path in folder.rglob("*.nbi")} if folder.name else set()
    return [
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in kernel_files()
        if b"cache=True" in path.read_bytes() and path.stem not in warm
    ]


def compile_all(progress: Callable[[int, int], None]) -> list[str]:
    """Import every module with kernels, which compiles those of explicit signature; clear away old caches."""
    files = kernel_files()
    for number, path in enumerate(files):
        progress(number, len(files))
        importlib.import_module("f2fcam." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    progress(len(files), len(files))
    _remove_old_caches()
    return [path.stem for path in files]


def _remove_old_caches() -> None:
    current = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if not current.name.startswith("kernels-"):
        return
    import shutil

    folders = sorted(current.parent.glob("kernels-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[KEPT_FOLDERS:]:
        if folder != current:
            shutil.rmtree(folder, ignore_errors=True)


def processor_flags() -> set[str]:
    """Instruction sets as Linux names them; empty elsewhere."""
    words = _processor().replace(":", " ").split()
    return set(words)


def cache_folder(root: Path) -> Path:
    """The folder below `root` for the kernels as they are now."""
    import hashlib

    digest = hashlib.sha256()
    files = kernel_files()
    for path in sorted({*files, *_constant_files(files)}):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    for item in (_version("numba"), _version("llvmlite"), _version("numpy"), sys.version, _processor()):
        digest.update(item.encode() + b"\0")
    return root / f"kernels-{digest.hexdigest()[:16]}"


def one_thread_each() -> None:
    """Keep BLAS and OpenMP from starting pools, unless the user asks for them: stages have threads of their own."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


class CacheFirst:
    """Chooses the cache when numba is about to be imported: a process that never needs it does not read every kernel.

    An entry of `sys.meta_path` that finds nothing and is asked for one module.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Called by the interpreter for each module that is not loaded yet."""
        if name == "numba":
            sys.meta_path.remove(self)
            prepare_cache()


def prepare_later() -> None:
    """`prepare_cache` before numba is imported, if it ever is."""
    if not any(isinstance(finder, CacheFirst) for finder in sys.meta_path):
        sys.meta_path.insert(0, CacheFirst())


def prepare_cache() -> None:
    """Point numba at our cache, unless the user has chosen one or numba is loaded already."""
    if "NUMBA_CACHE_DIR" in os.environ or "numba" in sys.modules:
        return
    import tempfile

    for root in (_user_cache(), Path(tempfile.gettempdir()) / f"f2fcam-{_user_number()}"):
        folder = cache_folder(root)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and is_ours(folder):
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


def is_ours(folder: Path) -> bool:
    """A cache that somebody else can write would run their code in our process."""
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags", "Features")
    found = "".join(sorted({line for line in lines if line.startswith(wanted)}))
    if found:
        return found
    import platform

    return platform.processor() + platform.machine()
