"""What a browser's page has reported, counted: pictures, their time codes and ages."""

from __future__ import annotations

import base64
import io
import itertools
import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

CODES = 65536
"""Time codes begin anew after so many milliseconds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one video element of the page has shown in the seconds that it was asked to look.

    Attributes:
        shown: pictures.
        distinct: new ones: their time code is later than that of all before.
        fps: new ones a second, over all of the time.
        gap_s: the longest time without a new one, from the begin and to the end, too.
        back: pictures that were older than one before.
        ages_ms: how old each new one was when it was shown, sorted.
        unread: share of the pictures whose time code could not be read.
        look_ms: what reading one picture's code cost the page, in the middle.
        rgb: the last picture.
    """

    shown: int
    distinct: int
    fps: float
    gap_s: float
    back: int
    ages_ms: list[int]
    unread: float
    look_ms: float
    rgb: np.ndarray
    png: bytes

    @staticmethod
    def of(report: dict[str, Any], seconds: float) -> Seen:
        """Of the page's `near` or `far`."""
        samples = [sample for sample in report["samples"] if sample["at"] <= 1000 * seconds]
        read = [sample for sample in samples if sample["time"] is not None]
        new, back = [], 0
        last = read[0]["time"] if read else 0  # may have been there before: counts as none
        for sample in read:
            later = (sample["time"] - last) % CODES
            if 0 < later < CODES // 2:
                last = sample["time"]
                new.append(sample)
            back += later >= CODES // 2
        moments = [0.0, *(sample["at"] / 1000 for sample in new), seconds]
        return Seen(
            shown=len(samples),
            distinct=len(new),
            fps=len(new) / seconds,
            gap_s=max(after - before for before, after in itertools.pairwise(moments)),
            back=back,
            ages_ms=sorted(sample["age"] for sample in new),
            unread=1 - len(read) / max(1, len(samples)),
            look_ms=float(np.median([sample["cost"] for sample in samples])) if samples else 0.0,
            rgb=picture_of(report["picture"]),
            png=png_of(report["picture"]),
        )

    @property
    def age_ms(self) -> float:
        """In the middle; endless where there was no picture."""
        return self.ages_ms[len(self.ages_ms) // 2] if self.ages_ms else math.inf

    @property
    def summary(self) -> str:
        """For the log."""
        height, width = self.rgb.shape[:2]
        return (
            f"{width}x{height}, {self.fps:.1f} new pictures a second, {self.age_ms:g} ms old in the middle, "
            f"longest gap {self.gap_s:.2f} s"
        )


def png_of(address: str) -> bytes:
    """The file in a data address."""
    return base64.b64decode(address.split(",")[1])


def picture_of(address: str) -> np.ndarray:
    """The pixels in a data address, RGB (h, w, 3)."""
    with av.open(io.BytesIO(png_of(address))) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")
