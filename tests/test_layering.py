"""Imports go down only (`DESIGN`, layout): a module imports from its own layer or from a lower one, and never in a circle."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "f2fcam"

LAYERS = (
    ("__init__", "errors", "kept", "kernels", "memory", "overlap", "progress", "simd"),
    ("frame", "yuv", "latest", "metrics", "pacing", "deadline", "ring", "channel", "notify", "on_demand", "signals"),
    ("control",),
    ("logs", "choices"),
    ("config",),
    ("profile_search",),
    ("face",),
    ("render",),
    ("synthetic", "trust", "capture", "publish", "panel"),
    ("profile", "profile_store", "readback"),
    ("track", "transfer", "audio", "overlay"),
    ("mouth", "playback", "transitions", "nearest_pose", "speech"),
    ("report",),
    ("reenact",),
    (
        "source_person",
        "remembered",
        "target_clip",
        "enrolled_clip",
        "enrolled_complexion",
        "enrolled_pictures",
        "enrolled_tracking",
        "learner",
        "source_side",
        "source_process",
        "live",
        "render_file",
        "enroll",
    ),
    (
        "engine",
        "evaluation",
        "evaluate",
        "bench",
        "benchmark",
        "doctor",
        "machine",
        "selftest",
        "service",
        "warmup",
        "engine_process",
    ),
    ("engine_main",),
    ("output",),
    ("status",),
    ("supervisor", "daemon"),
    ("cli", "__main__"),
)
"""Lowest first; a name stands for a module or a whole subpackage."""

STANDARD_LIBRARY_ONLY = ("supervisor", "daemon")
"""Processes that must be up in 0.3 s, whatever is wrong with the libraries."""


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return names


def imported(path: Path, known: set[str], *, module_level: bool) -> set[str]:
    """Modules of this package that `path` imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = top_level(tree) if module_level else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("f2fcam.") for alias in node.names if alias.name.startswith("f2fcam.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; write the full name"
            module = node.module or ""
            if module != "f2fcam" and not module.startswith("f2fcam."):
                continue
            base = module.removeprefix("f2fcam").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                found.add(full if full in known else base or "__init__")
    return found & known


def top_level(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run at import, without the blocks that are for type checkers only."""
    statements: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        statements.append(node)
        if isinstance(node, (ast.If, ast.Try)):
            statements += node.body + node.orelse
    return statements


def rank(module: str) -> int | None:
    head = module.split(".")[0]
    return next((number for number, layer in enumerate(LAYERS) if head in layer), None)


def test_every_module_has_a_layer():
    homeless = [name for name in modules() if rank(name) is None]
    assert not homeless, f"give these a place in LAYERS: {homeless}"


def test_imports_go_down():
    files = modules()
    upward = [
        f"{name} imports {other}"
        for name, path in files.items()
        for other in sorted(imported(path, set(files), module_level=False))
        if (rank(other) or 0) > (rank(name) or 0)
    ]
    assert not upward


def test_no_circles():
    files = modules()
    graph = {name: imported(path, set(files), module_level=True) - {name} for name, path in files.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def test_light_processes_load_no_array_library():
    files = modules()
    for name in STANDARD_LIBRARY_ONLY:
        if name not in files:
            continue
        heavy = "numpy cv2 numba scipy mediapipe av starlette".split()
        code = f"import sys, f2fcam.{name}; print(*[m for m in {heavy!r} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.split() == [], f"f2fcam.{name} loads {done.stdout}"


def test_command_line_starts_without_array_libraries():
    code = (
        "import sys, f2fcam.cli; print(*[m for m in 'numpy cv2 numba scipy mediapipe av'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
