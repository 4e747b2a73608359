"""The step within bounds, against a general solver of bounded least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from f2fcam.track.solver import BoundedSolver, exact_share


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rest=st.integers(0, 12), held=st.integers(1, 20), coupling=st.floats(0.0, 0.8))
def test_the_step_is_nearly_the_minimum_within_bounds(seed: int, rest: int, held: int, coupling: float) -> None:
    random = np.random.default_rng(seed)
    count = rest + held
    rows = random.normal(size=(2 * count + 4, count))
    rows += coupling / (1 - coupling + 0.05) * rows[:, :1]  # blendshapes look alike
    goal = random.normal(size=len(rows)) * 3
    bounded = random.permutation(count)[:held]
    lower, upper = -random.random(held), random.random(held)
    step = BoundedSolver(rows.T @ rows, bounded).solve(-rows.T @ goal, lower, upper)
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    low[bounded], high[bounded] = lower, upper
    expected = lsq_linear(rows, goal, (low, high), method="bvls", tol=1e-12).x
    assert (step[bounded] >= lower).all() and (step[bounded] <= upper).all()
    energy, least = (float(((rows @ x - goal) ** 2).sum()) for x in (step, expected))
    assert energy <= least * 1.005 + 1e-9


def test_clipping_the_free_solution_is_another_and_a_worse_step() -> None:
    rows = np.array([[1.0, 1.0], [0.0, 0.2]])
    goal = np.array([0.5, -1.0])
    low, high = np.zeros(2), np.full(2, 1.2)
    step = BoundedSolver(rows.T @ rows, np.arange(2)).solve(-rows.T @ goal, low, high)
    clipped = np.clip(np.linalg.lstsq(rows, goal, rcond=None)[0], low, high)
    assert np.linalg.norm(rows @ step - goal) < 0.98 * np.linalg.norm(rows @ clipped - goal)


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        BoundedSolver(np.diag([1.0, -1.0]), np.arange(1))


def test_a_direction_that_overshoots_is_shortened() -> None:
    matrix, gradient = np.diag([4.0, 2.0]), np.array([-4.0, -2.0])

    def share(direction: list[float]) -> float:
        step = np.array(direction)
        return exact_share(float(gradient @ step), float(step @ matrix @ step))

    assert share([2.0, 2.0]) == pytest.approx(0.5)
    assert share([0.1, 0.1]) == 1.0
    assert share([-1.0, -1.0]) == 0.0
