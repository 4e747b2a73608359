"""How people vary: the prior tells faces of the generator from what the basis could do besides."""

from __future__ import annotations

import numpy as np

from f2fcam.track.identity_prior import identity_precision


def test_precision_is_symmetric_and_leaves_every_coefficient_its_room():
    precision = identity_precision(0.05)
    np.testing.assert_allclose(precision, precision.T, atol=1e-9)
    values = np.linalg.eigvalsh(precision)
    assert values[0] > 0
    assert values[-1] <= 1 / 0.05 + 1e-6


def test_half_of_the_directions_hardly_occur():
    """The inner face of a person is told by far fewer numbers than the basis of heads has."""
    spread = 1 / np.linalg.eigvalsh(identity_precision(1e-3)) - 1e-3
    assert (spread < 0.1).sum() > 30
    assert (spread > 0.5).sum() > 20
