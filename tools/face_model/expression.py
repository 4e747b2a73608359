"""The expression basis: 51 ARKit shapes of the Face Units pack and 25 MakeHuman units that add to them."""

from __future__ import annotations

import numpy as np

from .wheel import PART_VERTICES, Wheel

FACE_UNITS = "faceunits01/targets/faceunits"
UNITS = "mpfb2/targets/expression/units"
UNIT_ETHNICITIES = ("african", "asian", "caucasian")
TOTAL = 76
SKINLESS = "tongueOut"
ANTAGONISTS = (
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    ("mouthSmileLeft", "mouthFrownLeft"),
    ("mouthSmileRight", "mouthFrownRight"),
    ("mouthPucker", "mouthStretchLeft"),
    ("mouthPucker", "mouthStretchRight"),
    ("eyeBlinkLeft", "eyeWideLeft"),
    ("eyeBlinkRight", "eyeWideRight"),
    ("browDownLeft", "browOuterUpLeft"),
    ("browDownRight", "browOuterUpRight"),
    ("browDownLeft", "browInnerUp"),
    ("browDownRight", "browInnerUp"),
    ("eyeLookUpLeft", "eyeLookDownLeft"),
    ("eyeLookUpRight", "eyeLookDownRight"),
    ("eyeLookInLeft", "eyeLookOutLeft"),
    ("eyeLookInRight", "eyeLookOutRight"),
    ("mouthPressLeft", "mouthLowerDownLeft"),
    ("mouthPressRight", "mouthLowerDownRight"),
    ("jawOpen", "mouthClose"),
    ("mouthShrugLower", "mouthLowerDownLeft"),
    ("mouthShrugLower", "mouthLowerDownRight"),
    ("mouthShrugUpper", "mouthUpperUpLeft"),
    ("mouthShrugUpper", "mouthUpperUpRight"),
    ("mouthRollUpper", "mouthFunnel"),
    ("mouthRollLower", "mouthFunnel"),
)


def expressions(wheel: Wheel, weights: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and shapes (kept, 3, 76) in millimetres per unit: all ARKit ones, then the chosen MakeHuman units."""
    arkit = sorted(p.name.removesuffix(".target") for p in (wheel.data / FACE_UNITS).glob("*.target"))
    arkit.remove(SKINLESS)
    shapes = [wheel.target(f"{FACE_UNITS}/{name}") for name in arkit]
    folder = wheel.data / UNITS / UNIT_ETHNICITIES[0]
    units = sorted(p.name.removesuffix(".target.gz") for p in folder.glob("*.target.gz"))
    candidates = {
        name: np.mean([wheel.target(f"{UNITS}/{e}/{name}") for e in UNIT_ETHNICITIES], axis=0) for name in units
    }
    chosen = choose_novel(shapes, candidates, weights, TOTAL - len(arkit))
    names = (*arkit, *chosen)
    basis = np.stack(shapes + [candidates[name] for name in chosen], axis=-1)
    return names, hold_upper_teeth(symmetric(basis, names, wheel.mirror), len(wheel.skin))


def choose_novel(
    have: list[np.ndarray], candidates: dict[str, np.ndarray], weights: np.ndarray, count: int
) -> list[str]:
    """Greedily the shapes with most weighted motion outside the span so far; left and right are taken together."""
    skin = len(weights)
    root = np.sqrt(np.repeat(weights, 3))
    flat = {name: shape[:skin].ravel() * root for name, shape in candidates.items()}
    span = np.linalg.qr(np.stack([h[:skin].ravel() * root for h in have], axis=1))[0]
    groups: dict[str, list[str]] = {}
    for name in candidates:
        groups.setdefault(name.replace("-left", "").replace("-right", ""), []).append(name)
    chosen: list[str] = []
    while len(chosen) < count:
        room = count - len(chosen)
        fits = {key: names for key, names in groups.items() if len(names) <= room}
        best = max(fits, key=lambda key: min(_outside(flat[name], span) for name in fits[key]))
        for name in groups.pop(best):
            chosen.append(name)
            span = np.linalg.qr(np.column_stack([span, flat[name]]))[0]
    return chosen


def _outside(shape: np.ndarray, span: np.ndarray) -> float:
    return float(np.linalg.norm(shape - span @ (span.T @ shape)))


def symmetric(basis: np.ndarray, names: tuple[str, ...], mirror: np.ndarray) -> np.ndarray:
    """Each shape averaged with the mirror image of its other side; the data differs by up to a millimetre."""
    other = [names.index(n) if (n := _other_side(name)) in names else k for k, name in enumerate(names)]
    return (basis + basis[mirror][..., other] * np.array([-1.0, 1.0, 1.0])[:, None]) / 2


def _other_side(name: str) -> str:
    for one, two in (("Left", "Right"), ("-left", "-right")):
        if one in name:
            return name.replace(one, two)
        if two in name:
            return name.replace(two, one)
    return name


def hold_upper_teeth(basis: np.ndarray, skin: int) -> np.ndarray:
    """The upper teeth belong to the skull: no expression moves them."""
    start = skin
    for name, (first, last) in PART_VERTICES.items():
        if name == "teeth_upper":
            basis[start : start + last - first] = 0
        start += last - first
    return basis


def antagonist_pairs(names: tuple[str, ...]) -> np.ndarray:
    """Index pairs (k, 2) of shapes that undo each other."""
    return np.array([[names.index(a), names.index(b)] for a, b in ANTAGONISTS], np.int32)
