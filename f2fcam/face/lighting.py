"""Light (Face2Face, section 3): the first three bands of real spherical harmonics per colour channel, Lambertian.

`radiance = albedo * (sh_basis(normal_camera) @ lighting)` in linear light; `lighting` is (9, 3) with the cosine lobe's
factors folded in. Normals are unit vectors in camera space, pointing out of the surface (towards the camera: z < 0).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

C0, C1, C2, C3, C4 = 0.282095, 0.488603, 1.092548, 0.315392, 0.546274
"""Constants of the real spherical harmonics of bands 0 to 2 (Ramamoorthi and Hanrahan 2001, equation 3)."""


def sh_basis(normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9"]:
    """The nine basis functions Y(n) at unit normals."""
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    return np.stack(
        [
            np.full_like(x, C0),
            C1 * y,
            C1 * z,
            C1 * x,
            C2 * x * y,
            C2 * y * z,
            C3 * (3 * z * z - 1),
            C2 * x * z,
            C4 * (x * x - y * y),
        ],
        axis=-1,
    )


def sh_gradient(normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9 3"]:
    """Derivatives of `sh_basis` with respect to the normal's components."""
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    out = np.zeros((*x.shape, 9, 3), normals.dtype)
    out[..., 1, 1] = C1
    out[..., 2, 2] = C1
    out[..., 3, 0] = C1
    out[..., 4, 0], out[..., 4, 1] = C2 * y, C2 * x
    out[..., 5, 1], out[..., 5, 2] = C2 * z, C2 * y
    out[..., 6, 2] = C3 * 6 * z
    out[..., 7, 0], out[..., 7, 2] = C2 * z, C2 * x
    out[..., 8, 0], out[..., 8, 1] = 2 * C4 * x, -2 * C4 * y
    return out


def ambient(level: float = 1.0) -> Float[np.ndarray, "9 3"]:
    """White light from everywhere that renders an albedo times `level`."""
    lighting = np.zeros((9, 3), np.float32)
    lighting[0] = level / C0
    return lighting
