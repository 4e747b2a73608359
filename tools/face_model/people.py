"""Random people from MakeHuman's macro and local targets. It is a generator's variety, no statistic of real faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .wheel import Wheel

OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
SIGMA = {"head": 0.22, "asym": 0.25, "neck": 0.25}
OTHER_SIGMA = 0.35
FOLDERS = ("head", "nose", "mouth", "eyes", "chin", "cheek", "forehead", "eyebrows", "ears", "asym", "neck")
SIDE_SPREAD = 0.08  # left and right modifiers differ by this much
ETHNICITIES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class Modifier:
    """A signed slider: the target shown for negative and for positive values ("" for none)."""

    folder: str
    name: str
    negative: str
    positive: str

    @property
    def twin(self) -> str:
        """The name without its side, so that left and right can share a value."""
        return self.name[2:] if self.name[:2] in ("l-", "r-") else self.name


@dataclass(frozen=True)
class Generator:
    """Everything that people are blended from: one row of `shapes` per target."""

    mean: np.ndarray
    names: tuple[str, ...]
    shapes: np.ndarray
    modifiers: tuple[Modifier, ...]

    def people(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` heads (count, kept, 3) in millimetres, unaligned."""
        column = {name: i for i, name in enumerate(self.names)}
        weights = np.zeros((count, len(self.names)), np.float32)
        for row in weights:
            _macro(row, column, rng)
            _local(row, column, self.modifiers, rng)
        return (weights @ self.shapes).reshape(count, -1, 3) + self.mean.astype(np.float32)


def generator(wheel: Wheel) -> Generator:
    """Read every target that moves a head."""
    modifiers = [m for folder in FOLDERS for m in _modifiers(wheel, folder)]
    names = [f"macrodetails/{p.name.removesuffix('.target.gz')}" for p in _targets(wheel, "macrodetails")]
    names = [n for n in names if "-baby" not in n and "-child" not in n]
    names += [name for m in modifiers for name in (m.negative, m.positive) if name]
    shapes = np.stack([wheel.target(f"mpfb2/targets/{name}").ravel() for name in names]).astype(np.float32)
    return Generator(wheel.base.vertices[wheel.kept], tuple(names), shapes, tuple(modifiers))


def _targets(wheel: Wheel, folder: str) -> list:
    return sorted((wheel.data / "mpfb2/targets" / folder).glob("*.target.gz"))


def _modifiers(wheel: Wheel, folder: str) -> list[Modifier]:
    """Opposing pairs by their names' last words; shapes without an opposite stand alone."""
    names = [p.name.removesuffix(".target.gz") for p in _targets(wheel, folder)]
    names = [n for n in names if not n.startswith("asymm-")]
    found, paired = [], set()
    endings = OPPOSITES if folder != "asym" else (("l", "r"),)
    for name in names:
        for low, high in endings:
            opposite = name.removesuffix(low) + high
            if name.endswith(f"-{low}") and opposite in names:
                found.append(Modifier(folder, name.removesuffix(f"-{low}"), f"{folder}/{name}", f"{folder}/{opposite}"))
                paired |= {name, opposite}
    found += [Modifier(folder, name, "", f"{folder}/{name}") for name in names if name not in paired]
    return sorted(found, key=lambda m: m.name)


def _macro(row: np.ndarray, column: dict[str, int], rng: np.random.Generator) -> None:
    """Gender, age, ethnicity, muscle and weight, blended as MakeHuman blends its macro targets."""
    male = float(np.clip(rng.choice([0.15, 0.85]) + rng.normal(0, 0.18), 0, 1))
    old = rng.beta(1.3, 2.5)
    ethnicity = dict(zip(ETHNICITIES, rng.dirichlet((0.6, 0.6, 0.6)), strict=True))
    muscle, weight = (_three(float(np.clip(rng.normal(0.5, 0.2), 0, 1))) for _ in range(2))
    for gender, a in (("female", 1 - male), ("male", male)):
        for age, b in (("young", 1 - old), ("old", old)):
            for people, c in ethnicity.items():
                row[column[f"macrodetails/{people}-{gender}-{age}"]] += a * b * c
            for m, d in muscle.items():
                for w, e in weight.items():
                    name = f"macrodetails/universal-{gender}-{age}-{m}muscle-{w}weight"
                    row[column[name]] += a * b * d * e


def _three(value: float) -> dict[str, float]:
    low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
    return {"min": low, "average": 1 - low - high, "max": high}


def _local(row: np.ndarray, column: dict[str, int], modifiers: tuple[Modifier, ...], rng: np.random.Generator) -> None:
    """Every local slider; twins share a value but for a small difference, shapes without an opposite are one-sided."""
    shared: dict[str, float] = {}
    for m in modifiers:
        drawn = rng.normal(0, SIGMA.get(m.folder, OTHER_SIGMA))
        nudge = rng.normal(0, SIDE_SPREAD)
        value = shared.setdefault(f"{m.folder}/{m.twin}", drawn)
        value += nudge if m.twin != m.name else 0.0
        name = m.positive if value > 0 or not m.negative else m.negative
        row[column[name]] += abs(value)
