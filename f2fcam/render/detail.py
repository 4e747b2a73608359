"""Levels of the picture: how finely the target's face is made, from full quality to a floor (`f2fcam.deadline`).

Below full the face is drawn into a smaller copy of the target's frame and enlarged again. Only what it changes is: all around,
the frame stays as sharp as it is, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

Fade = Literal["flow", "mix", "none"]
"""How one retrieved mouth or eye turns into the next: along the optical flow between them, mixed, or at once."""

LEAST_FACE_PX = 240
"""A face is not drawn less high than that: teeth and lids would lose their edges."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One level.

    Attributes:
        words: what it means. scale: of the picture into which the face is drawn.
    """

    words: str
    scale: Fraction = Fraction(1)
    fade: Fade = "flow"


DETAILS = (
    Detail("full"),
    Detail("fades without optical flow", fade="mix"),
    Detail("face at half the size, fades without optical flow", Fraction(1, 2), "mix"),
    Detail("face at half the size, no fades", Fraction(1, 2), "none"),
)
"""For a face that is large enough. Two thirds of the size would bring next to nothing: what is saved goes into resizing."""


def details(face_px: float) -> tuple[Detail, ...]:
    """The levels for a face of that height in the stored pictures."""
    kept: list[Detail] = [d for d in DETAILS if d.scale == 1 or d.scale * face_px >= LEAST_FACE_PX]
    last = kept[-1]
    if last.fade != "none":
        kept.append(replace(last, words=last.words.replace("fades without optical flow", "no fades"), fade="none"))
    return tuple(kept)


def reduced_picture(rgb: UInt8[np.ndarray, "h w 3"], scale: Fraction) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A picture at a part of its size. The factor is passed as such: a rounded size would stretch it."""
    way = cv2.INTER_AREA if scale.numerator == 1 else cv2.INTER_LINEAR
    return cv2.resize(rgb, None, fx=float(scale), fy=float(scale), interpolation=way)


def enlarged_into(
    rgb: UInt8[np.ndarray, "h w 3"],
    region: tuple[int, int, int, int],
    mask: UInt8[np.ndarray, "rows columns"],
    scale: Fraction,
    out: UInt8[np.ndarray, "H W 3"],
    out_mask: UInt8[np.ndarray, "H W"],
) -> None:
    """Enlarge what is masked within `region` of a picture of `scale` times the size of `out`, where `out_mask` becomes 255.

    `region` may lie anywhere; what is enlarged begins and ends where pixels of both sizes do.
    """
    small, large = scale.numerator, scale.denominator
    x0, y0, x1, y1 = region
    left, top = x0 // small, y0 // small
    right, bottom = min(-(-x1 // small), out.shape[1] // large), min(-(-y1 // small), out.shape[0] // large)
    if right <= left or bottom <= top:
        return
    rows, columns = slice(top * small, bottom * small), slice(left * small, right * small)
    whole = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    inside = whole[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start]
    inside[:] = mask[: inside.shape[0], : inside.shape[1]]
    size = ((right - left) * large, (bottom - top) * large)
    at = slice(top * large, bottom * large), slice(left * large, right * large)
    wide = cv2.resize(whole, size, interpolation=cv2.INTER_NEAREST)
    cv2.copyTo(cv2.resize(rgb[rows, columns], size, interpolation=cv2.INTER_LINEAR), wide, out[at])
    out_mask[at] = wide
