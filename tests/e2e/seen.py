"""What a browser's page has reported, counted: pictures, their time codes and ages."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import av
import numpy as np


@dataclass(frozen=True, slots=True)
class Seen:
    """What one video element of the page has shown.

    Attributes:
        shown: pictures.
        distinct: pictures with a time code that differs from the one before.
        fps: of the distinct ones, from the first to the last.
        ages_ms: how old each distinct one was when it was shown, in order.
        unread: share of the pictures whose time code could not be read.
        rgb: the last picture.
    """

    shown: int
    distinct: int
    fps: float
    ages_ms: list[int]
    unread: float
    rgb: np.ndarray
    png: bytes

    @staticmethod
    def of(report: dict[str, Any]) -> Seen:
        """Of the page's `near` or `far`."""
        samples = report["samples"]
        changes, last = [], None
        for sample in samples:
            if sample["time"] is not None and sample["time"] != last:
                last = sample["time"]
                changes.append(sample)
        span_s = (changes[-1]["at"] - changes[0]["at"]) / 1000 if len(changes) > 1 else 0.0
        png = base64.b64decode(report["picture"].split(",")[1])
        return Seen(
            shown=len(samples),
            distinct=len({change["time"] for change in changes}),
            fps=(len(changes) - 1) / span_s if span_s else 0.0,
            ages_ms=sorted(change["age"] for change in changes),
            unread=sum(sample["time"] is None for sample in samples) / max(1, len(samples)),
            rgb=_rgb(png),
            png=png,
        )

    @property
    def summary(self) -> str:
        """For the log."""
        age = f"{self.ages_ms[len(self.ages_ms) // 2]} ms" if self.ages_ms else "no time code"
        height, width = self.rgb.shape[:2]
        return f"{width}x{height}, {self.fps:.1f} distinct pictures a second, {age} old in the middle"


def _rgb(png: bytes) -> np.ndarray:
    with av.open(io.BytesIO(png)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")
