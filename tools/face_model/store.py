"""Write arrays as small, reproducible npz files: 16-bit steps, no pickles, no clocks."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

EPOCH = (1980, 1, 1, 0, 0, 0)


def quantised(values: np.ndarray, axis: int | None = None, dtype: type = np.int16) -> dict[str, np.ndarray]:
    """Integers and their step (one per index of `axis`, if given), under the keys "" and "__step"."""
    info = np.iinfo(dtype)
    others = None if axis is None else tuple(k for k in range(values.ndim) if k != axis % values.ndim)
    step = np.maximum(np.abs(values).max(axis=others), 1e-12).astype(np.float32) / np.float32(info.max)
    if axis is not None and axis % values.ndim != values.ndim - 1:
        raise ValueError("steps must broadcast along the last axis")
    whole = np.clip(np.round(values / step), info.min, info.max).astype(dtype)
    return {"": whole, "__step": np.float32(step)}


def save(path: Path, arrays: dict[str, np.ndarray | dict[str, np.ndarray]]) -> None:
    """An npz whose bytes depend on the values only."""
    flat: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        if isinstance(value, dict):
            flat |= {name + suffix: part for suffix, part in value.items()}
        else:
            flat[name] = np.asarray(value)
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(flat):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(flat[name]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue(), compresslevel=9)
