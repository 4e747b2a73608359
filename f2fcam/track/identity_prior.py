"""How people's inner faces vary together: a Gaussian over the identity coefficients, measured on generated people.

The identity basis spans whole heads, and its smooth directions are there for people whom the generator never made. Within
the inner face, all that bundling sees, they repeat and undo each other: with every coefficient free by itself, the skin could
slide along itself, which pictures hardly tell. `tools/build_identity_prior.py` measures which faces there are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from f2fcam.face.morphable import _data, unpack


@lru_cache(maxsize=4)
def identity_precision(room: float) -> Float[np.ndarray, "80 80"]:
    """Inverse covariance of the identity coefficients, each given `room` (a variance) beyond the generated people's."""
    covariance = unpack(_data("identity_prior.npz"), "the identity prior")["covariance"].astype(np.float64)
    return np.linalg.inv(covariance + room * np.eye(len(covariance)))
