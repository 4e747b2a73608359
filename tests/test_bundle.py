"""Bundling: derivatives against finite differences, elimination against the whole system."""

from __future__ import annotations

import numpy as np

from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.track.bundle_rows import bundle_rows
from f2fcam.track.bundle_system import OWN, SHARED, Block, reduced_system

COUNT = 60


def scene():
    """A bumpy patch, tangents that turn with the coefficients, and a smooth random picture."""
    rng = np.random.default_rng(7)
    rows = [rng.normal(0, s, (COUNT, 3, 156)).astype(np.float32) for s in (1.0, 0.02, 0.02)]
    x, y = rng.uniform(-60, 60, (2, COUNT))
    base = [
        np.column_stack([x, y, 8 * np.sin(x / 20)]),
        np.column_stack([np.ones(COUNT), np.zeros(COUNT), 0.4 * np.cos(x / 20)]),
        np.column_stack([np.zeros(COUNT), np.ones(COUNT), 0.2 * np.sin(y / 15)]),
    ]
    v, u = np.mgrid[0:120, 0:120]
    image = np.stack([0.5 + 0.3 * np.sin(u / 14 + c) * np.cos(v / 17 - c) for c in range(3)], axis=2)
    lighting = rng.normal(0, 0.2, (9, 3))
    lighting[0] = 3.0
    return (
        rows,
        base,
        image.astype(np.float32),
        lighting.astype(np.float32),
        rng.uniform(0.2, 0.6, (COUNT, 3)).astype(np.float32),
    )


def evaluate(vector, log_reflectance=0.0, saturation=1e6):
    """Residuals divided by nothing, and rows, at the scene moved by `[shared 161, own 109]`."""
    rows, base, image, lighting, albedo = scene()
    albedo_rows = np.random.default_rng(2).normal(0, 0.01, (COUNT, 3, 80)).astype(np.float32)
    coefficients = np.concatenate([vector[:80], vector[167:243]])
    placed = [(b + r @ coefficients).astype(np.float32) for b, r in zip(base, rows, strict=True)]
    start = RigidTransform(so3_exp(np.array([0.1, -0.2, 0.05])) @ np.diag([1.0, -1, -1]), np.array([3.0, -2, 600.0]))
    pose = RigidTransform(so3_exp(vector[161:164]) @ start.rotation, start.translation + vector[164:167])
    light = lighting + vector[243:].reshape(9, 3)
    reflectance = ((albedo + albedo_rows @ vector[80:160]) * np.exp(log_reflectance)).astype(np.float32)
    jacobian, residual = np.zeros((3 * COUNT, 270), np.float32), np.zeros(3 * COUNT, np.float32)
    own = np.zeros(3 * COUNT, np.float32)
    bundle_rows(
        *placed, pose.rotation.astype(np.float32), pose.translation.astype(np.float32), image, 400.0 * np.exp(vector[160]),
        60.0, 60.0, reflectance, albedo_rows, light.astype(np.float32), np.ones(COUNT, np.float32),
        np.ones(COUNT, np.bool_), *rows, np.float32(1.0), np.float32(saturation), np.float32(1.0), jacobian, residual, own,
    )  # fmt: skip
    return residual, jacobian, own


def test_rows_match_finite_differences():
    """A weighted residual is sqrt(share / |d|) d, so that times its own norm it is share * d."""
    residual, jacobian, own = evaluate(np.zeros(270))

    def difference(vector, log_reflectance=0.0):
        moved, _, _ = evaluate(vector, log_reflectance)
        rows = moved.reshape(COUNT, 3).astype(np.float64)
        return rows * np.linalg.norm(rows, axis=1, keepdims=True)

    center = difference(np.zeros(270))
    norms = np.linalg.norm(residual.reshape(COUNT, 3), axis=1)
    assert (norms > 0).all()
    for column in (3, 40, 85, 120, 160, 161, 162, 163, 164, 165, 166, 170, 200, 243, 250, 269):
        step = np.zeros(270)
        size = 3e-3 if column not in (164, 165, 166) else 3e-2
        step[column] = size
        numeric = (difference(step) - difference(-step)) / (2 * size)
        # d(share d) = share' d + share J: compare the component that the slowly changing share cannot make.
        analytic = jacobian[:, column].reshape(COUNT, 3) * norms[:, None]
        across = _across(numeric, center), _across(analytic, center)
        assert np.linalg.norm(across[0] - across[1]) < 0.03 * np.linalg.norm(across[1]) + 1e-6, column
    numeric = (difference(np.zeros(270), 3e-3) - difference(np.zeros(270), -3e-3)) / 6e-3
    analytic = own.reshape(COUNT, 3) * norms[:, None]
    across = _across(numeric, center), _across(analytic, center)
    assert np.linalg.norm(across[0] - across[1]) < 0.03 * np.linalg.norm(across[1])


def _across(change, direction):
    """The part of each sample's change that is perpendicular to its residual, which scaling it cannot make."""
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return change - (change * unit).sum(axis=1, keepdims=True) * unit


def test_eliminated_reflectance_gives_the_step_of_the_whole_system():
    rng = np.random.default_rng(3)
    samples, frames = 30, 2
    size, own = SHARED + OWN * frames, 3 * samples
    blocks = [Block.empty(samples, 5) for _ in range(frames)]
    for block in blocks:
        block.jacobian[:] = rng.normal(0, 0.1, block.jacobian.shape)
        block.residual[:] = rng.normal(0, 1, len(block.residual))
        block.reflectance[:] = rng.normal(0, 1, own)
    prior, value = np.diag(rng.uniform(0.1, 1, size)), rng.normal(0, 1, size)
    prior[:80, :80] += np.cov(rng.normal(0, 1, (80, 200)))
    own_prior, own_value = rng.uniform(0.1, 1, (2, own)).astype(np.float32)
    system = reduced_system(blocks, prior, value, own_prior, own_value)
    step = system.step(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), 0.0)

    whole, slope = (
        np.diag(np.concatenate([np.zeros(size), own_prior])),
        np.concatenate([prior @ value, own_prior * own_value]),
    )
    whole[:size, :size] = prior
    for f, block in enumerate(blocks):
        rows = np.zeros((len(block.residual), size + own))
        rows[:, :SHARED] = block.jacobian[:, :SHARED]
        rows[:, SHARED + OWN * f : SHARED + OWN * (f + 1)] = block.jacobian[:, SHARED:]
        rows[np.arange(own), size + np.arange(own)] = block.reflectance
        whole, slope = whole + rows.T @ rows, slope + rows.T @ block.residual
    expected = np.linalg.solve(whole, -slope)
    np.testing.assert_allclose(step, expected[:size], atol=1e-3)
    np.testing.assert_allclose(system.own_step(step), expected[size:], atol=1e-3)


def test_a_saturated_residual_has_little_leverage():
    free, _, _ = evaluate(np.zeros(270))
    norms = np.linalg.norm(free.reshape(COUNT, 3), axis=1)
    held, _, _ = evaluate(np.zeros(270), saturation=1e-3)
    assert (np.linalg.norm(held.reshape(COUNT, 3), axis=1) < 0.01 * norms).all()
