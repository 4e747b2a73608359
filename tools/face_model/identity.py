"""The identity basis: principal components of generated people, filled up with smooth mesh-Laplacian directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

PRINCIPAL = 45
TOTAL = 80
FUNCTIONS = 16  # Laplacian eigenfunctions, three directions each
SMOOTH_SIGMA_MM = 1.3  # spread of the slowest function; falls with its frequency


@dataclass(frozen=True)
class Identity:
    """Mean (kept, 3) and basis (kept, 3, 80) in millimetres per standard deviation, with checks on held-out people."""

    mean: np.ndarray
    basis: np.ndarray
    variance_held: dict[int, float]
    residual_mm: dict[int, float]


def face_weights(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Area per skin vertex times (0.05 + how far in front it lies), summing to one."""
    corners = points[quads]
    area = np.linalg.norm(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]), axis=1) / 2
    vertex_area = np.bincount(quads.ravel(), np.repeat(area / 4, 4), len(points))
    weights = vertex_area * (0.05 + front(points))
    return weights / weights.sum()


def front(points: np.ndarray) -> np.ndarray:
    """1 on the front of the face, 0 behind the cheeks' turn, above the forehead and below the chin; soft."""
    depth, height, width = points[:, 2].max() - points[:, 2], points[:, 1].max() - points[:, 1], np.abs(points[:, 0])
    return _step(105, 65, depth) * _step(252, 225, height) * _step(30, 60, height) * _step(78, 64, width)


def _step(zero: float, one: float, value: np.ndarray) -> np.ndarray:
    t = np.clip((value - zero) / (one - zero), 0, 1)
    return t * t * (3 - 2 * t)


def align(people: np.ndarray, reference: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted similarity (Umeyama 1991) of each person's skin to `reference`; the parts come along."""
    skin = len(weights)
    center = np.einsum("n,pnd->pd", weights, people[:, :skin])
    target_center = weights @ reference[:skin]
    moved = people - center[:, None]
    target = reference[:skin] - target_center
    covariance = np.einsum("n,nd,pne->pde", weights, target, moved[:, :skin])
    u, s, vt = np.linalg.svd(covariance)
    flip = np.ones((len(people), 3))
    flip[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * flip[:, None]) @ vt
    spread = np.einsum("n,pnd,pnd->p", weights, moved[:, :skin], moved[:, :skin])
    scale = (s * flip).sum(1) / spread
    return (scale[:, None, None] * np.einsum("pde,pne->pnd", rotation, moved) + target_center).astype(np.float32)


def aligned_population(people: np.ndarray, mirror: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Everyone aligned to the symmetric mean of all (generalised Procrustes), of the people's mean size; and that mean."""
    mean = people.mean(0, dtype=np.float64)
    for _ in range(3):
        mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
        aligned = align(people, mean, weights)
        mean = aligned.mean(0, dtype=np.float64)
    mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
    return aligned, mean


def identity(
    people: np.ndarray, held_out: np.ndarray, mean: np.ndarray, quads: np.ndarray, mirror: np.ndarray
) -> Identity:
    """PCA of `people` (aligned) and their mirror images, then Laplacian directions orthogonal to it."""
    weights = face_weights(mean[: quads.max() + 1], quads)
    centred = people - mean
    mirrored = centred[:, mirror] * np.array([-1, 1, 1], np.float32)
    parts = [_principal((centred + sign * mirrored) / 2, weights) for sign in (1, -1)]
    values = np.concatenate([p[0] for p in parts])
    order = np.argsort(-values)[:TOTAL]
    basis = np.concatenate([p[1] for p in parts], axis=-1)[..., order]
    total = sum(p[2] for p in parts)
    held = {k: float(values[order][:k].sum() / total) for k in (20, 40, 80)}
    residual = {k: _residual_mm(held_out - mean, basis[..., :k], weights) for k in (40, 80)}
    pca = basis[..., :PRINCIPAL]
    smooth = smooth_directions(mean, quads, weights, pca)
    result = fix_signs(np.concatenate([pca, smooth], axis=-1))
    residual[-1] = _residual_mm(held_out - mean, result, weights)
    assert result.shape == (len(mean), 3, TOTAL)
    return Identity(mean, result, held, residual)


def _principal(shapes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Variances and components (kept, 3, TOTAL) in mm per sigma of `shapes` (people, kept, 3), through the Gram matrix."""
    skin = len(weights)
    rows = (shapes[:, :skin] * np.sqrt(weights)[:, None].astype(np.float32)).reshape(len(shapes), -1)
    gram = (rows @ rows.T).astype(np.float64) / len(rows)
    values, vectors = eigh(gram, subset_by_index=(len(gram) - TOTAL, len(gram) - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    components = np.einsum("pk,pnd->ndk", vectors / np.sqrt(len(rows)), shapes, optimize=True)
    return values, components, float(np.trace(gram))


def _residual_mm(shapes: np.ndarray, basis: np.ndarray, weights: np.ndarray) -> float:
    """Weighted RMS distance that the best coefficients leave."""
    skin = len(weights)
    root = np.sqrt(np.repeat(weights, 3))[:, None]
    a = basis[:skin].reshape(-1, basis.shape[-1]) * root
    b = shapes[:, :skin].reshape(len(shapes), -1).T * root
    left = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]
    return float(np.sqrt((left**2).sum(0).mean()))


def laplacian_functions(
    points: np.ndarray, quads: np.ndarray, weights: np.ndarray, mirror: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` slowest non-constant eigenfunctions (skin, count) of the cotangent Laplacian and their eigenvalues.

    `weights` is the mass, so the functions resolve the face more finely than the neck. Each is exactly even or odd under
    the mirror.
    """
    triangles = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    n = len(weights)
    stiffness = sparse.csr_matrix((n, n))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        a, b, c = triangles[:, i], triangles[:, j], triangles[:, k]
        u, v = points[a] - points[c], points[b] - points[c]
        cross = np.linalg.norm(np.cross(u, v), axis=1)
        cotangent = np.clip((u * v).sum(1) / np.maximum(cross, 1e-9), 0.05, 10) / 2
        entries = sparse.coo_matrix((cotangent, (a, b)), (n, n)).tocsr()
        stiffness = stiffness + entries + entries.T
    stiffness = sparse.diags(np.asarray(stiffness.sum(1)).ravel()) - stiffness
    swap = sparse.csr_matrix((np.ones(n), (np.arange(n), mirror[:n])), (n, n))
    stiffness = (stiffness + swap @ stiffness @ swap.T) / 2
    mass = sparse.diags((weights + weights[mirror[:n]]) / 2)
    values, functions = eigsh(stiffness.tocsc(), count + 1, mass.tocsc(), sigma=-1e-3, v0=np.cos(np.arange(n)))
    order = np.argsort(values)[1:]
    functions = functions[:, order]
    flipped = functions[mirror[:n]]
    even = (functions * flipped * weights[:, None]).sum(0) > 0
    functions = (functions + np.where(even, 1, -1) * flipped) / 2
    functions /= np.sqrt((functions**2 * weights[:, None]).sum(0))
    return fix_signs(functions), values[order]


def smooth_directions(mean: np.ndarray, quads: np.ndarray, weights: np.ndarray, pca: np.ndarray) -> np.ndarray:
    """Components (kept, 3, TOTAL - PRINCIPAL) of a smooth Gaussian prior on what `pca` and similarities leave.

    The prior is independent noise on Laplacian eigenfunction times axis, its sigma falling with the frequency. Parts move
    with the skin around their aperture.
    """
    skin = len(weights)
    mirror = _nearest_mirror(mean[:skin])
    functions, values = laplacian_functions(mean[:skin], quads, weights, mirror, FUNCTIONS)
    sigma = SMOOTH_SIGMA_MM * np.sqrt(values[0] / values)
    functions = 2.5 * np.tanh(functions / 2.5)  # the scalp weighs little, it would swing far
    full = np.concatenate([functions, _carried(functions, mean, skin)])
    directions = np.einsum("nk,de,k->ndke", full, np.eye(3), sigma).reshape(len(mean), 3, -1)
    root = np.sqrt(np.repeat(weights, 3))[:, None]
    taken = np.concatenate([pca[:skin].reshape(skin * 3, -1), _similarities(mean[:skin])], axis=1) * root
    raw = directions[:skin].reshape(skin * 3, -1) * root
    mix = np.linalg.lstsq(taken, raw, rcond=None)[0]
    left = raw - taken @ mix
    values, vectors = np.linalg.eigh(left.T @ left)
    pick = vectors[:, ::-1][:, : TOTAL - PRINCIPAL]
    taken_full = np.concatenate([pca, _similarities(mean).reshape(len(mean), 3, 7)], axis=-1)
    return np.einsum("ndk,kc->ndc", directions - np.einsum("ndk,kc->ndc", taken_full, mix), pick)


def _similarities(points: np.ndarray) -> np.ndarray:
    """Translations, rotations and scale as displacement fields (3 n, 7)."""
    fields = [np.broadcast_to(axis, points.shape) for axis in np.eye(3)]
    fields += [np.cross(axis, points) for axis in np.eye(3)] + [points]
    return np.stack([f.ravel() for f in fields], axis=1)


def _nearest_mirror(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return cKDTree(points).query(points * [-1, 1, 1])[1]


def _carried(functions: np.ndarray, mean: np.ndarray, skin: int) -> np.ndarray:
    """Values for the parts' vertices: a Gaussian average over the skin around them, constant within a part's few cm."""
    square = ((mean[skin:, None] - mean[None, :skin]) ** 2).sum(-1)
    near = np.exp(-(square - square.min(1, keepdims=True)) / (2 * 12.0**2))
    return (near / near.sum(1, keepdims=True)) @ functions


def fix_signs(basis: np.ndarray) -> np.ndarray:
    """Each column's entry of largest magnitude made positive, so that a rebuild gives the same file."""
    flat = basis.reshape(-1, basis.shape[-1])
    largest = flat[np.abs(flat).round(6).argmax(0), np.arange(flat.shape[1])]
    return basis * np.sign(largest)
