"""How a person's skin changes its colour with the expression: what no fitted light explains, learnt from the clip itself.

Skin reddens where it is pulled and pales where it is pressed, a cheek that rises catches other light, a fold is a shadow. In
logarithms of encoded colours at the level-0 vertices, a frame's deviation from the person's usual look is

    basis @ (follows @ (expression - neutral) + rest[row])

a linear appearance model of what goes with the expression, and what this one frame has beside it (`enrolled_complexion`
fits both). With another expression the first part changes at once, and of the second as much goes as the surface has
moved: how a frame differs from others of its expression says nothing of one with another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numba import njit

MOVED_MM = 2.0
"""A vertex that moves this far keeps 0.6 of what its frame's skin has beside the expression, one that moves twice as far 0.14."""

LARGEST_LOG_GAIN = 0.25
"""Of the encoded colour: beyond it a wrong fit is likelier than such a skin."""


@dataclass(frozen=True, slots=True)
class Complexion:
    """A person's skin, and each enrolled frame's.

    Attributes:
        basis: log encoded colour of the level-0 vertices per component; zero where the clip does not show skin.
        follows: the components' change with the expression.
        rest: what each frame has beside that, in components.
        lowest, highest: expressions that the clip shows; beyond them nothing is known.
    """

    basis: Float32[np.ndarray, "m 3 k"]
    follows: Float32[np.ndarray, "k 76"]
    rest: Float32[np.ndarray, "n k"]
    lowest: Float32[np.ndarray, " 76"]
    highest: Float32[np.ndarray, " 76"]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Complexion:
        """The inverse of `to_arrays`; KeyError where one is missing, ValueError where they do not fit together."""
        names = ("basis", "follows", "rest", "lowest", "highest")
        basis, follows, rest, lowest, highest = (np.ascontiguousarray(arrays[name], np.float32) for name in names)
        components = follows.shape[0]
        if basis.ndim != 3 or basis.shape[1:] != (3, components) or rest.shape[1:] != (components,):
            raise ValueError("the complexion's arrays do not fit together")
        return cls(basis, follows, rest, lowest, highest)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The basis in half precision: its steps are a tenth of a code value."""
        return {
            "basis": self.basis.astype(np.float16),
            "follows": self.follows,
            "rest": self.rest.astype(np.float16),
            "lowest": self.lowest,
            "highest": self.highest,
        }

    def log_gain(
        self,
        row: int,
        old: Float32[np.ndarray, " 76"],
        new: Float32[np.ndarray, " 76"],
        moved: Float32[np.ndarray, " 3*m"],
    ) -> Float32[np.ndarray, "m 3"]:
        """Logarithm of the factor on encoded colours that takes frame `row`'s skin from one expression to another.

        `moved`: the vertices' displacement between the two, mm.
        """
        step = np.clip(new, self.lowest, self.highest) - np.clip(old, self.lowest, self.highest)
        out = np.empty(self.basis.shape[:2], np.float32)
        _log_gain(self.basis, self.follows @ step.astype(np.float32), self.rest[row], moved, out)
        return out


@njit("void(f4[:,:,::1], f4[::1], f4[::1], f4[::1], f4[:,::1])", nogil=True, cache=True, fastmath=True)
def _log_gain(basis, follows, rest, moved, out):
    limit, spread = np.float32(LARGEST_LOG_GAIN), np.float32(-0.5 / MOVED_MM**2)
    for i in range(len(basis)):
        x, y, z = moved[3 * i], moved[3 * i + 1], moved[3 * i + 2]
        gone = np.float32(1) - np.exp(spread * (x * x + y * y + z * z))
        for channel in range(3):
            total = np.float32(0)
            for k in range(len(rest)):
                total += basis[i, channel, k] * (follows[k] - gone * rest[k])
            out[i, channel] = limit * np.tanh(total / limit)
