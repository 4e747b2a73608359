"""Yardsticks: what this machine can do at best, and beside each hot kernel one of `touch` that touches the same bytes.

A kernel's ratio is its time over its yardstick's, both minima of thread time measured in the same run, so that a busy or slow
machine changes both. Beside it stands the floor: the longer of its bytes at this machine's memory bandwidth and its
multiplications and additions at this machine's multiply rate (of large matrices), which hardly any code reaches that looks
things up. Bytes are those of every array once, however often it is read; what lies in the caches already may be had faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from f2fcam.benchmark import touch
from f2fcam.face.camera import Intrinsics
from f2fcam.render import view
from f2fcam.render.composite import composite, pixels_of
from f2fcam.render.sampling import ACROSS, CATMULL_ROM
from f2fcam.render.shade import GAIN_SMOOTHING
from f2fcam.track import energy
from f2fcam.track.energy import EXPRESSION, LANES, UNKNOWNS

REPEATS = 25
BANDWIDTH_BYTES = 1 << 26
MULTIPLY_SIDE = 512
SAMPLES = 4096
SAMPLE_FLOPS = 2 * (3 * LANES + 9 + 6 + 27 + 9 + 6)
"""Of `photometric_curvature` per sample: rows, rotation, spin, light, slope and gain, squares."""
TAPS = 16

Call = tuple[tuple, dict[str, Any]]
"""Positional and named arguments with which something was called."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One kernel: its best time, its yardstick's, what it has to move and what it has to multiply and add."""

    kernel_ms: float
    yardstick_ms: float
    megabytes: float
    megaflops: float

    @property
    def ratio(self) -> float:
        """How many times longer than the yardstick."""
        return self.kernel_ms / max(self.yardstick_ms, 1e-6)

    def floor_ms(self, machine: Machine) -> float:
        """What the machine needs at the least."""
        return machine.floor_ms(self.megabytes, self.megaflops)


@dataclass(frozen=True, slots=True)
class Machine:
    """What one thread can do: bytes read from memory, and multiplications and additions in single precision."""

    memory_gb_per_s: float
    multiply_gflop_per_s: float

    def floor_ms(self, megabytes: float, megaflops: float) -> float:
        """The longer of reading so much and computing so much."""
        return max(megabytes / self.memory_gb_per_s, megaflops / self.multiply_gflop_per_s)


def best_ms(work: Callable[[], object], repeats: int | None = None) -> float:
    """Shortest time of this thread for `work`, after one call that does not count."""
    work()
    times = []
    for _ in range(repeats or REPEATS):
        start = time.thread_time_ns()
        work()
        times.append(time.thread_time_ns() - start)
    return min(times) / 1e6


def measure_machine() -> Machine:
    """By reading 64 MiB, and by multiplying matrices of 512 x 512."""
    memory = np.ones(BANDWIDTH_BYTES // 4, np.float32)
    matrix = np.ones((MULTIPLY_SIDE, MULTIPLY_SIDE), np.float32)
    return Machine(
        BANDWIDTH_BYTES / 1e6 / best_ms(lambda: touch.read(memory), 7),
        2 * MULTIPLY_SIDE**3 / 1e6 / best_ms(lambda: matrix @ matrix, 7),
    )


def solver_product() -> Measured:
    """`energy.photometric_curvature`, a Gauss-Newton step's product with the Jacobian of 4,096 samples.

    Counted: the packed rows and the other numbers of every sample, each read once and multiplied once.
    """
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    rows, unit = energy.packed_rows(draw(SAMPLES, 3, EXPRESSION.stop - EXPRESSION.start))
    rotation, spin, slope = np.eye(3, dtype=np.float32), draw(SAMPLES, 3), draw(SAMPLES, 3, 3)
    gain, basis, weight, vector = draw(SAMPLES, 3), draw(SAMPLES, 9), np.ones(SAMPLES, np.float32), draw(UNKNOWNS)
    along = draw(LANES)
    return Measured(
        best_ms(lambda: energy.photometric_curvature(rows, unit, spin, rotation, weight, slope, gain, basis, vector)),
        best_ms(lambda: touch.rows(rows, along, spin, weight, slope, gain, basis)),
        sum(a.nbytes for a in (rows, spin, weight, slope, gain, basis)) / 1e6,
        SAMPLES * SAMPLE_FLOPS / 1e6,
    )


def model_evaluation(workspace: view.Workspace, call: Call) -> Measured:
    """A frame's two meshes from their expressions to projected vertices with their change of light (`call` of `_surfaces`).

    Counted: the level-0 basis read once for both, both meshes' normals and the passes of smoothing their light over the
    level-0 triangles, the operator to the drawn level with nine columns gathered and summed, thirteen numbers written per
    vertex. Not counted: poses, shading, projecting, patches, tint and the fade of light.
    """
    mesh, basis, triangles = workspace.skins["video"].mesh, workspace.expressions, workspace.triangles0
    operator, count0 = mesh.operator, basis.shape[1] // 3
    weights = np.ones((2, len(basis)), np.float32)
    moved, gain, other = (
        np.zeros((2, 3 * count0), np.float32),
        np.ones(count0, np.float32),
        np.empty(count0, np.float32),
    )
    coarse, out = np.ones((count0, 12), np.float32), np.empty((len(mesh.rows), 16), np.float32)
    normals = np.empty((count0, 3), np.float32)
    meshes = [row.reshape(-1, 3) for row in moved]

    def work() -> None:
        touch.blend(weights, basis, moved)
        for points in meshes:
            touch.normals(points, triangles, normals)
        touch.smooth(gain, triangles, GAIN_SMOOTHING, other)
        touch.carry(operator.indptr, operator.indices, operator.data, coarse, out)

    arguments, named = call
    read = basis.nbytes + operator.data.nbytes + operator.indices.nbytes + operator.indptr.nbytes + triangles.nbytes
    flops = 2 * 2 * basis.size + 2 * 9 * operator.nnz + len(triangles) * (2 * 23 + 5 * GAIN_SMOOTHING)
    return Measured(
        best_ms(lambda: view._surfaces(*arguments, **named)),
        best_ms(work),
        (read + moved.nbytes + 2 * normals.nbytes + coarse.nbytes + out.nbytes) / 1e6,
        flops / 1e6,
    )


def rasteriser(workspace: view.Workspace, call: Call) -> Measured:
    """The z-buffer on a frame's own mesh (`call` of its `rasterize`).

    Counted: every vertex read and written once, every triangle's corners read, every pixel of every front-facing triangle
    once with its depth read, compared and (where nearer) written with triangle and barycentrics, all buffers cleared. Which
    pixels those are is known to the yardstick beforehand; finding them is the rasteriser's own.
    """
    arguments, named = call
    points, triangles, camera, region = arguments[:4]
    drawn = workspace.rasterizer.rasterize(*arguments, **named)
    triangle, barycentric, depth = drawn.triangle.copy(), drawn.barycentric.copy(), drawn.depth.copy()
    first, spans = _spans(np.ascontiguousarray(points, np.float32), triangles, camera, region)
    projected, pixels = np.empty_like(points), int((spans[:, 2] - spans[:, 1]).sum())
    moved = points.nbytes + projected.nbytes + triangles.nbytes + triangle.nbytes + depth.nbytes + barycentric.nbytes
    return Measured(
        best_ms(lambda: workspace.rasterizer.rasterize(*arguments, **named)),
        best_ms(lambda: touch.cover(points, triangles, first, spans, projected, triangle, depth, barycentric)),
        moved / 1e6,
        (9 * len(points) + 20 * len(triangles) + 12 * pixels) / 1e6,
    )


def _spans(points: np.ndarray, triangles: np.ndarray, camera: Intrinsics, region: Any) -> tuple[np.ndarray, np.ndarray]:
    """`touch.find_spans` of a mesh in camera space."""
    x0, y0, x1, y1 = region
    pixels = (camera.project(points) - np.array([x0, y0])).astype(np.float32)
    first, spans = np.empty(len(triangles) + 1, np.int32), np.empty((0, 3), np.int32)
    count = touch.find_spans(pixels, triangles, x1 - x0, y1 - y0, first, spans)
    spans = np.empty((count, 3), np.int32)
    touch.find_spans(pixels, triangles, x1 - x0, y1 - y0, first, spans)
    return first, spans


def interpolation(call: Call) -> tuple[float, float, float]:
    """Yardstick, megabytes and megaflops of what a frame's field needs (`call` of `composite`): part of the stage `render`."""
    fragments, triangles = call[0][2:4]
    attributes = np.ones((int(triangles.max()) + 1, 7), np.float32)
    out = np.empty((*fragments.triangle.shape, 8), np.float32)
    covered = int(np.count_nonzero(fragments.triangle >= 0))
    moved = fragments.triangle.nbytes + covered * 3 * 4 + triangles.nbytes + attributes.nbytes + out.nbytes
    work = best_ms(lambda: touch.interpolate(fragments.triangle, fragments.barycentric, triangles, attributes, out))
    return work, moved / 1e6, 2 * 21 * covered / 1e6


def compositing(call: Call) -> Measured:
    """`composite` of a frame (its `call`), patches included.

    Counted: the picture copied, sixteen of its pixels read and weighed for every masked one, at its own place instead of the
    shifted one, all that the field's cell says of it read, its three bytes written; every patch's covered pixels mixed in.
    Not counted: the field between its cells, the weights' table, the texture and the cavity.
    """
    arguments, named = call
    frame, field, patches = arguments[0], arguments[1], arguments[6]
    x0, y0, x1, y1 = pixels_of(field.region, field.stride, frame.shape)
    rows, columns = y1 - y0, x1 - x0
    out = np.empty_like(frame)

    def work() -> None:
        np.copyto(out, frame)
        touch.resample(
            frame, field.stride, field.mask, field.shift, field.gain, field.confidence, field.cavity, x0, y0,
            CATMULL_ROM, ACROSS, out,
        )  # fmt: skip
        for patch in patches:
            touch.paste(*_within(patch, out), out)

    cells = int(np.count_nonzero(field.mask))
    masked = cells * field.stride**2
    pasted = sum(int(np.count_nonzero(patch.alpha)) for patch in patches)
    moved = 2 * frame.nbytes + rows * columns * (3 + 1) + masked * 3 + cells * 7 * 4 + pasted * 10
    return Measured(
        best_ms(lambda: composite(*arguments, **named)),
        best_ms(work),
        moved / 1e6,
        (masked * 2 * 3 * (TAPS + 4) + pasted * 6) / 1e6,
    )


def _within(patch: Any, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, int]:
    """The part of a patch that lies in the picture, and where."""
    height, width = out.shape[:2]
    left, top = max(-patch.x, 0), max(-patch.y, 0)
    right, bottom = min(width - patch.x, patch.alpha.shape[1]), min(height - patch.y, patch.alpha.shape[0])
    inside = np.s_[top : max(bottom, top), left : max(right, left)]
    return patch.rgb[inside], patch.alpha[inside], patch.x + left, patch.y + top


def patching(patches: tuple) -> tuple[float, float, float]:
    """Yardstick, megabytes and megaflops of making patches: every covered pixel from sixteen, skin and inside; two origins."""
    pairs = []
    for patch in patches:
        rows, columns = patch.alpha.shape
        pairs.append(
            (np.zeros((rows + 4, columns + 4, 3), np.uint8), patch.alpha, np.empty((rows, columns, 3), np.uint8))
        )

    def work() -> None:
        for source, alpha, out in pairs:
            for _ in range(2):
                touch.sample(source, alpha, CATMULL_ROM, ACROSS, out)

    pixels = 2 * sum(int(np.count_nonzero(patch.alpha)) for patch in patches)
    return best_ms(work), pixels * (3 + 3 + 1) / 1e6, pixels * 2 * 3 * TAPS / 1e6


def colour_conversion(size: tuple[int, int]) -> Measured:
    """RGB to I420 against copying as many bytes as it reads."""
    width, height = size
    rgb = np.full((height, width, 3), 120, np.uint8)
    planes, copied = np.empty((height * 3 // 2, width), np.uint8), np.empty_like(rgb)
    return Measured(
        best_ms(lambda: cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420, dst=planes)),
        best_ms(lambda: np.copyto(copied, rgb)),
        (rgb.nbytes + planes.nbytes) / 1e6,
        width * height * (3 + 2 * 3 / 4) * 2 / 1e6,
    )
