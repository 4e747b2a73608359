"""The albedo model: a painted mean and 80 directions, all linear RGB reflectance.

Skin follows a melanin / haemoglobin mixture (Tsumura et al. 2003) linearised about a medium tone; nothing is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MEDIUM = np.array([0.44, 0.262, 0.192])
MELANIN = np.array([-0.150, -0.097, -0.074])  # one standard deviation more
HAEMOGLOBIN = np.array([0.006, -0.020, -0.015])
GREY = np.array([0.045, 0.045, 0.045])
DARK = np.array([-0.13, -0.090, -0.068])
REDDER = np.array([0.012, -0.020, -0.014])
SMOOTH_SIGMA = 0.12  # of a pigment's own spread, for the slowest function
SMOOTH_FUNCTIONS = 28  # each with melanin; all but the last also with haemoglobin
TOTAL = 80
MEAN_PAINT = {  # mask: (colour it fades to, opacity)
    "lips_upper": ((0.36, 0.125, 0.105), 0.85),
    "lips_lower": ((0.41, 0.150, 0.130), 0.80),
    "brow_left": ((0.085, 0.055, 0.042), 0.80),
    "brow_right": ((0.085, 0.055, 0.042), 0.80),
    "eyelid_left": ((0.33, 0.180, 0.130), 0.35),
    "eyelid_right": ((0.33, 0.180, 0.130), 0.35),
    "under_eye_left": ((0.37, 0.205, 0.150), 0.35),
    "under_eye_right": ((0.37, 0.205, 0.150), 0.35),
    "nostrils": ((0.050, 0.018, 0.012), 0.90),
    "nose": ((0.46, 0.240, 0.175), 0.40),
    "cheek_left": ((0.47, 0.235, 0.175), 0.50),
    "cheek_right": ((0.47, 0.235, 0.175), 0.50),
    "ear_left": ((0.45, 0.225, 0.165), 0.45),
    "ear_right": ((0.45, 0.225, 0.165), 0.45),
    "stubble": ((0.34, 0.215, 0.165), 0.20),
    "scalp": ((0.060, 0.042, 0.034), 0.92),
}
MASKS = (  # (mask, direction of one standard deviation)
    ("lips_upper", REDDER * 1.6),
    ("lips_lower", REDDER * 1.6),
    ("lips_upper", DARK * 0.45),
    ("lips_lower", DARK * 0.45),
    ("brow_left", DARK * -0.50),
    ("brow_right", DARK * -0.50),
    ("eyelid_left", DARK * 0.40),
    ("eyelid_right", DARK * 0.40),
    ("under_eye_left", DARK * 0.30),
    ("under_eye_right", DARK * 0.30),
    ("nostrils", DARK * -0.15),
    ("nose", REDDER),
    ("nose", DARK * 0.25),
    ("cheek_left", REDDER),
    ("cheek_right", REDDER),
    ("chin", DARK * 0.20),
    ("forehead", DARK * 0.20),
    ("stubble", DARK * 0.50),
    ("mouth_area", DARK * 0.25),
    ("scalp", DARK * -0.80),
    ("neck", DARK * 0.30),
    ("ears", REDDER),
)


@dataclass(frozen=True)
class Appearance:
    """Mean (n, 3) at level 2; smooth scalars (skin, k) at level 0 and masks (n, m) at level 2, each with a colour (3,)."""

    mean: np.ndarray
    smooth: np.ndarray
    smooth_colors: np.ndarray
    masks: np.ndarray
    mask_colors: np.ndarray


def appearance(masks: dict[str, np.ndarray], functions: np.ndarray, values: np.ndarray) -> Appearance:
    """Directions in the order: 3 global, 55 smooth (functions x pigments), 22 masks."""
    n = len(next(iter(masks.values())))
    mean = np.tile(MEDIUM, (n, 1))
    for name, (color, opacity) in MEAN_PAINT.items():
        alpha = masks[name][:, None] * opacity
        mean = mean * (1 - alpha) + np.array(color) * alpha
    one = np.ones((len(functions), 1))
    sigma = SMOOTH_SIGMA * np.sqrt(values[0] / values)
    scaled = 2 * np.tanh(functions / 2) * sigma
    smooth = np.column_stack([one, one, one, scaled[:, :SMOOTH_FUNCTIONS], scaled[:, : SMOOTH_FUNCTIONS - 1]])
    colors = [MELANIN, HAEMOGLOBIN, GREY] + [MELANIN] * SMOOTH_FUNCTIONS + [HAEMOGLOBIN * 2] * (SMOOTH_FUNCTIONS - 1)
    ears = {"ears": np.maximum(masks["ear_left"], masks["ear_right"])}
    painted = np.column_stack([{**masks, **ears}[name] for name, _ in MASKS])
    assert smooth.shape[1] + painted.shape[1] == TOTAL
    return Appearance(mean, smooth, np.array(colors), painted, np.array([color for _, color in MASKS]))
