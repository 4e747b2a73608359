"""A stage's own yardstick, made of its kernels' and of what else it has to touch."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from f2fcam.benchmark import touch, yardsticks
from f2fcam.benchmark.chain import Serial, Stages
from f2fcam.benchmark.yardsticks import Machine, Measured, best_ms
from f2fcam.track.fit import FitConfig
from f2fcam.transfer import Transfer

PASSES_PER_STEP = 3
"""Of a Gauss-Newton step over the samples: linearised, its gradient, its curvature."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one stage moves, multiplies and adds for a picture; its yardstick's time, None where there is none."""

    megabytes: float
    megaflops: float | None
    yardstick_ms: float | None


def measure_kernels(serial: Serial, stages: Stages, size: tuple[int, int]) -> dict[str, Measured]:
    """The hot kernels beside their yardsticks, on the last frame that was shown."""
    memory, calls = serial.render.memory, stages.arguments
    measured = {"solver_product": yardsticks.solver_product(), "i420": yardsticks.colour_conversion(size)}
    if "composite" in calls:  # the actor was tracked, so that something was drawn
        measured["model"] = yardsticks.model_evaluation(memory, calls["model"])
        measured["rasteriser"] = yardsticks.rasteriser(memory, calls["rasterize"])
        measured["composite"] = yardsticks.compositing(calls["composite"])
    return measured


def stage_work(serial: Serial, stages: Stages, kernels: dict[str, Measured], picture: np.ndarray) -> dict[str, Work]:
    """Per stage of the chain.

    - landmarks: the picture read once; the network is another's, and has no yardstick here.
    - track: `solver_product`'s for each pass of each Gauss-Newton step; the picture's pyramid, the landmarks' rows and the
      normal matrix are not counted.
    - transfer: the pair's arrays read once.
    - target_frame: the picture copied; decoding is another thread's.
    - mouth_eyes: the patches' pixels (`yardsticks.patching`); choosing them is not counted.
    - render: both meshes, the rasteriser, and the field interpolated from it.
    - composite, i420: their kernels.
    """
    product, conversion = kernels["solver_product"], kernels["i420"]
    passes = PASSES_PER_STEP * sum(FitConfig().steps)
    source, target = picture, stages.target.view.rgb if stages.target is not None else picture
    copied = np.empty_like(target)
    work = {
        "landmarks": Work(source.nbytes / 1e6, None, None),
        "track": Work(passes * product.megabytes, passes * product.megaflops, passes * product.yardstick_ms),
        "transfer": _transfer_work(serial.actor.transfer),
        "target_frame": Work(2 * target.nbytes / 1e6, 0.0, best_ms(lambda: np.copyto(copied, target))),
        "i420": _of(conversion),
    }
    if "composite" in kernels:
        model, mesh, pasted = kernels["model"], kernels["rasteriser"], kernels["composite"]
        call = stages.arguments["composite"]
        field_ms, field_mb, field_mf = yardsticks.interpolation(call)
        work["render"] = Work(
            model.megabytes + mesh.megabytes + field_mb,
            model.megaflops + mesh.megaflops + field_mf,
            model.yardstick_ms + mesh.yardstick_ms + field_ms,
        )
        work["composite"] = _of(pasted)
        patch_ms, patch_mb, patch_mf = yardsticks.patching(call[0][6])
        work["mouth_eyes"] = Work(patch_mb, patch_mf, patch_ms or None)
    return work


def _of(kernel: Measured) -> Work:
    return Work(kernel.megabytes, kernel.megaflops, kernel.yardstick_ms)


def _transfer_work(transfer: Transfer) -> Work:
    arrays = [getattr(transfer, f.name) for f in fields(transfer)]
    arrays = [
        np.ascontiguousarray(a).reshape(-1).view(np.float32) for a in arrays if isinstance(a, np.ndarray) and a.ndim
    ]
    megabytes = sum(a.nbytes for a in arrays) / 1e6
    return Work(megabytes, megabytes / 2, best_ms(lambda: [touch.read(a) for a in arrays]))


def stage_table(
    stages: Stages, work: dict[str, Work], machine: Machine, allocated: dict[str, dict[str, float]]
) -> dict[str, dict[str, float | None]]:
    """Stage -> median and 95th percentile (ms), allocation (kB), work, floor, yardstick and the median's ratio to it."""
    table: dict[str, dict[str, float | None]] = {}
    for name, times in stages.summary().items():
        one = work.get(name)
        yardstick = one.yardstick_ms if one else None
        table[name] = {
            **times,
            "allocated_kb": allocated[name]["p50"] if name in allocated else None,
            "megabytes": _rounded(one and one.megabytes),
            "megaflops": _rounded(one and one.megaflops),
            "floor_ms": _rounded(one and machine.floor_ms(one.megabytes, one.megaflops or 0.0)),
            "yardstick_ms": _rounded(yardstick),
            "ratio": _rounded(times["p50"] / yardstick if yardstick else None),
        }
    return table


def kernel_table(kernels: dict[str, Measured], machine: Machine) -> dict[str, dict[str, float | None]]:
    """Kernel -> its best time, its yardstick's, their ratio, its work and floor."""
    return {
        name: {
            "kernel_ms": _rounded(one.kernel_ms),
            "yardstick_ms": _rounded(one.yardstick_ms),
            "ratio": _rounded(one.ratio),
            "megabytes": _rounded(one.megabytes),
            "megaflops": _rounded(one.megaflops),
            "floor_ms": _rounded(one.floor_ms(machine)),
        }
        for name, one in kernels.items()
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
