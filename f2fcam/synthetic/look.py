"""What a synthetic person looks like beyond their shape: pigments, hair, eyes, clothes; drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[float, float, float]
"""Linear reflectance."""

IRIS_COLOURS: tuple[Colour, ...] = (
    (0.13, 0.055, 0.022),
    (0.09, 0.035, 0.015),
    (0.12, 0.20, 0.26),
    (0.14, 0.17, 0.08),
    (0.20, 0.12, 0.04),
)
HAIR_COLOURS: tuple[Colour, ...] = (
    (0.018, 0.013, 0.010),
    (0.045, 0.026, 0.015),
    (0.10, 0.052, 0.026),
    (0.24, 0.15, 0.075),
    (0.12, 0.035, 0.014),
    (0.16, 0.15, 0.14),
)
CLOTHES: tuple[Colour, ...] = (
    (0.05, 0.11, 0.16),
    (0.22, 0.045, 0.05),
    (0.04, 0.09, 0.06),
    (0.28, 0.25, 0.20),
    (0.06, 0.05, 0.09),
)


@dataclass(frozen=True, slots=True)
class Look:
    """Appearance of one person.

    Attributes:
        seed: of all noise.
        melanin, haemoglobin: pigment densities; 0.3 and 2.5 are very light and very dark skin.
        ruddiness: how much cheeks, nose and lips differ from the rest.
        freckles, moles, stubble: amounts, 0 to 1.
        brow_weight: thickness and density of the brows.
        lip_tint: extra haemoglobin of the lips.
        lashes: length and density of the lashes.
    """

    seed: int
    melanin: float
    haemoglobin: float
    ruddiness: float
    freckles: float
    moles: float
    stubble: float
    brow_weight: float
    lip_tint: float
    lashes: float
    hair: Colour
    hair_style: Literal["short", "long"]
    iris: Colour
    clothes: Colour


def draw_look(seed: int, long: bool) -> Look:
    """A random appearance; `long` hair comes with lashes and without a beard."""
    rng = np.random.default_rng([seed, 77])
    melanin = float(np.clip(rng.gamma(2.2, 0.42), 0.3, 2.4))
    dark = melanin > 1.2
    return Look(
        seed=seed,
        melanin=melanin,
        haemoglobin=float(rng.uniform(0.35, 0.65)),
        ruddiness=float(rng.uniform(0.6, 1.3)),
        freckles=float(rng.uniform(0, 1) ** 3 * (0.2 if dark else 1.0)),
        moles=float(rng.uniform(0.2, 1.0)),
        stubble=0.0 if long else float(rng.uniform(0.2, 0.9)),
        brow_weight=float(rng.uniform(0.8, 1.3)) if not long else float(rng.uniform(0.6, 0.95)),
        lip_tint=float(rng.uniform(0.35, 0.8)),
        lashes=float(rng.uniform(0.8, 1.1)) if long else float(rng.uniform(0.3, 0.6)),
        hair=HAIR_COLOURS[int(rng.integers(0, 2 if dark else len(HAIR_COLOURS)))],
        hair_style="long" if long else "short",
        iris=IRIS_COLOURS[int(rng.integers(0, 2 if dark else len(IRIS_COLOURS)))],
        clothes=CLOTHES[int(rng.integers(0, len(CLOTHES)))],
    )
