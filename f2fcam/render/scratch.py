"""Named arrays that live from frame to frame, since nothing on the frame path allocates what it can reuse."""

from __future__ import annotations

import math

import numpy as np


class Scratch:
    """Hands out the same memory under the same name; grows, never shrinks. Not thread-safe: each thread owns one."""

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        """A contiguous array of undefined contents, valid until `name` is taken again."""
        size = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.size < size or memory.dtype != dtype:
            memory = self._memory[name] = np.empty(size, dtype)
        return memory[:size].reshape(shape)
