"""Relighting: the gain on encoded colours is a ratio of linear light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from f2fcam.face.lighting import ambient, sh_basis
from f2fcam.frame import srgb_decode, srgb_encode
from f2fcam.render.shade import (
    ENCODED_OFFSET,
    LARGEST_RATIO,
    LUMINANCE,
    SMALLEST_RATIO,
    encoded_gain,
    shade_uncertain,
    smooth_gain,
)


def unit(random: np.random.Generator, count: int) -> np.ndarray:
    normals = random.normal(size=(count, 3))
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def soft_light(random: np.random.Generator) -> np.ndarray:
    """Mostly ambient, so that shading stays positive all around."""
    return (ambient(0.9) + random.normal(size=(9, 3)) * 0.12).astype(np.float32)


def gains(new: np.ndarray, old: np.ndarray, lighting: np.ndarray) -> np.ndarray:
    out = np.empty(len(new), np.float32)
    encoded_gain(new, old, lighting, out)
    return out


def test_equal_normals_leave_the_picture_exactly() -> None:
    random = np.random.default_rng(1)
    normals = unit(random, 200)
    np.testing.assert_array_equal(gains(normals, normals, soft_light(random)), 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_gain_is_the_ratio_of_luminance_in_linear_light(seed: int) -> None:
    random = np.random.default_rng(seed)
    new, old, lighting = unit(random, 50), unit(random, 50), soft_light(random)
    light = [sh_basis(normals.astype(np.float64)) @ lighting @ np.array(LUMINANCE) for normals in (new, old)]
    ratio = np.clip(light[0] / light[1], SMALLEST_RATIO, LARGEST_RATIO)
    encoded = 0.5  # well inside sRGB's power segment, where the identity is exact
    relit = (encoded + ENCODED_OFFSET) * gains(new, old, lighting) - ENCODED_OFFSET
    np.testing.assert_allclose(srgb_decode(relit), np.minimum(srgb_decode(encoded) * ratio, 1), rtol=2e-3)


def test_no_ratio_goes_beyond_the_limits() -> None:
    random = np.random.default_rng(2)
    new, old = unit(random, 500), unit(random, 500)
    harsh = ambient(0.3)
    harsh[2] = -0.5
    found = gains(new, old, harsh)
    assert found.max() == pytest.approx(LARGEST_RATIO ** (1 / 2.4), rel=1e-4)
    assert found.min() == pytest.approx(SMALLEST_RATIO ** (1 / 2.4), rel=1e-4)


def test_smoothing_keeps_a_constant_and_spreads_a_spike() -> None:
    triangles = np.int32([[0, 1, 2], [1, 3, 2], [2, 3, 4]])
    constant = np.full(5, 1.25, np.float32)
    smooth_gain(constant, triangles, 3, np.empty((5, 2), np.float32))
    np.testing.assert_allclose(constant, 1.25, rtol=1e-6)
    spike = np.float32([1, 1, 2, 1, 1])
    smooth_gain(spike, triangles, 1, np.empty((5, 2), np.float32))
    assert spike.min() > 1 and spike.max() < 1.6


def test_uncertain_vertices_show_albedo_times_light_encoded() -> None:
    random = np.random.default_rng(3)
    normals, lighting = unit(random, 300), soft_light(random)
    albedo = random.uniform(0.02, 0.9, (300, 3)).astype(np.float32)
    confidence = random.choice([0.0, 0.25, 1.0], 300).astype(np.float32)
    out = np.full((300, 4), np.nan, np.float32)
    operator, rows = sparse.identity(300, np.float32, format="csr"), np.arange(300, dtype=np.int32)
    shade_uncertain(operator, rows, normals, albedo, lighting, confidence, out)
    share = 1 - confidence[:, None]
    expected = 255 * srgb_encode(albedo * (sh_basis(normals.astype(np.float64)) @ lighting))
    np.testing.assert_allclose(out[:, 3:], share, atol=1e-6)
    np.testing.assert_allclose(out[:, :3], share * expected, atol=0.5)
