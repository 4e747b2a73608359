"""Who is shown: a head that the face model's basis does not hold, with a look of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from f2fcam.errors import ConfigError
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.parts import load_people
from f2fcam.synthetic.look import Look, draw_look

LONG_HAIRED = frozenset({0, 3, 5, 8, 9, 13, 14})
"""Held-out heads that the generator made of mostly female shapes."""


@dataclass(frozen=True, slots=True)
class SyntheticPerson:
    """A person who does not exist.

    Attributes:
        index: which held-out head.
        look: appearance.
        skin0: neutral level-0 vertices in model space, mm; outside the identity basis.
        parts0: level-0 vertices of eyeballs, teeth and tongue.
    """

    index: int
    look: Look
    skin0: Float32[np.ndarray, "3386 3"]
    parts0: Float32[np.ndarray, "w 3"]

    @classmethod
    def held_out(cls, index: int, look: Look | None = None) -> SyntheticPerson:
        """Held-out head number `index` with the look drawn from the same number, or another look."""
        people = load_people()
        if not 0 <= index < len(people.skin):
            raise ConfigError(
                f"There is no synthetic person {index}.", hint=f"Choose a number from 0 to {len(people.skin) - 1}."
            )
        return cls(index, look or draw_look(index, index in LONG_HAIRED), people.skin[index], people.parts[index])

    def geometry0(self, expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, "3386 3"]:
        """Level-0 vertices with an expression, model space."""
        model = load_face_model()
        moved = model.expression_basis.reshape(-1, model.expression_basis.shape[2]) @ np.float32(expression)
        return self.skin0 + moved.reshape(-1, 3)

    def geometry(self, expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, "53390 3"]:
        """Level-2 vertices with an expression, model space."""
        return load_face_model().subdivide(self.geometry0(expression))


def expression_weights(model: FaceModel, named: dict[str, float]) -> Float32[np.ndarray, " 76"]:
    """Weights by shape name, the rest zero."""
    weights = np.zeros(len(model.expression_names), np.float32)
    for name, value in named.items():
        weights[model.expression_names.index(name)] = value
    return weights
