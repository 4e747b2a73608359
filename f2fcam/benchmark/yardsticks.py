"""Yardsticks: what this machine can do at best, and for each hot kernel one that touches the same bytes with no logic.

A stage's ratio is its time over its yardstick's, both minima of thread time measured in the same run, so that a busy or slow
machine changes both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from f2fcam.render import view
from f2fcam.render.composite import composite
from f2fcam.track import energy
from f2fcam.track.energy import EXPRESSION, UNKNOWNS

REPEATS = 25
BANDWIDTH_BYTES = 1 << 26
MULTIPLY_SIDE = 512
SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Measured:
    """One kernel: its best time, its yardstick's, and what it moves."""

    kernel_ms: float
    floor_ms: float
    megabytes: float

    @property
    def ratio(self) -> float:
        """How many times longer than the yardstick."""
        return self.kernel_ms / max(self.floor_ms, 1e-6)


def best_ms(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Shortest time of this thread for `work`, after one call that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.thread_time_ns()
        work()
        times.append(time.thread_time_ns() - start)
    return min(times) / 1e6


def machine() -> dict[str, float]:
    """Memory bandwidth (GB/s, reading) and multiply rate (GFlop/s, single precision) of one thread."""
    memory = np.ones(BANDWIDTH_BYTES // 4, np.float32)
    matrix = np.ones((MULTIPLY_SIDE, MULTIPLY_SIDE), np.float32)
    return {
        "memory_gb_per_s": BANDWIDTH_BYTES / 1e6 / best_ms(lambda: _read(memory), 7),
        "multiply_gflop_per_s": 2 * MULTIPLY_SIDE**3 / 1e6 / best_ms(lambda: matrix @ matrix, 7),
    }


@njit("f4(f4[::1])", nogil=True, cache=True, fastmath=True)
def _read(values):
    total = np.float32(0)
    for i in range(len(values)):
        total += values[i]
    return total


@njit("i8(i4[::1])", nogil=True, cache=True, fastmath=True)
def _read_indices(values):
    total = 0
    for i in range(len(values)):
        total += values[i]
    return total


@njit("i4(i2[::1])", nogil=True, cache=True, fastmath=True)
def _read_short(values):
    total = np.int32(0)
    for i in range(len(values)):
        total += np.int32(values[i])
    return total


def solver_product() -> Measured:
    """`energy.photometric_curvature`, a step's product with all rows, against one read of the expression rows."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    rows, unit = energy.packed_rows(draw(SAMPLES, 3, EXPRESSION.stop - EXPRESSION.start))
    rotation, spin, slope = np.eye(3, dtype=np.float32), draw(SAMPLES, 3), draw(SAMPLES, 3, 3)
    gain, basis, weight, vector = draw(SAMPLES, 3), draw(SAMPLES, 9), np.ones(SAMPLES, np.float32), draw(UNKNOWNS)
    flat = rows.reshape(-1)
    return Measured(
        best_ms(lambda: energy.photometric_curvature(rows, unit, spin, rotation, weight, slope, gain, basis, vector)),
        best_ms(lambda: _read_short(flat)),
        rows.nbytes / 1e6,
    )


def model_evaluation(target: view.TargetView, workspace: view.Workspace) -> Measured:
    """Both meshes of a frame, level 0 to level 2 and projected, against reading basis and operator and writing them."""
    camera, expression = target.person.intrinsics, target.performance.expression
    skin, basis = workspace.skins["video"], workspace.expressions.reshape(-1)
    operator, out = skin.mesh.operator, np.empty((len(skin.mesh.rows), 11), np.float32)

    def touch() -> None:
        _read(basis)
        _read(operator.data)
        _read_indices(operator.indices)
        out.fill(0)

    moved = basis.nbytes + operator.data.nbytes + operator.indices.nbytes + out.nbytes
    best = best_ms(lambda: view._surfaces(target, expression, camera, skin, workspace))
    return Measured(best, best_ms(touch), moved / 1e6)


@njit("void(f4[:,::1], i4[:,::1], i4[:,::1], f4[:,::1], f4[:,:,::1])", nogil=True, cache=True, fastmath=True)
def _touch_mesh(points, triangles, out_triangle, out_depth, out_barycentric):
    """Read every triangle's corners, write every pixel."""
    total = np.float32(0)
    for t in range(len(triangles)):
        for k in range(3):
            v = triangles[t, k]
            total += points[v, 0] + points[v, 1] + points[v, 2]
    for y in range(out_triangle.shape[0]):
        for x in range(out_triangle.shape[1]):
            out_triangle[y, x] = -1
            out_depth[y, x] = total
            for k in range(3):
                out_barycentric[y, x, k] = total


def rasteriser(workspace: view.Workspace, arguments: tuple) -> Measured:
    """The z-buffer on a frame's own mesh (`arguments` of its `rasterize`) against reading corners and writing pixels."""
    points, triangles, camera, region = arguments
    drawn = workspace.rasterizer.rasterize(points, triangles, camera, region)
    out = tuple(np.empty_like(a) for a in (drawn.triangle, drawn.depth, drawn.barycentric))
    moved = triangles.nbytes + points.nbytes + sum(a.nbytes for a in out)
    return Measured(
        best_ms(lambda: workspace.rasterizer.rasterize(points, triangles, camera, region)),
        best_ms(lambda: _touch_mesh(points, triangles, *out)),
        moved / 1e6,
    )


@njit(
    "void(u1[:,:,::1], u1[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], i4[:,::1], f4[:,:,::1], i8, i8, u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _touch_picture(frame, mask, shift, gain, confidence, triangle, barycentric, x0, y0, out):
    """Read what every masked pixel needs, its sixteen source pixels included, and write it."""
    height, width = frame.shape[:2]
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] == 0:
                continue
            value = shift[y, x, 0] + shift[y, x, 1] + confidence[y, x] + triangle[y, x] + barycentric[y, x, 0]
            value += gain[y, x, 0] + gain[y, x, 1] + gain[y, x, 2]
            yy, xx = min(max(y + y0 - 1, 0), height - 4), min(max(x + x0 - 1, 0), width - 4)
            for k in range(3):
                total = np.float32(0)
                for j in range(4):
                    for i in range(4):
                        total += frame[yy + j, xx + i, k]
                out[y + y0, x + x0, k] = np.uint8(int(total + value) & 255)


def compositing(arguments: tuple) -> Measured:
    """`composite` on a frame (its `arguments`) against reading and writing the same pixels unmoved."""
    frame, field, fragments, triangles, texture, cavity, _, out, scratch = arguments
    x0, y0 = field.region[:2]
    out = np.empty_like(out)

    def touch() -> None:
        np.copyto(out, frame)
        _touch_picture(
            frame, field.mask, field.shift, field.gain, field.confidence,
            fragments.triangle, fragments.barycentric, x0, y0, out,
        )  # fmt: skip

    moved = 2 * frame.nbytes + int(np.count_nonzero(field.mask)) * (16 * 3 + 3 + 4 * 8)
    return Measured(
        best_ms(lambda: composite(frame, field, fragments, triangles, texture, cavity, (), out, scratch)),
        best_ms(touch),
        moved / 1e6,
    )


def colour_conversion(size: tuple[int, int]) -> Measured:
    """RGB to I420 against copying as many bytes."""
    width, height = size
    rgb = np.full((height, width, 3), 120, np.uint8)
    planes, copied = np.empty((height * 3 // 2, width), np.uint8), np.empty_like(rgb)
    return Measured(
        best_ms(lambda: cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420, dst=planes)),
        best_ms(lambda: np.copyto(copied, rgb)),
        (rgb.nbytes + planes.nbytes) / 1e6,
    )
