"""The target's mouth and eyes for one output picture after the other: retrieve, place, match the light, fade (section 8)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.mouth.aperture import APERTURES, Aperture, ApertureName, PersonAperture, apertures
from f2fcam.mouth.database import ApertureDatabase
from f2fcam.mouth.interior import content, even_content
from f2fcam.mouth.patch import Origin, PatchMaker
from f2fcam.mouth.reduced import reduced, reduced_crop
from f2fcam.mouth.retrieve import DISPLAYED, NONE, RetrievalState, retrieve
from f2fcam.render.composite import Patch
from f2fcam.render.detail import Fade
from f2fcam.render.sampling import ACROSS, CATMULL_ROM, tap
from f2fcam.simd import mix, put_colour

KEPT_ORIGINS = 4
"""Placed entries that are remembered per opening."""
SAME_EXPRESSION = 1e-4
"""Below this difference of every weight the displayed frame's own mouth and eyes are left as they are."""
SHUT_BELOW = 0.4
"""Of the wanted height: an opening this shut has nothing to fade from."""
FLOW_LEAST_PX = 16
"""OpenCV's solver crashes on smaller pictures."""
FLOW_FROM = 6.0
"""Mean grey difference of two patches from which a fade follows the optical flow between them."""


@dataclass(frozen=True, slots=True)
class RetouchState:
    """What one output picture hands to the next, per opening."""

    openings: dict[ApertureName, RetrievalState] = field(
        default_factory=lambda: {name: RetrievalState() for name in APERTURES}
    )


@dataclass(frozen=True, slots=True)
class Displayed:
    """The target frame that playback chose.

    Attributes:
        row: its row in the profile. rgb: the picture, of the person's camera's size. performance: its fit.
        tint: what its skin's colours change by (`Complexion.log_gain`).
    """

    row: int
    rgb: UInt8[np.ndarray, "h w 3"]
    performance: Performance
    tint: Float32[np.ndarray, "m 3"] | None = None


class Retoucher:
    """One target's openings with their databases; owns memory, so one per thread."""

    def __init__(
        self,
        model: FaceModel,
        person: Person,
        databases: dict[ApertureName, ApertureDatabase],
        known: dict[ApertureName, Aperture] | None = None,
    ) -> None:
        self.intrinsics, self._model, self._person = person.intrinsics, model, person
        self.databases = databases
        self._scale = 1.0
        self._makers = {name: PatchMaker(aperture) for name, aperture in (known or apertures(model)).items()}
        self._geometry = {name: PersonAperture(model, person, maker.aperture) for name, maker in self._makers.items()}
        self._origins: dict[ApertureName, OrderedDict[int, Origin]] = {name: OrderedDict() for name in APERTURES}
        self._last_own: dict[ApertureName, tuple[Displayed, Origin]] = {}

    def reduced(self, scale: Fraction) -> Retoucher:
        """The same for pictures of `scale` times the size, which go on with the same states; shares what may be shared."""
        person = replace(self._person, intrinsics=self.intrinsics.scaled(float(scale)))
        known = {name: maker.aperture for name, maker in self._makers.items()}
        databases = {name: reduced(database, float(scale)) for name, database in self.databases.items()}
        other = Retoucher(self._model, person, databases, known)
        other._scale = float(scale)
        return other

    def retouch(
        self,
        state: RetouchState,
        displayed: Displayed,
        expression: Float32[np.ndarray, " 76"],
        time_s: float,
        fade: Fade = "flow",
    ) -> tuple[RetouchState, tuple[Patch, ...]]:
        """Patches, to be composited in order, that give the displayed frame the mouth and eyes of `expression`."""
        openings: dict[ApertureName, RetrievalState] = {}
        patches = []
        for name in APERTURES:
            companion = self._shown_row(openings.get("eye_left"), displayed.row) if name == "eye_right" else None
            now = retrieve(
                state.openings[name], self.databases[name], self._geometry[name], displayed.row, displayed.performance,
                expression, time_s, companion,
            )  # fmt: skip
            openings[name] = now
            same = np.abs(expression - displayed.performance.expression).max() < SAME_EXPRESSION
            if not (same and now.entry == DISPLAYED and now.previous == NONE):
                shown = now if fade != "none" else replace(now, previous=NONE)
                patches.append(self._patch(name, shown, displayed, expression, fade))
        return RetouchState(openings), tuple(patches)

    def _shown_row(self, state: RetrievalState | None, row: int) -> int | None:
        """The profile's row whose left eye is shown."""
        if state is None:
            return None
        return row if state.entry < 0 else int(self.databases["eye_left"].frames[state.entry])

    def _patch(
        self, name: ApertureName, state: RetrievalState, displayed: Displayed, expression: np.ndarray, fade: Fade
    ) -> Patch:
        database, maker, geometry = self.databases[name], self._makers[name], self._geometry[name]
        performance = displayed.performance
        own_misfit = database.misfit[displayed.row]
        misfit = self._misfit(name, state.entry, displayed.row)
        if state.previous != NONE:
            before = self._misfit(name, state.previous, displayed.row)
            misfit = before + np.float32(state.mix) * (misfit - before)
        wanted = Performance(expression, performance.camera_from_model, performance.lighting)
        own = self._own(name, displayed)
        placed = geometry.place(wanted, own_misfit, misfit)
        stage = maker.stage(placed, self.intrinsics, displayed.tint)
        patch = replace(
            maker.make(stage, self._origin(name, state.entry, own), own),
            rows=maker.aperture.columns,
            pull=geometry.pull(own_misfit, misfit),
        )
        if state.previous == NONE:
            return patch
        before = self._origin(name, state.previous, own)
        if before.rim.gap_px < SHUT_BELOW * stage.rim.gap_px:
            return patch
        last = maker.make(stage, before, own)
        return replace(patch, rgb=_fade(last.rgb, patch.rgb, state.mix, stage.stride, fade))

    def _misfit(self, name: ApertureName, entry: int, row: int) -> np.ndarray:
        database = self.databases[name]
        return database.misfit[row if entry == DISPLAYED else int(database.frames[entry])]

    def _own(self, name: ApertureName, displayed: Displayed) -> Origin:
        """The displayed frame as its own origin; a frame is often shown twice."""
        last = self._last_own.get(name)
        if last is not None and _same_fit(last[0], displayed):
            return replace(last[1], rgb=displayed.rgb)
        database, maker = self.databases[name], self._makers[name]
        placed = self._geometry[name].place(displayed.performance, database.misfit[displayed.row])
        entry = database.entry_of(displayed.row)
        if entry >= 0:
            outline, shows = database.rim(entry), database.content(entry)
        else:
            outline = maker.outline(placed, self.intrinsics)
            shows = content(displayed.rgb, outline, (0, 0)) if maker.aperture.has_jaw else even_content()
        own = Origin(displayed.rgb, 0, 0, placed, outline, shows)
        self._last_own[name] = displayed, own
        return own

    def _origin(self, name: ApertureName, entry: int, own: Origin) -> Origin:
        if entry == DISPLAYED:
            return own
        known = self._origins[name]
        if entry in known:
            known.move_to_end(entry)
            return known[entry]
        database = self.databases[name]
        performance = database.performance(entry)
        placed = self._geometry[name].place(performance, database.misfit[int(database.frames[entry])])
        crop, (x, y) = database.crop(entry), (int(v) for v in database.corner[entry])
        if self._scale < 1:
            crop, x, y = reduced_crop(crop, x, y, self._scale)
        known[entry] = Origin(crop, x, y, placed, database.rim(entry), database.content(entry))
        if len(known) > KEPT_ORIGINS:
            known.popitem(last=False)
        return known[entry]


def _fade(
    last: UInt8[np.ndarray, "h w 3"], now: UInt8[np.ndarray, "h w 3"], share: float, stride: int, fade: Fade
) -> UInt8[np.ndarray, "h w 3"]:
    """Between two patches on the same geometry; where they differ much, along the optical flow between them."""
    if fade == "mix" or float(cv2.absdiff(last, now).mean()) <= FLOW_FROM:
        return cv2.addWeighted(last, 1 - share, now, share, 0)
    faded = np.empty_like(now)
    _along(last, now, _flow(last, now, stride), share, CATMULL_ROM, ACROSS, faded)
    return faded


def _flow(
    last: UInt8[np.ndarray, "h w 3"], now: UInt8[np.ndarray, "h w 3"], stride: int
) -> Float32[np.ndarray, "h w 2"]:
    """Where each pixel of one picture is in the other, pixels; found in cells of `stride` pixels, as coarse as the patches'."""
    height, width = now.shape[:2]
    size = max(width // stride, FLOW_LEAST_PX), max(height // stride, FLOW_LEAST_PX)
    grays = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (last, now)]
    if size != (width, height):
        grays = [cv2.resize(gray, size, interpolation=cv2.INTER_AREA) for gray in grays]
    # A new one each time: what it kept from the last pictures shows in the next flow.
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = solver.calc(grays[0], grays[1], np.zeros((*grays[0].shape, 2), np.float32))
    flow = cv2.GaussianBlur(flow, (0, 0), 1.5)
    if size != (width, height):
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        flow *= np.float32((width / size[0], height / size[1]))
    return flow


def _same_fit(one: Displayed, other: Displayed) -> bool:
    """Whether two displayed frames are one of the clip's, fitted alike."""
    a, b = one.performance, other.performance
    pairs = [
        (a.expression, b.expression),
        (a.camera_from_model.rotation, b.camera_from_model.rotation),
        (a.camera_from_model.translation, b.camera_from_model.translation),
        (a.lighting, b.lighting),
    ]
    return one.row == other.row and all(x is y or np.array_equal(x, y) for x, y in pairs)


@njit(
    "void(u1[:,:,::1], u1[:,:,::1], f4[:,:,::1], f8, f4[:,::1], f4[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _along(last, now, flow, share, down, across, out):
    """Both pictures' contents moved to where they are at `share` of the way, and mixed."""
    part, rest = np.float32(share), np.float32(1 - share)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            dx, dy = flow[y, x, 0], flow[y, x, 1]
            before = tap(last, np.float32(x) - part * dx, np.float32(y) - part * dy, down, across)
            after = tap(now, np.float32(x) + rest * dx, np.float32(y) + rest * dy, down, across)
            put_colour(mix(before, after, part), out, 3 * (y * out.shape[1] + x))
